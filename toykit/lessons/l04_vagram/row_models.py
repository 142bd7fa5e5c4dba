"""Language models as world models: plain against value-weighted cross-entropy, at equal steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit.lessons.base import Results
from toykit.lessons.compare import compare
from toykit.lessons.l04_vagram.rows import Observed, Rows, fit_value, token_weights
from toykit.objectives import Advantage, PolicyGradient
from toykit.policies import device_of
from toykit.rollouts import Sampling, greedy, sample
from toykit.training import TrainConfig, Trainer

METHODS = ("plain", "weighted")
CROSS_ENTROPY = PolicyGradient(Advantage(mean="none"), aggregate="token_mean")  # of given completions with reward 1

MakePolicy = Callable[[Rows, int], nn.Module]  # of the task and a seed


def experiment(
    make: MakePolicy,
    sizes: dict[str, int],
    seeds: Sequence[int],
    stops: Sequence[int],
    config: TrainConfig,
    episodes: int,
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """Both methods from the same weights and batches; `sizes` are those of `Rows`, each seed has a world of its own."""

    @cache
    def world(seed: int) -> tuple[Rows, Tensor]:
        task = Rows(**sizes, seed=seed)
        return task, token_weights(fit_value(task), task, task.transitions[2][: task.n_train])

    def trainer(seed: int, method: str) -> Trainer:
        task, weights = world(seed)
        weights = weights if method == "weighted" else torch.ones_like(weights)
        settings = TrainConfig(**{**vars(config), "seed": seed})
        return Trainer(make(task, seed), task, CROSS_ENTROPY, Observed.of(task, weights), settings)  # type: ignore[arg-type]

    methods = {method: partial(trainer, method=method) for method in METHODS}
    found = compare(methods, seeds, stops, partial(measure, episodes=episodes), folder, progress)
    shares = [weights[:, task.dials].sum() / weights.sum() for task, weights in map(world, seeds)]
    return found | {"weight_on_dials": [share.item() for share in shares], "task": dict(sizes)}


def measure(trainer: Trainer, seed: int, episodes: int) -> dict[str, float]:
    """Shares of held-out tokens that are predicted, dials and noise apart, and of episodes that reach the goal."""
    policy, task = trainer.policy, trainer.task
    assert isinstance(task, Rows)
    prompts = task.prompts("test")
    made = greedy(policy, task, prompts.to(device_of(policy))).completions[:, 0].cpu()
    right = (made == task.transitions[2][prompts.ids]).float().mean(0)
    noise = torch.ones(task.length, dtype=torch.bool)
    noise[task.dials] = False
    return {
        "dials": right[task.dials].mean().item(),
        "noise": right[noise].mean().item(),
        "goal": reached(policy, task, episodes, seed),
    }


def reached(policy: nn.Module, task: Rows, episodes: int, seed: int, slack: int = 4) -> float:
    """The share of episodes that stand at the goal after the presses that are needed and `slack` more.

    At each step the button is pressed whose predicted next row needs the fewest presses (the first among equals).
    """
    draw = torch.Generator().manual_seed(seed)
    states = torch.randint(task.base, (episodes, task.length), generator=draw)
    states[:, task.dials[0]] = torch.randint(1, task.base, (episodes,), generator=draw)  # not at the goal yet
    left = task.presses(states) + slack
    done = torch.zeros(episodes, dtype=torch.bool)
    for t in range(int(left.max())):
        buttons = predicted_presses(policy, task, states).argmin(-1)
        states = torch.where(done[:, None], states, task.step(states, buttons, draw))
        done |= (task.presses(states) == 0) & (t < left)
    return done.float().mean().item()


def predicted_presses(policy: nn.Module, task: Rows, states: Tensor) -> Tensor:
    """[N, buttons]: the presses needed from the row that the policy predicts; the most for a row that is none."""
    every = torch.arange(task.buttons).repeat(len(states))
    prompts = task.asked(states.repeat_interleave(task.buttons, 0), every).to(device_of(policy))
    generator = torch.Generator(prompts.tokens.device)  # never drawn from
    made = sample(policy, prompts, 1, task.horizon, (), generator, Sampling(temperature=0.0)).tokens[:, 0].cpu()
    valid = (made[:, task.dials] < task.base).all(-1)
    return task.presses(made).where(valid, torch.tensor(task.base * task.length)).view(len(states), -1)
