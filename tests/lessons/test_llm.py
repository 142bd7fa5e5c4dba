"""The models of the llm rung at their full size, which no test trains."""

from __future__ import annotations

import importlib

import pytest
import torch

from toykit.lessons.registry import load, modules
from toykit.lessons.rungs import Comparison
from toykit.policies.qwen3 import qwen3
from toykit.tasks import Vocab

VOCAB = Vocab(tuple("0123456789"))


def sizes(number: str) -> list[dict[str, int]]:
    """The models of a lesson's llm rung."""
    run = load(number).experiments["llm"].run
    if isinstance(made := getattr(run, "__self__", None), Comparison):
        return [dict(setup.base) for setup in made.llm.values()]
    return [size.model for size in importlib.import_module(run.__module__).SIZES.values()]


MODELS = [(number, model) for number in modules() for model in sizes(number)]


@pytest.mark.parametrize(("number", "model"), MODELS)
def test_the_full_size_of_every_lessons_llm_rung_can_be_called(number, model):
    """With one thin layer: what could not fit are the heads."""
    thin = qwen3(VOCAB, model | {"num_hidden_layers": 1, "intermediate_size": 8})
    assert thin(torch.tensor([[1, 3, 5]])).logits.isfinite().all()
