"""Gymnasium environments of bandit and tree tasks: a state is a prompt and a prefix, an action is a token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from toykit.tasks import Task


class TreeEnv(gymnasium.Env[int, int]):
    """An episode writes one completion, token by token; the reward comes with the last token.

    task         a task with a completion tree that can be enumerated
    split        whose prompts the episodes start from, drawn uniformly; `reset(options={"prompt": i})` picks one
    render_mode  None, or "ansi": `render()` returns the prompt and the tokens so far

    Observations are the states of `toykit.tasks.tree_mdp` (prompt x nodes + node), actions the tree's tokens. A token
    that the tree forbids ends the episode with reward 0 and `info["invalid"]` True; `info["action_mask"]` (int8, as
    `action_space.sample(mask)` takes it) says which tokens it allows. After the last token the observation stays.
    Raises ValueError for a task without a tree, an unknown render mode, and actions or prompts out of range.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 4}

    def __init__(self, task: Task, split: str = "train", render_mode: str | None = None) -> None:
        from toykit.tasks import tree_mdp  # torch comes with it

        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode must be None or 'ansi', got {render_mode!r}")
        mdp = tree_mdp(task, split)
        self.task, self.render_mode = task, render_mode
        self.observation_space = gymnasium.spaces.Discrete(mdp.n_states)
        self.action_space = gymnasium.spaces.Discrete(mdp.n_actions)
        self._next, self._reward = mdp.next_state.numpy(), mdp.reward.numpy()
        self._terminal, self._allowed = mdp.terminal.numpy(), mdp.allowed.numpy()
        self._starts = mdp.start.nonzero()[:, 0].tolist()
        self._prompt_tokens = task.prompts(split).tokens.tolist()
        self._state, self._written = self._starts[0], list(self._prompt_tokens[0])
        self._draws: np.random.Generator | None = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """Starts at a prompt's empty prefix; returns the state and info."""
        super().reset(seed=seed)
        if seed is not None or self._draws is None:  # a stream apart: the action space often has the same seed
            self._draws = self.np_random.spawn(1)[0]
        n_prompts = len(self._starts)
        prompt = (options or {}).get("prompt")
        if prompt is None:
            prompt = int(self._draws.integers(n_prompts))
        elif not 0 <= prompt < n_prompts:
            raise ValueError(f"prompt must be from 0 to {n_prompts - 1}, got {prompt}")
        self._state, self._written = self._starts[prompt], list(self._prompt_tokens[prompt])
        return self._state, {"action_mask": self._mask()}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        """Writes a token; returns state, reward, terminated, truncated (always False) and info."""
        if not self.action_space.contains(action):
            raise ValueError(f"action must be from 0 to {self.action_space.n - 1}, got {action}")
        at = self._state, int(action)
        invalid = not self._allowed[at]
        if not invalid:
            self._written.append(int(action))
        self._state = int(self._next[at])
        info = {"action_mask": self._mask(), "invalid": invalid}
        return self._state, float(self._reward[at]), bool(self._terminal[at]) or invalid, False, info

    def render(self) -> str | None:
        """The prompt and the tokens so far as text (None without a render mode)."""
        return self.task.vocab.decode(self._written) if self.render_mode == "ansi" else None

    def _mask(self) -> NDArray[np.int8]:
        return self._allowed[self._state].astype(np.int8)


def bandit_env(render_mode: str | None = None, **options: Any) -> TreeEnv:
    """The environment of a bandit: of the option `rewards` [n prompts, K arms], or random with the other options."""
    from toykit.tasks import make

    return TreeEnv(make("bandit", **options), render_mode=render_mode)


def tree_env(task: Task | None = None, split: str = "train", render_mode: str | None = None) -> TreeEnv:
    """The environment of any task with a tree; without one, of the 64 completions of lesson 01."""
    from toykit.tasks import kl_bayes_tree

    return TreeEnv(kl_bayes_tree()[0] if task is None else task, split, render_mode)


def feature_bandit_env(render_mode: str | None = None, **options: Any) -> TreeEnv:
    """The environment of `toykit.tasks.FeatureBandit(**options)`; features are at `env.unwrapped.task.features`."""
    from toykit.tasks import make

    return TreeEnv(make("feature_bandit", **options), render_mode=render_mode)
