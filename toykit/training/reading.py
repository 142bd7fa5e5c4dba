"""Reading: what a policy, a reference and a critic say of a batch, as the trainer's settings have it read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from toykit.rollouts import Rollouts, outputs, token_logps, token_means, token_scores, vocab_logps
from toykit.rollouts.batch import in_pieces
from toykit.training.processes import Processes
from toykit.training.spread import Spread, divided


@dataclass(frozen=True)
class Reader:
    """Reads models on batches: in bf16 with `autocast`, at the temperature that completions are drawn at, and
    `micro_size` completions at once where nothing is differentiated."""

    models: Spread
    processes: Processes
    device: torch.device
    temperature: float
    autocast: bool
    micro_size: int | None

    def logp(self, policy: nn.Module, r: Rollouts) -> Tensor:
        """[B, G, T] of the completions' tokens."""
        return self._read(token_logps, policy, r)

    def vocab_logp(self, policy: nn.Module, r: Rollouts) -> Tensor:
        """[B, G, T, V] of every token."""
        return self._read(vocab_logps, policy, r)

    def entropy(self, policy: nn.Module, r: Rollouts) -> Tensor:
        """[B, G, T] of the next-token laws, nats."""
        return self._read(token_scores, policy, r)[1]

    def logp_and_mean(self, policy: nn.Module, r: Rollouts) -> tuple[Tensor, Tensor]:
        """[B, G, T] of the completions' tokens, and the mean over the vocabulary at each place, without a gradient."""
        logp, mean = self._read(token_means, policy, r)
        return logp, mean

    def mean_logp(self, policy: nn.Module, r: Rollouts) -> Tensor:
        """[B, G, T], the mean over the vocabulary at each place."""
        return self.logp_and_mean(policy, r)[1]

    def values(self, critic: nn.Module, r: Rollouts) -> Tensor:
        """[B, G, T] before each token."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return outputs(critic, r.prompts, r.prompt_mask, r.completions, r.mask)[..., 0]

    def all_of(self, rollouts: Rollouts, read: Callable[[nn.Module, Rollouts], Tensor], model: nn.Module) -> Tensor:
        """What `read` gives of a whole batch, 0 where masked: each process reads its share, in pieces."""

        def read_piece(piece: Rollouts) -> Tensor:
            return self.models.read(partial(read, model, piece))

        return divided(self.processes, rollouts, lambda mine: in_pieces(read_piece, mine, self.micro_size))

    def _read(self, scores: Callable[..., Any], policy: nn.Module, r: Rollouts) -> Any:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.autocast):
            return scores(policy, r.prompts, r.prompt_mask, r.completions, r.mask, self.temperature)
