"""To and from gymnasium: environments with a transition table become MDPs, and MDPs become environments."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from toykit.control.mdp import TabularMDP
from toykit.control.worlds.corridors import decoy_corridor, linear_q
from toykit.control.worlds.examples import river_swim
from toykit.control.worlds.grids import GridDesign, grid_world, stitching_maze
from toykit.control.worlds.outcomes import Outcomes, Table
from toykit.control.worlds.random import linear_mdp


def from_gymnasium(
    env: gymnasium.Env[Any, Any] | str,
    discount: float = 1.0,
    horizon: int | None = None,
    sparse: bool = False,
    **options: Any,
) -> TabularMDP:
    """The MDP of an environment that shows its transition table (FrozenLake, Taxi, CliffWalking, `MDPEnv`).

    env      the environment, wrapped or not, or its id, made with `options`
    horizon  None: without the time limit of `gymnasium.make`; `env.spec.max_episode_steps` for the value with it
    sparse   whether the result is in successor lists

    States keep their indices; an action that the table leaves out is not allowed. A state where episodes end is
    terminal; where it can also be entered without an end, as in Taxi, the ends lead to one more state, the last.
    Raises ValueError for an environment without a table (`P` and `initial_state_distrib`), for Taxi's fickle
    passenger, whom the table does not describe, and for one that drifts, whose table changes.
    """
    found = Outcomes.of_env(gymnasium.make(env, **options) if isinstance(env, str) else env)
    P, R, successors, ends, start = found.P, found.rewards, found.successors, found.ends, found.start
    n_states = len(P)
    allowed: NDArray[Any] = np.any(P > 0, axis=-1)
    final = np.isin(np.arange(n_states), successors[ends])
    entered = successors[~final][(P[~final] > 0) & ~ends[~final]]
    if final[entered].any():  # an end is an event here, not a state
        successors[ends] = n_states
        P, R, successors, allowed = (np.concatenate([x, np.ones_like(x[:1])]) for x in (P, R, successors, allowed))
        start, final = np.append(start, 0.0), np.isin(np.arange(n_states + 1), n_states)
    mdp = TabularMDP(P, R, discount, horizon, start, successors, final, allowed)
    return mdp if sparse else mdp.to_dense()


class MDPEnv(gymnasium.Env[int, int]):
    """A tabular MDP as an environment: observations are states, and the reward is the expected one, R(s, a).

    mdp          the MDP; with a horizon, an episode terminates after so many steps
    render_mode  None, or "ansi": `render()` returns the state and the step

    `info["action_mask"]` (int8) says which actions are allowed and `info["step"]` how many were taken. An action that
    is not allowed ends the episode where it is, with reward 0 and `info["invalid"]` True. `P` and
    `initial_state_distrib` are the MDP in gymnasium's own form. Raises ValueError for an unknown render mode, actions
    out of range, and a `reset(options={"state": s})` out of range.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(self, mdp: TabularMDP, render_mode: str | None = None) -> None:
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode must be None or 'ansi', got {render_mode!r}")
        self.render_mode, self.drifts = render_mode, False
        self.observation_space = gymnasium.spaces.Discrete(mdp.n_states)
        self.action_space = gymnasium.spaces.Discrete(mdp.n_actions)
        self._hold(mdp)
        self._state, self._step = int(self.initial_state_distrib.argmax()), 0
        self._draws: np.random.Generator | None = None

    def _hold(self, mdp: TabularMDP) -> None:
        self.mdp, self.initial_state_distrib = mdp, mdp.start.numpy()
        self._cumulative = mdp.P.cumsum(-1).numpy()
        self._successors = None if mdp.successors is None else mdp.successors.numpy()
        self._reward, self._terminal, self._allowed = mdp.R.numpy(), mdp.terminal.numpy(), mdp.allowed.numpy()

    def change(self, mdp: TabularMDP) -> None:
        """Goes on by another MDP, from the state and the step where it is.

        Raises ValueError for another number of states or actions.
        """
        if mdp.R.shape != self.mdp.R.shape:
            raise ValueError(f"mdp must have states and actions {list(self.mdp.R.shape)}, got {list(mdp.R.shape)}")
        self._hold(mdp)

    @property
    def P(self) -> Table:
        """Transitions by state and action; those of probability 0 and actions that are not allowed are left out."""
        sparse = self.mdp.to_sparse()
        assert sparse.successors is not None
        successors, P = sparse.successors.numpy(), sparse.P.numpy()
        table: Table = {s: {} for s in range(self.mdp.n_states)}
        for s, a in np.argwhere(self._allowed).tolist():
            reward = float(self._reward[s, a])
            found = zip(P[s, a].tolist(), successors[s, a].tolist(), strict=True)
            table[s][a] = [(p, after, reward, bool(self._terminal[after])) for p, after in found if p > 0]
        return table

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Starts in a state drawn from `mdp.start`, or in `options["state"]`; returns it and info."""
        super().reset(seed=seed)
        if seed is not None or self._draws is None:  # a stream apart: the action space often has the same seed
            self._draws = self.np_random.spawn(1)[0]
        state = (options or {}).get("state")
        if state is None:
            state = _draw(self.initial_state_distrib.cumsum(), self._draws)
        elif not 0 <= state < self.mdp.n_states:
            raise ValueError(f"state must be from 0 to {self.mdp.n_states - 1}, got {state}")
        self._state, self._step = state, 0
        return state, self._info(False)

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Takes an action; returns state, reward, terminated, truncated (always False) and info."""
        if not self.action_space.contains(action):
            raise ValueError(f"action must be from 0 to {self.mdp.n_actions - 1}, got {action}")
        if self._draws is None:
            raise ValueError("env must be reset before the first step")
        at = self._state, int(action)
        self._step += 1
        if not self._allowed[at]:
            return self._state, 0.0, True, False, self._info(True)
        place = _draw(self._cumulative[at], self._draws)
        self._state = place if self._successors is None else int(self._successors[at][place])
        over = bool(self._terminal[self._state]) or self._step == self.mdp.horizon
        return self._state, float(self._reward[at]), over, False, self._info(False)

    def render(self) -> str | None:
        """The state and the step as text (None without a render mode)."""
        return f"state {self._state}, step {self._step}" if self.render_mode == "ansi" else None

    @property
    def action_mask(self) -> NDArray[np.int8]:
        """int8 [A]: 1 for the actions that are allowed where it is."""
        mask: NDArray[np.int8] = self._allowed[self._state].astype(np.int8)
        return mask

    def _info(self, invalid: bool) -> dict[str, Any]:
        return {"action_mask": self.action_mask, "step": self._step, "invalid": invalid}


def to_gymnasium(mdp: TabularMDP, render_mode: str | None = None) -> MDPEnv:
    """The MDP as a gymnasium environment; `gymnasium.make("toykit/TabularMDP-v0", mdp=mdp)` is the same, wrapped."""
    return MDPEnv(mdp, render_mode)


def mdp_env(mdp: TabularMDP | None = None, render_mode: str | None = None) -> MDPEnv:
    """The environment of any tabular MDP; without one, of `river_swim` with episodes of 100 steps."""
    return MDPEnv(river_swim(horizon=100) if mdp is None else mdp, render_mode)


def river_swim_env(n_states: int = 6, horizon: int = 100, render_mode: str | None = None) -> MDPEnv:
    """The environment of `toykit.control.river_swim`, with episodes of `horizon` steps."""
    return MDPEnv(river_swim(n_states, horizon=horizon), render_mode)


def decoy_corridor_env(length: int = 5, decoy: float = 0.05, render_mode: str | None = None, **options: Any) -> MDPEnv:
    """The environment of `toykit.control.worlds.decoy_corridor`, with its other arguments as `options`."""
    return MDPEnv(decoy_corridor(length, decoy, **options), render_mode)


def grid_world_env(design: GridDesign | str = "sparse", slip: float = 0.25, render_mode: str | None = None) -> MDPEnv:
    """The environment of `toykit.control.worlds.grid_world`."""
    return MDPEnv(grid_world(design, slip), render_mode)


def linear_q_env(u: int = 4, render_mode: str | None = None) -> MDPEnv:
    """The environment of `toykit.control.worlds.linear_q`."""
    return MDPEnv(linear_q(u), render_mode)


def linear_mdp_env(
    n_states: int = 20,
    n_actions: int = 4,
    horizon: int = 10,
    n_features: int = 4,
    seed: int = 0,
    render_mode: str | None = None,
) -> MDPEnv:
    """The environment of `toykit.control.worlds.linear_mdp`."""
    return MDPEnv(linear_mdp(n_states, n_actions, horizon, n_features, seed).mdp, render_mode)


def stitching_maze_env(horizon: int = 10, render_mode: str | None = None) -> MDPEnv:
    """The environment of `toykit.control.worlds.stitching_maze`."""
    return MDPEnv(stitching_maze(horizon), render_mode)


def _draw(cumulative: NDArray[Any], draws: np.random.Generator) -> int:
    """An index drawn from cumulative probabilities; one of probability 0 never comes."""
    return int(np.searchsorted(cumulative, draws.random() * cumulative[-1], side="right"))
