from __future__ import annotations

import pytest
import torch

from toykit.objectives import ratio

LOGP = torch.tensor([[-1.0, -2.0, -3.0], [-0.5, 7.0, 7.0]], dtype=torch.float64)
OLD = torch.tensor([[-1.5, -1.0, -3.5], [-0.25, 0.0, 0.0]], dtype=torch.float64)
MASK = torch.tensor([[True, True, True], [True, False, False]])


def test_ratios_by_hand():
    e = torch.e
    token = ratio("token", LOGP, OLD, MASK)
    assert token.tolist() == [pytest.approx([e**0.5, 1 / e, e**0.5]), pytest.approx([e**-0.25, 1, 1])]
    sequence = ratio("sequence", LOGP, OLD, MASK)
    assert sequence.tolist() == [pytest.approx([1.0] * 3), pytest.approx([e**-0.25] * 3)]
    importance = ratio("importance", LOGP + 0.5, OLD, MASK)
    assert importance.tolist() == [pytest.approx([e**1.5] * 3), pytest.approx([e**0.25] * 3)]


def test_unknown_ratio_is_refused():
    with pytest.raises(ValueError, match="ratio must be one of .*, got 'sequences'; did you mean 'sequence'?"):
        ratio("sequences", LOGP, OLD, MASK)
