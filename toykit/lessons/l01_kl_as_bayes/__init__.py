"""Lesson 01. RL with KL penalties is better viewed as Bayesian inference (Korbak, Perez, Buckley 2022)."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l01_kl_as_bayes import exact, exercises, figures, sampled
from toykit.lessons.l01_kl_as_bayes.claims import CLAIMS

__all__ = ["LESSON", "exercises"]

LESSON = Lesson(
    number="01",
    slug="kl_as_bayes",
    title="KL as Bayes: RL with a KL penalty is inference",
    part="foundations",
    paper="arXiv 2205.11275",
    pieces=("objectives.KL", "objectives.Posterior", "objectives.PseudoReward", "exact.elbo", "exact.moment_target"),
    experiments={
        "exact": Experiment(exact.run),
        "gpt": Experiment(sampled.gpt, seeds=(0, 1, 2, 3, 4), recorded=True),
        "llm": Experiment(sampled.llm, seeds=(0, 1, 2, 3, 4), recorded=True),
    },
    claims=CLAIMS,
    figures={
        "exact": {"collapse": figures.collapse_figure, "modes": figures.modes_figure},
        "gpt": {"training": figures.training_figure},
        "llm": {"training": figures.training_figure},
    },
)
