from __future__ import annotations

import math

import pytest
import torch

from toykit.control import TabularMDP, backward_induction, expected_return, uniform_policy
from toykit.control.backups import Max, Mean
from toykit.control.worlds import decoy_corridor, linear_q, slippery, sticky, swapped_chain


def q_after(mdp: TabularMDP, k: int) -> torch.Tensor:
    """[H, S, A]: the action values of the uniform policy after k - 1 sweeps of Q-value iteration, by definition."""
    q = backward_induction(mdp, [Mean(uniform_policy(mdp))] * mdp.horizon).q
    for _ in range(k - 1):
        v = torch.cat([q.amax(-1)[1:], torch.zeros(1, mdp.n_states, dtype=torch.float64)])
        q = mdp.q(v.masked_fill(mdp.terminal, 0.0))
    return q


@pytest.mark.parametrize(("length", "n_actions"), [(4, 3), (5, 3), (6, 2)])
def test_looking_k_steps_ahead_in_the_corridor_sees_the_closed_form(length, n_actions):
    mdp = decoy_corridor(length, 0.05, n_actions)
    for k in range(1, length + 1):
        q = q_after(mdp, k)[0, 0]
        assert q[0].item() == pytest.approx(float(n_actions) ** -(length - k), abs=1e-15)
        assert q[1].item() == pytest.approx(0.05, abs=1e-15)


def test_the_corridor_by_hand():
    mdp = decoy_corridor(3, 0.2)
    assert (mdp.n_states, mdp.n_actions, mdp.horizon) == (5, 3, 3)
    assert mdp.P[:3, 0].nonzero().tolist() == [[0, 1], [1, 2], [2, 3]]
    assert bool((mdp.P[:3, 1:, 4] == 1).all()) and mdp.terminal.tolist() == [False, False, False, True, True]
    assert mdp.R.tolist()[:3] == [[0, 0.2, 0.2], [0, 0, 0], [1, 0, 0]]
    assert decoy_corridor(1, 0.2).R[0].tolist() == [1, 0.2, 0.2]


def test_slip_in_the_corridor_gives_the_cards_best_returns():
    for slip, best in ((0.1, 0.7116), (0.25, 0.4102)):  # published to four places
        solution = backward_induction(decoy_corridor(5, 0.05, slip=slip))
        assert solution.v[0, 0].item() == pytest.approx(best, abs=5e-5)
        quit_at_once = (1 - slip) * 0.05 + slip * (2 / 3) * 0.05
        assert q_after(decoy_corridor(5, 0.05, slip=slip), 1)[0, 0, 1].item() > quit_at_once


@pytest.mark.parametrize("u", [2, 4, 8, 16, 32])
def test_the_values_of_linear_q_are_two_hinges_and_its_rewards_a_saw(u):
    mdp = linear_q(u)
    solution = backward_induction(mdp)
    s = torch.arange(3 * u + 3, dtype=torch.float64)
    best = torch.stack([2 * (2 * u + 1 - s).clamp(min=0), (3 * u + 1.5 - s).clamp(min=0)], -1)
    assert (solution.q[0] - best).abs().max() == 0 and solution.v[0, 0] == 4 * u + 2
    kinks = [(column.diff().diff() != 0).sum().item() for column in (*best.T, *mdp.R.T)]
    assert kinks == [1, 1, u + 3, u + 2]
    live = solution.q[0, : 3 * u + 2]
    assert live.argmax(-1).tolist() == [0] * (u + 1) + [1] * (2 * u + 1)


def test_linear_q_by_hand():
    mdp = linear_q(1)  # states 0 to 5: on by action 0 up to 1, on by action 1 from 2
    assert mdp.P[:, 0].argmax(-1).tolist() == [1, 2, 5, 5, 5, 5]
    assert mdp.P[:, 1].argmax(-1).tolist() == [5, 4, 3, 4, 5, 5]
    assert mdp.R.tolist() == [[2, 4.5], [1.5, 3], [2, 1], [0, 1], [0, 0.5], [0, 0]]


def test_what_slips_is_mixed_by_hand_in_both_layouts():
    mdp = TabularMDP([[[0, 1, 0], [0, 0, 1]], [[0, 0, 1], [1, 0, 0]], [[0, 0, 1]] * 2], [[1, 3], [0, 2], [0, 0]])
    mdp = mdp.with_(allowed=torch.tensor([[True, True], [True, False], [True, True]]))
    for given in (mdp, mdp.to_sparse()):
        found = slippery(given, 0.5).to_dense()
        assert found.P[0].tolist() == [[0, 0.75, 0.25], [0, 0.25, 0.75]] and found.P[1, 0].tolist() == [0, 0, 1]
        assert found.R[0].tolist() == [1.5, 2.5] and found.R[1, 0] == 0
    assert slippery(mdp, 0.0) is mdp


def test_an_action_that_sticks_is_the_one_before_and_never_at_the_first_step():
    corridor = decoy_corridor(3, 0.2, 2)
    found = sticky(corridor, 0.25)
    n = corridor.n_states
    assert found.n_states == 3 * n and found.start.nonzero()[:, 0].tolist() == [0]
    dense = found.to_dense()
    assert dense.P[0, 0].nonzero().tolist() == [[n + 1]] and dense.R[0].tolist() == corridor.R[0].tolist()
    after_moving = n + 1  # state 1, reached by action 0: quitting becomes moving on with probability 0.25
    assert dense.P[after_moving, 1, n + 2] == 0.25 and dense.P[after_moving, 1, 2 * n + 4] == 0.75
    assert dense.P[after_moving, 0, n + 2] == 1.0
    assert sticky(corridor, 0.0).with_(horizon=3).to_dense().P[1, 1, 2 * n + 4] == 1.0


def test_what_sticks_with_certainty_is_the_first_action_for_ever():
    found = sticky(swapped_chain().at(0).with_(horizon=4), 1.0)
    left_for_ever = [0.2] * 4
    first = torch.zeros(found.n_states, 2, dtype=torch.float64)
    first[:, 1] = 1.0
    first[0] = torch.tensor([1.0, 0.0])
    assert expected_return(found, first) == pytest.approx(sum(left_for_ever))


def test_values_with_sticky_actions_are_those_of_the_definition():
    mdp, p = linear_q(1), 0.3  # the best actions change on the way

    def value(state: int, before: int | None, step: int) -> float:
        if step == mdp.horizon:
            return 0.0
        executed = [mdp.R[state, a].item() + value(int(mdp.P[state, a].argmax()), a, step + 1) for a in range(2)]
        return max(executed) if before is None else max((1 - p) * x + p * executed[before] for x in executed)

    solution = backward_induction(sticky(mdp, p))
    assert solution.v[0, 0].item() == pytest.approx(value(0, None, 0), abs=1e-14)
    assert value(0, None, 0) < backward_induction(mdp).v[0, 0].item() - 0.1


def test_a_forbidden_action_is_not_repeated():
    mdp = TabularMDP([[[0, 1.0, 0]] * 2, [[0, 0, 1.0]] * 2, [[0, 0, 1.0]] * 2], [[0, 0], [5, 7], [0, 0]], start=0)
    found = sticky(mdp.with_(allowed=torch.tensor([[True, True], [True, False], [True, True]])), 0.5)
    assert found.R[2 * 3 + 1, 0] == 5 and not found.allowed[2 * 3 + 1, 1]  # after action 1
    assert backward_induction(found.with_(horizon=2), [Max()] * 2).v[0, 0] == 5


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: decoy_corridor(0, 0.1), "length must be >= 1, got 0"),
        (lambda: decoy_corridor(3, 0.1, 1), "n_actions must be >= 2, got 1"),
        (lambda: decoy_corridor(3, 0.1, slip=1.5), "p must be from 0 to 1, got 1.5"),
        (lambda: linear_q(0), "u must be >= 1, got 0"),
        (lambda: sticky(linear_q(1), -0.1), "p must be from 0 to 1, got -0.1"),
        (lambda: slippery(linear_q(1), math.nan), "p must be from 0 to 1, got nan"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
