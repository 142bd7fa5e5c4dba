"""Memory: activations that are computed again in the place of being kept, and what to do where it is not enough."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

ASKED = re.compile(r"[Tt]ried to allocate ([\d.]+ ?\w+)")


@contextmanager
def recomputing(policy: nn.Module) -> Iterator[None]:
    """Within, a layer's activations are forgotten after its forward pass and made again in its backward pass.

    For a GPT and for transformers models. Dropout stays off, and a key-value cache can be used outside as ever. Raises
    ValueError for any other policy, which has no layers to do it with.
    """
    layers, on, off = _layers(policy)
    on()
    for layer in layers:
        layer.training = True  # of the layer alone: transformers recomputes in training, where dropout would be on too
    try:
        yield
    finally:
        for layer in layers:
            layer.training = False
        off()


def _layers(policy: Any) -> tuple[list[nn.Module], Any, Any]:
    """(the layers whose mode matters, what switches recomputing on, what switches it off)."""
    from toykit.policies import GPT

    if isinstance(policy, GPT):
        return [], lambda: setattr(policy, "recompute", True), lambda: setattr(policy, "recompute", False)
    if not getattr(policy, "supports_gradient_checkpointing", False):
        raise ValueError(f"recompute must be False for a {type(policy).__name__}, which has no layers to recompute")
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [m for m in policy.modules() if isinstance(m, GradientCheckpointingLayer)]
    if hasattr(policy, "activation_checkpointing_enable"):  # the name since transformers 5.20
        return layers, policy.activation_checkpointing_enable, policy.activation_checkpointing_disable
    return layers, policy.gradient_checkpointing_enable, policy.gradient_checkpointing_disable


@contextmanager
def explained(device: torch.device, advice: str) -> Iterator[None]:
    """Within, an error of the allocator becomes a MemoryError that says how much was needed and there, and `advice`."""
    try:
        yield
    except (torch.OutOfMemoryError, RuntimeError) as error:
        if not isinstance(error, torch.OutOfMemoryError) and "can't allocate memory" not in str(error):
            raise
        asked = ASKED.search(str(error))
        more = f"{_readable(asked[1])} more" if asked else "more"
        raise MemoryError(
            f"memory of {device} must hold the step, which needs {more}: {_there(device)}; {advice}"
        ) from error


def _readable(amount: str) -> str:
    """ "2.00 GiB" as it is; a number of bytes in GiB."""
    number, unit = re.fullmatch(r"([\d.]+) ?(\w+)", amount).groups()  # type: ignore[union-attr]
    return f"{float(number) / 2**30:.2f} GiB" if unit in ("bytes", "byte") else amount


def _there(device: torch.device) -> str:
    """How much memory a device has, and who holds it."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        held, peak = torch.cuda.memory_allocated(device), torch.cuda.max_memory_allocated(device)
        sizes = (x / 2**30 for x in (total, free, held, peak))
        return "it has {:.1f} GiB, of which {:.1f} are free, {:.1f} held and at most {:.1f} were".format(*sizes)
    from toykit.training.machine import memory

    found = memory()
    if found["total"] is None or found["available"] is None:
        return "the system does not say how much there is"
    return f"it has {found['total'] / 2**30:.1f} GiB, of which {found['available'] / 2**30:.1f} are free"
