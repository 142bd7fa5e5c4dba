"""Lesson 32. Asymptotics of language model alignment (Yang, Salamatian, Sun, Suresh, Beirami 2024)."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l32_alignment_asymptotics import exact, exercises, figures, sampled
from toykit.lessons.l32_alignment_asymptotics.claims import CLAIMS

__all__ = ["LESSON", "exercises"]

LESSON = Lesson(
    number="32",
    slug="alignment_asymptotics",
    title="Best-of-n or RL: two ways to one tilt",
    part="foundations",
    paper="arXiv 2404.01730",
    experiments={
        "exact": Experiment(exact.run),
        "gpt": Experiment(sampled.gpt, seeds=(0, 1, 2, 3, 4), recorded=True),
        "llm": Experiment(sampled.llm, seeds=(0, 1, 2, 3, 4), recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"limit": figures.limit_figure},
        "gpt": {"frontier": figures.rungs_figure},
        "llm": {"frontier": figures.rungs_figure},
    },
    minutes=45,
    needs=("01",),
    pieces=(
        "exact.best_of_n",
        "exact.best_of_n_to_kl",
        "exact.tilt_to_kl",
        "exact.MarkovSource",
        "diagnostics.shortfall",
        "diagnostics.sampled_best_of_n",
        "objectives.KL",
    ),
)
