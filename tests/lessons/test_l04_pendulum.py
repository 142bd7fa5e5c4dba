"""The pendulum of lesson 04: the simulator is gymnasium's, planners and errors do what they say."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from toykit.control import (
    Distractors,
    DynamicsModel,
    Stacked,
    ValueGradients,
    ValueNetwork,
    squared_error,
    taylor,
    value_aware,
    value_gradient_weighted,
)
from toykit.lessons.l04_vagram import world_models
from toykit.lessons.l04_vagram.pendulum import (
    DISCOUNT,
    TORQUES,
    Problem,
    by_seed,
    fit_values,
    greedy,
    returns,
    reward,
    shooting,
    swing,
    take,
)

SEEDS = (7, 8)


@pytest.fixture(scope="module")
def problem():
    return Problem.make(2, SEEDS, transitions=300, held_out=250)


@pytest.fixture(scope="module")
def values(problem):
    return fit_values(problem, sweeps=2, steps=5, n=64, batch=16)


def test_the_simulator_is_gymnasiums(problem):
    for s, data in enumerate(problem.train):
        torques = data.actions[:, 0]
        assert torch.allclose(swing(data.states, torques), data.next_states[:, :3], atol=1e-4)
        assert torch.allclose(reward(data.states, torques), data.rewards, atol=1e-4)
        env = Distractors(gymnasium.make("Pendulum-v1"), 2, seed=SEEDS[s])
        assert np.allclose(problem.mixing[s].numpy(), env.matrix, atol=1e-6)
    states = torch.stack([data.states for data in problem.train])
    after = torch.stack([data.next_states for data in problem.train])
    torques = torch.stack([data.actions[:, 0] for data in problem.train])
    assert torch.allclose(problem.simulator(states, torques), after, atol=1e-3)
    twice = problem.simulator(states.repeat(3, 1, 1), torques.repeat(3, 1))
    assert torch.allclose(twice, after.repeat(3, 1, 1), atol=1e-3)
    wide = problem.simulator(states[:, :, None].expand(-1, -1, 4, -1), torques[..., None].expand(-1, -1, 4))
    assert torch.allclose(wide[:, :, 3], after, atol=1e-3)


def test_torques_are_limited_and_the_speed_too():
    state = torch.tensor([[0.0, 1.0, 7.9]])
    assert torch.equal(swing(state, torch.tensor([9.0])), swing(state, torch.tensor([2.0])))
    assert swing(state, torch.tensor([2.0]))[0, 2] == 8.0


def test_drawn_states_lie_around_the_circle_and_are_the_same_for_a_seed(problem):
    states = problem.drawn(2000, 3.0)
    assert torch.allclose(states[..., :2].norm(dim=-1), torch.ones(2, 2000))
    assert states[..., 2].abs().max() <= 3 and states[..., 2].abs().max() > 2.9
    assert states[..., 3:].std().item() == pytest.approx(3.0, rel=0.05)
    assert torch.equal(states, problem.drawn(2000, 3.0)) and not torch.equal(states[0], states[1])


def test_rows_are_taken_seed_by_seed():
    table = torch.arange(12.0).view(2, 3, 2)
    assert take(table, torch.tensor([[2, 0], [1, 1]])).tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


def test_each_model_is_valued_by_its_own_seed():
    states = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(0))
    nets = [ValueNetwork(states[0], (4,), seed=s) for s in SEEDS]
    found = by_seed(Stacked(nets), states)
    for k in range(6):
        assert torch.allclose(found[k], nets[k % 2](states[k]), atol=1e-6)


def test_fitted_value_iteration_knows_that_upright_is_better_and_is_frozen(problem):
    values = fit_values(problem, sweeps=4, steps=60, n=512, batch=128)
    z = problem.drawn(1, 0.0)[:, :, 3:]
    up, down = (torch.cat([torch.tensor([[[c, 0.0, 0.0]]] * 2), z], -1) for c in (1.0, -1.0))
    assert bool((values(up) > values(down) + 5).all())
    assert not any(p.requires_grad for p in values.parameters())
    again = fit_values(problem, sweeps=4, steps=60, n=512, batch=128)
    assert torch.equal(values(up), again(up))


def test_greedy_takes_the_torque_with_the_best_reward_and_value(problem, values):
    states = problem.drawn(6, 2.0)
    chosen = greedy(problem.simulator, values)(states)
    for s in range(2):
        for e in range(6):
            tried = [
                reward(states[s, e], u) + DISCOUNT * values(problem.simulator(states[:, [e]], u.expand(2, 1)))[s, 0]
                for u in TORQUES
            ]
            assert tried[TORQUES.tolist().index(chosen[s, e].item())] == pytest.approx(max(tried).item(), abs=1e-3)


def test_shooting_takes_the_first_torque_of_the_best_sequence(problem, values):
    states = problem.drawn(3, 2.0)
    chosen = shooting(problem.simulator, values, sequences=4, steps=4, hold=2)(states)
    draw = torch.Generator().manual_seed(0)
    sequences = (4 * torch.rand(2, 3 * 4, generator=draw) - 2).view(2, 3, 4)
    for e in range(3):
        scores = []
        for n in range(4):
            at, score = states[:, [e]], torch.zeros(2, 1)
            for t in range(4):
                u = sequences[t // 2, e, n].expand(2, 1)
                score, at = score + DISCOUNT**t * reward(at, u), problem.simulator(at, u)
            scores.append((score + DISCOUNT**4 * values(at))[:, 0])
        best = torch.stack(scores).argmax(0)
        assert torch.equal(chosen[:, e], sequences[0, e, best])


def test_returns_are_sums_of_rewards_over_the_same_episodes(problem):
    nothing = returns(problem, lambda s: torch.zeros(s.shape[:2]), 4, episodes=3)
    states, total = problem.drawn(3, 1.0), 0.0
    for _ in range(200):
        total = total + reward(states, torch.zeros(2, 3))
        states = problem.simulator(states, torch.zeros(2, 3))
    assert torch.allclose(nothing, total.mean(-1).repeat(2), rtol=1e-4)


def test_each_method_has_its_loss(problem, values):
    after = torch.stack([data.next_states[:9] for data in problem.train])
    draw = torch.Generator().manual_seed(0)
    made = after + torch.randn(len(world_models.METHODS), *after.shape, generator=draw)
    gradient = torch.stack([ValueGradients.of(values.module(s), y).at()[0] for s, y in enumerate(after)])
    scale = torch.rand(2, 1, 5, generator=draw)
    found = dict(zip(world_models.METHODS, world_models.losses(made, after, gradient, scale, values), strict=True))
    for s in range(2):
        one = dict(zip(world_models.METHODS, made[:, s], strict=True))
        y, g = after[s], gradient[s]
        assert torch.allclose(found["MSE"][s], squared_error(one["MSE"], y))
        assert torch.allclose(found["scaled MSE"][s], squared_error(one["scaled MSE"], y, scale[s]))
        assert torch.allclose(found["Taylor"][s], taylor(one["Taylor"], y, g))
        assert torch.allclose(found["VaGraM"][s], value_gradient_weighted(one["VaGraM"], y, g))
        aware = value_aware(values.module(s), one["IterVAML"], y)
        assert torch.allclose(found["IterVAML"][s], aware, rtol=1e-3, atol=1e-5)


def test_methods_start_alike_and_go_their_own_ways(problem, values):
    models = world_models.fit(problem, values, width=4, steps=1)
    first = [p.view(len(world_models.METHODS), 2, -1) for p in models.parameters()]
    start = DynamicsModel(problem.train[0].states, problem.train[0].actions, (4, 4), seed=SEEDS[0])
    for found, p in zip(first, start.parameters(), strict=True):
        assert (found[:, 0] - p.detach().flatten()).abs().max() <= 0.0051  # one step of Adam at 0.005
    assert (first[0][0] - first[0][-1]).abs().max() > 0
    assert not any(p.requires_grad for p in models.parameters())


class Exact(nn.Module):
    """Stands for the stacked models: the simulator, with something added to the speed."""

    def __init__(self, problem, off=0.0):
        super().__init__()
        self.problem, self.off, self.count = problem, off, len(world_models.METHODS) * len(SEEDS)

    def forward(self, states, actions):
        made = self.problem.simulator(states, actions[..., 0])
        return made + self.off * torch.tensor([0.0, 0.0, 1.0, 0.0, 0.0]), None


def test_the_true_dynamics_have_no_errors_and_the_simulators_returns(problem, values):
    found = world_models.judge(problem, values, Exact(problem), episodes=2)
    one = found["VaGraM"]
    assert max(one["value_error"]) < 1e-2 and max(one["value_error_ahead"]) < 0.1
    assert min(one["pendulum_r2"]) > 0.9999 and min(one["distractor_r2"]) > 0.9999
    for planner in ("shooting", "greedy"):
        assert one[planner] == pytest.approx(found["simulator"][planner], abs=1.0)


def test_a_wrong_speed_is_seen_in_every_error(problem, values):
    right, wrong = (world_models.judge(problem, values, Exact(problem, off), 1)["MSE"] for off in (0.0, 0.5))
    assert min(wrong["value_error"]) > max(right["value_error"])
    assert min(wrong["value_error_ahead"]) > max(right["value_error_ahead"])
    assert max(wrong["pendulum_r2"]) < 0.9 and min(wrong["distractor_r2"]) > 0.9999


def test_a_single_distractor_is_refused():
    for m in (1, -1):
        with pytest.raises(ValueError, match=f"m must be 0 or at least 2, .*, got {m}"):
            Problem.make(m, (0,))


def test_without_distractors_there_is_no_error_of_theirs():
    plain = Problem.make(0, (1,), transitions=50, held_out=40)
    values = fit_values(plain, sweeps=1, steps=1, n=16, batch=4)
    assert plain.train[0].states.shape == (50, 3)
    models = world_models.fit(plain, values, width=3, steps=1, batch=8)
    found = world_models.judge(plain, values, models, episodes=1)
    assert "distractor_r2" not in found["MSE"] and len(found["MSE"]["greedy"]) == 1
