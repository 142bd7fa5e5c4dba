"""Evaluation: the reward of sampled and of greedy completions."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from toykit._checks import at_least
from toykit.policies import device_of
from toykit.rollouts import Sampled, greedy
from toykit.tasks.base import Task
from toykit.training.processes import ALONE, Processes
from toykit.training.spread import together


def evaluate(
    policy: nn.Module,
    task: Task,
    split: str = "test",
    group_size: int = 8,
    max_prompts: int | None = None,
    batch: int = 256,
    seed: int = 0,
    processes: Processes = ALONE,
) -> dict[str, float]:
    """Mean reward of `group_size` samples a prompt, of the best of them, and of the greedy completion.

    At most `max_prompts` prompts of the split, the first ones, are asked; `batch` prompts at once. Randomness comes
    from `seed` alone, so that evaluating does not move a training run. Each of several processes makes its share.
    """
    at_least("batch", batch, 1)
    if max_prompts is not None:
        at_least("max_prompts", max_prompts, 1)
    prompts = task.prompts(split).to(device_of(policy))[slice(0, max_prompts)]
    generator = torch.Generator(prompts.tokens.device).manual_seed(seed)
    sampled = []
    for rows in torch.arange(len(prompts), device=prompts.tokens.device).split(batch):
        make = partial(Sampled(group_size), policy, task, prompts[rows], generator)
        sampled.append(together(processes, make, len(rows)).rewards)
    rewards = torch.cat(sampled)
    return {
        "reward": float(rewards.mean()),
        f"best_of_{group_size}": float(rewards.amax(-1).mean()),
        "greedy": greedy_reward(policy, task, split, max_prompts, batch, processes),
    }


def greedy_reward(
    policy: nn.Module,
    task: Task,
    split: str = "test",
    max_prompts: int | None = None,
    batch: int = 256,
    processes: Processes = ALONE,
) -> float:
    """Mean reward of the greedy completions of a split's prompts: the accuracy, where a reward is 0 or 1."""
    prompts = task.prompts(split).to(device_of(policy))[slice(0, max_prompts)]
    rows = torch.arange(len(prompts), device=prompts.tokens.device).split(batch)
    made = [together(processes, partial(greedy, policy, task, prompts[r]), len(r)) for r in rows]
    return float(torch.cat([m.rewards for m in made]).double().mean())
