"""PACS: the outcome as the label of a classifier whose logit is the policy's own log-ratio, relative to its group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from toykit._checks import finite, one_of, positive
from toykit.objectives.advantages import Advantage
from toykit.objectives.aggregation import token_weights
from toykit.objectives.baselines import Moving
from toykit.objectives.objective import taken
from toykit.rollouts.batch import Rollouts

SCORES = {
    "rloo": Advantage(mean="leave_one_out"),
    "grpo": Advantage(mean="group", std="group"),
    "naive": Advantage(mean="none"),
}
PROXIES = ("log_ratio", "mean_logp")
REFERENCES = ("behaviour", "fixed")
WEIGHTS = ("none", "question", "only_positive", "only_negative")


@dataclass(frozen=True)
class LabelledGroups:
    """Whole groups with a label on each completion; a group is never cut, because its members make one another's logit.

    All [..., B, G]: labels 0 or 1, balance (the weight that the method gives), share (of the batch, summing to 1 unless
    the rollouts' `loss_weights` say otherwise), among (its part of the completions of the same label in the batch).
    """

    rollouts: Rollouts
    labels: Tensor
    balance: Tensor
    share: Tensor
    among: Tensor

    @staticmethod
    def of(rollouts: Rollouts, labels: Tensor, balance: Tensor) -> LabelledGroups:
        """The shares are those of a completion in a mean over completions."""
        each = token_weights("sequence_mean", rollouts.weights, rollouts.loss_mask) * rollouts.loss_weights
        share = each.sum(-1)
        right, wrong = ((share * x).sum((-2, -1), keepdim=True) for x in (labels, 1 - labels))
        mass = torch.where(labels > 0, right, wrong)
        return LabelledGroups(rollouts, labels, balance, share, share / torch.where(mass > 0, mass, 1.0))

    def minibatch(self, rows: Tensor) -> LabelledGroups:
        """Some prompts with their groups as a batch of its own: shares are taken anew."""
        return LabelledGroups.of(self.rollouts.take(rows), self.labels[rows], self.balance[rows])

    def micro(self, size: int | None) -> Iterator[LabelledGroups]:
        """The same batch in pieces of at most `size` completions, and of one group where it is larger than that."""
        b, g = self.rollouts.rewards.shape
        if size is None or size >= b * g:
            yield self
            return
        longest = self.rollouts.lengths.amax(-1)
        for rows in longest.argsort(stable=True).split(max(size // g, 1)):
            part = self.take(rows)
            yield replace(part, rollouts=part.rollouts.trim())

    def by_row(self) -> LabelledGroups:
        return self

    def take(self, rows: Tensor | slice) -> LabelledGroups:
        return taken(self, rows)

    def times(self, factor: Tensor) -> LabelledGroups:
        return replace(self, share=self.share * factor[:, None], among=self.among * factor[:, None])


@dataclass(frozen=True)
class PACS:
    """mean over completions of w (softplus(psi) - R psi): cross-entropy of the label R in {0, 1} with logit psi.

    beta       what the proxy is multiplied by; it saturates psi where completions are long
    score      how a proxy becomes a logit: rloo (minus the mean of the group's others), grpo (standardised in the
               group, ddof 1, eps 1e-6), naive (as it is)
    proxy      log_ratio (the sum over tokens of logp - the reference's), mean_logp (their mean logp, no reference)
    reference  behaviour (`old_logp`, as in the released code: psi is 0 wherever a step begins), fixed (`ref_logp`, as
               in the paper)
    weights    none, question (G / (2 n) in a group of both labels with n of the completion's own, 1 in others),
               only_positive or only_negative (1 for that label, 0 for the other); none changes what is divided by

    R is `rollouts.correct`, the task's own reward above 1/2, so that shaping leaves no trace. Where the group is an
    enumeration psi is taken relative to the behaviour policy's mean, and question weights are 1 / (2 P(label)): the
    limit of large groups. Tokens that are not learned from (`loss_mask`) are in no ratio, and a completion without
    others has no loss of its own. With score grpo the gradient is of the order 1 / eps where all proxies are equal, as
    they are at the behaviour reference. Raises ValueError for an unknown option or beta <= 0. Source: arXiv 2509.02522.
    """

    beta: float = 1.0
    score: str = "rloo"
    proxy: str = "log_ratio"
    reference: str = "behaviour"
    weights: str = "question"

    def __post_init__(self) -> None:
        positive("beta", self.beta)
        for name, options in (
            ("score", SCORES),
            ("proxy", PROXIES),
            ("reference", REFERENCES),
            ("weights", WEIGHTS),
        ):
            one_of(name, getattr(self, name), options)

    needs_vocab = vocab_mean = needs_reference_vocab = needs_entropy = needs_critic = needs_greedy = False
    whole_groups = True

    @property
    def needs_reference(self) -> bool:
        return self.proxy == "log_ratio" and self.reference == "fixed"

    @property
    def needs_behaviour(self) -> bool:
        return self.proxy == "log_ratio" and self.reference == "behaviour"

    @property
    def needs_group(self) -> bool:
        return SCORES[self.score].needs_group

    @property
    def moving(self) -> Mapping[str, Moving]:
        return {}

    def prepare(self, rollouts: Rollouts) -> LabelledGroups:
        """Labels and weights of a batch. Raises ValueError naming the prompt where a reward is not finite, for a group
        of one that has to be compared, and where a fixed reference is missing."""
        ids = rollouts.prompt_ids if rollouts.prompt_ids.dim() == 1 else None
        finite("rewards", rollouts.task_rewards, ids)
        SCORES[self.score].check_group(rollouts.group_size, rollouts.enumerated)
        if self.needs_reference and rollouts.ref_logp is None:
            raise ValueError("ref_logp must be given for reference='fixed', got None")
        labels = rollouts.correct.to(rollouts.weights)
        return LabelledGroups.of(rollouts, labels, self._balance(labels, rollouts))

    def logits(self, logp: Tensor, rollouts: Rollouts) -> Tensor:
        """psi [..., B, G] of log-probabilities [..., B, G, T], nats times beta, with their gradient."""
        mask, score = rollouts.loss_mask, SCORES[self.score]
        if self.proxy == "mean_logp":
            proxy = logp.masked_fill(~mask, 0.0).sum(-1) / mask.sum(-1).clamp(min=1)
        else:
            base = rollouts.ref_logp if self.reference == "fixed" else rollouts.old_logp
            assert base is not None, "prepare has seen to it"
            proxy = (logp - base).masked_fill(~mask, 0.0).sum(-1)
        return score.relative(self.beta * proxy, rollouts.weights, rollouts.enumerated)

    def loss(
        self, logp: Tensor, prepared: LabelledGroups, vocab_logp: Tensor | None = None, values: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [...], figures) of log-probabilities logp [..., B, G, T], to be minimised; the last two are not read.

        Figures: psi_right and psi_wrong (means of psi, 0 where no completion has the label), predicted (the mean of
        sigma(psi), beside the share of right completions it says how calibrated the policy is), brier (the mean of
        (sigma(psi) - R)^2).
        """
        psi, labels = self.logits(logp, prepared.rollouts), prepared.labels.to(logp)
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(psi, labels, reduction="none")
        sigma, over = psi.detach().sigmoid(), (-2, -1)
        figures = {
            "psi_right": (prepared.among * labels * psi.detach()).sum(over),
            "psi_wrong": (prepared.among * (1 - labels) * psi.detach()).sum(over),
            "predicted": (prepared.share * sigma).sum(over),
            "brier": (prepared.share * (sigma - labels) ** 2).sum(over),
        }
        return (prepared.share * prepared.balance * entropy).sum(over), figures

    def with_(self, **pieces: object) -> PACS:
        """The same objective with some options replaced."""
        return replace(self, **pieces)  # type: ignore[arg-type]

    def _balance(self, labels: Tensor, rollouts: Rollouts) -> Tensor:
        """The weight [..., B, G] of each completion in a mean over the batch."""
        if self.weights == "none":
            return torch.ones_like(labels)
        if self.weights != "question":
            return labels if self.weights == "only_positive" else 1 - labels
        right = rollouts.mean(labels)[..., None]
        own = torch.where(labels > 0, right, rollouts.mean(1 - labels)[..., None])
        mixed = labels.amax(-1, keepdim=True) > labels.amin(-1, keepdim=True)
        return torch.where(mixed & (own > 0), 0.5 / torch.where(own > 0, own, 1.0), 1.0)
