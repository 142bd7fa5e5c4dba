"""Lesson 35. Does RL incentivise reasoning beyond the base model? (Yue et al. 2025)."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l35_limit_of_rlvr import exact, exercises, explorer, figures, sampled
from toykit.lessons.l35_limit_of_rlvr.claims import EXACT_CLAIMS
from toykit.lessons.l35_limit_of_rlvr.sampled_claims import SAMPLED_CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="35",
    slug="limit_of_rlvr",
    title="The limit of RLVR: pass@k and coverage",
    part="foundations",
    paper="arXiv 2504.13837",
    minutes=45,
    needs=("02",),
    pieces=(
        "diagnostics.pass_at_k",
        "diagnostics.support_table",
        "diagnostics.efficiency_gap",
        "diagnostics.perplexity",
        "diagnostics.match_temperature",
        "exact.RightPaths",
        "rollouts.Given",
        "objectives.GreedyBaseline",
    ),
    experiments={
        "exact": Experiment(exact.run, seeds=(0, 1, 2, 3, 4)),
        "gpt": Experiment(sampled.LIMIT.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.LIMIT.on_llm, SEEDS, recorded=True),
    },
    claims=(*EXACT_CLAIMS, *SAMPLED_CLAIMS),
    figures={
        "exact": {
            "crossing": figures.crossing_figure,
            "lost": figures.lost_figure,
            "perplexity": figures.perplexity_figure,
            "estimator": figures.estimator_figure,
        },
        "gpt": {"coverage": figures.sampled_figure},
        "llm": {"coverage": figures.sampled_figure},
    },
)
