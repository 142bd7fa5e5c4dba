"""Lesson 02 on the gpt and llm rungs: the hidden-operator task, whose prompts share a network."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.diagnostics import (
    delta_norm,
    delta_plus,
    exact_pass_at_k,
    gradient_rows,
    interference_matrix,
    rank_correlation,
)
from toykit.exact import group_weight
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, compare
from toykit.lessons.llm import pretrained
from toykit.objectives import KL, Method, method
from toykit.policies import TabularLM, device_of
from toykit.policies.qwen3 import PRESETS
from toykit.rollouts import Sampled, leaf_logps, node_logps, token_logps
from toykit.tasks import Operator
from toykit.training import PretrainConfig, TrainConfig, Trainer, load_policy

FORWARD, REVERSE = 0.3, 0.04
STOPS = (0, 10, 25, 50, 75, 100, 125, 150)
KS = (1, 16, 256)
TABLE = "GRPO, nothing shared"


def methods() -> dict[str, Method]:
    """SELF, and what is left of it without its parts; the group's advantages, clip and aggregation are the same.

    Two penalties bear the name of the reverse KL: the one whose gradient is that of KL(pi || base), and GRPO's own k3
    by autodiff, whose gradient is that of a forward KL of the next token at the prefixes that were visited.
    """
    whole = method("self").with_beta(FORWARD)
    grpo = replace(whole, selection=None, forward_kl=None)
    return {
        "GRPO": grpo,
        "GRPO + reverse KL": replace(grpo, objective=grpo.objective.with_(kl=KL(REVERSE, "k1", route="score"))),
        "GRPO + k3": replace(grpo, objective=grpo.objective.with_(kl=KL(REVERSE, "k3", route="autodiff"))),
        "GRPO + forward KL": replace(whole, selection=None),
        "filter": replace(whole, forward_kl=None),
        "SELF": whole,
    }


METHODS = (*methods(), TABLE)


@torch.no_grad()
def law(policy: nn.Module, task: Operator, split: str) -> tuple[Tensor, Tensor]:
    """(log-probabilities [B, L] of all 196 answers to a split's prompts, which is right, bool [B, L]), exact."""
    prompts = task.prompts(split).to(device_of(policy))
    log_p = leaf_logps(policy, prompts, task.tree).sum(-1).double().cpu()
    answers = task.right[prompts.ids.cpu()]
    leaf = task.tree.index(answers, torch.ones_like(answers, dtype=torch.bool))
    return log_p.log_softmax(-1), torch.nn.functional.one_hot(leaf, task.tree.n_leaves).bool()


def measure(trainer: Trainer, seed: int, before: dict[str, tuple[Tensor, Tensor]]) -> Figures:
    """pass@k, what became of the base's right answers, and who won; a table knows the training prompts alone."""
    found: Figures = {}
    known = ("train",) if isinstance(trainer.policy, TabularLM) else ("train", "test")
    for split in known:
        (base, correct), task = before[split], trainer.task
        now, _ = law(trainer.policy, task, split)  # type: ignore[arg-type]
        p, first = now[correct].exp(), base[correct].exp()
        found |= {f"{split} pass@{k}": float(exact_pass_at_k(p, k).mean()) for k in KS}
        found |= {
            f"{split} delta plus": float(delta_plus(now, base, correct).mean()),
            f"{split} delta norm": float(delta_norm(now, base).mean()),
            f"{split} rank": float(rank_correlation(first, p)),
        }
    return found


def influences(policy: nn.Module, task: Operator, group_size: int = 8) -> Results:
    """The interference matrix of the training prompts under GRPO's expected step on all parameters of a network.

    Prompts are sorted by their hidden operator, then by their success rate. Steps are of size 1 for the mean over
    prompts. Negative shares are among pairs of the same and of different operators.
    """
    policy = copy.deepcopy(policy).requires_grad_(True)
    prompts = task.prompts()
    answers = task.right[prompts.ids][:, None]
    log_p = token_logps(policy, prompts.tokens, prompts.mask, answers, torch.ones_like(answers, dtype=torch.bool))
    rows = gradient_rows(log_p.sum((1, 2)), policy.parameters())
    p = log_p.detach().sum((1, 2)).double().exp()
    push = (group_weight(p, group_size, std="group") / (1 - p) / len(p)).to(rows)
    operators = task.operators[prompts.ids]
    order = torch.argsort(operators.double() - p / 2)
    matrix = interference_matrix(push[:, None] * rows, rows)[order][:, order]
    same = operators[order][:, None] == operators[order]
    off = ~torch.eye(len(p), dtype=torch.bool)
    return {
        "matrix": [[float(f"{x:.3g}") for x in row] for row in matrix.tolist()],
        "operators": operators[order].tolist(),
        "success": p[order].tolist(),
        "negative_same": float((matrix < 0)[same & off].double().mean()),
        "negative_other": float((matrix < 0)[~same].double().mean()),
    }


def experiment(
    base: nn.Module,
    task: Operator,
    seeds: Sequence[int],
    stops: Sequence[int],
    config: TrainConfig,
    table: TrainConfig,
    group_size: int,
    folder: Path | None,
    progress: bool,
    only: Sequence[str] = METHODS,
) -> Results:
    """Every method from one base policy, and GRPO in a table with the same law; see `toykit.lessons.compare`.

    In the table each prompt has logits of its own, so that nothing is shared; `table` is how it is trained. `only`
    names some of METHODS. Raises ValueError for another name.
    """
    for name in only:
        one_of("only", name, METHODS)
    before = {split: law(base, task, split) for split in ("train", "test")}
    prompts = task.prompts().to(device_of(base))
    logits = node_logps(base, prompts, task.tree).double().cpu()

    def trainer(seed: int, given: Method) -> Trainer:
        policy = copy.deepcopy(base).requires_grad_(True)
        return Trainer(policy, task, given, Sampled(group_size), replace(config, seed=seed), reference=base)

    def alone(seed: int) -> Trainer:
        policy = TabularLM.of(task, logits=logits)
        return Trainer(policy, task, methods()["GRPO"], Sampled(group_size), replace(table, seed=seed))

    made: dict[str, Any] = {label: partial(trainer, given=given) for label, given in methods().items()}
    chosen = {name: (made | {TABLE: alone})[name] for name in only}
    found = compare(chosen, seeds, stops, partial(measure, before=before), folder, progress)
    rates = {
        split: [float(f"{x:.6g}") for x in log_p[right].exp().tolist()] for split, (log_p, right) in before.items()
    }
    return found | {"base": rates, "group_size": group_size, "lr": config.lr, "table_lr": table.lr}


def gpt(
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4),
    stops: tuple[int, ...] = STOPS,
    folder: Path | None = None,
    progress: bool = False,
    only: tuple[str, ...] = METHODS,
) -> Results:
    """The gpt rung: 60 training prompts, all of them in each step, and 40 that are held out; `only` some methods."""
    base, task = load_policy("operator"), Operator()
    config = TrainConfig(lr=3e-4, max_grad_norm=1.0)
    found = experiment(base, task, seeds, stops, config, TrainConfig(lr=0.05), 8, folder, progress, only)
    return found | {"interference": influences(base, task)}


@dataclass(frozen=True)
class Size:
    """A transformers model of the Qwen3 type, how it is pretrained, and how it is then trained by RL."""

    model: dict[str, int]
    pretrain: PretrainConfig
    train: TrainConfig
    table: TrainConfig
    stops: tuple[int, ...]
    group_size: int


SIZES = {
    "60m": Size(
        PRESETS["qwen3-60m"].sizes,
        PretrainConfig(steps=1_000, batch=512, lr=3e-4),
        TrainConfig(lr=3e-5, max_grad_norm=1.0, autocast=True),
        TrainConfig(lr=0.05),
        (0, 25, 50, 100, 150, 200, 300),
        16,
    ),
    "tiny": Size(
        {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2},
        PretrainConfig(steps=40, batch=64, lr=1e-2),
        TrainConfig(lr=1e-3, max_grad_norm=1.0),
        TrainConfig(lr=0.05),
        (0, 2),
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
    task = Operator()
    base = pretrained(task, chosen.model, chosen.pretrain, device, folder, progress)
    c = chosen
    found = experiment(base, task, seeds, c.stops, c.train, c.table, c.group_size, folder, progress)
    return found | {"size": size, "parameters": sum(p.numel() for p in base.parameters())}
