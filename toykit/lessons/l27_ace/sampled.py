"""Lesson 27 on the gpt and llm rungs: hidden operators, first under a faulty verifier, then under the true one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from toykit.diagnostics import exact_pass_at_k, wrong_answers
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.l02_reasoning_boundary.sampled import law
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m, start
from toykit.objectives import Method, Overconfidence, method
from toykit.tasks import Operator, Prompts, Tree, Vocab
from toykit.tasks.operator import PLUS
from toykit.training import PretrainConfig, TrainConfig, Trainer

ALPHA, UNIFORM = 2.0, 1.5  # those of the exact rung's prompts that share
RULES = {
    "GRPO": (),
    "ACE": (Overconfidence(ALPHA),),
    "ReLU": (Overconfidence(ALPHA, "relu"),),
    "uniform": (Overconfidence(UNIFORM, "uniform"),),
}
CLEAN = {"GRPO, never misled": "GRPO", "ACE, never misled": "ACE", "ACE 1, never misled": "ACE 1"}
FAULTY_STEPS, FAULTY_SPEED = 20, 3.0  # steps under the faulty verifier, and their learning rate in units of the later
MISLED = 0.3  # of the training prompts
STOPS = (0, 10, 20, 40, 60, 80, 100, 125, 150)
KS = (1, 16, 64, 256)


@dataclass(frozen=True)
class Misjudged:
    """The operator task under a verifier that on some prompts, by their `ids`, wants `+` whatever is hidden."""

    task: Operator
    ids: Tensor

    name: ClassVar[str] = "misjudged_operator"
    vocab: ClassVar[Vocab] = Operator.vocab
    horizon: ClassVar[int] = Operator.horizon
    tree: ClassVar[Tree] = Operator.tree

    def prompts(self, split: str = "train") -> Prompts:
        return self.task.prompts(split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        wanted = self.task.right.clone()
        wanted[self.ids] = sums(self.task)[self.ids]
        there = wanted.to(completions.device)[ids.to(completions.device)].unsqueeze(-2)
        return ((completions == there) & mask).all(-1).double()


def sums(task: Operator) -> Tensor:
    """int64 [n, 2]: `+` and the last digit of the sum, for each training prompt."""
    a, _, b = task.prompts().tokens.unbind(1)
    return torch.stack([torch.full_like(a, PLUS), (a + b) % 10], 1)


def misled(task: Operator, seed: int) -> Tensor:
    """Ids of the prompts that are misjudged, 30 % of those for training, all with another operator than `+`."""
    train = task.prompts().ids
    others = train[task.operators[train] > 0]
    drawn = torch.randperm(len(others), generator=torch.Generator().manual_seed(seed))
    return others[drawn[: round(MISLED * len(train))]]


def faulty_phase(base: nn.Module, setup: Setup, seed: int) -> nn.Module:
    """The base after GRPO under the faulty verifier."""
    assert isinstance(setup.task, Operator)
    config = replace(setup.train, lr=FAULTY_SPEED * setup.train.lr)
    wrong = replace(setup, task=Misjudged(setup.task, misled(setup.task, seed)), train=config)
    trainer = start(base, wrong, seed, methods()["GRPO"])
    trainer.run(FAULTY_STEPS, progress=False)
    return trainer.policy


def methods() -> dict[str, Method]:
    """ACE with other factors in its place, and as it stands in the catalogue, with alpha = 1."""
    ace = method("ace")
    made = {name: replace(ace, objective=ace.objective.with_(transforms=rule)) for name, rule in RULES.items()}
    return made | {"ACE 1": ace}


def arms() -> dict[str, Arm]:
    """Each method after the faulty phase, which is the same for all and made once a seed; some without it."""
    made: dict[int, nn.Module] = {}

    def afterwards(base: nn.Module, setup: Setup, seed: int, given: Method) -> Trainer:
        if seed not in made:
            made[seed] = faulty_phase(base, setup, seed)
        trainer = start(base, setup, seed, given)
        trainer.policy.load_state_dict(made[seed].state_dict())
        return trainer

    given = methods()
    after = {name: partial(afterwards, given=given[name]) for name in RULES}
    return {**after, **{name: given[plain] for name, plain in CLEAN.items()}}


def measure(trainer: Trainer, seed: int, before: Tensor) -> Figures:
    """pass@k of both splits, what is wrong on the training prompts, and the answers of the misled ones."""
    task = trainer.task
    assert isinstance(task, Operator)
    found: Figures = {}
    for split in ("train", "test"):
        now, right = law(trainer.policy, task, split)
        found |= {f"{split} pass@{k}": float(exact_pass_at_k(now[right].exp(), k).mean()) for k in KS}
        if split == "train":
            wrong = wrong_answers(now, before, right)
            found |= {name: float(getattr(wrong, name).mean()) for name in ("overconfident", "severity", "entropy")}
            rows = misled(task, seed)
            spurious = task.tree.index(sums(task), torch.ones(len(now), 2, dtype=torch.bool))
            found["misled pass@1"] = float(now[right].exp()[rows].mean())
            found["misled pass@16"] = float(exact_pass_at_k(now[right].exp()[rows], 16).mean())
            found["spurious"] = float(now[rows, spurious[rows]].exp().mean())
    return found


def measuring(base: nn.Module, setup: Setup) -> Measure:
    assert isinstance(setup.task, Operator)
    return partial(measure, before=law(base, setup.task, "train")[0])


ACE = Comparison(
    arms,
    measuring,
    gpt=Setup(Operator(), TrainConfig(lr=3e-4, max_grad_norm=1.0), STOPS, group_size=8, base="operator"),
    llm={
        "60m": Setup(
            Operator(),
            TrainConfig(lr=3e-5, max_grad_norm=1.0, autocast=True),
            STOPS,
            group_size=16,
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=512),
        ),
        "tiny": Setup(
            Operator(),
            TrainConfig(lr=1e-3, max_grad_norm=1.0),
            (0, 1, 2),
            group_size=4,
            base=TINY,
            pretrain=PretrainConfig(steps=40, batch=64, lr=1e-2),
        ),
    },
)
