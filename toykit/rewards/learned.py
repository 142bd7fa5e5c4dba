"""Reward models: one number after each token, on every rung, and rewards that such a model gives."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toykit._checks import at_least
from toykit.policies import TabularLM
from toykit.policies.critic import make_critic
from toykit.rollouts.batch import Rollouts
from toykit.rollouts.logprobs import outputs


def reward_model(policy: nn.Module) -> nn.Module:
    """A model of `scores` that starts at 0: for a table one number for each prefix and token, else a copy of the body
    with a new head of one column (`make_critic`)."""
    if not isinstance(policy, TabularLM):
        return make_critic(policy)
    model = copy.deepcopy(policy).requires_grad_(True)
    with torch.no_grad():
        model.table.zero_()
    return model


def scores(model: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
    """The number [B, G, T] that a reward model gives after each token, 0 where masked, with its gradient.

    Of a model with one column it is read after the token; of one with a column a token (a table) it is the token's own
    column before it. Shapes as for `toykit.rollouts.outputs`.
    """
    if isinstance(model, TabularLM):
        out = outputs(model, prompts, prompt_mask, completions, mask).gather(-1, completions[..., None])[..., 0]
    else:  # one place more, so that the last token is read too
        onward = torch.nn.functional.pad(completions, (0, 1)), torch.nn.functional.pad(mask, (0, 1))
        out = outputs(model, prompts, prompt_mask, *onward)[:, :, 1:, 0]
    return out.masked_fill(~mask, 0.0)


def lower_confidence(values: Tensor, scale: float) -> Tensor:
    """mean - scale std [...] of the values [K, ...] of K models; the std is that of the K numbers themselves, so that
    one model has none."""
    return values.mean(0) - scale * values.std(0, correction=0)


@dataclass(frozen=True)
class LearnedReward:
    """Stands in the place of a `Shaping`: the reward is a model's, V(x, y), not the task's, which is kept and logged.

    model      one, or an ensemble of several; none is trained
    reduce     makes one number [B, G] of a model's scores [B, G, T] and the mask: by default the last token's; a
               verifier of steps has its own (`toykit.objectives.process_score`)
    pessimism  c >= 0: the reward is the ensemble's mean less c standard deviations (`lower_confidence`)

    Raises ValueError for no model and a negative c.
    """

    model: nn.Module | Sequence[nn.Module]
    reduce: Callable[[Tensor, Tensor], Tensor] | None = None
    pessimism: float = 0.0

    def __post_init__(self) -> None:
        at_least("pessimism", self.pessimism, 0)
        at_least("number of models", len(self.models), 1)

    @property
    def models(self) -> tuple[nn.Module, ...]:
        return (self.model,) if isinstance(self.model, nn.Module) else tuple(self.model)

    @property
    def terms(self) -> tuple[str, ...]:
        return ("learned",)

    @torch.no_grad()
    def __call__(self, rollouts: Rollouts) -> tuple[Rollouts, dict[str, float]]:
        """(rollouts with the model's rewards; the means of the task's reward and of the model's, and of an ensemble's
        standard deviation)."""
        r = rollouts
        each = self.values(r)
        value, task = lower_confidence(each, self.pessimism), r.extras.get("task_rewards", r.rewards)
        means = {"reward/task": float(r.mean(task).mean()), "reward/learned": float(r.mean(value).mean())}
        if len(each) > 1:
            means["reward/spread"] = float(r.mean(each.std(0, correction=0)).mean())
        return r.with_(rewards=value, extras={"task_rewards": task}).check(), means

    @torch.no_grad()
    def values(self, rollouts: Rollouts) -> Tensor:
        """What each model says of every completion, [K, B, G]."""
        r = rollouts
        ends = r.mask & ~torch.nn.functional.pad(r.mask[..., 1:], (0, 1))
        found = []
        for model in self.models:
            given = scores(model, r.prompts, r.prompt_mask, r.completions, r.mask)
            found.append((given * ends).sum(-1) if self.reduce is None else self.reduce(given, r.mask))
        return torch.stack(found).to(r.rewards)
