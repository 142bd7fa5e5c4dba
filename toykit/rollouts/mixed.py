"""Solutions from elsewhere beside the policy's own completions: as rows of the groups, or as a level to reach."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from toykit._checks import at_least, one_of, positive
from toykit.rollouts.batch import Rollouts
from toykit.rollouts.logprobs import token_logps
from toykit.rollouts.make import Enumerated, Sampled, Strategy, check, scored
from toykit.rollouts.sampling import WHOLE, Sampling, Share, sample
from toykit.rollouts.solutions import Solutions, Taken
from toykit.tasks.base import Prompts, Task

AT_ONCE = 32  # prompts whose solutions are read at once
DATA = {  # what a method may ask of its rollouts, as the name of an extra, and who supplies it
    "external": "solutions from elsewhere as rows of the groups: strategy=Mixed(solutions, ...)",
    "expert_logp": "the level of a solution beside each group: strategy=ExpertLevel(solutions, ...)",
}


@dataclass(frozen=True)
class Mixed:
    """Groups of `group_size`, of which `external` are solutions from elsewhere; fewer where a prompt has fewer.

    The solutions are a group's last rows. Their `old_logp` is the behaviour policy's at `temperature`, their reward the
    task's, whatever it is; `extras["external"]` bool [B, G, T] is True on their tokens. Every weight is 1/group_size.

    With `enumerated` the policy's own rows are all completions of the task's tree, with their probability times the
    share of the group that is left to them: the limit of large groups with that share of solutions.

    Raises ValueError for groups without a row of the policy's own, prompts that `solutions` does not know, and
    solutions that do not fit the task.
    """

    solutions: Solutions
    group_size: int = 8
    external: int = 1
    temperature: float = 1.0
    enumerated: bool = False

    def __post_init__(self) -> None:
        at_least("external", self.external, 1)
        if self.group_size <= self.external:
            raise ValueError(f"group_size must be above external={self.external}, got {self.group_size}")
        if positive("temperature", self.temperature) != 1 and self.enumerated:
            raise ValueError(f"temperature must be 1 with enumerated, got {self.temperature}")

    def __call__(
        self, policy: nn.Module, task: Task, prompts: Prompts, generator: torch.Generator, share: Share = WHOLE
    ) -> Rollouts:
        check(policy, task, prompts)
        self.solutions.check(task)
        every = self.solutions.take(prompts.ids, self.external, generator)  # the same in all processes
        asked, given = share.of(prompts), every.of(share)
        if self.enumerated:
            own = Enumerated()(policy, task, prompts, generator, share)
            tokens, mask, logp = own.completions, own.mask, own.old_logp
            place, weights = self._beside(own.weights, given)
        else:
            n, how = self.group_size - int(every.counts.min()), Sampling(self.temperature)
            tokens, mask, logp, _ = sample(policy, prompts, n, task.horizon, task.vocab.stop, generator, how, share)
            place = torch.arange(self.group_size, device=mask.device) - (self.group_size - given.counts[:, None])
            weights = torch.full_like(place, 1 / self.group_size, dtype=logp.dtype)
        given_logp = _read(policy, asked, given, self.temperature).to(logp)
        pairs = (tokens, given.completions), (mask, given.mask), (logp, given_logp)
        tokens, mask, logp = (_merged(own, others, place) for own, others in pairs)
        made = scored(task, asked, tokens, mask, logp, weights, enumerated=self.enumerated)
        return made.with_(extras={"external": (place >= 0)[..., None] & mask})

    def _beside(self, law: Tensor, given: Taken) -> tuple[Tensor, Tensor]:
        """(places, weights), [B, L + n], of all completions with probabilities `law` [B, L], and then of solutions."""
        places = torch.arange(given.mask.shape[1], device=law.device).expand(len(law), -1)
        there, share = places < given.counts[:, None], 1 / self.group_size
        own = torch.full_like(law, -1, dtype=places.dtype)
        place = torch.cat([own, places.masked_fill(~there, -1)], 1)
        return place, torch.cat([law * (1 - share * given.counts[:, None]), share * there.to(law)], 1)


def _merged(own: Tensor, others: Tensor, place: Tensor) -> Tensor:
    """Rows [B, G, T]: others[place] where there is a place [B, G] among the solutions, else the policy's own.

    Where the policy has fewer rows of its own its first one stands for those that are replaced, or have no weight.
    """
    t = max(own.shape[-1], others.shape[-1])
    own, others = _wide(own, t), _wide(others, t)
    own = torch.cat([own, own[:, :1].expand(-1, place.shape[1] - own.shape[1], -1)], 1)
    picked = others.gather(1, place.clamp(min=0)[..., None].expand(-1, -1, t))
    return torch.where((place >= 0)[..., None], picked, own)


@dataclass(frozen=True)
class ExpertLevel:
    """What `strategy` makes, and beside each group the level of one solution of its prompt, which is not in the group.

    `extras["expert_logp"]` [B, G, T], the same for all of a group, are the behaviour policy's log-probabilities of the
    solution's tokens, position by position, without gradient and 0 beyond its end; `extras["expert_mask"]` bool
    [B, G, T] says where the solution has tokens: nowhere for a prompt without one. Where a solution is longer than all
    completions these are padded to its length.

    Raises ValueError for prompts that `solutions` does not know, and solutions that do not fit the task.
    """

    solutions: Solutions
    strategy: Strategy

    @property
    def temperature(self) -> float:
        return getattr(self.strategy, "temperature", 1.0)

    def __call__(
        self, policy: nn.Module, task: Task, prompts: Prompts, generator: torch.Generator, share: Share = WHOLE
    ) -> Rollouts:
        check(policy, task, prompts)
        self.solutions.check(task)
        given = self.solutions.take(prompts.ids, 1, generator).of(share)  # the same in all processes
        made = self.strategy(policy, task, prompts, generator, share)
        level = _read(policy, share.of(prompts), given, self.temperature).to(made.old_logp)
        t = max(made.mask.shape[-1], given.mask.shape[-1])
        extras = {"expert_logp": level, "expert_mask": given.mask}
        return wider(made, t).with_(extras={k: _wide(v, t).expand(-1, made.group_size, -1) for k, v in extras.items()})


def supplying(data: str | None, strategy: Sampled | Enumerated, solutions: Solutions, group_size: int = 8) -> Strategy:
    """The strategy that makes what a method asks for (its `data`), with one solution a prompt.

    `group_size` says which share of an enumeration is left to the solutions. Raises ValueError for other data, and for
    a strategy that cuts the law which is drawn from, where solutions are rows of the groups.
    """
    if data is None:
        return strategy
    if one_of("data", data, DATA) == "expert_logp":
        return ExpertLevel(solutions, strategy)
    if isinstance(strategy, Enumerated):
        return Mixed(solutions, group_size, enumerated=True)
    if strategy.sampling.cuts:
        raise ValueError("top_k, top_p, min_p and allowed must be None where solutions are rows of the groups")
    return Mixed(solutions, strategy.group_size, temperature=strategy.temperature)


def check_supplied(data: str | None, rollouts: Rollouts) -> Rollouts:
    """Returns the rollouts; raises ValueError where they lack what a method asks for (its `data`)."""
    if data is not None and data not in rollouts.extras:
        raise ValueError(
            f"rollouts must have extras[{data!r}] for this method, {DATA[one_of('data', data, DATA)]}; "
            f"got {sorted(rollouts.extras)}"
        )
    return rollouts


def own_weights(rollouts: Rollouts) -> Tensor:
    """The weights [..., B, G] of the policy's own completions alone, summing to 1 over G."""
    if "external" not in rollouts.extras:
        return rollouts.weights
    own = rollouts.weights.masked_fill(rollouts.extras["external"].any(-1), 0.0)
    return own / own.sum(-1, keepdim=True)


def wider(rollouts: Rollouts, t: int) -> Rollouts:
    """The same batch with at least `t` columns for tokens; the new ones are padding."""
    whole = rollouts.mask.shape[-1]
    if whole >= t:
        return rollouts
    named = {k: _wide(getattr(rollouts, k), t) for k in ("completions", "mask", "old_logp")}
    by_token = {k: v for k, v in rollouts.extras.items() if v.dim() == 3 and v.shape[-1] == whole}
    return rollouts.with_(**named, extras={k: _wide(v, t) for k, v in by_token.items()})


def _wide(values: Tensor, t: int) -> Tensor:
    """Values [..., T] padded on the right to [..., t]."""
    return torch.nn.functional.pad(values, (0, t - values.shape[-1]))


@torch.no_grad()
def _read(policy: nn.Module, prompts: Prompts, given: Taken, temperature: float) -> Tensor:
    """The policy's log-probabilities [B, n, T] of solutions, some prompts at a time; 0 where masked."""
    parts = []
    for rows in torch.arange(len(prompts), device=prompts.ids.device).split(AT_ONCE):
        asked = prompts[rows]
        parts.append(
            token_logps(policy, asked.tokens, asked.mask, given.completions[rows], given.mask[rows], temperature)
        )
    return torch.cat(parts)
