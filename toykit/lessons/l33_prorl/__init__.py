"""Lesson 33. ProRL (arXiv 2505.24864): a KL penalty caps what is learned; resetting its reference lifts the cap."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l33_prorl import exact, exercises, explorer, figures, sampled
from toykit.lessons.l33_prorl.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="33",
    slug="prorl",
    title="ProRL: resetting the reference",
    part="methods",
    paper="arXiv 2505.24864",
    needs=("01", "35"),
    pieces=("objectives.Reference", "objectives.Plateau", "exact.reverse_kl_optimum"),
    experiments={
        "exact": Experiment(exact.run),
        "gpt": Experiment(sampled.PRORL.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.PRORL.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"staircase": figures.staircase_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
