"""Lesson 02 on the gpt and llm rungs: the hidden-operator task, whose prompts share a network."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

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
from toykit.lessons.compare import Figures
from toykit.lessons.rungs import QWEN3_60M, TINY, Arm, Comparison, Setup, pretrain_60m
from toykit.objectives import KL, Method, method
from toykit.policies import TabularLM, device_of
from toykit.rollouts import Sampled, leaf_logps, node_logps, token_logps
from toykit.tasks import Operator
from toykit.training import PretrainConfig, TrainConfig, Trainer

FORWARD, REVERSE = 0.3, 0.04
STOPS = (0, 10, 25, 50, 75, 100, 125, 150)
KS = (1, 16, 256)
TABLE, TABLE_LR = "GRPO, nothing shared", 0.05


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
    policy = copy.deepcopy(policy).cpu().requires_grad_(True)
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


def alone(base: nn.Module, setup: Setup, seed: int) -> Trainer:
    """GRPO in a table with the base's law: each prompt has logits of its own, so that nothing is shared."""
    tree = Operator().tree
    logits = node_logps(base, setup.task.prompts().to(device_of(base)), tree).double().cpu()
    policy = TabularLM.of(setup.task, logits=logits)
    return Trainer(policy, setup.task, methods()["GRPO"], Sampled(setup.group_size), TrainConfig(TABLE_LR, seed=seed))


def arms() -> dict[str, Arm]:
    return {**methods(), TABLE: alone}


def laws(base: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    return {split: law(base, Operator(), split) for split in ("train", "test")}


def about(base: nn.Module, setup: Setup) -> Results:
    """The base's success by prompt and, of a network small enough for the gradients of all prompts, who moves whom."""
    before = laws(base)
    rates = {
        split: [float(f"{x:.6g}") for x in log_p[right].exp().tolist()] for split, (log_p, right) in before.items()
    }
    small = sum(p.numel() for p in base.parameters()) < 1_000_000
    return {"base": rates, "table_lr": TABLE_LR} | ({"interference": influences(base, Operator())} if small else {})


BOUNDARY = Comparison(
    arms,
    lambda base, setup: partial(measure, before=laws(base)),
    gpt=Setup(Operator(), TrainConfig(lr=3e-4, max_grad_norm=1.0), STOPS, base="operator"),
    llm={
        "60m": Setup(
            Operator(),
            TrainConfig(lr=3e-5, max_grad_norm=1.0, autocast=True),
            (0, 25, 50, 100, 150, 200, 300),
            group_size=16,
            base=QWEN3_60M,
            pretrain=pretrain_60m(1_000, batch=512),
        ),
        "tiny": Setup(
            Operator(),
            TrainConfig(lr=1e-3, max_grad_norm=1.0),
            (0, 2),
            group_size=4,
            base=TINY,
            pretrain=PretrainConfig(steps=40, batch=64, lr=1e-2),
        ),
    },
    about=about,
)
