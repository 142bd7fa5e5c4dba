"""Lesson 10. RAPO (arXiv 2510.03865): a forward KL and a flattened reference, to find what the base hardly says."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l10_rapo import exact, exercises, explorer, figures, sampled
from toykit.lessons.l10_rapo.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="10",
    slug="rapo",
    title="RAPO: which way the KL looks",
    part="foundations",
    paper="arXiv 2510.03865",
    minutes=45,
    needs=("02",),
    pieces=(
        "objectives.OnPolicyForwardKL",
        "objectives.Tempering",
        "objectives.EntropyBonus",
        "exact.forward_kl_optimum",
        "exact.reverse_kl_optimum",
    ),
    experiments={
        "exact": Experiment(exact.run, seeds=exact.SEEDS),
        "gpt": Experiment(sampled.RAPO.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.RAPO.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"optima": figures.optima_figure, "coverage": figures.coverage_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
