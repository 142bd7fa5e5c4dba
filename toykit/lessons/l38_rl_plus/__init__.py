"""Lesson 38. RL-PLUS (arXiv 2508.00222): a solution from elsewhere is pushed by its tokens' odds, not its path's."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l38_rl_plus import exact, exercises, explorer, figures, sampled
from toykit.lessons.l38_rl_plus.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="38",
    slug="rl_plus",
    title="RL-PLUS: solutions too rare to be sampled",
    part="methods",
    paper="arXiv 2508.00222",
    needs=("35",),
    pieces=("rollouts.Solutions", "rollouts.Mixed", "objectives.MIS", "objectives.Exploring"),
    experiments={
        "exact": Experiment(exact.run, exact.SEEDS),
        "gpt": Experiment(sampled.RL_PLUS.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.RL_PLUS.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"rare": figures.rare_figure},
        "gpt": {"training": figures.training_figure, "coverage": figures.coverage_figure},
        "llm": {"training": figures.training_figure, "coverage": figures.coverage_figure},
    },
)
