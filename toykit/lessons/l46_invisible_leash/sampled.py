"""Lesson 46 on the gpt and llm rungs: GRPO, its two halves and a teacher, where each prompt has two right answers."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from toykit.diagnostics import detectable, in_support, support_table
from toykit.exact import entropy
from toykit.lessons.base import Results
from toykit.lessons.compare import Figures, Measure
from toykit.lessons.l35_limit_of_rlvr.sampled import LIMIT
from toykit.lessons.l46_invisible_leash.two_operators import TwoOperators
from toykit.lessons.rungs import Arm, Comparison, Setup, taught
from toykit.objectives import method
from toykit.training import TrainConfig, Trainer

KS = (16, 64, 256, 1024)
SPLITS = ("train", "test")
KL_WEIGHT = 0.04  # the catalogue's
CELLS = ("preserved", "gained", "lost", "out")


def arms() -> dict[str, Arm]:
    """GRPO without its KL and with it, both halves of a policy gradient with the group's mean, and a teacher."""
    grpo = method("grpo")
    return {
        "GRPO": replace(grpo, objective=grpo.pieces.with_(kl=None)),
        "GRPO + KL": grpo.with_beta(KL_WEIGHT),
        "NSR": method("nsr"),
        "PSR": method("psr"),
        "SFT": partial(taught, answers=TwoOperators().right),  # both right answers of every prompt, once
    }


def measure(trainer: Trainer, seed: int, before: dict[str, Tensor]) -> Figures:
    """Support against the base's, success, answer entropy and the lead of one right answer, all exact.

    `before` are the base's log-probabilities [B, 2] of the right answers of each split. The lead is the mean over
    prompts of |log pi(first) - log pi(second)|; the entropy that of an answer, in nats, the mean over prompts.
    """
    task, found = TwoOperators(), Figures()
    for split, log_q in before.items():
        laws = task.log_laws(trainer.policy, split)
        log_pi = task.of_right(laws, split)
        found |= {
            f"{split} success": float(log_pi.exp().sum(-1).mean()),
            f"{split} answer entropy": float(entropy(laws).mean()),
            f"{split} lead": float((log_pi[:, 0] - log_pi[:, 1]).abs().mean()),
        }
        for k in KS:
            found |= {f"{split} {name} {k}": value for name, value in cells(log_q, log_pi, k).items()}
    return found


def cells(log_q: Tensor, log_pi: Tensor, k: int) -> Figures:
    """P, E, S, O over all right answers [B, 2] at the probability that k samples show, their net change, and E - S."""
    eps = detectable(k)
    table = support_table(in_support(log_q, eps).flatten(), in_support(log_pi, eps).flatten())
    found = {name: float(getattr(table, name)) for name in CELLS}
    net = float(table.net_change.nan_to_num(0.0))  # 0 where neither finds any
    return found | {"NSCR": net, "E - S": found["gained"] - found["lost"]}


def of_base(base: nn.Module) -> dict[str, Tensor]:
    task = TwoOperators()
    return {split: task.of_right(task.log_laws(base, split), split) for split in SPLITS}


def measuring(base: nn.Module, setup: Setup) -> Measure:
    return partial(measure, before=of_base(base))


def about(base: nn.Module, setup: Setup) -> Results:
    """The base's probabilities of the right answers [B, 2] of each split, and the k at which support is measured."""
    laws = {split: [[float(f"{x:.6g}") for x in row] for row in q.exp().tolist()] for split, q in of_base(base).items()}
    return {"base": laws, "ks": list(KS)}


LEASH = Comparison(
    arms,
    measuring,
    gpt=Setup(TwoOperators(), TrainConfig(lr=3e-4, max_grad_norm=1.0), (0, 25, 50, 100, 200), base="operator"),
    llm={size: replace(setup, task=TwoOperators()) for size, setup in LIMIT.llm.items()},
    about=about,
)
