from __future__ import annotations

import math

import pytest
import torch

from toykit.control import (
    TabularData,
    TabularMDP,
    backward_induction,
    expected_return,
    garnet,
    simulate,
    uniform_policy,
)
from toykit.control.offline import ReturnConditioned, mbrcsl
from toykit.control.simulation import enumerate_episodes


def line(length):
    """Card 06, C: the state is the position; action 0 pays 1, both go on."""
    after = (torch.arange(length + 1) + 1).clamp(max=length)[:, None, None].expand(-1, 2, 1)
    R = torch.tensor([1.0, 0.0], dtype=torch.float64).expand(length + 1, 2).clone()
    P = torch.ones(length + 1, 2, 1, dtype=torch.float64)
    return TabularMDP(P, R, horizon=length, start=0, successors=after, terminal=[length])


def halves(length):
    """The data: 0101... and 1010..., each with half of the best return."""
    position = torch.arange(length).repeat(2)
    actions = torch.cat([torch.arange(length) % 2, (torch.arange(length) + 1) % 2])
    last = position == length - 1
    return TabularData(position, actions, 1.0 - actions.double(), position + 1, last, torch.zeros_like(last))


HALF = {2: (1.25, 1 / 4, 2.0), 4: (2.0625, 5 / 16, 3.2), 6: (3.015625, 11 / 32, 48 / 11)}


@pytest.mark.parametrize("length", HALF)
def test_stitching_with_the_numbers_of_card_06(length):
    mdp, data, (fallback, kept, mean) = line(length), halves(length), HALF[length]
    plain = ReturnConditioned.fit(data, 2)
    assert plain.target == length / 2
    assert plain.expected_return(mdp) == pytest.approx(length / 2, abs=1e-12)
    assert plain.expected_return(mdp, target=length) == pytest.approx(fallback, abs=1e-12)
    found = mbrcsl(mdp, torch.full((length + 1, 2), 0.5, dtype=torch.float64), data)
    assert (found.kept, found.mean, found.best) == pytest.approx((kept, mean, length), abs=1e-12)
    assert kept == sum(math.comb(length, k) for k in range(length // 2 + 1, length + 1)) / 2**length
    assert found.policy.expected_return(mdp) == pytest.approx(length, abs=1e-12)
    assert backward_induction(mdp).v[0, 0].item() == length


def test_where_nothing_beats_the_data_the_policy_is_the_plain_one():
    mdp, data = line(4), halves(4)
    always_one = torch.tensor([[0.0, 1.0]] * 5, dtype=torch.float64)
    found = mbrcsl(mdp, always_one, data)
    assert found.kept == 0.0 and math.isnan(found.mean) and math.isnan(found.best)
    assert found.policy.expected_return(mdp) == pytest.approx(2.0)


@pytest.mark.parametrize("seed", range(3))
def test_all_episodes_together_have_the_expected_return_and_probability_1(seed):
    mdp = garnet(4, 2, 2, seed=seed).with_(discount=1.0, horizon=4)
    policy = torch.rand(4, 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    policy = policy / policy.sum(-1, keepdim=True)
    data, chances = enumerate_episodes(mdp, policy)
    assert chances.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert (chances @ data.returns()).item() == pytest.approx(expected_return(mdp, policy), abs=1e-12)
    assert len(chances) == int(data.episode[-1]) + 1 and bool(data.terminated.view(-1, 4)[:, -1].all())


def test_episodes_that_end_early_and_those_that_are_cut_are_written_out():
    mdp = TabularMDP([[[0.5, 0.5]], [[0.0, 1.0]]], [[1.0], [0.0]], start=0)
    data, chances = enumerate_episodes(mdp, [0, 0], most=2)
    assert chances.tolist() == [0.5, 0.25, 0.25]
    assert data.returns().tolist() == [1.0, 2.0, 2.0]
    assert data.terminated.tolist() == [True, False, True, False, False]
    assert data.truncated.tolist() == [False, False, False, False, True]


def test_policies_by_step_are_written_out():
    data, chances = enumerate_episodes(line(2), torch.tensor([[0, 0, 0], [1, 1, 1]]))
    assert chances.tolist() == [1.0] and data.actions.tolist() == [0, 1]


def test_asking_every_return_of_a_stochastic_mdp_gives_the_law_of_the_data():
    mdp = garnet(3, 2, 2, seed=5).with_(discount=1.0, horizon=3)
    data, chances = enumerate_episodes(mdp, uniform_policy(mdp))
    policy = ReturnConditioned.fit(data, 2, chances)
    assert all(law.sum().item() == pytest.approx(1.0) for law in policy.laws.values())
    assert policy.law(0, 1e6).tolist() == [0.5, 0.5]
    assert policy.expected_return(mdp) <= backward_induction(mdp).v[0] @ mdp.start + 1e-9


def test_bad_input_is_refused():
    mdp, data = line(2), halves(2)
    for call, message in (
        (lambda: ReturnConditioned.fit(data, 2, torch.ones(3)), r"weights must have shape \[2\], got \[3\]"),
        (lambda: ReturnConditioned.fit(data, 2, torch.zeros(2)), "weights must have one > 0"),
        (lambda: ReturnConditioned.fit(data, 2).expected_return(garnet(3)), "horizon must be a number of steps"),
        (lambda: enumerate_episodes(mdp, uniform_policy(mdp), limit=3), "limit must be at least the number of trans"),
        (lambda: enumerate_episodes(garnet(3), uniform_policy(garnet(3))), "most must be a number of steps"),
        (lambda: simulate(garnet(3), uniform_policy(garnet(3)), 1), "most must be a number of steps"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
