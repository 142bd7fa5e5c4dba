from __future__ import annotations

import math

import pytest
import torch

from toykit.control import Counts, empirical_best, lcb, most_played
from toykit.control.offline.lcb import lower_bounds


def bandit(pulls, wins):
    """Counts of one context."""
    visits, rewards = (torch.tensor([x], dtype=torch.float64) for x in (pulls, wins))
    return Counts(visits[..., None], rewards, visits)


def test_an_arm_tried_twice_beats_one_that_is_known_only_where_nobody_is_careful():
    """The card's exercise: 98 pulls of mean 0.60 against two lucky ones, delta = 0.01."""
    counts = bandit([98, 2], [58.8, 2])
    bounds = lower_bounds(counts.mean_rewards(), counts.visits, math.log(400))
    assert bounds[0].tolist() == pytest.approx([0.6 - math.sqrt(math.log(400) / 196), 1 - math.sqrt(math.log(400) / 4)])
    assert bounds[0].tolist() == pytest.approx([0.425, -0.224], abs=5e-4)
    assert lcb(counts, delta=0.01).tolist() == [[1, 0]] == most_played(counts).tolist()
    assert empirical_best(counts).tolist() == [[0, 1]]


def test_an_untried_arm_beats_one_that_was_tried_once_for_nothing_and_nothing_else():
    counts = bandit([0, 1, 2], [0, 0, 0])
    bounds = lower_bounds(counts.mean_rewards(), counts.visits, math.log(400))
    assert bounds[0].tolist() == pytest.approx([-1, -1.731, -1.224], abs=5e-4)
    assert lower_bounds(torch.ones(1), torch.zeros(1), 5.0).tolist() == [0]


def test_delta_is_one_over_the_number_of_samples_and_counts_contexts():
    counts = Counts.empty(2, 2, runs=1)
    counts.visits[:] = torch.tensor([[8.0, 0.0], [0.0, 0.0]])
    counts.rewards[:] = torch.tensor([[8.0, 0.0], [0.0, 0.0]])
    assert torch.equal(lcb(counts), lcb(counts, delta=1 / 8))
    assert lcb(counts).tolist() == [[[1, 0], [0.5, 0.5]]]  # in a context that was not seen all arms are equal
    assert torch.equal(most_played(counts), lcb(counts))
    assert most_played(Counts.empty(1, 4)).tolist() == [[0.25] * 4]


def test_runs_side_by_side_are_judged_apart_by_their_own_number_of_samples():
    """0.9 of 100 pulls against 3 of 3: with delta = 1/103 and 1/2 the bound of the second is below and above."""
    visits = torch.tensor([[[100.0, 8.0]], [[4.0, 8.0]]], dtype=torch.float64)
    counts = Counts(visits[..., None], visits * torch.tensor([0.6, 1.0], dtype=torch.float64), visits)
    for i in range(2):
        alone = Counts(counts.transitions[i], counts.rewards[i], counts.visits[i])
        assert torch.equal(lcb(counts)[i], lcb(alone))
    bounds = lower_bounds(counts.mean_rewards()[0], visits[0], math.log(4 * 108))[0]
    assert bounds.argmax() == 0 and lcb(counts).tolist() == [[[1, 0]], [[0, 1]]]


def test_bad_input():
    with pytest.raises(ValueError, match="delta must be between 0 and 1, got 1"):
        lcb(Counts.empty(1, 2), delta=1.0)
