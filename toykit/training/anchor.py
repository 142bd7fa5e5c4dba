"""The anchor: completions of the base policy, kept through a run, on which the forward KL is taken."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from toykit.objectives import ForwardKL, Prepared
from toykit.rollouts import Enumerated, Rollouts, Sampled, Strategy
from toykit.tasks.base import Prompts, Task

CHUNK = 256  # prompts that are drawn at once
KEPT = ("completions", "mask", "old_logp", "rewards", "weights")


class Anchor:
    """A `ForwardKL` with the base policy's completions of every prompt.

    They are drawn once, at the temperature of the run's strategy and from a generator of their own; with enumerated
    rollouts they are all completions with the base policy's probabilities.
    """

    def __init__(
        self, term: ForwardKL, base: nn.Module, task: Task, prompts: Prompts, strategy: Strategy, seed: int
    ) -> None:
        self.term = term
        make = strategy
        if isinstance(strategy, Sampled):
            make = replace(strategy, group_size=term.samples)
        elif not isinstance(strategy, Enumerated):
            make = Sampled(term.samples)
        device = prompts.tokens.device
        generator = torch.Generator(device).manual_seed(seed)
        rows = torch.arange(len(prompts), device=device).split(CHUNK)
        self.base = Rollouts.cat([make(base, task, prompts[r], generator) for r in rows])
        self.row = torch.full((int(prompts.ids.max()) + 1,), -1, device=device)
        self.row[prompts.ids] = torch.arange(len(prompts), device=device)

    def batch(self, prompts: Prompts) -> Prepared:
        """The forward KL's batch for some of the prompts: their mean is taken."""
        return self.term.prepare(self.base.take(self.row[prompts.ids]))

    def state(self) -> dict[str, Tensor]:
        return {name: getattr(self.base, name) for name in KEPT}

    def load(self, state: dict[str, Tensor]) -> None:
        self.base = self.base.with_(**{name: state[name].to(self.base.mask.device) for name in KEPT}).check()
