"""Many copies of one table at once, as a vector environment of gymnasium."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray

from toykit._checks import at_least, one_of
from toykit.control.mdp import TabularMDP
from toykit.control.worlds.outcomes import Outcomes, alias_table

DRAWN = 2**16  # random numbers that are drawn at once
MODES = (AutoresetMode.NEXT_STEP.value, AutoresetMode.SAME_STEP.value)

Step = tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], dict[str, Any]]


class TableVectorEnv(gymnasium.vector.VectorEnv[NDArray[np.int64], NDArray[np.int64], NDArray[Any]]):
    """`n` copies of a tabular environment, stepped together by look-ups in one table.

    world              a TabularMDP, whose rewards are the expected ones R(s, a) as in `MDPEnv`; or a gymnasium
                       environment with a transition table (FrozenLake, Taxi, CliffWalking), or its id, whose rewards
                       are those of the transitions
    max_episode_steps  steps after which an episode is truncated; None: for an environment its own limit
    autoreset_mode     gymnasium's: when the next episode begins, "NextStep" or "SameStep"

    Observations are states, int64 [n]; rewards float64 [n]; terminations and truncations bool [n]; info is empty. With
    the MDP's horizon an episode terminates. An action that is not allowed ends the episode where it is, with reward 0.
    After an end the next step ignores the action and starts a new episode, with reward 0; in the mode "SameStep" the
    step that ends an episode returns the next one's first state, and the last one's in `info["final_obs"]` where
    `info["_final_obs"]` is True. Raises ValueError for n below 1, another mode, actions out of range or of another
    number, a step before the first reset, and an environment without a table.
    """

    metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.NEXT_STEP}

    def __init__(
        self,
        world: TabularMDP | gymnasium.Env[Any, Any] | str,
        n: int,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **options: Any,
    ) -> None:
        self.num_envs = int(at_least("n", n, 1))
        mode = AutoresetMode(one_of("autoreset_mode", getattr(autoreset_mode, "value", autoreset_mode), MODES))
        self.metadata, self._same_step = {**self.metadata, "autoreset_mode": mode}, mode == AutoresetMode.SAME_STEP
        if isinstance(world, str):
            world = gymnasium.make(world, **options)
        elif options:
            raise ValueError(f"options must go with an id, got {sorted(options)}")
        horizon = None
        if isinstance(world, TabularMDP):
            outcomes, horizon = Outcomes.of_mdp(world), world.horizon
        else:
            outcomes = Outcomes.of_env(world)
            if max_episode_steps is None and world.spec is not None:
                max_episode_steps = world.spec.max_episode_steps
        if max_episode_steps is not None:
            at_least("max_episode_steps", max_episode_steps, 1)
        self._limits = horizon, max_episode_steps
        self._n_states, self._n_actions, _ = outcomes.P.shape
        self.single_observation_space = gymnasium.spaces.Discrete(self._n_states)
        self.single_action_space = gymnasium.spaces.Discrete(self._n_actions)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self._build(outcomes)
        self._rng: np.random.Generator | None = None
        self._place = np.empty(self.num_envs, dtype=np.int64)
        self._places = self._bases = np.empty(0, dtype=np.int64)

    def _build(self, outcomes: Outcomes) -> None:
        """Tables over places (state, which of K, action), the states twice: in their second half, whatever the action
        and the draw, an episode begins in that state."""
        s, a, k = outcomes.P.shape
        P = np.where((outcomes.P.sum(-1) > 0)[..., None], outcomes.P, np.eye(k)[0])
        forbidden = outcomes.P.sum(-1) == 0
        after = np.where(forbidden[..., None], np.arange(s)[:, None, None], outcomes.successors)
        rewards = np.where(forbidden[..., None], 0.0, outcomes.rewards)
        ends = outcomes.ends | forbidden[..., None]
        found = alias_table(P.reshape(s * a, k))
        own, share, other = found[0].reshape(s, a, k), found[1].reshape(s, a, k), found[2].reshape(s, a, k)

        def placed(values: NDArray[Any], which: NDArray[np.int64], begun: NDArray[Any]) -> NDArray[Any]:
            """[2 S K A] the `values` [S, A, K] of the outcomes `which`, and for beginnings what is `begun` [S]."""
            found = np.take_along_axis(values, which, -1).swapaxes(1, 2)
            return np.concatenate([found, np.broadcast_to(begun[:, None, None], found.shape)]).ravel()

        states, nothing = np.arange(s), np.zeros(s)
        tables = [(after, states), (rewards, nothing), (ends, nothing > 0)]
        self._own = [placed(values, own, begun) for values, begun in tables]
        self._sure = bool((share == 1).all())
        if not self._sure:
            self._share = placed(share, np.broadcast_to(np.arange(k), share.shape), nothing + 1)
            seconds = [placed(values, other, begun) for values, begun in tables]
            self._own = [np.concatenate(both) for both in zip(self._own, seconds, strict=True)]
        self._width, self._stretch, self._size = k, k * a, 2 * s * k * a
        self._first = outcomes.start.cumsum()

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[NDArray[Any], Any]:
        """Begins an episode in every copy; the same seed gives the same steps. Options are not read."""
        if seed is not None or self._rng is None:
            self._rng = np.random.default_rng(seed)
            self._drawn = self._begun = len(self._places) + len(self._bases)  # all used up
        self._time = 0
        self._started = np.zeros(self.num_envs, dtype=np.int64)
        states = self._beginnings(self.num_envs) // self._stretch - self._n_states
        self._base = states * self._stretch
        return states, {}

    def step(self, actions: NDArray[np.int64]) -> Step:
        """Takes an action in every copy (none in those that begin anew)."""
        if self._rng is None:
            raise ValueError("env must be reset before the first step")
        actions = np.asarray(actions, dtype=np.int64)
        if actions.shape != self._base.shape:
            raise ValueError(f"actions must have shape {[self.num_envs]}, got {list(actions.shape)}")
        if np.count_nonzero(actions.view(np.uint64) >= self._n_actions):
            raise ValueError(f"actions must be from 0 to {self._n_actions - 1}, got {actions.tolist()}")
        if self._drawn >= len(self._places):
            self._draw()
        place = np.add(self._base, actions, out=self._place)
        np.add(place, self._places[self._drawn], out=place)
        if not self._sure:
            place += self._size * (self._shares[self._drawn] >= self._share.take(place))
        self._drawn += 1
        self._time += 1
        states, rewards, terminations = (table.take(place) for table in self._own)
        np.multiply(states, self._stretch, out=self._base)
        horizon, limit = self._limits
        if horizon is not None:
            terminations |= self._started == self._time - horizon
        if limit is None:
            truncations, over = np.zeros(self.num_envs, dtype=bool), terminations
        else:
            truncations = self._started == self._time - limit
            over = terminations | truncations
        info = {}
        ended = over.nonzero()[0]
        if len(ended):
            self._base[ended] = self._beginnings(len(ended))
            self._started[ended] = self._time + 1
            if self._same_step:
                info = self._begin_at_once(states, ended)
        return states, rewards, terminations, truncations, info

    def _begin_at_once(self, states: NDArray[np.int64], ended: NDArray[np.int64]) -> dict[str, Any]:
        """Puts first states into `states` in the place of the last ones, and returns these in info."""
        last, where = np.full(self.num_envs, None, dtype=object), np.zeros(self.num_envs, dtype=bool)
        last[ended], where[ended] = states[ended], True
        states[ended] = self._base[ended] // self._stretch - self._n_states
        self._base[ended] -= self._n_states * self._stretch
        self._started[ended] -= 1
        return {"final_obs": last, "_final_obs": where}

    def _draw(self) -> None:
        """Random places for many steps: which of K, times the number of actions, and what is left of the draw."""
        assert self._rng is not None
        uniform = self._rng.random((max(1, DRAWN // self.num_envs), self.num_envs)) * self._width
        which = uniform.astype(np.int64)
        self._places, self._drawn = which * self._n_actions, 0
        if not self._sure:
            self._shares = uniform - which

    def _beginnings(self, n: int) -> NDArray[np.int64]:
        """The bases of the places from which `n` new episodes begin."""
        assert self._rng is not None
        if self._begun + n > len(self._bases):
            uniform = self._rng.random(max(DRAWN, n)) * self._first[-1]
            states = np.searchsorted(self._first, uniform, side="right")
            self._bases, self._begun = (self._n_states + states) * self._stretch, 0
        self._begun += n
        return self._bases[self._begun - n : self._begun]
