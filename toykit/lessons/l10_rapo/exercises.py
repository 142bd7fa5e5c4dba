"""The exercises of lesson 10, with the mistakes that they know."""

from __future__ import annotations

import torch
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register


def forward_push(log_pi: Tensor, log_ref: Tensor, clip: float) -> Tensor:
    """[n]: what each sample's grad log pi is multiplied by, so that ascent lowers KL(ref || pi)."""
    return (log_ref - log_pi).exp().clamp(max=clip) - 1


def tempered_reference(ref_logits: Tensor, phi: Tensor, allowed: Tensor) -> Tensor:
    """[n, V]: probabilities proportional to exp(phi_i ref_logits) over the tokens that are allowed."""
    return (phi[:, None] * ref_logits).masked_fill(~allowed, -torch.inf).softmax(-1)


def _samples(seed: int, n: int = 6) -> tuple[Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    log_pi, log_ref = torch.randn(2, n, generator=draw, dtype=torch.float64) - 2
    return log_pi, log_ref


def _far(seed: int) -> tuple[Tensor, Tensor, float]:
    """The first two samples are 50 and e^30 times likelier under the reference."""
    log_pi, log_ref = _samples(seed)
    log_ref[:2] = log_pi[:2] + torch.tensor([50.0, torch.e**30], dtype=torch.float64).log()
    return log_pi, log_ref, 10.0


def _logits(seed: int, phi: tuple[float, ...], padded: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(len(phi), 5, generator=draw, dtype=torch.float64)
    allowed = torch.ones(5, dtype=torch.bool)
    if padded:
        allowed[0] = False
    return logits, torch.tensor(phi, dtype=torch.float64), allowed


PREDICT = register(
    Exercise(
        name="10.predict",
        reference=(0.0, 0.8),
        tolerance=0.02,
        mistakes=(
            Mistake(
                "Neither penalty costs enough to keep the reward away where the answer is known: it is not.", (1.0, 1.0)
            ),
            Mistake("The reverse KL is infinite wherever the policy goes and the reference does not.", (0.8, 0.8)),
            Mistake("The other way round: KL(π, ref) is the reverse one.", (0.8, 0.0)),
            Mistake("The forward KL asks only that the reference stays covered; going beyond it is free.", (0.0, 0.0)),
        ),
        reason="Covering the reference takes α of the mass, and all else goes to the answer that is right.",
    )
)

PUSH = register(
    Exercise(
        name="10.ex1",
        reference=forward_push,
        cases=(Case((*_samples(0), 10.0), "six samples"), Case(_far(1), "rare answers, with a clip")),
        mistakes=(
            Mistake(
                "That is the estimate's own slope, w log w: it is no gradient of KL(ref, π), whose weight is w - 1.",
                lambda p, q, c: (q - p).exp().clamp(max=c) * (q - p),
            ),
            Mistake(
                "That is the reverse KL, whose push is log ref - log π.",
                lambda p, q, c: q - p,
            ),
            Mistake(
                "The sign: where the reference says more than π, π must rise.",
                lambda p, q, c: -forward_push(p, q, c),
            ),
            Mistake("w has no upper bound: clip it.", lambda p, q, c: (q - p).exp() - 1),
            Mistake("w is ref / π, not π / ref.", lambda p, q, c: (p - q).exp().clamp(max=c) - 1),
        ),
        reason="With it E_π of (w - 1) ∇log π is -∇KL(ref, π); clipped, a rare answer cannot take over the batch.",
    )
)

ABC = register(
    Exercise(
        name="10.ex2",
        reference=(0.175, 0.075, 0.75),
        tolerance=1e-3,
        mistakes=(
            Mistake(
                "That is the reverse KL's optimum: equal rewards inside the support leave the reference.",
                (0.7, 0.3, 0.0),
            ),
            Mistake("c = r(C) = 1 gives A and B α ref / (1 - 0); what is left goes to C.", (0.0, 0.0, 1.0)),
            Mistake("α is how much the reference keeps, not how much it loses.", (0.525, 0.225, 0.25)),
        ),
        reason="α ref / (c - r) with c = 1: a quarter of the reference, and the rest to the best answer.",
    )
)

TEMPERED = register(
    Exercise(
        name="10.ex3",
        reference=tempered_reference,
        cases=(
            Case(_logits(2, (1.0, 0.5, 0.2)), "three rollouts"),
            Case(_logits(3, (0.0, 1.0)), "a rollout that failed"),
            Case(_logits(4, (0.0, 0.5), padded=True), "padding in the vocabulary"),
        ),
        mistakes=(
            Mistake(
                "φ = 0 is uniform over all of the vocabulary: leave out padding and special tokens.",
                lambda z, phi, allowed: (phi[:, None] * z).softmax(-1),
            ),
            Mistake(
                "After the power the law must be normalised again, over the vocabulary.",
                lambda z, phi, allowed: z.masked_fill(~allowed, -torch.inf).softmax(-1) ** phi[:, None],
            ),
            Mistake(
                "φ is an exponent, not a temperature: a low reward must flatten the reference.",
                lambda z, phi, allowed: (
                    (z / phi[:, None].clamp(min=1e-9)).masked_fill(~allowed, -torch.inf).softmax(-1)
                ),
            ),
        ),
        reason="It needs the reference's logits for the whole vocabulary, not those of the tokens that were drawn.",
    )
)
