"""Lesson 54. MSSR (arXiv 2512.18215): one completion a prompt, against what the prompt gave before."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l54_mssr import exact, exercises, explorer, figures, sampled
from toykit.lessons.l54_mssr.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="54",
    slug="mssr",
    title="MSSR: one completion a prompt",
    part="methods",
    paper="arXiv 2512.18215",
    minutes=40,
    needs=("03",),
    pieces=("objectives.Tracker", "objectives.EntropyShaping", "objectives.forgetting", "exact.mean_score"),
    experiments={
        "exact": Experiment(exact.run, (0, 1, 2, 3, 4, 5)),
        "gpt": Experiment(sampled.MSSR.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.MSSR.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"shaping": figures.exact_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
