"""Lesson 14. Effective horizon (arXiv 2312.08369): how few steps one must look ahead of a random policy."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l14_effective_horizon import exact, exercises, explorer, figures, next_tokens, sampled
from toykit.lessons.l14_effective_horizon.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="14",
    slug="effective_horizon",
    title="Effective horizon: how far to look beyond a random policy",
    part="control",
    paper="arXiv 2312.08369",
    minutes=45,
    needs=("16",),
    pieces=(
        "control.lookahead",
        "control.online.sqirl",
        "control.online.pooled_sqirl",
        "control.online.of_network",
        "control.worlds.grid_world",
    ),
    experiments={
        "exact": Experiment(exact.run, tuple(range(40))),
        "gpt": Experiment(sampled.gpt, SEEDS, recorded=True),
        "llm": Experiment(next_tokens.llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {
            "lookahead": figures.lookahead_figure,
            "sqirl": figures.sqirl_figure,
            "designs": figures.designs_figure,
        },
        "gpt": {"rooms": figures.rooms_figure, "completions": figures.completions_figure},
        "llm": {"ranking": figures.ranking_figure},
    },
)
