"""Completions that are given, a teacher's for instance, in the place of the policy's own."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toykit._checks import shape
from toykit.policies.base import check_fits
from toykit.rollouts.batch import Rollouts
from toykit.rollouts.sampling import WHOLE, Share
from toykit.tasks.bandit import TreeTask
from toykit.tasks.base import Prompts, Task


@dataclass(frozen=True)
class Given:
    """G given completions of each prompt, whatever the policy would do: distillation, with the objective "reinforce".

    Rewards are the task's, so that right completions are imitated (the loss is their cross-entropy) and wrong ones
    do not count. Row x belongs to the prompt with id x; `old_logp` is 0, for a given completion is certain.

        completions  int64 [N, G, T]
        mask         bool  [N, G, T]
        weights      float [N, G]     the law of the given ones, 1/G where None; 0 for a place that is not used

    Raises ValueError for shapes that disagree, weights that are not a law, and ids beyond N.
    """

    completions: Tensor
    mask: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        shape("mask", self.mask, tuple(self.completions.shape))
        if self.weights is not None:
            shape("weights", self.weights, tuple(self.completions.shape[:2]))
            if bool((self.weights < 0).any()) or not torch.allclose(
                self.weights.sum(-1).double(), torch.ones(1).double()
            ):
                raise ValueError("weights must be >= 0 and sum to 1 over the completions of each prompt")

    def __call__(
        self,
        policy: nn.Module,
        task: Task,
        prompts: Prompts,
        generator: torch.Generator | None = None,
        share: Share = WHOLE,
    ) -> Rollouts:
        if len(prompts) == 0:
            raise ValueError("prompts must hold at least one prompt, got none")
        check_fits(policy, task.vocab, prompts.tokens.shape[1], task.horizon)
        prompts = share.of(prompts)
        n, g = self.completions.shape[:2]
        if int(prompts.ids.max()) >= n:
            raise ValueError(f"completions must be given for every prompt id below {n}, got {int(prompts.ids.max())}")
        device, dtype = prompts.tokens.device, next(policy.parameters()).dtype
        rows = prompts.ids.to(self.completions.device)
        completions, mask = self.completions[rows].to(device), self.mask[rows].to(device)
        even = self.weights is None
        weights = torch.full((len(rows), g), 1 / g) if even else self.weights[rows]  # type: ignore[index]
        zero = torch.zeros(mask.shape, dtype=torch.promote_types(dtype, torch.float32), device=device)
        return Rollouts(
            prompts=prompts.tokens,
            prompt_mask=prompts.mask,
            prompt_ids=prompts.ids,
            completions=completions,
            mask=mask,
            old_logp=zero,
            rewards=task.score(prompts.ids, completions, mask).to(zero),
            weights=weights.to(zero),
            horizon=task.horizon,
        ).check()


def of_leaves(task: TreeTask, leaves: Tensor, logp: Tensor) -> Rollouts:
    """Groups of completions of a task's only prompt, as M batches [M, 1, G] of one group each.

    `leaves` int64 [M, G] are their places in the task's tree, `logp` [L, T] the log-probabilities, nats, of all its
    completions under the policy that made the groups. Raises ValueError for a task of several prompts.
    """
    (m, g), prompts = leaves.shape, task.prompts()
    if len(prompts) != 1:
        raise ValueError(f"task must have one prompt, got {len(prompts)}")
    return Rollouts(
        prompts=prompts.tokens.expand(m, 1, -1),
        prompt_mask=prompts.mask.expand(m, 1, -1),
        prompt_ids=prompts.ids.expand(m, 1),
        completions=task.tree.tokens[leaves][:, None],
        mask=task.tree.mask[leaves][:, None],
        old_logp=logp[leaves][:, None],
        rewards=task.rewards[0][leaves][:, None].to(logp),
        weights=torch.full((m, 1, g), 1 / g, dtype=logp.dtype),
        horizon=task.horizon,
    ).check()


def of_lengths(lengths: Tensor, rewards: Tensor) -> Rollouts:
    """Groups [..., B, G] of which only lengths (tokens) and rewards are told: what a method does to those alone.

    Tokens are 0, log-probabilities 0, weights 1/G and prompts one token each with ids 0 to B - 1; `with_` changes what
    matters. The log-probabilities are float64.
    """
    *lead, b, g = lengths.shape
    mask = torch.arange(int(lengths.max()), device=lengths.device) < lengths[..., None]
    ids = torch.arange(b, device=lengths.device).expand(*lead, b)
    rewards = rewards.double()
    return Rollouts(
        prompts=torch.zeros_like(ids)[..., None],
        prompt_mask=torch.ones_like(ids, dtype=torch.bool)[..., None],
        prompt_ids=ids,
        completions=torch.zeros_like(mask, dtype=torch.int64),
        mask=mask,
        old_logp=torch.zeros_like(mask, dtype=torch.float64),
        rewards=rewards,
        weights=torch.full_like(rewards, 1 / g),
        horizon=mask.shape[-1],
    ).check()
