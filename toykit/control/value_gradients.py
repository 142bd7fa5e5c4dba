"""Gradients of a value function at data points, kept with a stamp of the value function that they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass

import torch
from torch import Tensor, nn

from toykit._checks import shape
from toykit.control.model_losses import ValueFunction, clip_norms


class StaleGradients(ValueError):
    """Gradients were asked for that belong to an earlier value function."""


@dataclass(frozen=True, eq=False)
class ValueGradients:
    """The gradients of K value functions at N states, made by `ValueGradients.of`.

    values    the value functions
    gradient  [K, N, d]: grad V_k at each state
    stamp     what `version(values)` was when they were made

    One object belongs to one set of states: training and validation data have one each. It never changes; a value
    function that has changed asks for a new one, and until then `at` refuses.
    """

    values: tuple[ValueFunction, ...]
    gradient: Tensor
    stamp: str

    @classmethod
    def of(
        cls,
        values: ValueFunction | Sequence[ValueFunction],
        states: Tensor,
        scale: Tensor | None = None,
        clip: float | None = None,
        free: float = 0.0,
    ) -> ValueGradients:
        """The gradients at `states` [N, d], in the states' dtype.

        values  one value function or several: modules, or dataclasses of tensors (see `version`)
        scale   [d] units in which the model's error is measured, where states are divided by them: gradients are
                multiplied by them
        clip    quantile of the norms to which larger ones are scaled down (None: none are); `free` as in `clip_norms`

        Raises ValueError where a value function is not differentiable at a state, with the state, and where all
        gradients are 0: every model would then have loss 0.
        """
        each = tuple(values) if isinstance(values, Sequence) else (values,)
        if states.dim() != 2 or 0 in states.shape:
            raise ValueError(f"states must have shape [N, d], got {list(states.shape)}")
        gradient = torch.stack([gradient_at(v, states) for v in each])
        if not bool(gradient.any()):
            raise ValueError(f"values must not be flat at all {len(states)} states: every model would have loss 0")
        if scale is not None:
            gradient = gradient * shape("scale", scale, (states.shape[1],))
        return cls(each, gradient if clip is None else clip_norms(gradient, clip, free), version(each))

    def at(self, index: Tensor | slice = slice(None)) -> Tensor:
        """Gradients [K, M, d] of the states `index` (int64 or bool, or a slice; all if not given).

        Raises StaleGradients where the value functions have changed since they were made.
        """
        if (now := version(self.values)) != self.stamp:
            raise StaleGradients(
                f"gradients must belong to the current value function, got those of version {self.stamp}, "
                f"it is now {now}: make them again with ValueGradients.of"
            )
        return self.gradient[:, index]

    def norm(self) -> Tensor:
        """[K, N] norms of the gradients."""
        return self.gradient.norm(dim=-1)


def version(values: ValueFunction | Sequence[ValueFunction]) -> str:
    """A stamp of value functions, the same as long as all their numbers are: a hash of what they hold.

    That is the state dict of a module and the fields of a dataclass (as `toykit.control.lqr.Quadratic`). Raises
    ValueError for another function, whose changes could not be seen.
    """
    digest = hashlib.blake2b(digest_size=8)
    for value in values if isinstance(values, Sequence) else (values,):
        for part in _content(value):
            digest.update(part)
    return digest.hexdigest()


def gradient_at(value: ValueFunction, states: Tensor) -> Tensor:
    """grad V [N, d] at `states` [N, d], detached.

    Raises ValueError where V does not depend on the states through operations that have a derivative, and, with the
    state, where the gradient is not finite or jumps: there is a kink.
    """
    gradient = _gradient(value, states)
    if not bool((finite := gradient.isfinite().all(-1)).all()):
        at = int((~finite).nonzero()[0, 0])
        raise ValueError(f"value must be differentiable, its gradient is {_at(gradient, at)} at {_at(states, at)}")
    kinks = _jumps(value, states)
    if bool(kinks.any()):
        at = int(kinks.nonzero()[0, 0])
        raise ValueError(f"value must be differentiable, its gradient jumps at {_at(states, at)}")
    return gradient


def _content(item: object) -> Iterator[bytes]:
    """The numbers and names that make up a value function, as bytes."""
    yield type(item).__qualname__.encode()
    if isinstance(item, Tensor):
        yield repr(tuple(item.shape)).encode()
        yield item.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
    elif isinstance(item, Sequence) and not isinstance(item, str):
        for part in item:
            yield from _content(part)
    elif isinstance(item, nn.Module):
        for name, tensor in item.state_dict().items():
            yield name.encode()
            yield from _content(tensor)
    elif is_dataclass(item):
        for field in fields(item):
            yield from _content(getattr(item, field.name))
    elif isinstance(item, str | int | float | None):
        yield repr(item).encode()
    else:
        raise ValueError(f"value must be a module or a dataclass of tensors and numbers, got {type(item).__name__}")


def _at(table: Tensor, row: int) -> str:
    return "[" + ", ".join(f"{x:.6g}" for x in table[row].tolist()) + f"] (state {row})"


def _gradient(value: ValueFunction, states: Tensor) -> Tensor:
    points = states.detach().clone()
    if not points.is_floating_point():
        raise ValueError(f"states must be floating-point numbers to have a gradient, got {points.dtype}")
    with torch.enable_grad():
        v = value(points.requires_grad_())
        shape("value's result", v, (len(points),))
        if not v.requires_grad:
            raise ValueError("value must be differentiable in the states, its result does not depend on them that way")
        (gradient,) = torch.autograd.grad(v.sum(), points, allow_unused=True)
    if gradient is None:
        raise ValueError("value must be differentiable in the states, its result does not depend on them that way")
    return gradient


def _jumps(value: ValueFunction, states: Tensor) -> Tensor:
    """bool [N]: where the gradient differs by as much across a step to both sides as across a step twice as long.

    For a smooth function the difference halves with the step. The steps are a few roundings long, so that only a kink
    at the state itself counts, and go along a direction that is special for no coordinate.
    """
    size = 8 * torch.finfo(states.dtype).eps * states.abs().clamp(min=1.0)
    step = size * torch.cos(1.0 + torch.arange(states.shape[1], dtype=states.dtype, device=states.device))
    ends = [_gradient(value, states + k * step) for k in (-2, -1, 1, 2)]
    wide, narrow = (ends[3] - ends[0]).norm(dim=-1), (ends[2] - ends[1]).norm(dim=-1)
    slope = torch.stack([e.norm(dim=-1) for e in ends]).amax(0)
    return (narrow > 1e-3 * slope) & (narrow > 0.75 * wide)
