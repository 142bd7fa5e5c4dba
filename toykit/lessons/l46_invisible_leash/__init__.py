"""Lesson 46. The invisible leash (arXiv 2507.14843): what on-policy RL can reach, keeps and loses."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l46_invisible_leash import exact, exercises, explorer, figures, sampled
from toykit.lessons.l46_invisible_leash.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="46",
    slug="invisible_leash",
    title="The invisible leash: support and entropy",
    part="methods",
    paper="arXiv 2507.14843",
    minutes=45,
    needs=("35",),
    pieces=(
        "diagnostics.detectable",
        "diagnostics.support_table",
        "diagnostics.answer_entropy",
        "exact.posterior",
        "objectives.OneSign",
        "rollouts.Given",
    ),
    experiments={
        "exact": Experiment(exact.run, seeds=exact.SEEDS),
        "gpt": Experiment(sampled.LEASH.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.LEASH.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"flow": figures.flow_figure, "support": figures.support_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
