"""Lesson 26. StableReinforce (R1-Reward, arXiv 2505.02835): what is bounded, what is thrown away, and what is gated."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l26_stable_reinforce import exact, exercises, explorer, figures, sampled
from toykit.lessons.l26_stable_reinforce.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="26",
    slug="stable_reinforce",
    title="StableReinforce: who is an outlier?",
    part="methods",
    paper="arXiv 2505.02835",
    minutes=45,
    needs=("03",),
    pieces=("objectives.SigmaFilter", "objectives.ratio", "rewards.Gated", "objectives.Advantage"),
    experiments={
        "exact": Experiment(exact.run),
        "gpt": Experiment(sampled.STABLE_REINFORCE.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.STABLE_REINFORCE.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"outliers": figures.outliers_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
