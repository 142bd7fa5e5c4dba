"""Rewards of single tokens, for methods that credit steps and not only outcomes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from toykit._checks import finite, shape
from toykit.rollouts.batch import Rollouts


@dataclass(frozen=True)
class ProcessRewards:
    """Stands in the place of a `Shaping`: the rewards are those of single tokens, score(rollouts) [B, G, T].

    They are kept in `extras["token_rewards"]` (0 where masked); the completion's reward is their sum, or with `beside`
    that and the task's own, which then comes with the last token.
    """

    score: Callable[[Rollouts], Tensor]
    beside: bool = False

    @property
    def terms(self) -> tuple[str, ...]:
        return ("process",)

    def __call__(self, rollouts: Rollouts) -> tuple[Rollouts, dict[str, float]]:
        """(rollouts with token rewards, the means of the task's reward and of the tokens' sum)."""
        r = rollouts
        given = shape("token_rewards", self.score(r), tuple(r.mask.shape)).to(r.rewards).masked_fill(~r.mask, 0.0)
        finite("token_rewards", given, r.prompt_ids)
        task = r.extras.get("task_rewards", r.rewards)
        means = {"reward/task": float(r.mean(task).mean()), "reward/process": float(r.mean(given.sum(-1)).mean())}
        if self.beside:
            last = r.mask.long().cumsum(-1) == r.lengths[..., None]
            given = given + task[..., None] * (last & r.mask)
        made = r.with_(rewards=given.sum(-1), extras={"task_rewards": task, "token_rewards": given})
        return made.check(), means
