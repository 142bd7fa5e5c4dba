"""Linear-quadratic control in discrete time: the optimal gain and the value of any gain, exact."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from numpy.typing import ArrayLike
from torch import Tensor

from toykit._checks import finite, shape
from toykit.control.checks import real

EPS = torch.finfo(torch.float64).eps


@dataclass(frozen=True, eq=False, init=False)
class LQR:
    """x' = A x + B u + w with cost x'Q x + u'R u a step, to be minimised; float64.

    A [d, d] and B [d, k], the system; Q [d, d], symmetric and >= 0; R [k, k], symmetric and > 0
    discount  above 0, at most 1
    noise     covariance [d, d] of w, which has mean 0; None: no noise

    Raises ValueError for other shapes, entries that are not finite, matrices that are not symmetric or have an
    eigenvalue of the wrong sign, a discount outside (0, 1], and noise at discount 1 (the cost would be infinite).
    """

    A: Tensor
    B: Tensor
    Q: Tensor
    R: Tensor
    discount: float
    noise: Tensor

    def __init__(
        self,
        A: ArrayLike | Tensor,
        B: ArrayLike | Tensor,
        Q: ArrayLike | Tensor,
        R: ArrayLike | Tensor,
        discount: float = 1.0,
        noise: ArrayLike | Tensor | None = None,
    ) -> None:
        A, B = _matrix("A", A), _matrix("B", B)
        d, k = B.shape
        if not 0 < discount <= 1:
            raise ValueError(f"discount must be above 0 and at most 1, got {discount}")
        covariance = torch.zeros(d, d, dtype=A.dtype) if noise is None else _symmetric("noise", noise, d)
        if discount == 1 and bool(covariance.any()):
            raise ValueError("discount must be < 1 with noise: the cost of an endless episode would be infinite, got 1")
        fields = {
            "A": shape("A", A, (d, d)),
            "B": B,
            "Q": _symmetric("Q", Q, d),
            "R": _symmetric("R", R, k, definite=True),
            "discount": float(discount),
            "noise": covariance,
        }
        for name, value in fields.items():
            object.__setattr__(self, name, value)


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The value function V(x) = -x'P x - constant, of P [d, d], symmetric."""

    P: Tensor
    constant: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """V [...] at states `x` [..., d]."""
        return -((x @ self.P.to(x.dtype)) * x).sum(-1) - self.constant

    def gradient(self, x: Tensor) -> Tensor:
        """grad V = -2 P x [..., d] at states `x` [..., d]."""
        return -2 * x @ self.P.to(x.dtype)

    def mean_cost(self, covariance: Tensor) -> float:
        """-E[V(x)] for x of mean 0 and `covariance` [d, d]: trace(P covariance) + constant."""
        return (self.P * covariance).sum().item() + self.constant


@dataclass(frozen=True, eq=False)
class LQRSolution:
    """The optimal control u = -K x, K [k, d], and its value."""

    K: Tensor
    value: Quadratic


def solve_lqr(lqr: LQR) -> LQRSolution:
    """The discounted discrete-time algebraic Riccati equation's stabilising solution, by doubling.

    P = Q + g A'P A - g A'P B (R + g B'P B)^-1 g B'P A with g = discount, and K = (R + g B'P B)^-1 g B'P A.
    Raises ValueError where no gain makes the discounted cost finite, or the cost does not see what is unstable.
    Source: Chu, Fan and Lin (2005) for the doubling; Bertsekas, Dynamic Programming and Optimal Control, 3.1.
    """
    g, eye = lqr.discount, torch.eye(len(lqr.A), dtype=lqr.A.dtype)
    a = lqr.discount**0.5 * lqr.A
    control = g * lqr.B @ torch.linalg.solve(lqr.R, lqr.B.mT)
    P = lqr.Q
    for _ in range(60):  # each step doubles the horizon
        left = torch.linalg.solve(eye + control @ P, a)
        change = a.mT @ P @ left
        control = control + a @ torch.linalg.solve(eye + control @ P, control) @ a.mT
        a = a @ left
        P = P + (change + change.mT) / 2
        if not bool(P.isfinite().all() & control.isfinite().all()):
            break
        if change.abs().max() <= EPS * P.abs().max():
            break
    if not bool(P.isfinite().all()) or not _stable(lqr, _gain(lqr, P)):
        raise ValueError("A, B must be stabilisable and Q must see what is unstable: no gain with a finite cost found")
    K = _gain(lqr, value_of_gain(lqr, _gain(lqr, P)).P)  # a step of policy iteration takes the rounding out
    return LQRSolution(K, value_of_gain(lqr, K))


def value_of_gain(lqr: LQR, K: ArrayLike | Tensor) -> Quadratic:
    """The value of u = -K x for a gain K [k, d]: P = Q + K'R K + g (A - B K)'P (A - B K), with g = discount.

    The constant is what the noise costs, g / (1 - g) trace(P noise). Raises ValueError for a gain of another shape, and
    one under which the cost is infinite, with the growth rate.
    """
    K = shape("K", real("K", K), (lqr.B.shape[1], lqr.B.shape[0]))
    closed = lqr.discount**0.5 * (lqr.A - lqr.B @ K)
    P = lyapunov(closed, lqr.Q + K.mT @ lqr.R @ K)
    noise = 0.0 if lqr.discount == 1 else lqr.discount / (1 - lqr.discount) * (P * lqr.noise).sum().item()
    return Quadratic(P, noise)


def lyapunov(M: Tensor, Q: Tensor) -> Tensor:
    """The solution P [d, d] of P = Q + M'P M, for M of spectral radius below 1 and symmetric Q, by doubling.

    Raises ValueError for a spectral radius of 1 or more. Source: Smith (1968).
    """
    radius = spectral_radius(M)
    if not radius < 1:
        raise ValueError(f"the closed loop's spectral radius times sqrt(discount) must be < 1, got {radius:.6g}")
    P = Q
    while True:
        change = M.mT @ P @ M
        P, M = P + (change + change.mT) / 2, M @ M
        if change.abs().max() <= EPS * P.abs().max():
            return P


def spectral_radius(M: Tensor) -> float:
    """The largest absolute eigenvalue of M [d, d]."""
    return torch.linalg.eigvals(M).abs().max().item()


def _gain(lqr: LQR, P: Tensor) -> Tensor:
    weighted = lqr.discount * lqr.B.mT @ P
    return torch.linalg.solve(lqr.R + weighted @ lqr.B, weighted @ lqr.A)


def _stable(lqr: LQR, K: Tensor) -> bool:
    return lqr.discount**0.5 * spectral_radius(lqr.A - lqr.B @ K) < 1


def _matrix(name: str, values: ArrayLike | Tensor) -> Tensor:
    matrix = finite(name, real(name, values))
    if matrix.dim() != 2 or 0 in matrix.shape:
        raise ValueError(f"{name} must be a matrix, got shape {list(matrix.shape)}")
    return matrix


def _symmetric(name: str, values: ArrayLike | Tensor, size: int, definite: bool = False) -> Tensor:
    """A symmetric matrix whose eigenvalues are >= 0, but for rounding, or > 0 where it must be `definite`."""
    matrix = shape(name, _matrix(name, values), (size, size))
    if not torch.allclose(matrix, matrix.mT, rtol=1e-9, atol=1e-12):
        raise ValueError(f"{name} must be symmetric, got {matrix.tolist()}")
    matrix = (matrix + matrix.mT) / 2
    least, rounding = torch.linalg.eigvalsh(matrix)[0].item(), 1e-12 * matrix.abs().max().item()
    if least < -rounding or (definite and least <= 0):
        raise ValueError(f"{name} must have eigenvalues {'>' if definite else '>='} 0, got {least:g}")
    return matrix
