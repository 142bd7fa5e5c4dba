from __future__ import annotations

import itertools
import math

import pytest
import torch

from toykit.control import Counts, concentrability, evaluate, garnet, occupancy, simulate, value_iteration, vi_lcb
from toykit.control.offline.pessimism import log_term, most_frequent, naive_value_iteration, rounds

MDP = garnet(5, 3, 2, seed=1, discount=0.8).to_dense()


def logged(n, seed=0, uniform=1.0):
    best = value_iteration(MDP).policy
    behaviour = (1 - uniform) * best + uniform / 3
    return Counts.of(simulate(MDP, behaviour, n=n // 10, most=10, seed=seed), 5, 3)


def test_concentrability_by_hand():
    """A bandit's is 1 / mu(a*), a contextual bandit's the largest rho(s) / mu(s, a*)."""
    target = torch.tensor([[1.0, 0.0]], dtype=torch.float64)
    assert concentrability(target, torch.tensor([[0.8, 0.2]]).double()) == pytest.approx(1.25)
    rho = torch.tensor([[0.75, 0.0], [0.25, 0.0]], dtype=torch.float64)
    assert concentrability(rho, torch.tensor([[0.75, 0.0], [0.125, 0.125]]).double()) == pytest.approx(2.0)
    assert concentrability(rho, rho) == 1
    assert concentrability(target, torch.tensor([[0.0, 1.0]]).double()) == math.inf
    assert concentrability(torch.tensor([[0.0, 1.0]]).double(), torch.tensor([[0.0, 1.0]]).double()) == 1


def test_concentrability_of_an_mdp_is_least_for_the_policy_itself():
    best = value_iteration(MDP).policy
    d = occupancy(MDP, best)
    found = [concentrability(d, occupancy(MDP, (1 - e) * best + e / 3)) for e in (0.0, 0.1, 0.5, 1.0)]
    assert found == sorted(found) and found[0] == pytest.approx(1)


def test_two_rounds_by_hand():
    """One state that stays; two pulls paid 1 and none, one pull paid 1. discount 1/2, bonus 0.2 / sqrt(n) / (1/2)."""
    counts = Counts.empty(1, 2)
    zero = torch.zeros(3, dtype=torch.int64)
    counts.add(zero, torch.tensor([0, 0, 1]), torch.tensor([1.0, 0.0, 1.0]).double(), zero)
    found = vi_lcb([counts] * 3, 0.5, log_term=1.0, scale=0.2)
    first = 1 - 0.4  # action 1, above 1/2 - 0.4 / sqrt 2
    assert found.actions.tolist() == [1]
    assert found.v.tolist() == pytest.approx([first + 0.5 * first])
    assert most_frequent(counts).tolist() == [0]
    assert vi_lcb([counts] * 3, 0.5, log_term=1.0, scale=1.0).actions.tolist() == [0]  # bounds below 0: nothing moves


def test_with_a_large_scale_it_is_behaviour_cloning_and_with_none_value_iteration():
    counts = logged(300)
    rest = 0.8, log_term(300, 0.8, 5, 3)
    careful = vi_lcb([counts] * 30, *rest, scale=math.sqrt(2000))
    assert torch.equal(careful.actions, most_frequent(counts)) and careful.v.tolist() == [0] * 5
    bold = vi_lcb([counts] * 101, *rest, scale=0.0)
    assert torch.equal(bold.actions, naive_value_iteration(counts, 0.8))


def test_its_values_are_lower_bounds_of_its_policys_and_never_fall():
    counts = logged(20_000)
    seen = [vi_lcb([counts] * (t + 1), 0.8, log_term(20_000, 0.8, 5, 3), 0.03) for t in (1, 2, 5, 40)]
    for before, after in itertools.pairwise(seen):
        assert bool((after.v >= before.v).all())
    last = seen[-1]
    assert bool((last.v > 0).all() and (last.v <= evaluate(MDP, last.actions) + 1e-12).all())


def test_runs_side_by_side_are_solved_apart():
    each = [logged(200, seed) for seed in range(3)]
    both = Counts(*(torch.stack([getattr(c, name) for c in each]) for name in ("transitions", "rewards", "visits")))
    found = vi_lcb([both] * 20, 0.8, 5.0, 0.02)
    for i, counts in enumerate(each):
        alone = vi_lcb([counts] * 20, 0.8, 5.0, 0.02)
        assert torch.equal(found.actions[i], alone.actions) and torch.allclose(found.v[i], alone.v)
        assert torch.equal(naive_value_iteration(both, 0.8)[i], naive_value_iteration(counts, 0.8))


def test_the_number_of_rounds_and_the_log_term():
    assert rounds(50, 0.9) == 40 and rounds(1, 0.9) == 1  # log 50 / 0.1 = 39.1
    assert log_term(50, 0.9, 6, 3) == pytest.approx(math.log(2 * 41 * 18 * 50))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: vi_lcb([Counts.empty(1, 1)], 0.5, 1.0), "number of folds must be >= 2, got 1"),
        (lambda: vi_lcb([Counts.empty(1, 1)] * 2, 1.0, 1.0), "discount must be between 0 and 1, got 1"),
        (lambda: vi_lcb([Counts.empty(1, 1)] * 2, 0.5, -1.0), "log_term must be >= 0"),
        (lambda: rounds(0, 0.5), "n must be >= 1, got 0"),
        (lambda: concentrability(torch.ones(1, 2), torch.ones(1, 2)), "target must be >= 0 and sum to 1, its sum is 2"),
        (lambda: concentrability(torch.ones(1, 1), torch.ones(1, 2)), "behaviour must have shape"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call()
