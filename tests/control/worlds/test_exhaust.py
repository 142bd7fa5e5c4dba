"""Deterministic environments as tables of all their states."""

from __future__ import annotations

import gymnasium
import pytest
import torch

from toykit.control import backward_induction, from_gymnasium, policy_iteration
from toykit.control.worlds import exhaust, minigrid


def place(world):
    return int(world.s)


@pytest.mark.parametrize(
    ("name", "options", "states"),
    [("CliffWalking-v1", {}, 37), ("FrozenLake-v1", {"is_slippery": False}, 11)],
)
def test_what_is_exhausted_is_the_table_that_is_shown(name, options, states):
    """Of 48 cells 10 are the cliff and one the goal; of 16 four are holes and one the goal."""
    env = gymnasium.make(name, **options)
    start = int(env.reset(seed=0)[0])
    mdp, table = exhaust(env, place), from_gymnasium(env)
    assert mdp.n_states - 1 == states and mdp.start.argmax() == 0
    assert policy_iteration(mdp).v[0].item() == pytest.approx(policy_iteration(table).v[start].item(), abs=1e-9)
    one, other = mdp.with_(horizon=6), table.with_(horizon=6)
    found, shown = (backward_induction(m).v[0] for m in (one, other))
    assert found[0].item() == shown[start].item()


def test_the_order_of_states_is_that_of_a_breadth_first_search():
    mdp = exhaust(gymnasium.make("CliffWalking-v1"), place)
    assert mdp.n_states == 38 and mdp.terminal.nonzero()[:, 0].tolist() == [37]
    # from the start up leads to a new state; right falls off the cliff back, down and left stay
    assert mdp.successors[0, :, 0].tolist() == [1, 0, 0, 0]
    assert mdp.R[0].tolist() == [-1, -100, -1, -1]


class Clock(gymnasium.Env):
    """Counts up, and is cut at 3."""

    action_space, observation_space = gymnasium.spaces.Discrete(1), gymnasium.spaces.Discrete(100)

    def __init__(self):
        self.s = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.s = 0
        return 0, {}

    def step(self, action):
        self.s += 1
        return self.s, 0.0, False, self.s == 3, {}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: exhaust(gymnasium.make("FrozenLake-v1"), place), "env must be deterministic: in state 0 action"),
        (
            lambda: exhaust(gymnasium.make("CliffWalking-v1"), place, most=5),
            "most must be larger: .* more than 5 states",
        ),
        (
            lambda: exhaust(gymnasium.make("CliffWalking-v1")),
            "key must be given for .*only states of MiniGrid are known",
        ),
        (lambda: exhaust(gymnasium.make("Pendulum-v1"), place), "env must have Discrete actions from 0, got Box"),
        (lambda: exhaust(Clock(), place), "env must not cut episodes: it does in state 2 at action 0"),
    ],
)
def test_bad_arguments_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_a_clock_can_be_set_back():
    mdp = exhaust(Clock(), place, prepare=lambda world: setattr(world, "s", world.s % 2), discount=0.5)
    assert mdp.successors[:, 0, 0].tolist() == [1, 2, 1, 3]


def test_minigrid_that_is_missing_is_named(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "minigrid", None)
    with pytest.raises(ImportError, match=r"minigrid must be installed .* pip install 'toykit\[control\]'"):
        minigrid("MiniGrid-Empty-5x5-v0")


def test_an_empty_room_has_nine_places_and_four_directions():
    pytest.importorskip("minigrid")
    mdp = minigrid("MiniGrid-Empty-5x5-v0", discount=0.9)
    # the goal's own place ends the episode: 8 places of 4 directions, and the end
    assert (mdp.n_states, mdp.n_actions) == (33, 7) and mdp.R.max() == 1.0
    # forward, forward, right, forward, and the step that is paid
    assert policy_iteration(mdp).v[0].item() == pytest.approx(0.9**4)


def test_a_door_needs_its_key():
    pytest.importorskip("minigrid")
    mdp = minigrid("MiniGrid-DoorKey-5x5-v0", discount=0.9)
    best = policy_iteration(mdp)
    state, steps = 0, 0
    while not mdp.terminal[state]:
        state, steps = int(mdp.successors[state, best.policy[state].argmax(), 0]), steps + 1
    assert best.v[0].item() == pytest.approx(0.9 ** (steps - 1))
    kinds = {int(a) for a in best.policy[~mdp.terminal].argmax(-1).unique()}
    assert {3, 5} <= kinds  # it picks up and toggles
    assert torch.equal(mdp.successors[mdp.terminal].unique(), mdp.terminal.nonzero()[:, 0])


def test_obstacles_that_move_at_random_are_refused():
    pytest.importorskip("minigrid")
    with pytest.raises(ValueError, match="env must be deterministic"):
        minigrid("MiniGrid-Dynamic-Obstacles-5x5-v0")
