"""PPO and DQN of Stable-Baselines3 on a tabular MDP, judged by the exact value of what they have learned."""

from __future__ import annotations

import inspect
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from toykit._checks import at_least, one_of
from toykit.control.evaluation import expected_return
from toykit.control.horizon import steps_of
from toykit.control.mdp import TabularMDP

ALGORITHMS = ("dqn", "ppo")
ROLLOUT = 2048  # Stable-Baselines3's steps of a PPO rollout, with its one environment
BETWEEN = 4  # Stable-Baselines3's steps between two gradient steps of DQN
OURS = ("self", "env", "seed")  # what `settings` cannot say


@dataclass(frozen=True, eq=False)
class Learned:
    """How the greedy policy fared while it was learned.

    steps      int64 [n] steps that had been taken in the environment, all copies together
    values     float64 [n] exact returns of the greedy policy after so many steps
    policy     int64 [T, S] the last of these policies, by step
    solved_at  the first of `steps` where the value was enough, None if it never was
    """

    steps: Tensor
    values: Tensor
    policy: Tensor
    solved_at: int | None


def learn(
    mdp: TabularMDP,
    algorithm: str,
    steps: int,
    seed: int,
    every: int,
    solved: float | None = None,
    copies: int = 8,
    **settings: Any,
) -> Learned:
    """Trains PPO or DQN of Stable-Baselines3 on an MDP with a horizon T, which allows every action.

    algorithm  "ppo" or "dqn"
    steps      taken in all, by all copies; the last rollout is finished
    every      steps between two evaluations of the greedy policy, which are exact; the first is before learning
    solved     training stops at the first evaluation that is not below this (None: it goes on to the end); leave room
               for rounding below the best return
    copies     of the environment, stepped together
    settings   of the algorithm's own constructor, as `learning_rate` or `gamma`

    Observations are the state one-hot and the share of the horizon that is over. With the step the process is Markov
    and its end at T a true end, from which nothing is bootstrapped; without it no policy that has to change with the
    step could be learned. Rewards are the expected ones of state and action.

    Settings are Stable-Baselines3's defaults but for these. `gamma` is the MDP's discount, and the device is the CPU.
    Both algorithms take about as many steps for a gradient step as with one environment: PPO's rollouts have
    2048 / `copies` steps of each copy, and DQN learns `copies` / 4 times after each step of all copies. DQN's defaults
    are for millions of steps: here its learning rate is 1e-3 (not 1e-4), its target network follows every 500 steps
    (10,000), exploration falls to its end over half of `steps` (a tenth), and its buffer holds all `steps` (a million).

    The same seed gives the same bytes, and random numbers elsewhere are not disturbed. Raises ImportError without
    stable-baselines3, and ValueError for another algorithm, numbers below 1, a setting that the algorithm does not
    have, an MDP without a horizon, and one with actions that are not allowed.
    Source: Schulman et al. (arXiv 1707.06347), Mnih et al. (2015), Raffin et al. (2021).
    """
    horizon = steps_of(mdp)
    one_of("algorithm", algorithm, ALGORITHMS)
    for name, value in (("steps", steps), ("every", every), ("copies", copies)):
        at_least(name, value, 1)
    if not bool(mdp.allowed.all()):
        state, action = (~mdp.allowed).nonzero()[0].tolist()
        raise ValueError(f"mdp must allow every action to be learned by {algorithm}, not {action} in state {state}")
    with _own_draws():
        model = _made(mdp, algorithm, steps, seed, copies, settings)
        taken: list[int] = []
        values: list[float] = []
        policy = torch.zeros(horizon, mdp.n_states, dtype=torch.int64)

        def enough(now: int) -> bool:
            policy[:] = _greedy(model, mdp.n_states, horizon)
            taken.append(now)
            values.append(expected_return(mdp, policy))
            return solved is not None and values[-1] >= solved

        def goes_on(*_: Any) -> bool:
            now = model.num_timesteps - copies  # nothing is learned yet from the step under way
            return now < len(taken) * every or not enough(now)

        model.learn(steps, callback=goes_on, log_interval=None)
        done = solved is not None and values[-1] >= solved
        if not done:
            done = enough(model.num_timesteps)
    return Learned(torch.tensor(taken), torch.tensor(values, dtype=torch.float64), policy, taken[-1] if done else None)


def _made(mdp: TabularMDP, algorithm: str, steps: int, seed: int, copies: int, settings: dict[str, Any]) -> Any:
    """The untrained model of Stable-Baselines3."""
    try:
        import stable_baselines3
    except ImportError as error:
        how = "pip install 'toykit[control]'"
        raise ImportError(f"stable-baselines3 must be installed to learn by {algorithm}: {how}") from error
    from toykit.control.online.copies import Copies

    kind = getattr(stable_baselines3, algorithm.upper())
    for name in settings:
        one_of("settings", name, inspect.signature(kind).parameters.keys() - OURS)
    own: dict[str, dict[str, Any]] = {
        "ppo": {"n_steps": max(ROLLOUT // copies, 2)},
        "dqn": {
            "learning_rate": 1e-3,
            "target_update_interval": 500,
            "exploration_fraction": 0.5,
            "buffer_size": steps + copies,
            "train_freq": max(BETWEEN // copies, 1),
            "gradient_steps": max(copies // BETWEEN, 1),
        },
    }
    usual = {"policy": "MlpPolicy", "gamma": mdp.discount, "device": "cpu"}
    return kind(env=Copies(mdp, copies), seed=seed, **{**usual, **own[algorithm], **settings})


def _greedy(model: Any, n_states: int, horizon: int) -> Tensor:
    """int64 [T, S] the action that is taken without exploration."""
    from toykit.control.online.copies import observations

    states = np.arange(n_states)
    rows = [model.predict(observations(states, t, n_states, horizon), deterministic=True)[0] for t in range(horizon)]
    return torch.from_numpy(np.stack(rows))


@contextmanager
def _own_draws() -> Iterator[None]:
    """What draws from the global generators within leaves them as they were."""
    before = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        random.setstate(before[0])
        np.random.set_state(before[1])
