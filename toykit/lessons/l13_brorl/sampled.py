"""Lesson 13 on the gpt and llm rungs: a policy that narrow groups have trained, continued with narrow or broad ones."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.diagnostics import exact_pass_at_k, paired_interval
from toykit.exact import informative
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare, last
from toykit.lessons.llm import Size, facts, pretrained
from toykit.lessons.rungs import QWEN3_60M, TINY, pretrain_60m
from toykit.objectives import Advantage, Clip, PolicyGradient
from toykit.policies import device_of
from toykit.rollouts import Sampled, token_logps
from toykit.tasks import Operator
from toykit.training import PretrainConfig, TrainConfig, Trainer, load_policy

NARROW, BROAD = "narrow", ("broad, fewer prompts", "broad, larger batch")
ARMS = (NARROW, *BROAD)
PROMPTS = 64  # for training; the other 36 are held out
RECIPE = PolicyGradient(
    Advantage(mean="group", std="batch"), ratio="token", clip=Clip(0.2, 0.28), aggregate="token_mean"
)


@dataclass(frozen=True)
class Plan:
    """Two group sizes, and how long each is trained.

    narrow, broad  completions a prompt
    before         steps with narrow groups that make the policy to continue from
    stops          of the narrow arm, at which all arms are measured after as many completions
    config         of the narrow arm; all of the PROMPTS prompts are asked in each of its steps

    Raises ValueError unless the broad group is a whole multiple of the narrow one, and the stops are of that.
    """

    narrow: int
    broad: int
    before: int
    stops: tuple[int, ...]
    config: TrainConfig

    def __post_init__(self) -> None:
        if self.broad % self.narrow or PROMPTS % self.times:
            raise ValueError(f"broad must be narrow times a divisor of {PROMPTS}, got {self.broad} and {self.narrow}")
        if any(stop % self.times for stop in self.stops):
            raise ValueError(f"stops must be multiples of broad / narrow = {self.times}, got {self.stops}")

    @property
    def times(self) -> int:
        return self.broad // self.narrow

    def arm(self, name: str, seed: int) -> tuple[Sampled, TrainConfig]:
        """How an arm samples and steps. More completions a step go with lr sqrt(B / B_0) (BroRL, section 4.2)."""
        config = replace(self.config, seed=seed)
        if name == NARROW:
            return Sampled(self.narrow), config
        if name == BROAD[0]:
            return Sampled(self.broad), replace(config, prompts=PROMPTS // self.times)
        return Sampled(self.broad), replace(config, lr=config.lr * math.sqrt(self.times))

    def stops_of(self, name: str) -> tuple[int, ...]:
        """An arm's steps after as many completions as the narrow arm has drawn at its stops."""
        return tuple(stop // self.times for stop in self.stops) if name == BROAD[1] else self.stops


@torch.no_grad()
def success(policy: nn.Module, task: Operator, split: str) -> Tensor:
    """The exact success rate p of each prompt of a split, float64 [B]: there is one right completion."""
    prompts = task.prompts(split).to(device_of(policy))
    right = task.right.to(prompts.ids.device)[prompts.ids][:, None]
    logp = token_logps(policy, prompts.tokens, prompts.mask, right, torch.ones_like(right, dtype=torch.bool))
    return logp.double().sum(-1)[:, 0].exp().clamp(max=1.0).cpu()


def measure(trainer: Trainer, seed: int, task: Operator, k: int, starts: dict[int, Tensor]) -> Figures:
    """pass@1 and pass@k of both splits, the share of informative groups at the trainer's own group size, and what
    became of the train prompts' success rates since the start of the arm [PROMPTS] (by seed)."""
    group = trainer.strategy.group_size  # type: ignore[attr-defined]
    p, held_out = (success(trainer.policy, task, split) for split in ("train", "test"))
    change = p - starts[seed]
    return {
        "train_1": float(p.mean()),
        "train_k": float(exact_pass_at_k(p, k).mean()),
        "test_1": float(held_out.mean()),
        "test_k": float(exact_pass_at_k(held_out, k).mean()),
        "informative": float(informative(p, group).mean()),
        "improved": float((change > 0).double().mean()),
        "worst": float(change.min()),
    }


def experiment(
    base: nn.Module, task: Operator, seeds: Sequence[int], plan: Plan, folder: Path | None, progress: bool
) -> Results:
    """The policies that narrow groups make of `base`, one a seed, and the three arms that continue each of them."""
    first = {seed: success(base, task, "train") for seed in seeds}
    made: dict[int, Trainer] = {}

    def before(seed: int) -> Trainer:
        made[seed] = _trainer(base, task, *plan.arm(NARROW, seed))
        return made[seed]

    here = None if folder is None else folder / "before"
    look = partial(measure, task=task, k=plan.broad)
    start = compare({NARROW: before}, seeds, (0, plan.before), partial(look, starts=first), here, progress, keep=True)
    starts = {seed: success(made[seed].policy, task, "train") for seed in seeds}

    def arm(name: str) -> Callable[[int], Trainer]:
        return lambda seed: _trainer(made[seed].policy, task, *plan.arm(name, seed))

    runs: Results = {}
    for name in ARMS:
        look_at = partial(look, starts=starts)
        runs |= compare({name: arm(name)}, seeds, plan.stops_of(name), look_at, folder, progress)["runs"]
    return {
        "before": {"stops": start["stops"], **start["runs"][NARROW]},
        "completions": [stop * PROMPTS * plan.narrow for stop in plan.stops],
        "runs": runs,
        "narrow": plan.narrow,
        "broad": plan.broad,
        "lr": plan.config.lr,
    }


def _trainer(policy: nn.Module, task: Operator, strategy: Sampled, config: TrainConfig) -> Trainer:
    return Trainer(copy.deepcopy(policy).requires_grad_(True), task, RECIPE, strategy, config)


REPORTED = {
    "train_1": "train pass@1",
    "train_k": "train pass@k",
    "test_1": "held-out pass@1",
    "test_k": "held-out pass@k",
    "improved": "share of train prompts improved",
    "worst": "worst change of a train prompt",
}


def reported(results: Results) -> list[dict[str, Any]]:
    """Rows for a table: each broad arm minus the narrow one at the end, with its 95 % interval over the seeds."""
    rows = []
    for figure, label in REPORTED.items():
        row: dict[str, Any] = {"broad minus narrow": label}
        for arm in BROAD:
            found = paired_interval(last(results, arm, figure), last(results, NARROW, figure))
            row[arm] = f"{found.mean:+.3f} [{found.low:+.3f}, {found.high:+.3f}]"
        rows.append(row)
    return rows


def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    narrow: int = 8,
    broad: int = 64,
    before: int = 150,
    stops: tuple[int, ...] = (0, 40, 80, 120, 160),
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The gpt rung: the hidden-operator task; 150 steps with 8 completions a prompt, then 8 against 64."""
    plan = Plan(narrow, broad, before, stops, TrainConfig(lr=3e-4, max_grad_norm=1.0))
    return experiment(load_policy("operator"), Operator(n_train=PROMPTS), seeds, plan, folder, progress)


SIZES = {
    "60m": Size(
        QWEN3_60M,
        pretrain_60m(3_000, batch=512),
        Plan(8, 256, 300, (0, 64, 128, 192, 256, 320), TrainConfig(lr=3e-5, max_grad_norm=1.0, autocast=True)),
    ),
    "tiny": Size(
        TINY,
        PretrainConfig(steps=40, batch=64, lr=1e-2),
        Plan(4, 8, 2, (0, 2, 4), TrainConfig(lr=1e-3, max_grad_norm=1.0)),
    ),
}


def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: a transformers model of the Qwen3 type, pretrained here; 8 against 256 completions a prompt."""
    chosen = SIZES[one_of("size", size, SIZES)]
    task = Operator(n_train=PROMPTS)
    base = pretrained(task, chosen.model, chosen.pretrain, device, folder, progress)
    found = experiment(base, task, seeds, chosen.plan, folder, progress)
    return found | facts(size, base)
