"""Lesson 23. PR-LSVI (Wu and Sun 2023, arXiv 2310.14554): learning from preferences by randomisation."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l23_pr_lsvi import exact, exercises, explorer, figures, sampled
from toykit.lessons.l23_pr_lsvi.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="23",
    slug="pr_lsvi",
    title="PR-LSVI: when to ask, and why to plan with noise",
    part="control",
    paper="arXiv 2310.14554",
    minutes=45,
    needs=("04",),
    pieces=(
        "control.online.pr_lsvi",
        "control.online.fit_logistic",
        "control.online.disagreement",
        "control.online.pbts",
        "control.online.ComparedReward",
    ),
    experiments={
        "exact": Experiment(exact.run, tuple(range(20))),
        "gpt": Experiment(sampled.ON_GPT.on_gpt, tuple(range(10)), recorded=True),
        "llm": Experiment(sampled.ON_LLM.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"frontier": figures.frontier_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
