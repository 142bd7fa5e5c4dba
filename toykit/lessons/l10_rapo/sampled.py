"""Lesson 10 on the gpt and llm rungs: alternating sums, from a base policy whose habit finds some and hardly others."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.diagnostics import exact_pass_at_k
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare
from toykit.lessons.llm import pretrained
from toykit.objectives import KL, Method, OnPolicyForwardKL, method
from toykit.policies import device_of
from toykit.policies.qwen3 import PRESETS
from toykit.rollouts import Sampled, token_logps
from toykit.tasks import AlternatingSum
from toykit.training import PretrainConfig, TrainConfig, Trainer, load_policy

FORWARD, REVERSE = 0.1, 0.05  # the weight of RAPO in the catalogue, and the card's
PROMPTS, GROUP = 16, 16  # of a step
STOPS = (0, 25, 50, 100, 150, 200)
KS = (1, 4, 16, 64, 256)
SPLITS = ("train", "test")


def methods() -> dict[str, Method]:
    """RAPO, and what is left of it without its parts; the group's advantages, clip and aggregation are the same.

    The reverse KL stands in two places: in the reward, as on the card, where the group's standard deviation divides it
    too, so that a group without a right answer follows the penalty alone, at full strength; and beside the advantage.
    """
    rapo = method("rapo").with_beta(FORWARD)
    whole = rapo.objective
    grpo = whole.with_(penalties=())
    reverse, beside = (grpo.with_(kl=KL(REVERSE, "k1", route=route)) for route in ("reward", "score"))
    forward = grpo.with_(penalties=(OnPolicyForwardKL(FORWARD),))
    return {
        "GRPO": replace(rapo, objective=grpo),
        "GRPO + reverse KL": replace(rapo, objective=reverse),
        "GRPO + reverse KL, beside": replace(rapo, objective=beside),
        "GRPO + forward KL": replace(rapo, objective=forward),
        "RAPO": rapo,
    }


METHODS = tuple(methods())


@torch.no_grad()
def rates(policy: nn.Module, task: AlternatingSum, split: str) -> Tensor:
    """Success rates [B] of a split's prompts, float64, exact: the mass of all right orders."""
    prompts, device = task.prompts(split), device_of(policy)
    orders, known = (x[prompts.ids].to(device) for x in task.right)
    there = prompts.to(device)
    mask = torch.ones_like(orders, dtype=torch.bool)
    logp = token_logps(policy, there.tokens, there.mask, orders, mask).sum(-1).double()
    return torch.where(known, logp.exp(), 0.0).sum(-1).clamp(max=1.0).cpu()


def measure(trainer: Trainer, seed: int, hard: Tensor) -> Figures:
    """pass@k of both splits, and pass@1 of the training prompts that are `hard` (bool [B])."""
    found: Figures = {}
    for split in SPLITS:
        p = rates(trainer.policy, trainer.task, split)  # type: ignore[arg-type]
        found |= {f"{split} pass@{k}": float(exact_pass_at_k(p, k).mean()) for k in KS}
        if split == "train":
            found["train hard pass@1"] = float(p[hard].mean())
    return found


def experiment(
    base: nn.Module,
    task: AlternatingSum,
    seeds: Sequence[int],
    stops: Sequence[int],
    config: TrainConfig,
    group_size: int,
    folder: Path | None,
    progress: bool,
    only: Sequence[str] = METHODS,
) -> Results:
    """Every method from one base policy; see `toykit.lessons.compare`.

    Hard are the training prompts in the lowest quarter of the base's success. `only` names some of METHODS. Raises
    ValueError for another name.
    """
    for name in only:
        one_of("only", name, METHODS)
    before = {split: rates(base, task, split) for split in SPLITS}
    hard = before["train"] <= before["train"].quantile(0.25)

    def trainer(seed: int, given: Method) -> Trainer:
        policy = copy.deepcopy(base).requires_grad_(True)
        return Trainer(policy, task, given, Sampled(group_size), replace(config, seed=seed), reference=base)

    made = {name: partial(trainer, given=given) for name, given in methods().items() if name in only}
    found = compare(made, seeds, stops, partial(measure, hard=hard), folder, progress)
    rounded = {split: [float(f"{x:.6g}") for x in p.tolist()] for split, p in before.items()}
    about = {"base": rounded, "ks": list(KS), "halfway": stops[len(stops) // 2], "group_size": group_size}
    return found | about | {"lr": config.lr}


def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    stops: tuple[int, ...] = STOPS,
    folder: Path | None = None,
    progress: bool = False,
    only: tuple[str, ...] = METHODS,
) -> Results:
    """The gpt rung: 96 training prompts, 16 of them in each step, and 64 that are held out; `only` some methods."""
    config = TrainConfig(lr=3e-4, prompts=PROMPTS, max_grad_norm=1.0)
    base = load_policy("alternating_sum")
    return experiment(base, AlternatingSum(), seeds, stops, config, GROUP, folder, progress, only)


@dataclass(frozen=True)
class Size:
    """A transformers model of the Qwen3 type, how it is pretrained, and how it is then trained by RL."""

    model: dict[str, int]
    pretrain: PretrainConfig
    train: TrainConfig
    stops: tuple[int, ...]
    group_size: int


SIZES = {
    "60m": Size(
        PRESETS["qwen3-60m"].sizes,
        PretrainConfig(steps=1_000, batch=512, lr=3e-4),
        TrainConfig(lr=3e-5, prompts=PROMPTS, max_grad_norm=1.0, autocast=True),
        STOPS,
        GROUP,
    ),
    "tiny": Size(
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        PretrainConfig(steps=40, batch=64, lr=1e-2),
        TrainConfig(lr=1e-3, prompts=4, max_grad_norm=1.0),
        (0, 1, 2),
        4,
    ),
}


def llm(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    size: str = "60m",
    device: str = "cpu",
    folder: Path | None = None,
    progress: bool = False,
) -> Results:
    """The llm rung: a transformers model of the Qwen3 type, pretrained here, on the same task."""
    chosen = SIZES[one_of("size", size, SIZES)]
    task = AlternatingSum()
    base = pretrained(task, chosen.model, chosen.pretrain, device, folder, progress)
    found = experiment(base, task, seeds, chosen.stops, chosen.train, chosen.group_size, folder, progress)
    return found | {"size": size, "parameters": sum(p.numel() for p in base.parameters())}
