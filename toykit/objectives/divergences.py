"""f-divergences between a policy and a target, as functions of the log ratio log t = log pi - log p."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from toykit._checks import one_of

LOG2 = math.log(2.0)
UNDERFLOW = -750.0  # exp of this is 0 in float64, and 0 times it is 0 where 0 times -inf is not


@dataclass(frozen=True)
class Divergence:
    """D_f(pi || p) = E_p[f(t)] with t = pi / p, for a policy pi and a target p.

    `f` and `df` (the derivative f') take log t of any shape and return f(t) and f'(t); they may be infinite at
    log t = +-inf. `dual` is s f(1/s) as a function of log s: the same divergence with pi and p exchanged.
    The gradient is grad D_f = E_pi[f'(t) grad log pi], so -f'(t) is the pseudo-reward of a completion.
    Source: f-DPG (arXiv 2302.08215), section 3.
    """

    name: str
    f: Callable[[Tensor], Tensor]
    df: Callable[[Tensor], Tensor]
    dual: Callable[[Tensor], Tensor]

    def value(self, log_pi: Tensor, log_p: Tensor) -> Tensor:
        """The exact divergence [...] in nats of log-probabilities [..., L] over all L completions.

        A completion of probability 0 (-inf) under both counts 0; under one of them it counts the limit of
        p f(pi/p), which may be infinite. Differentiable in `log_pi`. For chi2 a ratio beyond e^709 gives inf.
        """
        absent = (log_pi == -torch.inf) & (log_p == -torch.inf)
        log_t = torch.where(absent, 0.0, log_pi - log_p)
        # p f(t) where t <= 1 and pi f(t)/t where t > 1: the bounded ratio is multiplied by the larger probability.
        tiny = torch.finfo(log_t.dtype).tiny
        below = log_p.exp().clamp(min=tiny) * self.f(log_t.clamp(max=0.0))
        above = log_pi.exp().clamp(min=tiny) * self.dual((-log_t).clamp(max=0.0))
        return torch.where(log_t <= 0, below, above).sum(-1)


def _minus_log(log_t: Tensor) -> Tensor:
    return -log_t


def _t_log_t(log_t: Tensor) -> Tensor:
    log_t = log_t.clamp(min=UNDERFLOW)
    return log_t * log_t.exp()


def _half_distance(log_t: Tensor) -> Tensor:
    return torch.expm1(log_t).abs() / 2


def _twice_js(log_t: Tensor) -> Tensor:
    log_t = log_t.clamp(min=UNDERFLOW)
    return log_t.exp() * (LOG2 + F.logsigmoid(log_t)) + LOG2 + F.logsigmoid(-log_t)


def _chi2_forward(log_t: Tensor) -> Tensor:
    return -torch.expm1(log_t) * torch.expm1(-log_t)


def _chi2_reverse(log_t: Tensor) -> Tensor:
    return torch.expm1(log_t).square()


DIVERGENCES = {
    d.name: d
    for d in (
        Divergence("forward_kl", _minus_log, lambda u: -torch.exp(-u), _t_log_t),  # KL(p || pi), as DPG and GDC
        Divergence("reverse_kl", _t_log_t, lambda u: u + 1, _minus_log),  # KL(pi || p), as KL-regularised RL
        Divergence("tv", _half_distance, lambda u: torch.sign(u) / 2, _half_distance),  # sum |pi - p| / 2
        Divergence("js", _twice_js, lambda u: LOG2 + F.logsigmoid(u), _twice_js),  # KL(pi || m) + KL(p || m)
        Divergence("chi2_forward", _chi2_forward, lambda u: -torch.expm1(-2 * u), _chi2_reverse),  # chi2(p || pi)
        Divergence("chi2_reverse", _chi2_reverse, lambda u: 2 * torch.expm1(u), _chi2_forward),  # chi2(pi || p)
    )
}
"""By name; "forward" puts the target first, D(p || pi). "js" is twice the Jensen-Shannon divergence, at most
2 log 2, with m = (pi + p) / 2. chi2(a || b) = sum (a - b)^2 / b."""


def divergence(name: str) -> Divergence:
    """The divergence of this name; raises ValueError with the nearest name there is."""
    return DIVERGENCES[one_of("divergence", name, DIVERGENCES)]
