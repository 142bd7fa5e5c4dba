"""Lesson 22. PACS (arXiv 2509.02522): the outcome as a label, the policy's log-ratio as the logit."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l22_pacs import exact, exercises, explorer, figures, sampled
from toykit.lessons.l22_pacs.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="22",
    slug="pacs",
    title="PACS: a label instead of a reward",
    part="methods",
    paper="arXiv 2509.02522",
    minutes=40,
    needs=("01", "03"),
    pieces=("objectives.PACS", "exact.enumerate_groups", "exact.ascend_until", "exact.group_weight"),
    experiments={
        "exact": Experiment(exact.run),
        "gpt": Experiment(sampled.COMPARISON.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.COMPARISON.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"flow": figures.flow_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
