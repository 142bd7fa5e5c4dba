"""Lesson 31. A technical survey of reinforcement learning techniques for large language models (2025)."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l31_survey import exact, exercises, figures, sampled
from toykit.lessons.l31_survey.claims import CLAIMS

__all__ = ["LESSON", "exercises"]

LESSON = Lesson(
    number="31",
    slug="survey",
    title="The survey: one map of the field",
    part="foundations",
    paper="arXiv 2507.04136",
    experiments={
        "exact": Experiment(exact.run, seeds=exact.SEEDS),
        "gpt": Experiment(sampled.gpt, seeds=(0, 1, 2, 3, 4), recorded=True),
        "llm": Experiment(sampled.llm, seeds=(0, 1, 2, 3, 4), recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"optima": figures.optima_figure},
        "gpt": {"methods": figures.methods_figure},
        "llm": {"methods": figures.methods_figure},
    },
    minutes=45,
    needs=("01",),
    pieces=(
        "objectives.entries",
        "objectives.Advantage",
        "objectives.DPO",
        "objectives.IPO",
        "objectives.UNA",
        "rewards.every_pair",
        "training.OfflineTrainer",
    ),
)
