"""Lesson 20. CalibRL (arXiv 2602.20197): an expert's answer as a yardstick for the policy's own."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l20_calibrl import exact, exercises, explorer, figures, sampled
from toykit.lessons.l20_calibrl.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="20",
    slug="calibrl",
    title="CalibRL: an expert as a yardstick",
    part="methods",
    paper="arXiv 2602.20197",
    minutes=45,
    needs=("35",),
    pieces=("objectives.ExpertGate", "rollouts.ExpertLevel", "rollouts.Solutions", "exact.ascend_until"),
    experiments={
        "exact": Experiment(exact.run, exact.SEEDS),
        "gpt": Experiment(sampled.CALIBRL.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.CALIBRL.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"gate": figures.gate_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
