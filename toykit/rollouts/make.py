"""How completions are made: drawn from the policy, or all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from toykit._checks import at_least, positive
from toykit.policies.base import check_fits
from toykit.rollouts.batch import Rollouts
from toykit.rollouts.logprobs import leaf_logps
from toykit.rollouts.sampling import WHOLE, Sampling, Share, sample
from toykit.tasks.base import Prompts, Task
from toykit.tasks.tree import Tree


class Strategy(Protocol):
    """Makes the rollouts of a share of some prompts of a task, with rewards."""

    def __call__(
        self, policy: nn.Module, task: Task, prompts: Prompts, generator: torch.Generator, share: Share = WHOLE
    ) -> Rollouts: ...


@dataclass(frozen=True)
class Sampled:
    """`group_size` completions of each prompt drawn from the policy at `temperature`; every weight is 1/group_size.

    `top_k`, `top_p`, `min_p` and `allowed` cut the law that tokens are drawn from (see `Sampling`). Then `old_logp`
    remains the policy's own, which the objectives differentiate, and `extras["law_logp"]` is that of the cut law.
    """

    group_size: int = 8
    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    allowed: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        at_least("group_size", self.group_size, 1)
        positive("temperature", self.temperature)
        _ = self.sampling  # which checks the rest

    @property
    def sampling(self) -> Sampling:
        return Sampling(self.temperature, self.top_k, self.top_p, self.min_p, self.allowed)

    def __call__(
        self, policy: nn.Module, task: Task, prompts: Prompts, generator: torch.Generator, share: Share = WHOLE
    ) -> Rollouts:
        check(policy, task, prompts)
        how = self.sampling
        drawn = sample(policy, prompts, self.group_size, task.horizon, task.vocab.stop, generator, how, share)
        weights = torch.full_like(drawn.logp[..., 0], 1.0 / self.group_size)
        made = scored(task, share.of(prompts), drawn.tokens, drawn.mask, drawn.logp, weights, enumerated=False)
        return made.with_(extras={"law_logp": drawn.law_logp}) if how.cuts else made


@dataclass(frozen=True)
class Enumerated:
    """Every completion of the task's tree, weighted by the policy's probability.

    Raises ValueError where the task has no tree, or the policy can leave it (probabilities sum to less than 1).
    """

    def __call__(
        self,
        policy: nn.Module,
        task: Task,
        prompts: Prompts,
        generator: torch.Generator | None = None,
        share: Share = WHOLE,
    ) -> Rollouts:
        check(policy, task, prompts)
        prompts = share.of(prompts)
        tree, b = self.tree_of(task, len(prompts)), len(prompts)
        logp = leaf_logps(policy, prompts, tree)
        weights = logp.sum(-1).exp()
        missing = float((1 - weights.sum(-1)).abs().max())
        if missing > (1e-9 if logp.dtype == torch.float64 else 1e-4):
            raise ValueError(f"the task's tree must hold all completions of the policy, {missing:.2g} of it is outside")
        tokens, mask = (x.to(logp.device).expand(b, *x.shape) for x in (tree.tokens, tree.mask))
        return scored(task, prompts, tokens, mask, logp, weights, enumerated=True)

    @staticmethod
    def tree_of(task: Task, n_prompts: int) -> Tree:
        """The task's tree; raises ValueError where it has none, or one too large to enumerate for so many prompts."""
        if task.tree is None:
            raise ValueError(f"task must have a completion tree to be enumerated, {task.name!r} has none")
        task.tree.check_size(n_prompts)
        return task.tree


def check(policy: nn.Module, task: Task, prompts: Prompts) -> None:
    """Raises ValueError where there is no prompt, or the task does not fit the policy."""
    if len(prompts) == 0:
        raise ValueError("prompts must hold at least one prompt, got none")
    check_fits(policy, task.vocab, prompts.tokens.shape[1], task.horizon)


def scored(
    task: Task, prompts: Prompts, completions: Tensor, mask: Tensor, logp: Tensor, weights: Tensor, enumerated: bool
) -> Rollouts:
    rewards = task.score(prompts.ids, completions, mask).to(logp)
    return Rollouts(
        prompts=prompts.tokens,
        prompt_mask=prompts.mask,
        prompt_ids=prompts.ids,
        completions=completions,
        mask=mask,
        old_logp=logp,
        rewards=rewards,
        weights=weights,
        horizon=task.horizon,
        enumerated=enumerated,
    ).check()


@torch.no_grad()
def greedy(policy: nn.Module, task: Task, prompts: Prompts, share: Share = WHOLE) -> Rollouts:
    """The likeliest completion of each prompt of a share, token by token, as a group of one."""
    check(policy, task, prompts)
    generator = torch.Generator(prompts.tokens.device)  # never drawn from
    drawn = sample(policy, prompts, 1, task.horizon, task.vocab.stop, generator, Sampling(temperature=0.0), share)
    ones = torch.ones_like(drawn.logp[..., 0])
    return scored(task, share.of(prompts), drawn.tokens, drawn.mask, drawn.logp, ones, enumerated=False)
