from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import Counts, empirical_best, lcb, most_played
from toykit.control.offline.two_arms import binomial, by_lower_bound, by_mean, by_visits, pulls, worse_arm

RULES = {by_mean: empirical_best, by_visits: most_played}


def test_binomials_by_hand_and_at_the_ends():
    assert torch.allclose(binomial(2, torch.tensor(0.25).double())[2], torch.tensor([9, 6, 1]).double() / 16)
    for p, at in ((0.0, 0), (1.0, 3)):
        assert binomial(3, torch.tensor(p).double())[3].tolist() == [float(k == at) for k in range(4)]
    assert torch.allclose(binomial(160, torch.tensor([0.3, 0.9]).double()).sum(-1), torch.ones(1).double(), atol=1e-11)


def test_the_law_of_pulls_by_hand():
    """Two samples, shares 1/2, 1/4 and 1/4 for neither arm."""
    law = pulls(2, 0.5, 0.25)
    assert torch.allclose(law * 16, torch.tensor([[1, 2, 1], [4, 4, 0], [4, 0, 0]]).double())
    assert torch.allclose(pulls(2, 0.5), torch.tensor([[0, 0, 0.25], [0, 0.5, 0], [0.25, 0, 0]]).double())


def test_one_pull_by_hand():
    """One pull of a random arm: the other one has mean 0. By means it is wrong where the pulled arm pays nothing (1/2),
    or where it is the worse one and pays."""
    p = torch.tensor([0.8, 0.3], dtype=torch.float64)
    by_hand = 0.5 * (0.2 * 0.5) + 0.5 * (0.3 + 0.7 * 0.5)
    assert worse_arm(pulls(1, 0.5), p, by_mean).item() == pytest.approx(by_hand)
    assert worse_arm(pulls(1, 0.5), p, by_visits).item() == pytest.approx(0.5)
    # log 4 < 2: the bound of one pull, 0.167 or -0.833, is above that of none, so the pulled arm is chosen
    assert worse_arm(pulls(1, 0.5), p, by_lower_bound(math.log(4))).item() == pytest.approx(0.5)


@settings(max_examples=25, deadline=None)
@given(
    n=st.integers(1, 5),
    shares=st.tuples(st.floats(0.1, 0.5), st.floats(0.1, 0.5)),
    p=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_enumeration_of_every_sample_with_the_rules_on_counts(n, shares, p):
    """Every sequence of n draws (arm 0, arm 1 or neither, with reward 1 or 0), judged by the rules of `lcb`."""
    outcomes = [(arm, won) for arm in (0, 1, 2) for won in (0, 1)]
    chances = [(*shares, 1 - sum(shares))[arm] * (p + (1.0,))[arm] ** won for arm, won in outcomes]
    chances = [c * ((1 - (p + (1.0,))[arm]) if not won else 1) for c, (arm, won) in zip(chances, outcomes, strict=True)]
    delta = 0.1
    total = dict.fromkeys([*RULES, lcb], 0.0)
    for draws in itertools.product(range(6), repeat=n):
        chance = math.prod(chances[i] for i in draws)
        counts = Counts.empty(1, 2)
        for i in draws:
            arm, won = outcomes[i]
            if arm < 2:
                counts.visits[0, arm] += 1
                counts.rewards[0, arm] += won
        if chance:
            for score, rule in RULES.items():
                total[score] += chance * rule(counts)[0, 1].item()
            total[lcb] += chance * lcb(counts, delta)[0, 1].item()
    law, q = pulls(n, *shares), torch.tensor(p, dtype=torch.float64)
    for score in RULES:
        assert worse_arm(law, q, score).item() == pytest.approx(total[score], abs=1e-9)
    assert worse_arm(law, q, by_lower_bound(math.log(4 / delta))).item() == pytest.approx(total[lcb], abs=1e-9)


def test_settings_side_by_side():
    p = torch.tensor([[0.6, 0.3], [0.9, 0.5]], dtype=torch.float64)
    law = pulls(12, 0.7)
    for score in (by_mean, by_visits, by_lower_bound(3.0)):
        assert worse_arm(law, p, score).tolist() == pytest.approx([worse_arm(law, row, score).item() for row in p])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pulls(0, 0.5), "n must be from 1 to 500.*got 0"),
        (lambda: pulls(501, 0.5), "n must be from 1 to 500.*got 501"),
        (lambda: pulls(3, 0.7, 0.6), "first and second must be shares that sum to at most 1, got 0.7 and 0.6"),
        (lambda: worse_arm(torch.zeros(600, 600), torch.ones(2), by_mean), "law must be of at most 500 pulls, got 599"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
