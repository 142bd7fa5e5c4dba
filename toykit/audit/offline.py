"""Offline methods as audited functions: a group's completions with their rewards become the data of the method.

Nothing is drawn beside the completions themselves. Of a group y_1 ... y_G with rewards r

    pairs           every ordered pair i != j, y_i chosen over y_j with probability sigma((r_i - r_j) / temperature)
    labels          1 where the reward is above one half, else 0
    scores          the rewards as they are
    demonstrations  each completion by its share of the group's reward; a group without any has nothing to imitate

A batch counts its prompts alike. Whoever made the completions, the loss does not ask.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import torch
from torch import Tensor

from toykit._checks import positive
from toykit.audit.objective import Objective
from toykit.objectives import KTO, PIPELINES, SFT, UNA, OfflineMethod, Scored, offline_method
from toykit.objectives.offline import OfflineLoss
from toykit.rewards import Judge

GOOD = 0.5  # a reward above it is a good completion
MODELS = {"score": "a reward model's scores", "q": "a model's values Q", "q and v": "a model's values Q and V"}
FIXED = "the data stay as they are while the policy moves"
FRESH = "the data are made anew as the policy moves"


def is_offline(given: Any) -> bool:
    """Whether it is an offline method, or the loss of one."""
    return isinstance(given, (OfflineMethod, *get_args(OfflineLoss)))


def from_offline(given: OfflineMethod | Any, name: str, temperature: float = 1.0, fresh: bool = False) -> Objective:
    """An offline method, or its loss alone, as an audited objective; `temperature` is that of the judge of pairs.

    Gradient flow leaves the completions as they are, or makes them anew with the policy (`fresh`).
    Raises ValueError where the loss is not one of a policy: for reward models and models of values.
    """
    loss: Any = given.loss if isinstance(given, OfflineMethod) else given
    if loss.reads != "logp":
        raise ValueError(f"{name} must be a loss of a policy to be audited, got one of {MODELS[loss.reads]}")
    made, words = _made(loss, positive("temperature", temperature))

    def audited(logp: Tensor, mask: Tensor, rewards: Tensor, ref_logp: Tensor | None = None) -> Tensor:
        return made(Scored(logp, mask, ref_logp), rewards).mean(-1)

    taken = ("logp", *(("ref_logp",) if loss.needs_reference else ()), "rewards", "mask")
    return Objective(name, audited, taken, batched=True, offline=not fresh, notes=(words, FRESH if fresh else FIXED))


def named(name: str) -> Objective:
    """The audited objective of a name of `OFFLINE` or `PIPELINES`.

    Raises ValueError with what it is where that is not one loss of a policy.
    """
    if name == "una_on_policy":
        return from_offline(offline_method("una"), name, fresh=True)
    if name in PIPELINES:
        stages = ", ".join(PIPELINES[name].stages)
        raise ValueError(f"{name} must be one loss to be audited, got a pipeline of {stages}: audit these one by one")
    return from_offline(offline_method(name), name)


Made = tuple[Callable[[Scored, Tensor], Tensor], str]


def _made(loss: Any, temperature: float) -> Made:
    """(function of completions [M, B, G] and rewards that gives a loss [M, B] a prompt, the convention in words)."""
    if loss.data == "pairs":
        judged = f"on every pair of a group, by a Bradley-Terry judge of the rewards at temperature {temperature:g}"
        return lambda own, rewards: _pairs(loss, own, rewards, Judge(temperature)), judged
    if isinstance(loss, SFT):
        return (
            lambda own, rewards: _imitated(loss, own, rewards),
            "on the completions of a group, each by its share of the group's reward",
        )
    labels = f"completions with a reward above {GOOD:g} are good"
    if isinstance(loss, KTO):
        z0 = "z0 is the mean of h over the batch's own completions"
        return lambda own, rewards: _kto(loss, own, rewards), f"{labels}; {z0}"
    if isinstance(loss, UNA) and loss.loss == "bce":
        return lambda own, rewards: loss(own, _good(rewards)).mean(-1), labels
    return lambda own, rewards: loss(own, rewards).mean(-1), "the scores are the rewards"


def _good(rewards: Tensor) -> Tensor:
    return (rewards > GOOD).to(rewards)


def _pairs(loss: Any, own: Scored, rewards: Tensor, judge: Judge) -> Tensor:
    """The mean over unordered pairs, each both ways by the judge's probability."""
    g = rewards.shape[-1]
    if g < 2:
        raise ValueError(f"group_size must be >= 2 for pairs, got {g}")
    chosen, rejected = (_along(own, dim) for dim in (-2, -3))
    weight = judge.preference(rewards[..., :, None], rewards[..., None, :])
    weight = weight.masked_fill(torch.eye(g, dtype=torch.bool), 0.0) / (g * (g - 1) / 2)
    return (weight * loss(chosen, rejected)).sum((-1, -2))


def _along(own: Scored, dim: int) -> Scored:
    """The same completions [..., G, T] with a new axis, so that two of them make pairs."""
    ref = None if own.ref_logp is None else own.ref_logp.unsqueeze(dim)
    return Scored(own.logp.unsqueeze(dim), own.mask.unsqueeze(dim), ref)


def _kto(loss: KTO, own: Scored, rewards: Tensor) -> Tensor:
    z0 = _shared(loss, own, torch.ones_like(rewards))
    return loss(own, _good(rewards), z0).mean(-1)


def _imitated(loss: SFT, own: Scored, rewards: Tensor) -> Tensor:
    weights = rewards.clamp(min=0)
    whole = weights.sum(-1, keepdim=True)
    weights = torch.where(whole > 0, weights / whole.where(whole > 0, 1.0), 0.0)
    nothing = weights.sum((-1, -2), keepdim=True) == 0
    return (weights * loss(own, _shared(loss, own, weights + nothing))).sum(-1)


def _shared(loss: KTO | SFT, own: Scored, weights: Tensor) -> Tensor:
    """What is taken once over each batch and held, [M, 1, 1], of completions [M, B, G, T]."""
    ref = own.logp if own.ref_logp is None else own.ref_logp

    def one(logp: Tensor, mask: Tensor, ref_logp: Tensor, weights: Tensor) -> Tensor:
        return loss.shared(Scored(logp, mask, ref_logp), weights)

    return torch.func.vmap(one)(own.logp.detach(), own.mask, ref.detach(), weights)[:, None, None]
