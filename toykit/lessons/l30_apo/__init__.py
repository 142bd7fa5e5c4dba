"""Lesson 30. APO (arXiv 2506.21655): a lighter KL for hard questions, a harder push on long wrong answers."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l30_apo import exact, exercises, explorer, figures, sampled
from toykit.lessons.l30_apo.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="30",
    slug="apo",
    title="APO: two signs, two rules",
    part="methods",
    paper="arXiv 2506.21655",
    minutes=40,
    needs=("10",),
    pieces=("objectives.DADS", "objectives.STCR", "objectives.KL", "exact.enumerate_groups"),
    experiments={
        "exact": Experiment(exact.run, seeds=exact.SEEDS),
        "gpt": Experiment(sampled.APO.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.APO.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"kl": figures.kl_figure, "lengths": figures.lengths_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
