"""Lesson 12 on the gpt and llm rungs: offline completions of a sorting task, learned from by policy, Q and V heads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.l12_dual_rl import grid
from toykit.lessons.rungs import QWEN3_60M, SEEDS, TINY, Comparison, Make, Setup, pretrain_60m
from toykit.objectives import DPO, SFT, Asymmetric, ChiSquare, DualRL, Gumbel, TotalVariation
from toykit.objectives.dual_values import LossOfV
from toykit.objectives.offline import OfflineLoss, OfflineMethod
from toykit.objectives.offline_values import taken
from toykit.policies import device_of
from toykit.policies.heads import ValueHeads, split_heads
from toykit.rewards.preferences import Judge, demonstrations, every_pair, labelled
from toykit.rollouts import Demonstrations, Examples, Rollouts, Sampled, Solutions, outputs, token_logps
from toykit.rollouts.examples import take
from toykit.tasks import Sorting
from toykit.training import OfflineConfig, OfflineTrainer, PretrainConfig, TrainConfig

EXPERTS = 50  # prompts whose first completion is replaced by the right one
LEVEL, ALPHA, CLIP = 0.9, 0.1, 7.0
SOURCE = "arXiv 2302.08560"
VALUES: dict[str, LossOfV] = {
    "TV": TotalVariation(LEVEL),
    "chi2": ChiSquare(LEVEL),
    "XQL": Gumbel(ALPHA, CLIP),
    "XQL, scaled": Gumbel(ALPHA, CLIP, scaled=True),
    "IQL": Asymmetric(LEVEL),
}


def arms() -> Mapping[str, Make]:
    """Five losses of V with one policy loss, and three baselines that know no values, all on the same completions."""
    made: dict[int, Rollouts] = {}

    def data(base: nn.Module, setup: Setup, seed: int) -> Rollouts:
        if seed not in made:
            made[seed] = offline(base, setup, seed)
        return made[seed]

    def valued(base: nn.Module, setup: Setup, seed: int, loss: LossOfV) -> OfflineTrainer:
        return trainer(ValueHeads(free(base)), setup, seed, DualRL(loss), labelled(data(base, setup, seed)))

    def plain(base: nn.Module, setup: Setup, seed: int, name: str) -> OfflineTrainer:
        loss, examples = BASELINES[name](data(base, setup, seed))
        return trainer(free(base), setup, seed, loss, examples)

    return {name: partial(valued, loss=loss) for name, loss in VALUES.items()} | {
        name: partial(plain, name=name) for name in BASELINES
    }


def offline(base: nn.Module, setup: Setup, seed: int) -> Rollouts:
    """The base policy's own completions of all train prompts; in the first 50 groups the first is the expert's."""
    generator = torch.Generator(device_of(base)).manual_seed(10_000 + seed)
    task, prompts = setup.task, setup.task.prompts()
    drawn = Sampled(setup.group_size)(base, task, prompts.to(device_of(base)), generator)
    expert = Solutions.of(task)
    own, mask = drawn.completions.clone(), drawn.mask.clone()
    n, width = min(EXPERTS, len(prompts)), expert.completions.shape[-1]
    own[:n, 0, :width], mask[:n, 0, :width] = expert.completions[:n, 0].to(own), expert.mask[:n, 0].to(mask)
    mask[:n, 0, width:] = False
    return drawn.with_(
        completions=own, mask=mask, rewards=task.score(prompts.ids, own.cpu(), mask.cpu()).to(own.device)
    )


def only_right(data: Rollouts) -> tuple[SFT, Demonstrations]:
    """Filtered SFT: the right completions, each as much as any other."""
    right = demonstrations(data)
    right = take(right, data.correct.flatten())
    return SFT(), replace(right, weights=right.weights / right.weights.sum())


def in_pairs(data: Rollouts) -> tuple[DPO, Examples]:
    """DPO: every right completion against every wrong one of its prompt."""
    pairs = every_pair(data, Judge(temperature=0))
    assert pairs.margins is not None
    pairs = take(pairs, pairs.margins > 0)
    return DPO(), replace(pairs, weights=pairs.weights / pairs.weights.sum())


BASELINES: dict[str, Callable[[Rollouts], tuple[OfflineLoss, Examples]]] = {
    "BC": lambda data: (SFT(), demonstrations(data)),
    "filtered": only_right,
    "DPO": in_pairs,
}


def free(base: nn.Module) -> nn.Module:
    return copy.deepcopy(base).requires_grad_(True)


def trainer(policy: nn.Module, setup: Setup, seed: int, loss: OfflineLoss, data: Examples) -> OfflineTrainer:
    """Adam on batches of as many completions as the setup says `prompts`, the gradient as it is."""
    how = setup.train
    config = OfflineConfig(lr=how.lr, batch=how.prompts, autocast=how.autocast, seed=seed)
    return OfflineTrainer(policy, setup.task, OfflineMethod(loss, SOURCE), data, config)


def measuring(base: nn.Module, setup: Setup) -> Measure:
    """The exact success on held-out prompts, the largest gradient norm so far, and the values of the data."""
    prompts, expert = setup.task.prompts("test").to(device_of(base)), Solutions.of(setup.task, split="test")
    right, mask = (x[:, :1].to(device_of(base)) for x in (expert.completions, expert.mask))

    @torch.no_grad()
    def measure(trainer: OfflineTrainer, seed: int) -> Figures:
        policy = trainer.policy.body if isinstance(trainer.policy, ValueHeads) else trainer.policy
        logp = token_logps(policy, prompts.tokens, prompts.mask, right, mask).sum(-1)
        found = {"success": float(logp.exp().mean()), "gradient norm": trainer.largest_norm}
        return found | (of_values(trainer) if isinstance(trainer.policy, ValueHeads) else {})

    return measure


def of_values(trainer: OfflineTrainer) -> Figures:
    """The largest |Q| of any next token, the mean V of the prompts, and the largest slope of V's loss."""
    data, loss = trainer.data, trainer.loss
    assert data is not None and isinstance(loss, DualRL)
    _, q, v = split_heads(outputs(trainer.policy, data.prompts, data.prompt_mask, data.completions, data.mask))
    x = (taken(q, data.completions) - v)[data.mask]
    return {
        "largest Q": float(q[data.mask].abs().max()),
        "V": float(v[:, 0, 0].mean()),
        "slope": float(slope(loss.value, x).abs().max()),
    }


def slope(loss: LossOfV, x: Tensor) -> Tensor:
    """The derivative of a loss of V by each x."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        return torch.autograd.grad(loss(x).sum(), x)[0]


DUAL = Comparison(
    arms,
    measuring,
    gpt=Setup(
        Sorting(),
        TrainConfig(lr=5e-4, prompts=128),
        (0, 25, 50, 100, 150),
        group_size=4,
        base="sorting",
    ),
    llm={
        "60m": Setup(
            Sorting(places=12, n_train=4096, n_test=512),
            TrainConfig(lr=3e-5, prompts=256, autocast=True),
            (0, 50, 100, 200, 300),
            group_size=4,
            base=QWEN3_60M,
            pretrain=pretrain_60m(4_000, batch=256, accuracy=0.5),
        ),
        "tiny": Setup(
            Sorting(places=2, n_train=60, n_test=20),
            TrainConfig(lr=1e-3, prompts=16),
            (0, 2),
            group_size=2,
            base=TINY,
            pretrain=PretrainConfig(steps=60, batch=64, lr=1e-2),
        ),
    },
)


def gpt(
    seeds: tuple[int, ...] = SEEDS,
    stops: tuple[int, ...] = (),
    folder: Path | None = None,
    progress: bool = False,
    only: tuple[str, ...] = (),
) -> Results:
    """The arms on a small GPT, and imitation on a grid; with `only` some arms, and no grid."""
    found = DUAL.on_gpt(seeds, stops, folder, progress, only)
    return found if only else found | {"grid": grid.run(seeds)}
