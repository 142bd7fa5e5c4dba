"""How completions are made: drawn from the policy, or all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor, nn

from toykit._checks import at_least, positive
from toykit.policies.base import check_fits, cursor
from toykit.rollouts.batch import Rollouts
from toykit.rollouts.logprobs import leaf_logps, log_softmax
from toykit.tasks.base import Prompts, Task
from toykit.tasks.tree import Tree


class Strategy(Protocol):
    """Makes the rollouts of some prompts of a task, with rewards."""

    def __call__(self, policy: nn.Module, task: Task, prompts: Prompts, generator: torch.Generator) -> Rollouts: ...


@dataclass(frozen=True)
class Sampled:
    """`group_size` completions of each prompt drawn from the policy at `temperature`; every weight is 1/group_size."""

    group_size: int = 8
    temperature: float = 1.0

    def __post_init__(self) -> None:
        at_least("group_size", self.group_size, 1)
        positive("temperature", self.temperature)

    def __call__(self, policy: nn.Module, task: Task, prompts: Prompts, generator: torch.Generator) -> Rollouts:
        _check(policy, task, prompts)
        completions, mask, logp = sample(
            policy, prompts, self.group_size, task.horizon, task.vocab.stop, generator, self.temperature
        )
        weights = torch.full(completions.shape[:2], 1.0 / self.group_size, dtype=logp.dtype, device=logp.device)
        return _rollouts(task, prompts, completions, mask, logp, weights, enumerated=False)


@dataclass(frozen=True)
class Enumerated:
    """Every completion of the task's tree, weighted by the policy's probability.

    Raises ValueError where the task has no tree, or the policy can leave it (probabilities sum to less than 1).
    """

    def __call__(
        self, policy: nn.Module, task: Task, prompts: Prompts, generator: torch.Generator | None = None
    ) -> Rollouts:
        tree, b = self.tree_of(task, len(prompts)), len(prompts)
        _check(policy, task, prompts)
        logp = leaf_logps(policy, prompts, tree)
        weights = logp.sum(-1).exp()
        missing = float((1 - weights.sum(-1)).abs().max())
        if missing > (1e-9 if logp.dtype == torch.float64 else 1e-4):
            raise ValueError(f"the task's tree must hold all completions of the policy, {missing:.2g} of it is outside")
        tokens, mask = (x.to(logp.device).expand(b, *x.shape) for x in (tree.tokens, tree.mask))
        return _rollouts(task, prompts, tokens, mask, logp, weights, enumerated=True)

    @staticmethod
    def tree_of(task: Task, n_prompts: int) -> Tree:
        """The task's tree; raises ValueError where it has none, or one too large to enumerate for so many prompts."""
        if task.tree is None:
            raise ValueError(f"task must have a completion tree to be enumerated, {task.name!r} has none")
        task.tree.check_size(n_prompts)
        return task.tree


def _check(policy: nn.Module, task: Task, prompts: Prompts) -> None:
    """Raises ValueError where there is no prompt, or the task does not fit the policy."""
    if len(prompts) == 0:
        raise ValueError("prompts must hold at least one prompt, got none")
    check_fits(policy, task.vocab, prompts.tokens.shape[1], task.horizon)


def _rollouts(
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
def sample(
    policy: nn.Module,
    prompts: Prompts,
    group_size: int,
    horizon: int,
    stop: tuple[int, ...],
    generator: torch.Generator,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """(completions int64 [B, G, T], mask bool [B, G, T], log-probabilities [B, G, T]) drawn from the policy.

    Each prompt is read once and its state repeated for its G completions; drawing ends when every completion has
    ended, so that T <= horizon. `temperature` 0 takes the likeliest token (the lowest id among equals) and gives
    log-probabilities at temperature 1; any other gives those of the distribution that was drawn from.
    """
    b, device = len(prompts), prompts.tokens.device
    at = cursor(policy, prompts.tokens, prompts.mask, horizon)
    at.pick(torch.arange(b, device=device).repeat_interleave(group_size))
    ends = torch.tensor(stop, device=device, dtype=torch.int64)
    live = torch.ones(b * group_size, dtype=torch.bool, device=device)
    tokens, masks, logps = [], [], []
    for t in range(horizon):
        logp = log_softmax(at.logits / temperature if temperature else at.logits)
        token = draw(logp, generator) if temperature else logp.argmax(-1)
        tokens.append(token.masked_fill(~live, 0))
        masks.append(live)
        logps.append(logp.gather(-1, token[:, None])[:, 0].masked_fill(~live, 0.0))
        live = live & ~torch.isin(token, ends)
        if t + 1 == horizon or not bool(live.any()):
            break
        at.append(token)
    shaped = (torch.stack(x, 1).view(b, group_size, -1) for x in (tokens, masks, logps))
    return tuple(shaped)  # type: ignore[return-value]


def draw(logp: Tensor, generator: torch.Generator) -> Tensor:
    """One token int64 [N] from each row of log-probabilities [N, V], by the exponential race."""
    race = torch.empty(logp.shape, dtype=logp.dtype, device=generator.device).exponential_(generator=generator)
    return (logp - race.log().to(logp.device)).argmax(-1)


@torch.no_grad()
def greedy(policy: nn.Module, task: Task, prompts: Prompts) -> Rollouts:
    """The likeliest completion of each prompt, token by token, as a group of one."""
    _check(policy, task, prompts)
    generator = torch.Generator(prompts.tokens.device)  # never drawn from
    completions, mask, logp = sample(policy, prompts, 1, task.horizon, task.vocab.stop, generator, temperature=0.0)
    return _rollouts(task, prompts, completions, mask, logp, torch.ones_like(logp[..., 0]), enumerated=False)
