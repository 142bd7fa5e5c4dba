"""Lesson 02. The reasoning boundary paradox (arXiv 2510.02230): prompts that share parameters win and lose."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l02_reasoning_boundary import exact, exercises, explorer, figures, sampled
from toykit.lessons.l02_reasoning_boundary.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="02",
    slug="reasoning_boundary",
    title="Winner takes all: what one prompt's step does to another",
    part="foundations",
    paper="arXiv 2510.02230",
    minutes=45,
    needs=("01",),
    pieces=(
        "exact.expected_group_update",
        "diagnostics.linear_interference",
        "diagnostics.delta_plus",
        "diagnostics.exact_pass_at_k",
        "selection.greedy_failures",
        "objectives.ForwardKL",
    ),
    experiments={
        "exact": Experiment(exact.run, seeds=exact.SEEDS),
        "gpt": Experiment(sampled.BOUNDARY.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.BOUNDARY.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"coverage": figures.coverage_figure, "winners": figures.winners_figure},
        "gpt": {"training": figures.training_figure, "influence": figures.influence_figure},
        "llm": {"training": figures.training_figure},
    },
)
