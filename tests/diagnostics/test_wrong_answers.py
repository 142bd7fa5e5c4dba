from __future__ import annotations

import math

import pytest
import torch

from toykit.diagnostics import wrong_answers

REF = torch.tensor([0.25, 0.25, 0.25, 0.25], dtype=torch.float64)


def figures(pi, right, ref=REF):
    found = wrong_answers(torch.tensor(pi, dtype=torch.float64).log(), ref.log(), torch.tensor(right))
    return found.overconfident.tolist(), found.severity.tolist(), found.entropy.tolist()


def test_by_hand():
    """One right answer; of the wrong ones 0.5 has doubled and 0.125 twice has halved."""
    over, severity, entropy = figures([0.25, 0.5, 0.125, 0.125], [True, False, False, False])
    assert over == pytest.approx(0.5) and severity == pytest.approx(math.log(2))
    assert entropy == pytest.approx(-(2 / 3 * math.log(2 / 3) + 2 * math.log(1 / 6) / 6))


def test_severity_is_a_mean_by_mass():
    over, severity, _ = figures([0.1, 0.3, 0.5, 0.1], [True, False, False, False])
    assert over == pytest.approx(0.8)
    assert severity == pytest.approx((0.3 * math.log(1.2) + 0.5 * math.log(2)) / 0.8)


def test_what_is_impossible_or_absent_counts_nothing():
    assert figures([1.0, 0.0, 0.0, 0.0], [True, False, False, False]) == (0.0, 0.0, 0.0)
    assert figures([0.5, 0.5, 0.0, 0.0], [True, True, True, True]) == (0.0, 0.0, 0.0)
    at_reference = figures([[0.25] * 4, [0.25] * 4], [[False] * 4, [True, False, False, False]])
    assert at_reference[0] == [0.0, 0.0] and at_reference[2] == pytest.approx([math.log(4), math.log(3)])
