"""PolicyGradient: an objective as a combination of pieces, exact or Monte Carlo by its rollouts alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

import torch
from torch import Tensor

from toykit._checks import finite, one_of, positive
from toykit.objectives.advantages import GAE, Advantage, GreedyBaseline, advantages_of
from toykit.objectives.aggregation import AGGREGATIONS, token_weights
from toykit.objectives.baselines import Moving, RunningMean, TokenReturns, at_last_token
from toykit.objectives.beta import beta_of
from toykit.objectives.clipping import Clip
from toykit.objectives.external import External, OwnMean
from toykit.objectives.kl import KL
from toykit.objectives.objective import taken, tensors
from toykit.objectives.penalties import Penalty
from toykit.objectives.ratios import RATIOS, ratio
from toykit.objectives.tracker import Tracker
from toykit.objectives.transforms import Transform
from toykit.rollouts.batch import Rollouts


class Signal(Protocol):
    """What stands in the place of the reward: [..., B, G] from a batch."""

    def __call__(self, rollouts: Rollouts) -> Tensor: ...


@dataclass(frozen=True)
class ValueLoss:
    """coef / 2 times the squared error of the critic's values, clipped about the old ones as in PPO."""

    coef: float = 0.5
    clip: float | None = 0.2

    def __post_init__(self) -> None:
        positive("coef", self.coef)

    def __call__(self, values: Tensor, old_values: Tensor, returns: Tensor) -> Tensor:
        """The loss on each token, of the shape of its arguments [..., B, G, T]."""
        error = (values - returns) ** 2
        if self.clip is not None:
            near = old_values + (values - old_values).clamp(-self.clip, self.clip)
            error = torch.maximum(error, (near - returns) ** 2)
        return self.coef * error / 2


@dataclass(frozen=True)
class Prepared:
    """A batch with everything that is taken over the whole of it: what is left is a sum over tokens.

    advantages [..., B, G, T] (detached), token_weights [..., B, G, T], returns [..., B, G, T] where there is a critic.
    """

    rollouts: Rollouts
    advantages: Tensor
    token_weights: Tensor
    aggregate: str
    returns: Tensor | None = None

    def minibatch(self, rows: Tensor) -> Prepared:
        """Some prompts with their groups as a batch of its own: advantages stay, token weights are taken anew."""
        rollouts = self.rollouts.take(rows)
        weights = _weights(self.aggregate, rollouts)
        returns = None if self.returns is None else self.returns[rows]
        return Prepared(rollouts, self.advantages[rows], weights, self.aggregate, returns)

    def micro(self, size: int | None) -> Iterator[Prepared]:
        """The same batch in pieces (see `Rollouts.pieces`) whose losses add up to the whole's."""
        b, g = self.rollouts.rewards.shape
        if size is None or size >= b * g:
            yield self
            return
        advantages, weights = (x.flatten(0, 1)[:, None] for x in (self.advantages, self.token_weights))
        returns = None if self.returns is None else self.returns.flatten(0, 1)[:, None]
        for rows, piece in self.rollouts.pieces(size):
            t = piece.completions.shape[-1]
            part = None if returns is None else returns[rows, :, :t]
            yield Prepared(piece, advantages[rows, :, :t], weights[rows, :, :t], self.aggregate, part)

    def by_row(self) -> Prepared:
        """Each completion with its prompt as a group of one, as in `Rollouts.flat`."""
        flat = {k: v.flatten(0, 1)[:, None] for k, v in tensors(self).items()}
        return replace(self, rollouts=self.rollouts.flat(), **flat)  # type: ignore[arg-type]

    def take(self, rows: Tensor | slice) -> Prepared:
        """Some prompts with their groups as a part of this batch: token weights stay."""
        return taken(self, rows)

    def times(self, factor: Tensor) -> Prepared:
        """The same with the losses of its prompts multiplied by `factor` [B]."""
        return replace(self, token_weights=self.token_weights * factor[:, None, None])


@dataclass(frozen=True)
class PolicyGradient:
    """-(sum over tokens of weight x surrogate) + penalties, as pieces.

    advantage   from rewards (or from `signal` in their place), GAE with a critic, GreedyBaseline, RunningMean, Tracker,
                OwnMean
                or TokenReturns; GAE and TokenReturns take `extras["token_rewards"]` [..., B, G, T] where there are any
    ratio       none (the surrogate is A logp), token, sequence, importance
    clip        None, or the bounds of the ratio
    aggregate   token_sum, token_mean, sequence_mean, constant_norm
    kl          None, or a penalty with its estimator and route
    value       the critic's loss, with advantage=GAE(...) and only then
    penalties   further terms on each token, aggregated as the surrogate: OnPolicyForwardKL, EntropyBonus
    transforms  what is done to the advantages, one after the other
    log_clip    None, or the bound of the ratio's logarithm, in nats
    external    None, or what stands in the place of ratio and clip where `extras["external"]` bool [..., B, G, T] says
                that another policy wrote the token
    """

    advantage: Advantage | GAE | GreedyBaseline | RunningMean | Tracker | OwnMean | TokenReturns = field(
        default_factory=Advantage
    )
    ratio: str = "none"
    clip: Clip | None = None
    aggregate: str = "token_sum"
    kl: KL | None = None
    signal: Signal | None = None
    value: ValueLoss | None = None
    penalties: tuple[Penalty, ...] = ()
    transforms: tuple[Transform, ...] = ()
    log_clip: float | None = None
    external: External | None = None

    def __post_init__(self) -> None:
        one_of("ratio", self.ratio, RATIOS)
        one_of("aggregate", self.aggregate, AGGREGATIONS)
        if self.clip is not None and self.ratio == "none":
            raise ValueError("clip must be None for ratio='none', there is no ratio to clip")
        if self.log_clip is not None:
            positive("log_clip", self.log_clip)
            if self.ratio == "none":
                raise ValueError("log_clip must be None for ratio='none', there is no ratio to bound")
        if isinstance(self.advantage, GAE) != (self.value is not None):
            raise ValueError("value must be given with advantage=GAE(...) and only then")
        if self.needs_greedy and self.signal is not None:
            raise ValueError("signal must be None with advantage=GreedyBaseline(), whose baseline is a reward")

    @property
    def needs_reference(self) -> bool:
        read = [piece.needs_reference for piece in self.penalties] + [t.needs_reference for t in self.transforms]
        read.append(getattr(self.advantage, "needs_reference", False))
        return self.kl is not None or self.signal is not None or any(read)

    @property
    def needs_vocab(self) -> bool:
        return self.needs_reference_vocab or any(p.needs_vocab for p in self.penalties)

    @property
    def needs_reference_vocab(self) -> bool:
        exact = self.kl is not None and self.kl.estimator == "exact"
        return exact or any(p.needs_vocab and p.needs_reference for p in self.penalties)

    @property
    def needs_entropy(self) -> bool:
        """Whether `extras["token_entropy"]` [..., B, G, T] must hold the entropies of the policy's next-token laws."""
        return any(t.needs_entropy for t in self.transforms)

    @property
    def needs_critic(self) -> bool:
        return self.value is not None

    @property
    def needs_greedy(self) -> bool:
        """Whether `extras["greedy_rewards"]` [..., B, G] must hold the reward of each prompt's greedy completion."""
        return isinstance(self.advantage, GreedyBaseline)

    @property
    def needs_group(self) -> bool:
        """Whether a completion's advantage depends on the others of its group."""
        return isinstance(self.advantage, Advantage) and self.advantage.needs_group

    @property
    def whole_groups(self) -> bool:
        return False  # once advantages are made a completion's loss is its own

    @property
    def vocab_mean(self) -> bool:
        return False  # an entropy and a KL are no functions of it

    @property
    def moving(self) -> dict[str, Moving]:
        """What is kept from batch to batch, by name."""
        every = {"log_z": getattr(self.signal, "log_z", None), "baseline": self.advantage}
        return {name: kept for name, kept in every.items() if isinstance(kept, Moving)}

    def prepare(self, rollouts: Rollouts) -> Prepared:
        """Everything that depends on the whole batch, without a gradient.

        On policy is assumed to mean that `old_logp` is the policy's own; where completions come from elsewhere,
        `extras["policy_logp"]` [..., B, G, T] holds the policy's. Raises ValueError naming the prompt where an
        advantage is not finite, and where what a piece needs of the reference, the critic or greedy decoding is
        missing.
        """
        with torch.no_grad():
            rewards = rollouts.rewards if self.signal is None else self.signal(rollouts)
            by_token, route = self._detached_kl(rollouts), None if self.kl is None else self.kl.route
            penalty = None if by_token is None else beta_of(self.kl.beta, rollouts) * by_token.sum(-1)  # type: ignore[union-attr]
            net = rewards if penalty is None or route != "reward" else rewards - penalty
            advantages, returns = self._advantages(rollouts, net, self._token_rewards(rollouts, rewards, by_token))
            if penalty is not None and route == "score":
                advantages = advantages - penalty[..., None] * rollouts.mask
            for transform in self.transforms:
                advantages = transform(advantages, rollouts)
            finite("advantages", advantages, rollouts.prompt_ids if rollouts.prompt_ids.dim() == 1 else None)
            weights = _weights(self.aggregate, rollouts)
            if self.kl is not None and self.kl.weight is not None:
                rollouts = rollouts.with_(extras={"kl_weights": self.kl.weight(rollouts, advantages)})
            for term in self.penalties:
                rollouts = rollouts.with_(extras=term.prepare(rollouts, advantages))
        return Prepared(rollouts, advantages, weights, self.aggregate, returns)

    def loss(
        self, logp: Tensor, prepared: Prepared, vocab_logp: Tensor | None = None, values: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [...], figures) of the current policy's log-probabilities logp [..., B, G, T], to be minimised.

        The figures are detached and, like the loss, add up over the pieces of a batch. vocab_logp [..., B, G, T, V] is
        needed by kl estimator "exact" and an entropy bonus, values [..., B, G, T] by a critic's loss.
        """
        batch, advantages = prepared.rollouts, prepared.advantages
        figures: dict[str, Tensor] = {}
        external = None if self.external is None else batch.extras.get("external")
        if self.ratio == "none":
            surrogate = advantages * logp
        else:
            mask = batch.mask if external is None else batch.mask & ~external
            w = ratio(self.ratio, logp, batch.old_logp, mask, self.log_clip)
            surrogate = w * advantages if self.clip is None else self.clip(w, advantages)
            if self.clip is not None:
                low, high = self.clip.active(w.detach(), advantages)
                share = prepared.token_weights if external is None else prepared.token_weights * ~external
                figures["clip_low"], figures["clip_high"] = (share * low).sum(_BATCH), (share * high).sum(_BATCH)
        if external is not None and self.external is not None:
            other = self.external(logp, batch.old_logp, batch.extras.get("external_logp"))
            surrogate = torch.where(external, other * advantages, surrogate)
        per_token = -surrogate
        if self.kl is not None and self.kl.route == "autodiff":
            assert batch.ref_logp is not None
            ref_vocab = batch.extras.get("ref_vocab_logp")
            estimate = self.kl.per_token(logp, batch.ref_logp, batch.mask, vocab_logp, ref_vocab)
            if self.kl.weight is not None:
                estimate = batch.extras["kl_weights"][..., None] * estimate
            per_token = per_token + beta_of(self.kl.beta, batch)[..., None] * estimate
        for term in self.penalties:
            more, found = term(logp, batch, vocab_logp)
            per_token = per_token + more
            figures |= {name: (prepared.token_weights * value).sum(_BATCH) for name, value in found.items()}
        if self.value is not None:
            assert values is not None and prepared.returns is not None
            error = self.value(values, batch.extras["values"], prepared.returns)
            per_token = per_token + error
            figures["value_loss"] = (prepared.token_weights * error.detach()).sum(_BATCH)
        return (prepared.token_weights * per_token).sum(_BATCH), figures

    def _advantages(self, rollouts: Rollouts, net: Tensor, by_token: Tensor) -> tuple[Tensor, Tensor | None]:
        """(advantages, returns of a critic), each [..., B, G, T], of rewards [..., B, G] and [..., B, G, T]."""
        if isinstance(self.advantage, GAE):
            values = _extra(rollouts, "values")
            return self.advantage(by_token, values, rollouts.mask, rollouts.weights, rollouts.enumerated)
        if isinstance(self.advantage, TokenReturns):
            return self.advantage(by_token, rollouts.mask), None
        if isinstance(self.advantage, GreedyBaseline):
            beside = self.advantage(net, _extra(rollouts, "greedy_rewards"))
            return beside[..., None] * rollouts.mask, None
        if isinstance(self.advantage, OwnMean):
            external = rollouts.extras.get("external", torch.zeros_like(rollouts.mask)).any(-1)
            return self.advantage(net, rollouts.weights, external)[..., None] * rollouts.mask, None
        return advantages_of(self.advantage, rollouts, net), None

    def _detached_kl(self, rollouts: Rollouts) -> Tensor | None:
        """The KL estimate of each token [..., B, G, T], None without a penalty that needs it."""
        if self.kl is None:
            return None
        if rollouts.ref_logp is None:
            raise ValueError("ref_logp must be given for an objective with a KL penalty, got None")
        if self.kl.route == "autodiff":
            return None
        vocab, ref_vocab = rollouts.extras.get("vocab_logp"), rollouts.extras.get("ref_vocab_logp")
        return self.kl.per_token(rollouts.policy_logp, rollouts.ref_logp, rollouts.mask, vocab, ref_vocab)

    def _token_rewards(self, rollouts: Rollouts, rewards: Tensor, estimate: Tensor | None) -> Tensor:
        """Each token's reward [..., B, G, T], or the completion's with its last token, less the token's own penalty."""
        given = rollouts.extras.get("token_rewards") if self.signal is None else None
        by_token = at_last_token(rewards, rollouts.mask) if given is None else given
        if estimate is None or self.kl is None or self.kl.route != "reward":
            return by_token
        return by_token - beta_of(self.kl.beta, rollouts)[..., None] * estimate

    def with_(self, **pieces: object) -> PolicyGradient:
        """The same combination with some pieces replaced."""
        return replace(self, **pieces)  # type: ignore[arg-type]


_BATCH = (-3, -2, -1)


def _weights(aggregate: str, rollouts: Rollouts) -> Tensor:
    return token_weights(aggregate, rollouts.weights, rollouts.loss_mask, rollouts.horizon) * rollouts.loss_weights


def _extra(rollouts: Rollouts, name: str) -> Tensor:
    if name not in rollouts.extras:
        raise ValueError(f"extras[{name!r}] must be given for this objective, got {sorted(rollouts.extras)}")
    return rollouts.extras[name]
