"""Lesson 20 on the gpt and llm rungs: alternating sums, with one right order of each prompt as the expert's answer."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from toykit.diagnostics import exact_pass_at_k, sequence_entropy
from toykit.exact import entropy
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.l10_rapo.sampled import RAPO
from toykit.lessons.right_orders import right_logps
from toykit.lessons.rungs import TINY, Comparison, Make, Setup, start
from toykit.objectives import ExpertGate, Method, OwnMean, Reshaped, method
from toykit.policies import device_of
from toykit.rollouts import Sampled, Solutions, supplying
from toykit.tasks import AlternatingSum
from toykit.training import PretrainConfig, TrainConfig, Trainer

STOPS = (0, 20, 40, 60, 80, 100, 120)
LEVEL = 0.3  # of success, at which entropies are compared; every arm gets there
DRAWS = 16


def experts_style(orders: Tensor) -> Tensor:
    """Which orders int64 [..., 4] are the expert's, bool [...]: of both pairs of places of one sign it puts the smaller
    digit first where it is added, and the larger first where it is subtracted."""
    a, b, c, d = orders.unbind(-1)
    return (a < c) & (b > d)


def expert_of(task: AlternatingSum) -> Tensor:
    """int64 [n]: the place in `task.right` of the expert's answer to each problem, the first one in its style."""
    orders, known = task.right
    return (experts_style(orders) & known).long().argmax(-1)


def experts(task: AlternatingSum, split: str = "train") -> Solutions:
    """The expert's answer to each prompt of a split."""
    ids = task.prompts(split).ids
    chosen = task.right[0][ids, expert_of(task)[ids]]
    return Solutions.from_lists({i: [row] for i, row in zip(ids.tolist(), chosen.tolist(), strict=True)}, task)


def methods() -> dict[str, Method]:
    """CalibRL with several gates, GRPO without one, and GRPO with the expert's answer as a row of each group, shaped as
    in LUFFY; advantages from the policy's own rewards, ratio, clip and aggregation are the same for all."""
    released = method("calibrl")
    whole = released.pieces
    grpo = whole.with_(penalties=())

    def gated(weight: float, slope: float, level: str = "token") -> Method:
        return replace(released, objective=whole.with_(penalties=(ExpertGate(weight, slope, level),)))

    return {
        "GRPO": replace(released, objective=grpo, data=None),
        "expert rows": replace(
            released, objective=grpo.with_(advantage=OwnMean(), external=Reshaped()), data="external"
        ),
        "as released": released,
        "α = 1": gated(1.0, 1.0),
        "α = 0.5": gated(1.0, 0.5),
        "α = 0.3": gated(1.0, 0.3),
        "α = 0.3, whole answers": gated(1.0, 0.3, "sequence_sum"),
    }


def train(base: nn.Module, setup: Setup, seed: int, given: Method) -> Trainer:
    """A trainer of an arm with the experts of its task: all arms take groups of the same size."""
    assert isinstance(setup.task, AlternatingSum)
    strategy = supplying(given.data, Sampled(setup.group_size), experts(setup.task))
    return start(base, setup, seed, given, strategy=strategy)


def arms() -> dict[str, Make]:
    return {name: partial(train, given=given) for name, given in methods().items()}


@torch.no_grad()
def measure(trainer: Trainer, seed: int, expert: Tensor) -> Figures:
    """Of the training prompts: success, entropy of the law of the right answers, the share of the expert's place int64
    [B] among them and the mean number of them in 16 draws, all exact; the entropy of a completion, from 16 draws."""
    task = trainer.task
    assert isinstance(task, AlternatingSum)
    logp = right_logps(trainer.policy, task, "train")
    inside = logp.log_softmax(-1)
    prompts = task.prompts("train").to(device_of(trainer.policy))
    generator = torch.Generator(prompts.tokens.device).manual_seed(seed)
    made = Sampled(DRAWS)(trainer.policy, task, prompts, generator)
    return {
        "success": float(logp.exp().sum(-1).mean()),
        "entropy, right": float(entropy(inside).mean()),
        "expert's share": float(inside.gather(-1, expert[:, None]).exp().mean()),
        "different right ones": float(exact_pass_at_k(logp.exp(), DRAWS).sum(-1).mean()),
        "entropy": float(sequence_entropy(made.old_logp, made.mask).mean()),
    }


def measuring(base: nn.Module, setup: Setup) -> Measure:
    """`measure` with the places of the experts' answers."""
    assert isinstance(setup.task, AlternatingSum)
    return partial(measure, expert=expert_of(setup.task)[setup.task.prompts("train").ids])


def about(base: nn.Module, setup: Setup) -> Results:
    """The success at which entropies are compared, and how often the base's level of the expert lies between those of
    two other right answers."""
    assert isinstance(setup.task, AlternatingSum)
    logp = right_logps(base, setup.task, "train")
    level = logp.gather(-1, expert_of(setup.task)[setup.task.prompts("train").ids][:, None])
    between = (logp > level).any(-1) & ((logp < level) & (logp > -torch.inf)).any(-1)
    return {"level": LEVEL, "between": float(between.double().mean())}


CALIBRL = Comparison(
    arms,
    measuring,
    gpt=replace(RAPO.gpt, train=replace(RAPO.gpt.train, lr=5e-4), stops=STOPS),
    llm={
        "60m": replace(RAPO.llm["60m"], stops=STOPS),
        "tiny": Setup(
            AlternatingSum(skill=1.0, typo=0.0),  # what so small a model is right about often enough to learn from
            TrainConfig(lr=1e-3, prompts=16, max_grad_norm=1.0),
            (0, 2),
            group_size=8,
            base=TINY,
            pretrain=PretrainConfig(steps=200, batch=64, lr=1e-2),
        ),
    },
    about=about,
)
