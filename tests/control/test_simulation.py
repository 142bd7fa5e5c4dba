from __future__ import annotations

import pytest
import torch

from toykit.control import TabularMDP, expected_return, garnet, occupancy, river_swim, simulate, uniform_policy
from toykit.control.simulation import draw


def test_the_mean_return_is_the_expected_one():
    mdp = river_swim(4, discount=1.0, horizon=12)
    returns = simulate(mdp, uniform_policy(mdp), n=20_000, seed=3).returns()
    assert len(returns) == 20_000
    error = returns.std().item() / len(returns) ** 0.5
    assert returns.mean().item() == pytest.approx(expected_return(mdp, uniform_policy(mdp)), abs=4 * error)


def test_visits_by_step_follow_the_occupancy_sparse_and_dense():
    mdp = garnet(5, 2, 3, seed=2).with_(discount=1.0, horizon=3)
    for same in (mdp, mdp.to_dense()):
        data = simulate(same, uniform_policy(same), n=30_000, seed=1)
        assert data.terminated.view(-1, 3).tolist()[0] == [False, False, True]
        last = torch.zeros(5, 2, dtype=torch.float64)
        last.index_put_((data.states.view(-1, 3)[:, 2], data.actions.view(-1, 3)[:, 2]), torch.ones(1).double(), True)
        assert (last / 30_000 - occupancy(same, uniform_policy(same))[2]).abs().max() < 0.01


def test_episodes_end_where_the_mdp_does_and_are_cut_at_a_limit():
    mdp = TabularMDP([[[0.0, 1.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]], [[1.0, 0.5], [0.0, 0.0]], start=0)
    data = simulate(mdp, [0, 0], n=2, most=5)
    assert data.states.tolist() == [0, 0] and data.terminated.tolist() == [True, True]
    data = simulate(mdp, [1, 0], n=2, most=3)
    assert data.returns().tolist() == [1.5, 1.5]
    assert data.truncated.tolist() == [False, False, True] * 2 and not bool(data.terminated.any())
    assert data.episode.tolist() == [0, 0, 0, 1, 1, 1]


def test_policies_by_step_are_followed():
    mdp = TabularMDP(torch.eye(2)[None].expand(2, 2, 2).clone(), torch.zeros(2, 2), horizon=3, start=0, terminal=[])
    data = simulate(mdp, torch.tensor([[1, 0], [0, 0], [1, 1]]), n=1)
    assert data.actions.tolist() == [1, 0, 1] and data.states.tolist() == [0, 1, 0]


def test_the_same_seed_gives_the_same_episodes():
    mdp = garnet(6, 2, 2)
    first, again, other = (simulate(mdp, uniform_policy(mdp), 10, seed, most=20) for seed in (5, 5, 6))
    assert torch.equal(first.states, again.states) and not torch.equal(first.states, other.states)


def test_draws_follow_the_probabilities_and_never_take_0():
    p = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0], dtype=torch.float64).expand(40_000, -1)
    shares = draw(p, torch.Generator().manual_seed(0)).bincount(minlength=5) / 40_000
    assert shares.tolist() == pytest.approx([0.0, 0.25, 0.0, 0.75, 0.0], abs=0.01)
    assert shares[[0, 2, 4]].sum() == 0


def test_bad_input_is_refused():
    mdp = garnet(3, 2, 2)
    for n, options, message in (
        (0, {"most": 5}, "n must be >= 1, got 0"),
        (1, {}, "most must be a number of steps for an MDP without a horizon, got None"),
        (1, {"most": 0}, "most must be >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            simulate(mdp, uniform_policy(mdp), n, **options)
