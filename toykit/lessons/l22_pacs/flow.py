"""The expected step of PACS on one law, for groups of three and for large ones, many settings side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit.exact import enumerate_groups, mean_score
from toykit.objectives import PACS

REFERENCE = torch.tensor([0.40, 0.10, 0.05, 0.25, 0.20], dtype=torch.float64).log()
RIGHT = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
GROUP, LR = 3, 0.5
INDEX = enumerate_groups(REFERENCE, GROUP)[0]  # [125, 3]
LABELS = RIGHT[INDEX]
ONE_HOT = torch.nn.functional.one_hot(INDEX, len(RIGHT)).double()

Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # of log-probabilities: now, of the groups, the reference's


@dataclass(frozen=True)
class Settings:
    """S settings: beta [S, 1], whether the weights are "question" [S, 1], the reference, and the inner steps.

    Inner steps are taken on groups that the policy made before the first of them.
    """

    beta: Tensor
    question: Tensor
    reference: str = "fixed"
    inner: int = 1

    @staticmethod
    def of(beta: tuple[float, ...], weights: tuple[str, ...], reference: str = "fixed", inner: int = 1) -> Settings:
        """One setting for each pair of a beta and its weights."""
        question = torch.tensor([w == "question" for w in weights])
        return Settings(torch.tensor(beta, dtype=torch.float64)[:, None], question[:, None], reference, inner)

    def objectives(self) -> list[PACS]:
        """The same settings as toykit trains with them."""
        pairs = zip(self.beta.flatten().tolist(), self.question.flatten().tolist(), strict=True)
        return [PACS(b, reference=self.reference, weights="question" if q else "none") for b, q in pairs]

    def in_groups(self, log_pi: Tensor, old: Tensor, base: Tensor) -> Tensor:
        """The expected step [S, 5] in the logits over all groups of three that `old` makes; all laws [S, 5]."""
        psi = relative((self.beta * (log_pi - base))[..., INDEX])
        n = LABELS.sum(-1, keepdim=True)
        mixed = (n > 0) & (n < GROUP)
        balance = torch.where(mixed, GROUP / 2 / torch.where(LABELS > 0, n, GROUP - n), 1.0)
        weights = torch.where(self.question[..., None], balance, 1.0)
        push = self.beta[..., None] * relative(weights * (LABELS - psi.sigmoid())) / GROUP
        law = old[..., INDEX].sum(-1).exp()
        return torch.einsum("sm,smg,mgk->sk", law, push, ONE_HOT)  # pushes of a group add up to 0

    def in_large_groups(self, log_pi: Tensor, old: Tensor, base: Tensor) -> Tensor:
        """The limit of that for large groups: each answer has a logit and a push of its own."""
        return mean_score(old.exp(), self.beta * self.residuals(log_pi, old, base)[1])

    def residuals(self, log_pi: Tensor, old: Tensor, base: Tensor) -> tuple[Tensor, Tensor]:
        """(psi, weight times (R - sigma(psi))), each [S, 5], in large groups."""
        law, ratio = old.exp(), self.beta * (log_pi - base)
        psi = ratio - (law * ratio).sum(-1, keepdim=True)
        p = (law * RIGHT).sum(-1, keepdim=True)
        weights = torch.where(self.question, 0.5 / torch.where(RIGHT > 0, p, 1 - p), 1.0)
        return psi, weights * (RIGHT - psi.sigmoid())

    def round(self, step: Step, lr: float = LR) -> Callable[[Tensor], Tensor]:
        """What a round of inner steps does to logits [S, 5], divided by lr, for `ascend` and `ascend_until`."""

        def gradient(logits: Tensor) -> Tensor:
            old = logits.log_softmax(-1)
            base, now = REFERENCE if self.reference == "fixed" else old, logits
            for _ in range(self.inner):
                now = now + lr * step(now.log_softmax(-1), old, base)
            return (now - logits) / lr

        return gradient

    @property
    def start(self) -> Tensor:
        return REFERENCE.expand(len(self.beta), -1)


def relative(values: Tensor) -> Tensor:
    """Each less the mean of the group's others, [..., G]."""
    g = values.shape[-1]
    return g / (g - 1) * (values - values.mean(-1, keepdim=True))


def accuracy(logits: Tensor) -> Tensor:
    return (logits.softmax(-1) * RIGHT).sum(-1)


def among_right(logits: Tensor) -> Tensor:
    """Log-probabilities [..., 3] of the right answers, given that the answer is right."""
    return logits[..., RIGHT > 0].log_softmax(-1)
