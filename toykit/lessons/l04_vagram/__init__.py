"""Lesson 04. Value-gradient weighted model learning (Voelcker, Liao, Garg, Farahmand 2022)."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l04_vagram import exact, exercises, explorer, figures, sampled
from toykit.lessons.l04_vagram.claims import CLAIMS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="04",
    slug="vagram",
    title="Value gradients: a model must be right where the value changes",
    part="control",
    paper="arXiv 2204.01464",
    minutes=45,
    pieces=(
        "control.value_gradient_weighted",
        "control.ValueGradients",
        "control.fit_low_rank",
        "control.solve_lqr",
        "control.Distractors",
        "control.Stacked",
    ),
    experiments={
        "exact": Experiment(exact.run, seeds=(0, 1, 2, 3, 4)),
        "gpt": Experiment(sampled.gpt, seeds=(0, 1, 2, 3, 4), recorded=True),
        "llm": Experiment(sampled.llm, seeds=(0, 1, 2, 3, 4), recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"mirror": figures.mirror_figure, "capacity": figures.capacity_figure},
        "gpt": {"pendulum": figures.pendulum_figure, "rows": figures.rows_figure},
        "llm": {"rows": figures.rows_figure},
    },
)
