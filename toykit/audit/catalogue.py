"""toykit's own objectives as audited functions: the tensors become `Rollouts`, which are prepared and scored."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from toykit.audit.measure import Groups
from toykit.audit.objective import Objective
from toykit.audit.problems import Problem
from toykit.exact import greedy_leaf, node_log_probs
from toykit.objectives import (
    OLD_MEAN,
    ExpertGate,
    Method,
    MovingLogZ,
    PolicyGradient,
    PseudoReward,
    Tracker,
    batch_log_z,
)
from toykit.rollouts import Rollouts

TAKEN = ("logp", "old_logp", "ref_logp", "rewards", "mask", "vocab_logp", "ref_vocab_logp")


def from_method(given: Method | Any, name: str) -> Objective:
    """A method of the catalogue, or an objective alone, as an audited objective.

    What a critic and greedy decoding would supply is exact: the behaviour policy's values at each prefix, the reward of
    its greedy completion; a moving Z, or a moving mean of the reward, stands at its true value. A solution from
    elsewhere is the prompt's rarest completion of the largest reward: one more row of each group where the method has
    such rows, an expert's level beside it where it has one. Raises ValueError for an objective without `prepare` and
    `loss`.
    """
    objective = getattr(given, "objective", given)
    if not (hasattr(objective, "prepare") and hasattr(objective, "loss")):
        raise ValueError(f"{name} must have prepare and loss to be audited, got {type(objective).__name__}")
    rows = getattr(objective, "external", None) is not None
    critic, vocabulary = (getattr(objective, f"needs_{what}", False) for what in ("critic", "vocab"))

    def loss(groups: Groups, mask: Tensor, logp: Tensor, vocab_logp: Tensor | None = None, **given: Tensor) -> Tensor:
        vocab = {"vocab_logp": vocab_logp.detach()} if vocab_logp is not None else {}
        if "ref_logp" not in given and getattr(objective, "needs_reference", True):
            given["ref_logp"] = groups.of(groups.problem.tokens("ref_logp"))  # asked for, and not read
        made = rollouts(groups, mask, **given, **vocab)
        if rows:
            last = torch.arange(mask.shape[-2]) == mask.shape[-2] - 1
            made = made.with_(extras={"external": last[:, None] & mask})
        prepared = _settled(objective, groups.problem).prepare(made)
        options = {"values": made.extras["values"]} if critic else {}
        return objective.loss(logp, prepared, **options, **({"vocab_logp": vocab_logp} if vocabulary else {}))[0]

    missing = set() if _reads_reference(objective) else {"ref_logp"}
    missing |= set() if _reads_behaviour(objective) else {"old_logp"}
    missing |= set() if vocabulary else {"vocab_logp", "ref_vocab_logp"}
    missing |= set() if getattr(objective, "needs_reference_vocab", vocabulary) else {"ref_vocab_logp"}
    taken = tuple(name for name in TAKEN if name not in missing)
    return Objective(name, loss, taken, batched=True, wants_groups=True, solution=rows, notes=_left_out(given))


def _reads_reference(objective: Any) -> bool:
    """Whether the reference's probabilities of the completions' own tokens are read, not those of all tokens alone."""
    if not isinstance(objective, PolicyGradient):
        return getattr(objective, "needs_reference", True)
    own = (p for p in objective.penalties if p.needs_reference and not p.needs_vocab)
    transformed = any(t.needs_reference for t in objective.transforms)
    by_tokens = objective.kl is not None and objective.kl.estimator != "exact"
    return by_tokens or transformed or objective.signal is not None or next(own, None) is not None


def _reads_behaviour(objective: Any) -> bool:
    """Whether the loss reads the behaviour policy's log-probabilities."""
    return getattr(objective, "needs_behaviour", getattr(objective, "ratio", None) != "none")


def rollouts(
    groups: Groups,
    mask: Tensor,
    rewards: Tensor,
    old_logp: Tensor | None = None,
    ref_logp: Tensor | None = None,
    **extra: Tensor,
) -> Rollouts:
    """A batch for each group, of tensors [M, B, G, ...]; `extra` ones go with its extras."""
    p = groups.problem
    m, b, g = groups.index.shape
    completions = torch.nn.functional.pad(p.tree.tokens, (0, p.padding))[groups.index]
    old = groups.of(p.tokens("old_logp")) if old_logp is None else old_logp
    extras = extra | {"values": groups.of(_values(p)), "greedy_rewards": _greedy(p)[:, None].expand(m, b, g)}
    expert = p.mask[p.solution][:, None].expand(m, b, g, -1)
    extras["expert_logp"] = groups.solutions.of(p.tokens("old_logp")).masked_fill(~expert, 0.0).expand(expert.shape)
    extras["token_entropy"] = groups.of(_entropies(p))
    extras[OLD_MEAN] = groups.of(_means(p))
    return Rollouts(
        prompts=torch.zeros(m, b, 1, dtype=torch.int64),
        prompt_mask=torch.ones(m, b, 1, dtype=torch.bool),
        prompt_ids=torch.arange(b).expand(m, b),
        completions=completions,
        mask=mask,
        old_logp=old.masked_fill(~mask, 0.0),
        rewards=rewards,
        weights=torch.full_like(rewards, 1 / g),
        ref_logp=None if ref_logp is None else ref_logp.masked_fill(~mask, 0.0),
        horizon=p.tree.horizon,
        extras={k: v.to(rewards.dtype) for k, v in extras.items()} | {"expert_mask": expert},
    )


def _values(p: Problem) -> Tensor:
    """The behaviour policy's expected reward [B, L, T] at the prefix before each token."""
    n = p.tree.child.shape[0]
    mass, value = (torch.zeros(len(p.rewards), n, dtype=torch.float64) for _ in range(2))
    nodes, mask = p.tree.nodes, p.tree.mask
    law = p.behaviour_law[..., None].expand(-1, -1, mask.shape[1])
    mass.index_add_(1, nodes[mask], law[:, mask])
    value.index_add_(1, nodes[mask], (law * p.rewards[..., None])[:, mask])
    found = (value / mass)[:, nodes].masked_fill(~mask, 0.0)
    return torch.nn.functional.pad(found, (0, p.padding))


def _entropies(p: Problem) -> Tensor:
    """The entropy [B, L, T] of the behaviour policy's law of each token, nats."""
    log_p = node_log_probs(p.tree, p.behaviour)
    entropy = torch.special.entr(log_p.exp()).sum(-1)[:, p.tree.nodes].masked_fill(~p.tree.mask, 0.0)
    return torch.nn.functional.pad(entropy, (0, p.padding))


def _means(p: Problem) -> Tensor:
    """The behaviour policy's mean log-probability [B, L, T] over the vocabulary at each place, nats."""
    return p.vocabulary("old_vocab_logp").mean(-1)


def _greedy(p: Problem) -> Tensor:
    """The reward [B] of the behaviour policy's greedy completion."""
    return p.rewards.gather(-1, greedy_leaf(p.tree, p.behaviour)[:, None])[:, 0]


@dataclass(frozen=True)
class _Known:
    """log Z [B] in the place of a moving average of it."""

    log_z: Tensor

    def __call__(self, prompt_ids: Tensor, batch: Tensor) -> Tensor:
        return self.log_z.to(batch)[prompt_ids]


@dataclass(frozen=True)
class _Settled:
    """Rewards minus a number, in the place of their moving mean."""

    mean: float

    def __call__(self, rewards: Tensor, weights: Tensor, enumerated: bool = False) -> Tensor:
        return rewards - self.mean


@dataclass(frozen=True)
class _SettledTracker:
    """A tracker whose values [B] are the true rates."""

    tracker: Tracker
    values: Tensor
    reads_rollouts = True

    def __call__(self, rewards: Tensor, rollouts: Rollouts) -> Tensor:
        away = rewards - self.values.to(rewards)[rollouts.prompt_ids][..., None]
        return self.tracker.normalised(away, rollouts.weights)


def _settled(objective: Any, p: Problem) -> Any:
    """The objective with what moves from batch to batch at its true value: the mean reward, each prompt's rate or Z."""
    if _tracks(objective):
        rates = (p.behaviour_law * (p.rewards > 0.5)).sum(-1)
        objective = objective.with_(advantage=_SettledTracker(objective.advantage, rates))
    elif _moves(objective):
        objective = objective.with_(advantage=_Settled(float((p.behaviour_law * p.rewards).sum(-1).mean())))
    signal = getattr(objective, "signal", None)
    if not isinstance(signal, PseudoReward) or signal.log_z is None:
        return objective
    b, leaves = p.rewards.shape
    every = Groups(p, torch.arange(leaves).expand(1, b, leaves), torch.ones(1))
    mask = p.mask.expand(1, b, -1, -1)
    ref, old = (every.of(p.tokens(name)) for name in ("ref_logp", "old_logp"))
    made = rollouts(every, mask, p.rewards[None], old, ref)
    log_z = batch_log_z(signal.target(made), made.old_logp.sum(-1), p.behaviour_law[None])[0]
    return objective.with_(signal=replace(signal, log_z=_Known(log_z)))  # type: ignore[arg-type]


def _moves(objective: Any) -> bool:
    """Whether its advantage keeps a state between batches."""
    return hasattr(getattr(objective, "advantage", None), "load")


def _tracks(objective: Any) -> bool:
    return isinstance(getattr(objective, "advantage", None), Tracker)


def _left_out(given: Any) -> tuple[str, ...]:
    """What of a method is not in the audited loss, in words."""
    notes = []
    if getattr(given, "selection", None) is not None:
        notes.append(f"without its selection of prompts ({given.selection})")
    if getattr(given, "recomposition", None) is not None:
        notes.append("without its recomposition: what is learned from is the whole batch, at once")
    if getattr(given, "reference", None) is not None:
        notes.append("its reference stands still")
    if getattr(given, "shaping", None) is not None:
        notes.append("without its reward shaping")
    if getattr(given, "forward_kl", None) is not None:
        notes.append("without its forward KL, which is taken on completions of the base policy")
    objective = getattr(given, "objective", given)
    if getattr(objective, "external", None) is not None:
        notes.append("one row of each group is from elsewhere: the prompt's rarest completion of the largest reward")
    if any(isinstance(term, ExpertGate) for term in getattr(objective, "penalties", ())):
        notes.append("its expert's solution is the prompt's rarest completion of the largest reward")
    if getattr(objective, "needs_critic", False):
        notes.append("its critic is exact")
    if isinstance(getattr(getattr(objective, "signal", None), "log_z", None), MovingLogZ):
        notes.append("its moving Z stands at the true Z")
    if _tracks(objective):
        notes.append("its value of each prompt stands at the true rate of right completions")
    elif _moves(objective):
        notes.append("its moving mean of the reward stands at the true mean")
    return tuple(notes)
