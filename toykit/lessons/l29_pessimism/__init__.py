"""Lesson 29. Pessimism (arXiv 2103.12021): of data that cannot grow, take what is surely good."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l29_pessimism import exact, exercises, explorer, figures, sampled
from toykit.lessons.l29_pessimism.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

__all__ = ["LESSON", "exercises", "explorer"]

LESSON = Lesson(
    number="29",
    slug="pessimism",
    title="Pessimism: imitate or optimise, without knowing which",
    part="control",
    paper="arXiv 2103.12021",
    minutes=45,
    pieces=("control.lcb", "control.vi_lcb", "control.concentrability", "control.bonus", "rewards.lower_confidence"),
    experiments={
        "exact": Experiment(exact.run, tuple(range(20))),
        "gpt": Experiment(sampled.gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"bandit": figures.bandit_figure, "mdp": figures.mdp_figure},
        "gpt": {"logged": figures.logged_figure},
        "llm": {"over_optimisation": figures.over_optimisation_figure},
    },
)
