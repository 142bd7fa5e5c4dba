"""Lesson 16. ROVER (arXiv 2509.24981): the values of a random policy, and what becomes of them in a loss."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l16_rover import exact, exercises, explorer, figures, sampled
from toykit.lessons.l16_rover.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="16",
    slug="rover",
    title="ROVER: what a random policy is worth",
    part="control",
    paper="arXiv 2509.24981",
    minutes=40,
    needs=("03",),
    pieces=("control.action_values", "objectives.Rover"),
    experiments={
        "exact": Experiment(exact.run, tuple(range(10))),
        "gpt": Experiment(sampled.COMPARISON.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.COMPARISON.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"theory": figures.theory_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
