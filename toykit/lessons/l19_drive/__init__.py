"""Lesson 19. DRIVE (arXiv 2511.06307): which problems are trained on, in groups of what size, and in what order."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l19_drive import exact, exercises, explorer, figures, sampled
from toykit.lessons.l19_drive.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="19",
    slug="drive",
    title="DRIVE: which problems, and how many answers",
    part="methods",
    paper="arXiv 2511.06307",
    needs=("02", "10"),
    pieces=("training.Curriculum", "training.Phase", "tasks.Programs", "exact.group_weight"),
    experiments={
        "exact": Experiment(exact.run, SEEDS),
        "gpt": Experiment(sampled.DRIVE.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.DRIVE.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"ladder": figures.ladder_figure},
        "gpt": {"training": figures.training_figure, "thirds": figures.thirds_figure},
        "llm": {"training": figures.training_figure, "thirds": figures.thirds_figure},
    },
)
