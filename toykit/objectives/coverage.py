"""The forward KL by the policy's own completions: the policy is asked to cover a reference, flattened or not."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, one_of, positive
from toykit.objectives.beta import Beta, beta_of, check_beta
from toykit.objectives.penalties import Term
from toykit.rollouts.batch import Rollouts

FORBIDDEN = -1e6  # nats: tokens that a policy cannot say have less, whatever number stands for minus infinity
FLOOR = -100.0  # nats: below it w is 0, and the loss stays finite


@dataclass(frozen=True)
class Tempering:
    """ref^phi, normalised over the vocabulary at each prefix: the smaller phi, the nearer to uniform.

    phi(r) = least + (1 - least) clip(r, 0, 1) of

        rollout   the completion's own reward: what failed is compared with a flat reference
        prompt    the group's mean reward: prompts that fail are explored, and refhat does not depend on the completion

    At phi = 0 every token that the reference can say is alike; `exclude` leaves some out, such as padding. (A phi for
    each completion inside one law, as RAPO's formula can be read, would give right answers less mass than wrong ones.)
    Raises ValueError for another `by`, and `least` outside [0, 1]. Source: RAPO (arXiv 2510.03865); phi reconstructed.
    """

    by: str = "rollout"
    least: float = 0.0
    exclude: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        one_of("by", self.by, ("rollout", "prompt"))
        if not 0 <= self.least <= 1:
            raise ValueError(f"least must be from 0 to 1, got {self.least}")

    def phi(self, rollouts: Rollouts) -> Tensor:
        """[..., B, G] from 0 to 1."""
        rewards = rollouts.rewards
        if self.by == "prompt":
            rewards = rollouts.mean(rewards)[..., None].expand_as(rewards)
        return self.least + (1 - self.least) * rewards.clamp(0, 1)

    def __call__(self, ref_vocab_logp: Tensor, phi: Tensor) -> Tensor:
        """Log-probabilities [..., T, V] of refhat from the reference's, with phi [...]; -inf for what is left out."""
        known = ref_vocab_logp > FORBIDDEN
        known[..., list(self.exclude)] = False
        flat = phi[..., None, None] * ref_vocab_logp.masked_fill(~known, 0.0)
        return flat.masked_fill(~known, -torch.inf).log_softmax(-1)


@dataclass(frozen=True)
class OnPolicyForwardKL:
    """beta KL(refhat || pi) at the prefixes visited, from the policy's own tokens with w = refhat / pi.

    Its value is estimated by D = w log w - w + 1 (>= 0, unbiased on policy). Its gradient is a choice:

        score      (1 - w) grad log pi, whose expectation is that of the KL's gradient; as a loss it is w - 1 - log w,
                   going on as a line beyond the clip
        autodiff   D is differentiated: another vector, which is 0 at pi = refhat too

    `clip` bounds w from above (None: not at all), because it has no bound where pi << refhat; the figure `w_clipped` is
    the share of tokens that it stopped, `forward_kl` the mean of D. `tempering` None takes the reference as it is.
    `beta` is one number, or a tensor [n] with the number of each prompt id. Raises ValueError for beta <= 0, clip < 1,
    or another gradient. Source: RAPO (arXiv 2510.03865); gradients derived.
    """

    beta: Beta
    clip: float | None = 10.0
    tempering: Tempering | None = None
    gradient: str = "score"
    needs_reference = True

    def __post_init__(self) -> None:
        check_beta(self.beta)
        if self.clip is not None:
            at_least("clip", positive("clip", self.clip), 1)
        one_of("gradient", self.gradient, ("score", "autodiff"))

    @property
    def needs_vocab(self) -> bool:
        """Tempering needs all of the reference's logits, not those of the tokens that were drawn."""
        return self.tempering is not None

    def prepare(self, rollouts: Rollouts, advantages: Tensor) -> dict[str, Tensor]:
        """refhat's log-probabilities of the completions' tokens, as `extras["covered_logp"]` [..., B, G, T]."""
        if self.tempering is None:
            if rollouts.ref_logp is None:
                raise ValueError("ref_logp must be given for a forward KL to the reference, got None")
            return {"covered_logp": rollouts.ref_logp.clamp(min=FLOOR)}
        if "ref_vocab_logp" not in rollouts.extras:
            raise ValueError(f"extras['ref_vocab_logp'] must be given to temper, got {sorted(rollouts.extras)}")
        law = self.tempering(rollouts.extras["ref_vocab_logp"], self.tempering.phi(rollouts))
        chosen = law.gather(-1, rollouts.completions[..., None])[..., 0]
        return {"covered_logp": chosen.clamp(min=FLOOR).masked_fill(~rollouts.mask, 0.0)}

    def __call__(self, logp: Tensor, rollouts: Rollouts, vocab_logp: Tensor | None = None) -> Term:
        log_w = (rollouts.extras["covered_logp"] - logp).masked_fill(~rollouts.mask, 0.0)
        most = math.inf if self.clip is None else math.log(self.clip)
        value = covering(log_w.clamp(max=most))
        loss = value if self.gradient == "autodiff" else pull(log_w, most)
        figures = {"forward_kl": value.detach(), "w_clipped": (log_w.detach() > most).to(logp)}
        return beta_of(self.beta, rollouts)[..., None] * loss, figures


def covering(log_w: Tensor) -> Tensor:
    """D = w log w - w + 1 elementwise: >= 0, and 0 for w = 1; 1 for w = 0."""
    w = log_w.exp()
    return torch.xlogy(w, w) - torch.expm1(log_w)


def pull(log_w: Tensor, most: float = math.inf) -> Tensor:
    """w - 1 - log w elementwise, going on as a line from log w = `most`: its slope in log pi is 1 - min(w, e^most)."""
    low = log_w.clamp(max=most)
    return torch.expm1(low) - low + (math.expm1(most) * (log_w - low) if most < math.inf else 0.0)
