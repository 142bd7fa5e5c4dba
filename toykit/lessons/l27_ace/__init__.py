"""Lesson 27. ACE (arXiv 2602.21420): errors that training has made more confident are punished harder."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l27_ace import exact, exercises, explorer, figures, sampled
from toykit.lessons.l27_ace.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="27",
    slug="ace",
    title="ACE: which wrong answer is punished",
    part="methods",
    paper="arXiv 2602.21420",
    needs=("02",),
    pieces=("objectives.Overconfidence", "diagnostics.wrong_answers", "exact.group_values"),
    experiments={
        "exact": Experiment(exact.run, seeds=exact.SEEDS),
        "gpt": Experiment(sampled.ACE.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.ACE.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"winner": figures.winner_figure, "coverage": figures.coverage_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
