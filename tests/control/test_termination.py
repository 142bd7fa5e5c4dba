from __future__ import annotations

import pytest
import torch

from toykit.control import TabularMDP, as_policy, garnet, proper_policy, river_swim
from toykit.control.policies import under
from toykit.control.termination import check_all_proper, check_proper, longest_time, never_ends

# States 0 and 1 and the end, 2. In 0, action 0 goes to 1 and action 1 stays. In 1, action 0 goes back to 0 with
# probability 1/2 and ends with 1/2, action 1 goes back for certain.
P = torch.zeros(3, 2, 3, dtype=torch.float64)
P[0, 0, 1] = P[0, 1, 0] = P[1, 1, 0] = 1.0
P[1, 0, 0] = P[1, 0, 2] = 0.5
P[2, :, 2] = 1.0
MAZE = TabularMDP(P, torch.zeros(3, 2), terminal=[2])


@pytest.mark.parametrize("mdp", [MAZE, MAZE.to_sparse()], ids=["dense", "sparse"])
def test_states_from_which_the_end_is_out_of_reach_are_found(mdp):
    assert never_ends(under(mdp, as_policy(mdp, [0, 0, 0]))).tolist() == [False] * 3
    assert never_ends(under(mdp, as_policy(mdp, [1, 0, 0]))).tolist() == [True, False, False]
    assert never_ends(under(mdp, as_policy(mdp, [0, 1, 0]))).tolist() == [True, True, False]


@pytest.mark.parametrize("mdp", [MAZE, MAZE.to_sparse()], ids=["dense", "sparse"])
def test_a_proper_policy_ends_from_every_state(mdp):
    policy = proper_policy(mdp)
    assert policy.tolist()[:2] == [0, 0]
    check_proper(under(mdp, as_policy(mdp, policy)))


def test_a_trap_is_named_and_with_a_way_out_it_is_none():
    # From 0, action 0 ends with probability 0.9 but may fall into the trap 1; action 1 ends slowly and surely.
    P = torch.tensor([[[0, 0.1, 0.9], [0.99, 0, 0.01]], [[0, 1, 0], [0, 1, 0]], [[0, 0, 1], [0, 0, 1]]])
    R = torch.tensor([[0.0, 0.0], [-1.0, -1.0], [0.0, 0.0]])
    trapped = TabularMDP(P, R, terminal=[2])
    with pytest.raises(ValueError, match="no policy is sure to end: from state 1 every policy may go on for ever"):
        proper_policy(trapped)
    P[1] = torch.tensor([[0, 0, 1.0], [0, 1, 0]])
    assert proper_policy(TabularMDP(P, R, terminal=[2])).tolist()[:2] == [0, 0]


def test_forbidden_actions_do_not_count():
    mdp = MAZE.with_(allowed=[[True, True], [False, True], [True, True]])
    with pytest.raises(ValueError, match="from state 0 every policy may go on for ever"):
        proper_policy(mdp)
    check_all_proper(MAZE.with_(allowed=[[True, False], [True, False], [True, True]]))


def test_one_policy_that_may_go_on_for_ever_is_enough_for_an_error():
    with pytest.raises(ValueError, match="some policy may go on for ever, as from state 0"):
        check_all_proper(MAZE)
    with pytest.raises(ValueError, match="discount must be < 1, or horizon given"):
        check_all_proper(river_swim(discount=1.0))


def test_the_bound_on_the_length_of_an_episode_is_an_upper_bound_and_tight_for_one_state():
    chain = under(MAZE, as_policy(MAZE, [0, 0, 0]))
    assert 4.0 <= longest_time(chain.expect, chain.terminal) <= 8.0  # 2 / (1/2) steps from state 0
    one = TabularMDP([[[0.75, 0.25]], [[0.0, 1.0]]], [[1.0], [0.0]])
    assert longest_time(under(one, as_policy(one, [0, 0])).expect, one.terminal) == pytest.approx(4.0, rel=1e-12)


def test_episodes_longer_than_can_be_followed_are_refused(monkeypatch):
    monkeypatch.setattr("toykit.control.termination.LONGEST", 100)
    one = TabularMDP([[[0.999, 0.001]], [[0.0, 1.0]]], [[1.0], [0.0]])
    with pytest.raises(ValueError, match="episodes last longer than 100 steps, as from state 0"):
        longest_time(under(one, as_policy(one, [0, 0])).expect, one.terminal)


def test_without_a_terminal_state_nothing_ends():
    mdp = garnet(5, 2, 2)
    with pytest.raises(ValueError, match="from state 0 no terminal state can be reached"):
        check_proper(under(mdp, as_policy(mdp, [0] * 5)))
