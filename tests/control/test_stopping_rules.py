"""The numbers of docs/solving_mdps.md: what a stop on the span says about values, and what it does not."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from toykit.control import TabularMDP, evaluate, policy_iteration, value_iteration
from toykit.control.worlds import random_dense

PAGE = (Path(__file__).parents[2] / "docs" / "solving_mdps.md").read_text()


def span_stopped(mdp: TabularMDP, epsilon: float) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Value iteration as pymdptoolbox has it: it stops when the span of the change is below epsilon (1 - g) / g, and
    returns the latest values as they are, the greedy actions and the sweeps."""
    v, sweeps = torch.zeros(mdp.n_states, dtype=torch.float64), 0
    while True:
        old, v, sweeps = v, mdp.q(v).amax(-1), sweeps + 1
        change = v - old
        if (change.max() - change.min()).item() < epsilon * (1 - mdp.discount) / mdp.discount:
            return v, mdp.q(v).argmax(-1), sweeps


def test_a_stop_on_the_span_returns_the_best_policy_and_values_that_are_wrong_by_far():
    mdp = random_dense(1000, 10, discount=0.95)
    v, actions, sweeps = span_stopped(mdp, 0.01)
    best = policy_iteration(mdp).v
    away = (best - v).abs().max().item()
    assert (evaluate(mdp, actions) - best).abs().max() < 1e-10  # the policy is right
    assert away > 10
    short = (best - v).min().item()
    assert away - short < 0.01  # all values are short of the same constant, to the epsilon that was asked for
    assert f"{sweeps} sweeps" in PAGE and f"wrong by {away:.2f}" in PAGE and f"{best.max():.2f}" in PAGE


def test_the_same_stop_is_right_where_the_middle_of_the_bounds_is_added():
    mdp = random_dense(1000, 10, discount=0.95)
    found = value_iteration(mdp, tol=0.01 / 20)
    assert found.iterations <= span_stopped(mdp, 0.01)[2] + 1
    assert (found.v - policy_iteration(mdp).v).abs().max().item() <= found.error <= 0.01


@pytest.mark.parametrize("discount", [0.5, 0.95])
def test_the_bounds_hold_after_every_sweep(discount):
    mdp = random_dense(30, 3, 0.2, discount, seed=5)
    best, v = policy_iteration(mdp).v, torch.zeros(30, dtype=torch.float64)
    for _ in range(30):
        old, v = v, mdp.q(v).amax(-1)
        scale = discount / (1 - discount)
        change = v - old
        assert (best - v).min() >= scale * change.min() - 1e-12
        assert (best - v).max() <= scale * change.max() + 1e-12
