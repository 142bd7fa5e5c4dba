"""Dual RL: return minus an f-divergence to an offline visitation, as unconstrained problems in V or in Q, exact.

Laws over state and action are [S, A] and sum to 1, as `occupancy` gives them. Source: dual RL (arXiv 2302.08560).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import inside, one_of, positive, shape
from toykit.control.checks import NEAR_ONE, entry
from toykit.control.evaluation import EPS, solve
from toykit.control.mdp import TabularMDP
from toykit.control.occupancy import occupancy, policy_of
from toykit.control.policies import as_policy, under
from toykit.objectives import CONJUGATES, conjugate, divergence

MOST_RIDGE = 1e12


@dataclass(frozen=True, eq=False)
class DualSolution:
    """The optimum of dual-V: `value`, v [S], the ratio d* / d^O [S, A], d* [S, A] itself and its policy [S, A]
    (uniform in states that d* does not visit); `gradient`, the largest part of the objective's that is left."""

    value: float
    v: Tensor
    ratio: Tensor
    occupancy: Tensor
    policy: Tensor
    gradient: float


def regularised_return(
    mdp: TabularMDP, law: Tensor, offline: Tensor, alpha: float, name: str = "chi2_reverse"
) -> float:
    """E_law[r] - alpha D_f(law || offline): the primal objective of a visitation `law` [S, A] (eq. 1)."""
    reward = (law * mdp.R).sum()
    return (reward - alpha * divergence(name).value(law.flatten().log(), offline.flatten().log())).item()


@torch.no_grad()
def dual_v(
    mdp: TabularMDP, offline: Tensor, alpha: float, name: str = "chi2_reverse", tol: float = 1e-12
) -> DualSolution:
    """The minimum over V of (1 - g) E_start[V] + alpha E_offline[f*((r + g P V - V) / alpha)], f* over t >= 0.

    offline  [S, A] the law of the data; pairs of probability 0 drop out, and d* is 0 there
    name     a divergence whose f* is curved: any but "tv"
    tol      the largest part of the gradient, which is d*'s flow residual, that may be left

    It equals the best regularised return of any policy. Newton's method with a ridge that grows until the objective
    falls (Levenberg and Marquardt), for f* may be flat. Raises ValueError for an alpha that is not positive, a law that
    is none, a discount of 1 or a horizon, the name "tv", and where `tol` is not reached.
    """
    _check(mdp, alpha, offline)
    one_of("name", name, [other for other in CONJUGATES if other != "tv"])
    star, seen = conjugate(name), offline > 0
    flow = mdp.discount * mdp.to_dense().P - torch.eye(mdp.n_states, dtype=torch.float64)[:, None]
    entering = (1 - mdp.discount) * mdp.start

    def residual(v: Tensor) -> Tensor:
        return (mdp.R + flow @ v) / alpha

    def loss(v: Tensor) -> Tensor:
        return entering @ v + alpha * _mean(offline, star.positive(residual(v)))

    v = torch.full_like(mdp.start, (offline * mdp.R).sum().item() / (1 - mdp.discount))
    if not bool(loss(v).isfinite()):  # here every residual is negative, where all f* are finite
        v = torch.full_like(v, (mdp.R.max().item() + alpha) / (1 - mdp.discount))
    value, ridge = loss(v), 1e-8
    while True:
        y = residual(v)
        ratio = torch.where(seen, star.ratio(y), 0.0)
        gradient = entering + torch.einsum("sa,sat->t", offline * ratio, flow)
        left = gradient.abs().max().item()
        if left <= tol:
            break
        curve = torch.where(seen, offline * _slope(star.ratio, y), 0.0) / alpha
        hessian = torch.einsum("sa,sat,sau->tu", curve, flow, flow)
        while True:
            step = torch.linalg.solve(hessian + ridge * torch.eye(len(v), dtype=torch.float64), gradient)
            after = loss(v - step)
            if after <= value - 1e-4 * (gradient @ step) + 4 * EPS * value.abs():
                break
            ridge *= 10
            if ridge > MOST_RIDGE:
                raise ValueError(f"tol must be larger, a gradient of {left:.1e} is left, got {tol:.1e}")
        v, value, ridge = v - step, after, ridge / 10
    law = offline * ratio
    return DualSolution(value.item(), v, ratio, law, policy_of(mdp, law), left)


@dataclass(frozen=True, eq=False)
class PolicyDual:
    """A dual over Q for one policy at its minimum: `value`, q [S, A], and the residual g P^pi Q - Q (+ r) [S, A]."""

    value: float
    q: Tensor
    residual: Tensor


def dual_q(
    mdp: TabularMDP, policy: ArrayLike | Tensor, offline: Tensor, alpha: float, name: str = "chi2_reverse"
) -> PolicyDual:
    """The minimum over Q of (1 - g) E_start,pi[Q] + alpha E_offline[f*((r + g P^pi Q - Q) / alpha)], exact.

    It equals the policy's regularised return. At the minimum the residual is alpha f'(d^pi / offline), so that Q solves
    a linear system. Raises ValueError as `dual_v`, and where the policy takes pairs that `offline` has not.
    """
    _check(mdp, alpha, offline)
    p = as_policy(mdp, policy)
    residual = alpha * divergence(name).df(_log_ratio(occupancy(mdp, p), offline, "offline"))
    q = _q_of(mdp, p, residual - mdp.R)
    value = _entering(mdp, p, q) + alpha * _mean(offline, conjugate(name).free(residual / alpha))
    return PolicyDual(value.item(), q, residual)


def recoil(
    mdp: TabularMDP,
    policy: ArrayLike | Tensor,
    expert: Tensor,
    other: Tensor,
    share: float = 0.5,
    name: str = "chi2_reverse",
) -> PolicyDual:
    """ReCOIL's objective of a policy at its minimum over Q: -D_f(mix^pi || mix^E), exact; no reward is read.

    expert, other  [S, A] the laws of the expert's and of the other data
    share          beta: mix^pi = beta d^pi + (1 - beta) other, mix^E = beta expert + (1 - beta) other

    The objective is beta (1 - g) E_start,pi[Q] + E_mix^E[f*(g P^pi Q - Q)] - (1 - beta) E_other[g P^pi Q - Q]; at the
    minimum the residual g P^pi Q - Q is f'(mix^pi / mix^E). It needs no pair of the expert in the other data. Raises
    ValueError for a share outside (0, 1), laws that are none, a discount of 1 or a horizon, and where the policy takes
    pairs that are in neither.
    """
    inside("share", share)
    _check(mdp, 1.0, expert, "expert")
    _check(mdp, 1.0, other, "other")
    p = as_policy(mdp, policy)
    mixes = (share * law + (1 - share) * other for law in (occupancy(mdp, p), expert))
    own, target = mixes
    residual = divergence(name).df(_log_ratio(own, target, "expert and other"))
    q = _q_of(mdp, p, residual)
    dual = _mean(target, conjugate(name).free(residual)) - (1 - share) * _mean(other, residual)
    return PolicyDual((share * _entering(mdp, p, q) + dual).item(), q, residual)


def _check(mdp: TabularMDP, alpha: float, law: Tensor, name: str = "offline") -> None:
    positive("alpha", alpha)
    if mdp.horizon is not None or mdp.discount == 1:
        raise ValueError(f"mdp must have a discount < 1 and no horizon, got {mdp}")
    shape(name, law, (mdp.n_states, mdp.n_actions))
    if not bool((law >= 0).all()) or not abs(law.sum().item() - 1) <= NEAR_ONE:
        raise ValueError(f"{name} must be a distribution over states and actions, its sum is {law.sum().item():.9g}")


def _mean(law: Tensor, values: Tensor) -> Tensor:
    """E_law[values]; values where the law is 0 do not count, even infinite ones."""
    return torch.where(law > 0, law * values, 0.0).sum()


def _log_ratio(law: Tensor, other: Tensor, name: str) -> Tensor:
    """log law / other [S, A], 0 where both are 0; raises ValueError, with the pair, where only `other` is 0."""
    if bool((wrong := (law > 0) & (other == 0)).any()):
        raise ValueError(f"{name} must have all pairs of the policy, has none for {entry(wrong.nonzero()[0].tolist())}")
    return torch.where((law == 0) & (other == 0), 0.0, law.log() - other.log())


def _q_of(mdp: TabularMDP, policy: Tensor, residual: Tensor) -> Tensor:
    """The Q [S, A] whose g P^pi Q - Q is `residual` [S, A]: V = sum_a pi Q solves a system over the states."""
    chain = under(mdp, policy)
    matrix = torch.eye(mdp.n_states, dtype=torch.float64) - mdp.discount * chain.matrix()
    v = solve(matrix, -(policy * residual).sum(-1), mdp.discount)
    return mdp.discount * mdp.expect(v) - residual


def _entering(mdp: TabularMDP, policy: Tensor, q: Tensor) -> Tensor:
    """(1 - g) E_start,pi[Q]."""
    return (1 - mdp.discount) * (mdp.start @ (policy * q).sum(-1))


def _slope(function: Callable[[Tensor], Tensor], y: Tensor) -> Tensor:
    """The derivative of an elementwise function at y."""
    with torch.enable_grad():
        y = y.detach().requires_grad_()
        (slope,) = torch.autograd.grad(function(y).sum(), y)
    return slope
