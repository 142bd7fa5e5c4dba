"""Least-squares value iteration with noise, batched over seeds: planning from transitions that were seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(eq=False)
class Moves:
    """The transitions that were seen at each step, as sums over features [..., d].

    gram   [..., H, d, d]  ridge I + sum phi phi^T
    ahead  [..., H, d, S]  sum phi e(next state)^T, so that regressing any function of the next state is a product
    """

    gram: Tensor
    ahead: Tensor

    @classmethod
    def none(cls, *lead: int, steps: int, size: int, n_states: int, ridge: float = 1.0) -> Moves:
        """Nothing seen yet, for leading axes `lead`."""
        eye = ridge * torch.eye(size, dtype=torch.float64)
        zeros = torch.zeros(*lead, steps, size, n_states, dtype=torch.float64)
        return cls(eye.expand(*lead, steps, size, size).clone(), zeros)

    def add(self, features: Tensor, states: Tensor, actions: Tensor) -> None:
        """Counts one trajectory each: features [S, A, d], states int64 [..., H + 1], actions [..., H]."""
        phi = features[states[..., :-1], actions]
        self.gram += phi[..., :, None] * phi[..., None, :]
        at = states[..., 1:, None, None].expand(*phi.shape, 1)
        self.ahead.scatter_add_(-1, at, phi[..., None])


def truncated(
    estimate: Tensor, norm: Tensor, default: float | Tensor, low: float | Tensor, high: float | Tensor
) -> Tensor:
    """The estimate where features are known (norm <= low), the optimistic `default` where not (norm >= high), and
    between the two linearly: weight (high - norm) / (high - low) on the estimate.

    An infinite `low` leaves the estimate everywhere. Source: PR-LSVI (arXiv 2310.14554), after its eq. 1.
    """
    low, high = (torch.as_tensor(bound, dtype=norm.dtype) for bound in (low, high))
    weight = ((high - norm) / (high - low)).clamp(0.0, 1.0)
    weight = torch.where(norm <= low, 1.0, weight)
    return weight * estimate + (1 - weight) * default


def noisy_lsvi(
    features: Tensor,
    rewards: Tensor,
    moves: Moves,
    noise: Tensor,
    sigma: float | Tensor,
    bound: float,
    low: float | Tensor,
    high: float | Tensor,
) -> Tensor:
    """Q [..., H, S, A] of one draw of reward and transitions.

    features [S, A, d]; rewards [..., H, d] the weights of each step; noise standard normal [..., H, d]; `sigma` its
    scale; `bound` the largest reward of a step; `low` and `high` those of `truncated` (numbers or [...]).

    At step h = H..1: regress V(h + 1) of the next state on phi, add N(0, sigma^2 gram^-1) to the weights, truncate
    phi . weights towards (H - h) bound by the norm of phi under gram^-1, and add the reward. Nothing is clipped.
    Source: PR-LSVI (arXiv 2310.14554), algorithm 1; randomised LSVI, Osband, Van Roy and Wen (2016).
    """
    steps = rewards.shape[-2]
    lead = rewards.shape[:-2]
    sigma, low, high = (torch.as_tensor(x, dtype=torch.float64).expand(lead) for x in (sigma, low, high))
    root = torch.linalg.cholesky(moves.gram)
    inverse = torch.cholesky_inverse(root)
    jitter = torch.linalg.solve_triangular(root.mT, noise[..., None], upper=True)[..., 0] * sigma[..., None, None]
    known = torch.einsum("sad,...hde,sae->...hsa", features, inverse, features).clamp(min=0.0).sqrt()
    direct = torch.einsum("sad,...hd->...hsa", features, rewards)
    v = rewards.new_zeros(*lead, features.shape[0])
    found = []
    for h in reversed(range(steps)):
        seen = (moves.ahead[..., h, :, :] @ v[..., None])[..., 0]
        weights = (inverse[..., h, :, :] @ seen[..., None])[..., 0] + jitter[..., h, :]
        estimate = torch.einsum("sad,...d->...sa", features, weights)
        limits = (x[..., None, None] for x in (low, high))
        onward = truncated(estimate, known[..., h, :, :], (steps - 1 - h) * bound, *limits)
        q = direct[..., h, :, :] + onward
        v = q.amax(-1)
        found.append(q)
    return torch.stack(found[::-1], -3)
