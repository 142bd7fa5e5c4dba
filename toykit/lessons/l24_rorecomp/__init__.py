"""Lesson 24. RoRecomp (arXiv 2509.25958): short right and long wrong answers first, the others later or never."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l24_rorecomp import exact, exercises, explorer, figures, sampled
from toykit.lessons.l24_rorecomp.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="24",
    slug="rorecomp",
    title="RoRecomp: what is learned from first",
    part="methods",
    paper="arXiv 2509.25958",
    minutes=40,
    needs=("17",),
    pieces=("selection.Recomposition", "selection.Recomposer", "exact.enumerate_groups", "exact.ascend_until"),
    experiments={
        "exact": Experiment(exact.run),
        "gpt": Experiment(sampled.RORECOMP.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.RORECOMP.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"flow": figures.flow_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
