"""Lesson 47. R-BOCPD-UCRL2 (Alami, Mahfoud, Moulines 2023): notice that the world has changed, and learn anew."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l47_change_points import exact, exercises, explorer, figures, sampled
from toykit.lessons.l47_change_points.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="47",
    slug="change_points",
    title="Change points: notice that the world has changed, and learn anew",
    part="control",
    paper="arXiv 2304.00232",
    minutes=45,
    pieces=(
        "control.ChangePoints",
        "control.UCRL2",
        "control.regret_curves",
        "control.Counts",
        "training.Restarting",
        "control.Watch",
    ),
    experiments={
        "exact": Experiment(exact.run, (0, 1, 2, 3, 4, 5)),
        "gpt": Experiment(sampled.gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"detector": figures.detector_figure, "regret": figures.regret_figure},
        "gpt": {"drift": figures.drift_figure, "monitor": figures.monitor_figure},
        "llm": {"monitor": figures.monitor_figure},
    },
)
