"""Lesson 13. BroRL: scaling reinforcement learning via broadened exploration (2025)."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l13_brorl import exact, exercises, figures, sampled
from toykit.lessons.l13_brorl.claims import CLAIMS

__all__ = ["LESSON", "exercises"]

LESSON = Lesson(
    number="13",
    slug="brorl",
    title="BroRL: mass balance and broadened exploration",
    part="foundations",
    paper="arXiv 2510.01180",
    experiments={
        "exact": Experiment(exact.run, seeds=(0, 1, 2, 3, 4)),
        "gpt": Experiment(sampled.gpt, seeds=(0, 1, 2, 3, 4), recorded=True),
        "llm": Experiment(sampled.llm, seeds=(0, 1, 2, 3, 4), recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"terms": figures.terms_figure, "simulation": figures.simulation_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
    minutes=45,
    needs=("01",),
    pieces=("exact.mass_balance", "exact.subset_law", "exact.informative", "rollouts.Sampled", "objectives.Advantage"),
)
