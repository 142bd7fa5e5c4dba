"""Lesson 27. ACE (arXiv 2602.21420): errors that training has made more confident are punished harder."""

from __future__ import annotations

from toykit.lessons.base import Experiment, Lesson
from toykit.lessons.l27_ace import sampled
from toykit.lessons.l27_ace.claims import CLAIMS
from toykit.lessons.rungs import SEEDS

LESSON = Lesson(
    number="27",
    slug="ace",
    title="ACE: which wrong answer is punished",
    part="methods",
    paper="arXiv 2602.21420",
    needs=("02",),
    experiments={
        "gpt": Experiment(sampled.ACE.on_gpt, SEEDS, recorded=True),
        "llm": Experiment(sampled.ACE.on_llm, SEEDS, recorded=True),
    },
    claims=CLAIMS,
)
