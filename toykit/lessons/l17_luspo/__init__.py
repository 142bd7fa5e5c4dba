"""Lesson 17. LUSPO (arXiv 2602.05261): a mean over tokens pays short answers more; a sum pays all alike."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l17_luspo import exact, exercises, explorer, figures, sampled
from toykit.lessons.l17_luspo.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="17",
    slug="luspo",
    title="LUSPO: why answers get shorter",
    part="methods",
    paper="arXiv 2602.05261",
    minutes=40,
    needs=("03",),
    pieces=("objectives.ratio", "objectives.token_weights", "objectives.Clip", "exact.group_expectation"),
    experiments={
        "exact": Experiment(exact.run, (3,)),
        "gpt": Experiment(sampled.LUSPO.on_gpt, tuple(range(10)), recorded=True),
        "llm": Experiment(sampled.LUSPO.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"flow": figures.flow_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
