"""Lesson 12. Dual RL (arXiv 2302.08560): one dual under many offline methods, and what its losses do."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l12_dual_rl import exact, exercises, explorer, figures, sampled
from toykit.lessons.l12_dual_rl.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="12",
    slug="dual_rl",
    title="Dual RL: a maximum without a maximum",
    part="control",
    paper="arXiv 2302.08560",
    minutes=45,
    needs=("01",),
    pieces=(
        "control.offline.dual_v",
        "control.offline.dual_q",
        "control.offline.recoil",
        "control.Chi2Maximum",
        "control.Quantile",
        "objectives.DualRL",
        "objectives.conjugate",
    ),
    experiments={
        "exact": Experiment(exact.run),
        "gpt": Experiment(sampled.gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.DUAL.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"losses": figures.losses_figure, "pairs": figures.pairs_figure},
        "gpt": {"training": figures.training_figure, "grid": figures.grid_figure},
        "llm": {"training": figures.training_figure},
    },
)
