"""Lesson 38 on the exact rung: importance weights by enumeration."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from toykit.lessons.base import Results
from toykit.objectives import MIS


def card_laws(kappa: float) -> tuple[Tensor, Tensor, Tensor]:
    """(log pi, log pi_old, log pi_omega) [16] of the card; kappa is how far the other policy is."""
    z, near, far = (torch.tensor(x) for x in np.random.default_rng(0).normal(size=(3, 16)))
    return z.log_softmax(-1), (z + 0.1 * near).log_softmax(-1), (z + kappa * far).log_softmax(-1)


def weights(kappas: tuple[int, ...] = (0, 1, 2, 4)) -> Results:
    """C1 on the card's laws: E_omega[w^2] and the largest weight for plain IS, MIS, and the proxy pi / pi_old; the bias
    of the estimates of E_pi[f] from omega, and from omega and pi_old together."""
    f = (torch.arange(16) % 3 == 0).double()
    found: Results = {"kappas": list(kappas)}
    for kappa in kappas:
        pi, old, omega = card_laws(kappa)
        by_omega = {"IS": (pi - omega).exp(), "MIS": MIS(None)(pi, old, omega), "proxy": (pi - old).exp()}
        truth = (pi.exp() * f).sum()
        for name, w in by_omega.items():
            found.setdefault(name, []).append(float((omega.exp() * w**2).sum()))
            found.setdefault(f"{name}, largest", []).append(float(w.max()))
            found.setdefault(f"{name}, bias", []).append(float((omega.exp() * w * f).sum() - truth))
        both = (((omega.exp() + old.exp()) / 2) * by_omega["MIS"] * f).sum()
        found.setdefault("both, bias", []).append(float(both - truth))
    return found


def many_laws(problems: int = 2000, tokens: int = 6, seed: int = 0) -> Results:
    """C1 on random laws, omega very far from pi: the error of the estimate by both samples, how much of the bound
    4 max(pi/pi_old)^2 is used, and E[w^2] of plain IS where omega all but leaves one token out."""
    draw = torch.Generator().manual_seed(seed)
    spread = torch.tensor([1.0, 2.0, 20.0], dtype=torch.float64)[:, None, None]
    pi, old, omega = (
        spread * torch.randn(3, problems, tokens, generator=draw, dtype=torch.float32).double()
    ).log_softmax(-1)
    f, w = torch.randn(problems, tokens, generator=draw, dtype=torch.float32).double(), MIS(None)(pi, old, omega)
    both = ((omega.exp() + old.exp()) / 2 * w * f).sum(-1)
    bound = 4 * (pi - old).exp().amax(-1) ** 2
    least = torch.tensor([1e-2, 1e-4, 1e-6, 1e-8], dtype=torch.float64)[:, None]
    law = torch.tensor([0.25, 0.75], dtype=torch.float64)
    missing = torch.cat([least, 1 - least], 1)
    return {
        "both, error": float((both - (pi.exp() * f).sum(-1)).abs().max()),
        "share of the bound": float(((omega.exp() * w**2).sum(-1) / bound).max()),
        "IS": (law**2 / missing).sum(-1).tolist(),
        "MIS": (missing * (2 * law / (missing + law)) ** 2).sum(-1).tolist(),  # pi_old = pi
        "least": least.flatten().tolist(),
    }
