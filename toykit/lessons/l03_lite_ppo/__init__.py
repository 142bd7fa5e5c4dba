"""Lesson 03. Tricks or traps, and Lite PPO (2025): what each trick of group-based RL does, one at a time."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l03_lite_ppo import exact, exercises, explorer, figures, sampled
from toykit.lessons.l03_lite_ppo.claims import CLAIMS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="03",
    slug="lite_ppo",
    title="Tricks or traps: what each trick of group-based RL does",
    part="foundations",
    paper="arXiv 2508.08221",
    minutes=45,
    needs=("01",),
    pieces=(
        "objectives.Advantage",
        "objectives.token_weights",
        "objectives.Clip",
        "selection.overlong_filter",
        "exact.group_weight",
        "exact.squared_group_weight",
    ),
    experiments={
        "exact": Experiment(exact.run),
        "gpt": Experiment(sampled.gpt, seeds=(0, 1, 2, 3, 4), recorded=True),
        "llm": Experiment(sampled.llm, seeds=(0, 1, 2, 3, 4), recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"tricks": figures.tricks_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
