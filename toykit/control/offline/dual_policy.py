"""Policies learned from samples through a dual over Q that is linear in features: ReCOIL, dual-Q, and what they need.

Laws over state and action are [..., S, A]: counts of data over their number, or exact ones. Leading axes are data sets
side by side. All duals here are those of chi-square, quadratic in Q's weights, so that the minimum over Q is one linear
system and only the policy is ascended. Source: dual RL (arXiv 2302.08560).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit._checks import at_least, inside, positive, shape

Objective = Callable[[Tensor], Tensor]  # of a policy [..., S, A], a number [...] to be maximised


@dataclass(frozen=True, eq=False)
class LinearDual:
    """entering (1 - g) E_start,pi[Q] + E_law[y^2 / (4 alpha) + y] - E_minus[y], y = reward + g P^pi Q - Q, Q = phi . w.

    P         [..., S, A, S] next states as the data have them; a pair that is in no data may have any row
    features  phi [S, A, D], for Q here and for the policy's logits in `learn_policy`
    law, minus  [..., S, A] what y is averaged over, and what it is taken from
    reward    [..., S, A] or None
    ridge     times |w|^2 / 2 is added, which decides what no data decide

    With the exact laws, a feature for each pair and ridge -> 0 the minimum is that of `recoil` and `dual_q`. For random
    transitions y takes the mean next value of the data, so that nothing is sampled twice. Raises ValueError for shapes
    that disagree, a discount outside (0, 1), and an alpha or a ridge that is not positive.
    """

    P: Tensor
    start: Tensor
    discount: float
    features: Tensor
    law: Tensor
    minus: Tensor
    reward: Tensor | None = None
    entering: float = 1.0
    alpha: float = 1.0
    ridge: float = 1e-6

    def __post_init__(self) -> None:
        inside("discount", self.discount)
        positive("alpha", self.alpha)
        positive("ridge", self.ridge)
        states, actions = self.features.shape[:2]
        shape("start", self.start, (states,))
        for name, given in (("law", self.law), ("minus", self.minus), ("reward", self.reward)):
            if given is not None:
                shape(name, given, (*self.law.shape[:-2], states, actions))
        shape("P", self.P, (*self.law.shape[:-2], states, actions, states))

    def parts(self, policy: Tensor) -> tuple[Tensor, Tensor]:
        """What w is multiplied by in the entering term [..., D] and in y [..., S, A, D]."""
        values = torch.einsum("...sa,sad->...sd", policy, self.features)
        after = torch.einsum("...sat,...td->...sad", self.P, values)
        first = self.entering * (1 - self.discount) * torch.einsum("s,...sd->...d", self.start, values)
        return first, self.discount * after - self.features

    @torch.no_grad()
    def weights(self, policy: Tensor) -> Tensor:
        """The w [..., D] of the least value."""
        first, y = self.parts(policy)
        curve = torch.einsum("...sa,...sad,...sae->...de", self.law, y, y) / (2 * self.alpha)
        curve = curve + self.ridge * torch.eye(y.shape[-1], dtype=y.dtype)
        slope = self.law - self.minus
        if self.reward is not None:
            slope = slope + self.law * self.reward / (2 * self.alpha)
        return -torch.linalg.solve(curve, first + torch.einsum("...sa,...sad->...d", slope, y))

    def __call__(self, policy: Tensor) -> Tensor:
        """The minimum [...] over w of a policy [..., S, A]; its gradient by the policy is that at the minimum."""
        w = self.weights(policy.detach())
        first, y = self.parts(policy)
        y = torch.einsum("...sad,...d->...sa", y, w) + (0.0 if self.reward is None else self.reward)
        inner = self.law * (y.square() / (4 * self.alpha) + y) - self.minus * y
        return (first * w).sum(-1) + inner.sum((-2, -1)) + self.ridge / 2 * w.square().sum(-1)


def recoil_dual(
    P: Tensor, start: Tensor, discount: float, features: Tensor, expert: Tensor, other: Tensor, share: float = 0.5
) -> LinearDual:
    """ReCOIL of an expert's and other data, without reward or discriminator; ValueError for a share outside (0, 1)."""
    inside("share", share)
    mixed = share * expert + (1 - share) * other
    return LinearDual(P, start, discount, features, mixed, (1 - share) * other, entering=share)


def log_ratio(features: Tensor, expert: Tensor, other: Tensor, ridge: float = 1e-3, steps: int = 30) -> Tensor:
    """log expert / other [..., S, A] as a logistic discriminator phi . u finds it, by Newton's method.

    ridge  times |u|^2 / 2 is taken off, which keeps the ratio finite where one of the two has no data

    Raises ValueError for a ridge that is not positive.
    """
    positive("ridge", ridge)
    u = expert.new_zeros(*expert.shape[:-2], features.shape[-1])
    for _ in range(steps):
        p = torch.einsum("sad,...d->...sa", features, u).sigmoid()
        slope = torch.einsum("...sa,sad->...d", expert * (1 - p) - other * p, features) - ridge * u
        curve = torch.einsum("...sa,sad,sae->...de", (expert + other) * p * (1 - p), features, features)
        u = u + torch.linalg.solve(curve + ridge * torch.eye(u.shape[-1], dtype=u.dtype), slope)
    return torch.einsum("sad,...d->...sa", features, u)


def likelihood(law: Tensor) -> Objective:
    """E_law[log pi(a | s)]: behaviour cloning."""
    return lambda policy: (law * policy.clamp(min=1e-12).log()).sum((-2, -1))


def learn_policy(
    objective: Objective, features: Tensor, batch: tuple[int, ...] = (), steps: int = 300, lr: float = 0.1
) -> Tensor:
    """The policy softmax(phi . theta) [*batch, S, A] after Adam's ascent of an objective from theta = 0.

    Raises ValueError for fewer than one step and a rate that is not positive.
    """
    at_least("steps", steps, 1)
    positive("lr", lr)
    theta = features.new_zeros(*batch, features.shape[-1]).requires_grad_()
    optimizer = torch.optim.Adam([theta], lr)

    def policy() -> Tensor:
        return torch.einsum("sad,...d->...sa", features, theta).softmax(-1)

    for _ in range(steps):
        optimizer.zero_grad()
        (-objective(policy()).sum()).backward()
        optimizer.step()
    return policy().detach()
