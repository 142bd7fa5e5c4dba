"""Low-rank adapters (Hu et al. 2021) on a transformers model, through PEFT: only they are trained.

The adapters lie in the model's own linear layers, so that it is called as before. They begin at nothing: with them off
the model is the one that it was.
"""

from __future__ import annotations

import copy
import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import at_least
from toykit.policies.base import read


def check_installed() -> None:
    """Raises ValueError where PEFT is not there."""
    if importlib.util.find_spec("peft") is None:
        raise ValueError("peft must be installed for lora: pip install 'toykit[lora]'")


def adapted(model: nn.Module, rank: int, alpha: float | None = None, seed: int = 0) -> nn.Module:
    """The model, changed in place: its weights are frozen, and each linear layer but the last has an adapter.

    An adapter adds alpha / rank * B A to a layer's weight, where A [rank, in] is drawn with `seed`, B [out, rank] is
    0, and both are float32 or better; `alpha` is twice the rank where it is not given.
    Raises ValueError where PEFT is not there, for a model that is none of transformers, has no such layer or has
    adapters already, and for a rank below 1.
    """
    check_installed()
    at_least("rank", rank, 1)
    if not hasattr(model, "save_pretrained"):
        raise ValueError(f"model must be a transformers model for lora, got {type(model).__name__}")
    if adapters(model):
        raise ValueError("model must have no adapters yet, it has some")
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank if alpha is None else alpha, target_modules="all-linear")
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # PEFT draws from the global generator
        try:
            inject_adapter_in_model(config, model)
        except ValueError as error:
            raise ValueError(f"model must have linear layers for lora, {type(model).__name__} has none") from error
    for p in model.parameters():
        if p.requires_grad:
            p.data = p.data.to(torch.promote_types(p.dtype, torch.float32))
    return model


def adapters(model: nn.Module) -> list[Any]:
    """The layers of a model that have an adapter."""
    return [layer for layer in model.modules() if hasattr(layer, "lora_B")]


def merged(model: nn.Module) -> nn.Module:
    """A copy of an adapted model without adapters, what they add being part of its weights."""
    whole = copy.deepcopy(model)
    for name, layer in [(n, m) for n, m in whole.named_modules() if hasattr(m, "lora_B")]:
        layer.merge()
        parent, _, own = name.rpartition(".")
        setattr(whole.get_submodule(parent), own, layer.get_base_layer())
    del whole.peft_config
    return whole


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Within, the model is the one that it was before it was adapted."""
    layers = adapters(model)
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def untrained(model: nn.Module) -> bool:
    """Whether a model has adapters, all of which still add nothing."""
    return bool(layers := adapters(model)) and not any(bool(p.any()) for a in layers for p in a.lora_B.parameters())


class Unadapted(nn.Module):
    """An adapted model with its adapters off, as a policy that has no parameters of its own."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.config = model.config
        self.whole = (model,)  # in a tuple: a module that is an attribute would be a part of this one

    @torch.no_grad()
    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Any:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        with adapters_off(self.whole[0]):
            return read(self.whole[0], input_ids, mask)
