"""The exercises of lesson 27, with the mistakes that they know."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.exercises import Case, Exercise, Mistake, register

Ace = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]


def ace(per_length: bool = False, by_sign: bool = False, shape: Callable[[Tensor], Tensor] = F.softplus) -> Ace:
    """ACE's advantages [n] of advantages [n], `correct` bool [n] and log-probabilities and their mask [n, T]."""

    def advantages(a: Tensor, correct: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, alpha: float) -> Tensor:
        c = ((logp - ref_logp) * mask).sum(-1)
        if per_length:
            c = c / mask.sum(-1)
        wrong = a < 0 if by_sign else ~correct
        return torch.where(wrong, 1 + alpha * shape(c), 1.0) * a

    return advantages


def _everyone(a: Tensor, correct: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, alpha: float) -> Tensor:
    return ace()(a, torch.zeros_like(correct), logp, ref_logp, mask, alpha)


def _turned(a: Tensor, correct: Tensor, logp: Tensor, ref_logp: Tensor, mask: Tensor, alpha: float) -> Tensor:
    return ace()(a, correct, ref_logp, logp, mask, alpha)


def _group(seed: int, advantages: tuple[float, ...], correct: tuple[bool, ...], alpha: float) -> Case:
    draw = torch.Generator().manual_seed(seed)
    logp, ref = torch.randn(2, len(correct), 4, generator=draw, dtype=torch.float64) - 2
    mask = torch.arange(4) < torch.tensor([4, 2, 3, 1])[:, None]
    given = torch.tensor(advantages, dtype=torch.float64)
    return Case((given, torch.tensor(correct), logp, ref, mask, alpha), f"α = {alpha:g}")


def ace_gradient(
    detach: bool = True, all_alike: bool = False, shape: Callable[[Tensor], Tensor] = F.softplus
) -> Callable[..., Tensor]:
    """The gradient [V] in the logits [V] of mean ratio x advantage x factor over the answers that were `drawn` [n]."""

    def gradient(logits: Tensor, log_ref: Tensor, drawn: Tensor, advantage: Tensor, wrong: Tensor) -> Tensor:
        logits = logits.requires_grad_()
        logp = logits.log_softmax(-1)[drawn]
        c = logp - log_ref[drawn]
        factor = 1 + shape(c.detach() if detach else c)
        ratio = (logp - logp.detach()).exp()
        kept = factor if all_alike else torch.where(wrong, factor, 1.0)
        return torch.autograd.grad((ratio * advantage * kept).mean(), logits)[0]

    return gradient


def _drawn(seed: int) -> Case:
    draw = torch.Generator().manual_seed(seed)
    logits, ref = 2 * torch.randn(2, 5, generator=draw, dtype=torch.float64)
    drawn = torch.tensor([0, 1, 1, 3, 4, 0])
    advantage = torch.tensor([1.2, -0.8, -0.8, -0.8, -0.8, 1.2], dtype=torch.float64)
    return Case((logits, ref.log_softmax(-1), drawn, advantage, drawn != 0))


PREDICT = register(
    Exercise(
        name="27.predict",
        reference=(0, -1),
        tolerance=1e-6,
        mistakes=(
            Mistake(
                "A factor that all wrong answers share scales the whole push: the way is the same, only faster.",
                (-1, -1),
            ),
            Mistake("The other way round: what treats wrong answers alike cannot change how they share.", (-1, 0)),
            Mistake("ACE does: the spurious winner's c is high and the others' is low.", (0, 0)),
        ),
        reason="Only a factor that differs between wrong answers changes what is left to each.",
    )
)

IMPLEMENT = register(
    Exercise(
        name="27.ex1",
        reference=ace(),
        cases=(
            _group(0, (1.5, -0.5, -0.5, -0.5), (True, False, False, False), 1.0),
            _group(1, (0.8, 0.3, -0.4, -0.7), (True, False, True, False), 2.0),  # centred over a batch
        ),
        mistakes=(
            Mistake(
                "Wrong is what the task calls wrong: with a baseline of the batch a wrong answer's A may be > 0.",
                ace(by_sign=True),
            ),
            Mistake("c is that of the whole completion: the sum over its tokens, not their mean.", ace(True)),
            Mistake("That is the ReLU of public implementations; the paper prints softplus.", ace(shape=torch.relu)),
            Mistake("Right answers keep their advantage.", _everyone),
            Mistake("c is log π - log ref: positive where training has raised the answer.", _turned),
        ),
        reason="One line after the estimator; it needs one pass of the reference, and no gradient.",
    )
)

FAIR = register(
    Exercise(
        name="27.ex2",
        reference=2 * math.log(2),
        tolerance=1e-3,
        mistakes=(
            Mistake("That is plain GRPO, which punishes a new wrong answer less than ACE does.", 0.0),
            Mistake("softplus(0) is not 1 but ln 2.", 2.0),
            Mistake("Do not forget α.", math.log(2)),
        ),
        reason="With u = α ln 2 a wrong answer that training has not touched counts alike under both.",
    )
)

REPAIR = register(
    Exercise(
        name="27.ex3",
        reference=ace_gradient(),
        cases=(_drawn(2), _drawn(3)),
        mistakes=(
            Mistake("c keeps its gradient: this follows -α∇Ω, another algorithm. Detach it.", ace_gradient(False)),
            Mistake("Right answers keep their advantage.", ace_gradient(all_alike=True)),
            Mistake("That is ReLU: below c = 0 nothing is left of the factor.", ace_gradient(shape=torch.relu)),
        ),
        reason="The factor weighs the push; it is not itself to be made small.",
    )
)
