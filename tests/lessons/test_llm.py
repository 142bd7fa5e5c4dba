"""The models of the llm rung at their full size, which no test trains."""

from __future__ import annotations

import importlib

import pytest
import torch

from toykit.policies.qwen3 import qwen3
from toykit.tasks import Vocab

VOCAB = Vocab(tuple("0123456789"))


LESSONS = (
    "l01_kl_as_bayes",
    "l02_reasoning_boundary",
    "l03_lite_ppo",
    "l10_rapo",
    "l13_brorl",
    "l31_survey",
    "l32_alignment_asymptotics",
    "l35_limit_of_rlvr",
)


@pytest.mark.parametrize("lesson", LESSONS)
def test_the_full_size_of_every_lessons_llm_rung_can_be_called(lesson):
    """With one thin layer: what could not fit are the heads."""
    for size in importlib.import_module(f"toykit.lessons.{lesson}.sampled").SIZES.values():
        thin = qwen3(VOCAB, size.model | {"num_hidden_layers": 1, "intermediate_size": 8})
        assert thin(torch.tensor([[1, 3, 5]])).logits.isfinite().all()
