"""UCRL2 and its variants: optimism by hand and against linear programs, windows, restarts, and regret."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from toykit.control import Counts, TabularMDP, garnet, optimal_average
from toykit.control.online import UCRL2, QLearning, confidence, extended_value_iteration, regret_curves
from toykit.control.worlds import Drifting, swapped_chain


def test_widths_by_hand():
    counts = Counts.empty(2, 3)
    counts.visits[0, 1] = 4
    laws, rewards = confidence(counts, 10.0, 0.1, scale=0.5)
    assert laws[0, 1].item() == pytest.approx(0.5 * math.sqrt(28 * math.log(600) / 4))
    assert laws[1, 2].item() == pytest.approx(0.5 * math.sqrt(28 * math.log(600)))
    assert rewards[0, 1].item() == pytest.approx(0.5 * math.sqrt(7 * math.log(1200) / 8))
    with pytest.raises(ValueError, match="clock must be >= 1, got 0"):
        confidence(counts, 0.0, 0.1)


def test_with_no_width_it_is_value_iteration_and_with_width_the_best_law():
    mdp = garnet(6, 2, 3, seed=2).to_dense()
    best = optimal_average(mdp)
    actions, gain, law = extended_value_iteration(mdp.P, mdp.R, torch.zeros(6, 2), 1e-9)
    assert gain.item() == pytest.approx(best.gain, abs=1e-8)
    assert torch.allclose(law, mdp.P)
    assert actions.tolist() == best.policy.argmax(-1).tolist()
    _, more, law = extended_value_iteration(mdp.P, mdp.R, torch.full((6, 2), 0.3, dtype=torch.float64), 1e-9)
    assert more > gain
    assert torch.allclose(law.sum(-1), torch.ones(6, 2).double()) and law.min() >= 0
    assert (law - mdp.P).abs().sum(-1).max() <= 0.3 + 1e-12


def test_the_best_law_takes_from_the_worst_state_first():
    P = torch.tensor([[[0.2, 0.5, 0.3]], [[0.0, 0.0, 1.0]], [[1.0, 0.0, 0.0]]], dtype=torch.float64)
    R = torch.tensor([[0.0], [0.5], [1.0]], dtype=torch.float64)
    width = torch.tensor([[1.4], [0.0], [0.0]], dtype=torch.float64)
    law = extended_value_iteration(P, R, width, 10.0)[2]  # one sweep: the values are the rewards
    assert law[0, 0].tolist() == pytest.approx([0, 0, 1])
    assert extended_value_iteration(P, R, width / 4, 10.0)[2][0, 0].tolist() == pytest.approx([0.025, 0.5, 0.475])


def test_runs_side_by_side_are_planned_apart():
    mdps = [garnet(4, 2, 2, seed=s).to_dense() for s in range(3)]
    P, R = torch.stack([m.P for m in mdps]), torch.stack([m.R for m in mdps])
    width = torch.full_like(R, 0.2)
    actions, gains, laws = extended_value_iteration(P, R, width, torch.tensor([1e-3, 1e-6, 1e-9]))
    for i, tol in enumerate((1e-3, 1e-6, 1e-9)):
        alone = extended_value_iteration(P[i], R[i], width[i], tol)
        assert actions[i].equal(alone[0]) and gains[i] == alone[1] and laws[i].equal(alone[2])


VARIANTS = {
    "plain": UCRL2(scale=0.1),
    "window": UCRL2(scale=0.1, window=60),
    "schedule": UCRL2(scale=0.1, restarts=(100, 250)),
    "detector": UCRL2(scale=0.1, prior=1e-2),
    "local": UCRL2(scale=0.1, prior=1e-2, scope="local"),
    "Q-learning": QLearning(),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_a_run_is_the_same_whatever_runs_beside_it(name):
    world = swapped_chain(450)
    together = regret_curves(VARIANTS[name], world, (3, 5, 8), 450)
    alone = regret_curves(VARIANTS[name], world, (5,), 450)
    assert together.regret[1].equal(alone.regret[0]) and together.restarts[1] == alone.restarts[0]
    assert together.regret.shape == (3, 450)


def test_a_window_holds_exactly_the_last_steps_with_their_rewards():
    runs = UCRL2(window=7).start(3, 2, (0, 1))
    draw, steps = np.random.default_rng(0), []
    for t in range(40):
        step = tuple(draw.integers(0, n, 2) for n in (3, 2)), draw.random(2), draw.integers(0, 3, 2)
        steps.append(step)
        runs.learn(*step[0], *step[1:])
        wanted = Counts.empty(3, 2, 2)
        for (states, actions), rewards, after in steps[max(0, t - 6) :]:
            wanted.add(*map(torch.from_numpy, (states, actions, rewards, after)))
        assert runs.counts.transitions.equal(wanted.transitions) and runs.counts.visits.equal(wanted.visits)
        assert torch.allclose(runs.counts.rewards, wanted.rewards, atol=1e-12)


def test_what_a_restart_forgets():
    def seen(how):
        runs = how.start(2, 2, (0,))
        for t in range(60):
            runs.act(np.array([t % 2]))
            runs.learn(np.array([t % 2]), np.array([0]), np.array([1.0]), np.array([0 if t < 50 else 1]))
            if runs.restarted.any():
                return runs, t
        return runs, None

    everything, at = seen(UCRL2(prior=1e-2))
    assert at is not None and at > 50
    assert everything.counts.visits.sum() == 0 and everything.clock[0] == 0 and everything.over.all()
    pair, same = seen(UCRL2(prior=1e-2, scope="local"))
    assert same == at and pair.counts.visits[0, at % 2].sum() == 0 and pair.counts.visits.sum() > 20
    assert pair.clock[0] == at + 1
    scheduled, at = seen(UCRL2(restarts=(10,)))
    assert at == 9 and scheduled.counts.visits.sum() == 0


def test_regret_is_against_the_gain_of_the_phase():
    one = TabularMDP(P=torch.ones(1, 2, 1), R=torch.tensor([[0.3, 0.8]]), start=0)
    two = one.with_(R=torch.tensor([[0.9, 0.1]]))
    found = regret_curves(QLearning(epsilon=0.0), Drifting((one, two), (3,)), (0,), 5)
    assert found.gains == pytest.approx((0.8, 0.9))
    assert found.regret[0].tolist() == pytest.approx([0.5, 1.0, 1.5, 1.5, 1.5])


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: UCRL2(prior=2.0), "prior must be > 0 and at most 1, got 2.0"),
        (lambda: UCRL2(scope="all"), "scope must be one of global, local, got 'all'"),
        (lambda: UCRL2(window=5, prior=0.1), "window must be None where there are restarts"),
        (lambda: UCRL2(window=0), "window must be >= 1, got 0"),
        (lambda: UCRL2(delta=1.0), "delta must be between 0 and 1"),
        (lambda: QLearning(epsilon=1.5), "epsilon must be from 0 to 1, got 1.5"),
        (lambda: regret_curves(UCRL2(), swapped_chain(30), (), 10), "the number of seeds must be >= 1, got 0"),
        (lambda: regret_curves(UCRL2(), swapped_chain(30), (0,), 0), "steps must be >= 1, got 0"),
    ],
)
def test_bad_input_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
