"""How fast training is beside what the device could do: tokens a second, MFU, and the roofline share of drawing.

`with watching() as seen:` notes what every trainer does within, and `seen.summary(device)` tells it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn

from toykit.policies import GPT
from toykit.rollouts import Rollouts

# (operations a second of dense bf16 matrix products, bytes a second of memory), from NVIDIA's data sheets; the
# longest name that is part of the device's own counts.
RATES = {
    "A100": (312e12, 2.0e12),
    "H100": (989e12, 3.35e12),
    "H100 PCIe": (756e12, 2.0e12),
    "H100 NVL": (835e12, 3.9e12),
    "H200": (989e12, 4.8e12),
}


@dataclass(frozen=True)
class Shape:
    """What the work of a transformer depends on: its parameters (tied ones once), layers, width of attention (heads
    times a head's width), numbers a token adds to the key-value cache, and bytes of a number."""

    parameters: int
    layers: int
    attention: int
    cached: int
    itemsize: int

    @staticmethod
    def of(policy: nn.Module) -> Shape | None:
        """None for a policy that is no transformer whose sizes are known, such as a table."""
        if isinstance(policy, GPT):
            c = policy.config
            layers, attention, cached = c.layers, c.width, 2 * c.layers * c.width
        else:
            config: Any = getattr(policy, "config", None)
            names = ("num_hidden_layers", "num_attention_heads", "hidden_size")
            if config is None or not all(hasattr(config, name) for name in names):
                return None
            layers, heads = config.num_hidden_layers, config.num_attention_heads
            head = getattr(config, "head_dim", None) or config.hidden_size // heads
            attention = heads * head
            cached = 2 * layers * (getattr(config, "num_key_value_heads", None) or heads) * head
        weights = list(policy.parameters())
        return Shape(sum(p.numel() for p in weights), layers, attention, cached, weights[0].element_size())

    def operations(self, tokens: int, length: float) -> float:
        """Multiplications and additions of a forward and a backward pass over tokens that see `length` others each:
        6 a parameter and token, and 12 a layer for attention (PaLM, arXiv 2204.02311, appendix B)."""
        return tokens * (6.0 * self.parameters + 12.0 * self.layers * self.attention * length)

    def bytes_read(self, rows: float, length: float) -> float:
        """The least that one step of drawing must read: each parameter once, and the cache of `rows` sequences."""
        return self.itemsize * (self.parameters + rows * length * self.cached)


@dataclass
class Seen:
    """Sums over steps: tokens drawn and learned from, seconds, operations of updates, bytes that drawing must read.

    Of processes that train together (`world`) tokens are those of all, operations and bytes those of one. Of
    `processes` that worked side by side, each on steps of its own, everything is summed; `held` is the most memory
    that those which have ended held on their devices, in bytes.
    """

    drawn: int = 0
    drawing: float = 0.0
    learned: int = 0
    learning: float = 0.0
    operations: float = 0.0
    bytes_read: float = 0.0
    processes: int = 1
    held: int = 0

    def add(self, other: Seen) -> None:
        """What a process has seen that worked beside this one."""
        for each in fields(self):
            setattr(self, each.name, getattr(self, each.name) + getattr(other, each.name))

    def draw(self, policy: nn.Module, made: Rollouts, seconds: float, world: int = 1) -> None:
        """Rollouts that a policy drew in so many seconds."""
        self.drawn, self.drawing = self.drawn + int(made.mask.sum()), self.drawing + seconds
        if (shape := Shape.of(policy)) is not None:
            p, going = made.prompts.shape[-1], made.mask.sum((0, 1)).tolist()
            self.bytes_read += sum(shape.bytes_read(rows / world, p + t) for t, rows in enumerate(going))

    def learn(self, policy: nn.Module, made: Rollouts, passes: int, seconds: float, world: int = 1) -> None:
        """Updates of so many seconds in all that differentiated the rollouts `passes` times."""
        self.learned, self.learning = self.learned + passes * int(made.mask.sum()), self.learning + seconds
        if (shape := Shape.of(policy)) is not None:
            lengths = made.prompt_mask.sum(-1, keepdim=True) + made.lengths
            mean = float((lengths.double() ** 2).sum() / lengths.sum()) / 2
            self.operations += passes * shape.operations(int(lengths.sum()), mean) / world

    def summary(self, device: str | torch.device) -> dict[str, float | str | None]:
        """Plain figures; those that need rates of the device, or memory counts, are None where these are unknown.

        mfu                 operations that the updates need, over what the device could do in their time in bf16
        roofline_of_drawing bytes that drawing must read, over what the device could read in its time
        processes           that worked side by side, all the time; figures and memory are those of all of them together
        """
        where = torch.device(device)
        on_cuda = where.type == "cuda"
        name = torch.cuda.get_device_name(where) if on_cuda else "cpu"
        operations, bandwidth = rates(name) or (None, None)
        drawing, learning = self.drawing / self.processes, self.learning / self.processes
        return {
            "device": name,
            "processes": self.processes,
            "drawn_tokens_per_second": _ratio(self.drawn, drawing),
            "learned_tokens_per_second": _ratio(self.learned, learning),
            "mfu": _ratio(self.operations, learning * operations) if operations else None,
            "roofline_of_drawing": _ratio(self.bytes_read, drawing * bandwidth) if bandwidth else None,
            "peak_memory": self.held + peak(where) if on_cuda else None,
        }


def peak(device: str | torch.device) -> int:
    """The most memory, in bytes, that this process has held on a device; 0 on the CPU."""
    return torch.cuda.max_memory_allocated(device) if torch.device(device).type == "cuda" else 0


def rates(name: str) -> tuple[float, float] | None:
    """(operations a second in bf16, bytes a second) of a device by its name, None where it is not known."""
    known = [key for key in RATES if all(word in name for word in key.split())]
    return RATES[max(known, key=len)] if known else None


_SEEN: ContextVar[Seen | None] = ContextVar("seen", default=None)


@contextmanager
def watching() -> Iterator[Seen]:
    """Within, what trainers do is noted."""
    token = _SEEN.set(seen := Seen())
    try:
        yield seen
    finally:
        _SEEN.reset(token)


def watched() -> Seen | None:
    """What notes are taken in, None where nobody watches."""
    return _SEEN.get()


def clock(device: torch.device) -> float:
    """Seconds, when all that the device was asked to do is done; only asked for where somebody watches."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _ratio(a: float, b: float) -> float | None:
    return a / b if b > 0 else None
