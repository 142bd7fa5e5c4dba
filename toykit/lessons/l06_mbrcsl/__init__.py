"""Lesson 06. MBRCSL (arXiv 2310.19308): stitching trajectories without a Bellman backup."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l06_mbrcsl import chains, exact, exercises, explorer, figures, sampled
from toykit.lessons.l06_mbrcsl.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="06",
    slug="mbrcsl",
    title="MBRCSL: stitching without a backup",
    part="control",
    paper="arXiv 2310.19308",
    minutes=45,
    pieces=(
        "control.offline.fitted_q_iteration",
        "control.offline.ReturnConditioned",
        "control.offline.mbrcsl",
        "control.simulation.enumerate_episodes",
        "control.worlds.linear_q",
        "control.worlds.stitching_maze",
    ),
    experiments={
        "exact": Experiment(exact.run, tuple(range(40))),
        "gpt": Experiment(sampled.gpt, SEEDS, recorded=True),
        "llm": Experiment(chains.llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {
            "linear": figures.linear_figure,
            "stitching": figures.stitching_figure,
        },
        "gpt": {"maze": figures.maze_figure},
        "llm": {"pass@1": figures.chains_figure},
    },
)
