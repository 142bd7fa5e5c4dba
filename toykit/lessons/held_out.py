"""What several lessons measure on held-out prompts by sampling: success, lengths, entropy."""

from __future__ import annotations

import torch

from toykit.lessons.compare import Figures
from toykit.policies import device_of
from toykit.rollouts import Rollouts, Sampled
from toykit.training import Trainer

PROMPTS = 256


@torch.no_grad()
def held_out(trainer: Trainer, seed: int, group_size: int, prompts: int = PROMPTS) -> Rollouts:
    """Groups of the policy as it is for (at most) the first `prompts` of the test split; the same for the same seed."""
    asked = trainer.task.prompts("test").to(device_of(trainer.policy))[slice(0, prompts)]
    generator = torch.Generator(asked.tokens.device).manual_seed(seed)
    return Sampled(group_size)(trainer.policy, trainer.task, asked, generator)


def summary(made: Rollouts) -> Figures:
    """Success; mean length of all, of right and of wrong completions (0 where there are none); entropy in nats, of a
    completion and per token."""
    kinds = {"length": torch.ones_like(made.correct), "length, right": made.correct, "length, wrong": ~made.correct}
    lengths, surprise = made.lengths.double(), -made.old_logp.double().sum(-1)
    return {
        "success": float(made.correct.double().mean()),
        **{name: float((lengths * kind).sum() / kind.sum().clamp(min=1)) for name, kind in kinds.items()},
        "entropy": float(surprise.mean()),
        "token entropy": float(surprise.sum() / lengths.sum()),
    }
