"""ROVER: log-ratios as values of the uniform policy, regressed on an advantage and the next value's mean."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from toykit._checks import at_least, finite, positive
from toykit.objectives.advantages import Advantage, advantages_of
from toykit.objectives.aggregation import token_weights
from toykit.objectives.baselines import Moving
from toykit.objectives.policy_gradient import Prepared
from toykit.rollouts.batch import Rollouts
from toykit.rollouts.chunks import mean_of_allowed

OLD_MEAN = "old_mean_logp"


@dataclass(frozen=True)
class Rover:
    """mean over tokens of (q_t - A - beta qbar_{t+1})^2, what is behind the first minus held without a gradient.

    q_t       rho (log pi(y_t) - log old(y_t)): the token's value, relative to the behaviour policy
    qbar_t    rho times the mean of that difference over the vocabulary: the value of the uniform policy before the
              token; 0 after the last one
    rho       the scale of the values; A is not multiplied by it
    beta      how much of the next value is added; 0 leaves the advantage alone, and reads no vocabulary
    advantage rewards less their group's mean, or divided by its standard deviation too: the two released codes

    At the behaviour policy the gradient is -2 rho times the mean over tokens of A grad log pi(y_t), REINFORCE's. The
    mean over the vocabulary is one over the tokens that may come, and is given as one number a token: the trainer makes
    it in chunks. Raises ValueError for rho <= 0 and beta < 0. Source: ROVER (arXiv 2509.24981), its released code.
    """

    rho: float = 1.0
    beta: float = 1.0
    advantage: Advantage = field(default_factory=Advantage)

    def __post_init__(self) -> None:
        positive("rho", self.rho)
        at_least("beta", self.beta, 0)

    needs_reference = needs_reference_vocab = needs_entropy = needs_critic = needs_greedy = whole_groups = False
    needs_behaviour = True

    @property
    def needs_vocab(self) -> bool:
        return self.beta > 0

    @property
    def vocab_mean(self) -> bool:
        return self.beta > 0

    @property
    def needs_group(self) -> bool:
        return self.advantage.needs_group

    @property
    def moving(self) -> Mapping[str, Moving]:
        return {}

    def prepare(self, rollouts: Rollouts) -> Prepared:
        """Advantages of a batch. Raises ValueError naming the prompt where one is not finite, for a group of one that
        has to be compared, and where `extras["old_mean_logp"]` [..., B, G, T] is missing."""
        self.advantage.check_group(rollouts.group_size, rollouts.enumerated)
        if self.beta > 0 and OLD_MEAN not in rollouts.extras:
            raise ValueError(f"extras[{OLD_MEAN!r}] must be given for beta > 0, got {sorted(rollouts.extras)}")
        advantages = advantages_of(self.advantage, rollouts, rollouts.rewards)
        finite("advantages", advantages, rollouts.prompt_ids if rollouts.prompt_ids.dim() == 1 else None)
        weights = token_weights("token_mean", rollouts.weights, rollouts.loss_mask) * rollouts.loss_weights
        return Prepared(rollouts, advantages, weights, "token_mean")

    def values(self, logp: Tensor, rollouts: Rollouts) -> Tensor:
        """q [..., B, G, T] of log-probabilities [..., B, G, T] of the completions' tokens, with their gradient."""
        return self.rho * (logp - rollouts.old_logp).masked_fill(~rollouts.mask, 0.0)

    def following(self, vocab_logp: Tensor, rollouts: Rollouts) -> Tensor:
        """qbar of the next token [..., B, G, T] of vocab_logp [..., B, G, T, V] (or its mean, V = 1), detached."""
        moved = mean_of_allowed(vocab_logp.detach()) - rollouts.extras[OLD_MEAN]
        here = self.rho * moved.masked_fill(~rollouts.mask, 0.0)
        return torch.nn.functional.pad(here[..., 1:], (0, 1))

    def loss(
        self, logp: Tensor, prepared: Prepared, vocab_logp: Tensor | None = None, values: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """(loss [...], figures) of log-probabilities logp [..., B, G, T], to be minimised; values is not read.

        vocab_logp [..., B, G, T, V], or its mean over the vocabulary with V = 1, is needed for beta > 0. Figures, means
        over tokens: q and next_q (beta times the next token's qbar).
        """
        q, target = self.values(logp, prepared.rollouts), prepared.advantages
        more = torch.zeros_like(target)
        if self.beta > 0:
            if vocab_logp is None:
                raise ValueError("vocab_logp must be given for beta > 0, got None")
            more = self.beta * self.following(vocab_logp, prepared.rollouts)
        weights, over = prepared.token_weights, (-3, -2, -1)
        figures = {"q": (weights * q.detach()).sum(over), "next_q": (weights * more).sum(over)}
        return (weights * (q - target - more) ** 2).sum(over), figures

    def with_(self, **pieces: object) -> Rover:
        """The same objective with some options replaced."""
        return replace(self, **pieces)  # type: ignore[arg-type]
