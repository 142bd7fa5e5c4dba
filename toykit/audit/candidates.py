"""What an update might be the gradient of: candidate objectives, differentiated exactly.

Each is a coefficient on every token of every completion, c [B, L, T], which stands for E_pi[sum_t c_t grad log pi_t].
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

from toykit.audit.measure import to_logits
from toykit.audit.problems import Problem
from toykit.exact import filtered, leaf_log_probs, likelihood_gradient, posterior
from toykit.objectives import DIVERGENCES

REVERSE, FORWARD, CHI2 = "KL(pi||ref)", "KL(ref||pi)", "chi2(pi||ref)/2"
LOCAL = " of each next token"
BETAS = torch.logspace(-2, 1, 121, dtype=torch.float64)


def of_tokens(p: Problem, coefficients: Tensor) -> Tensor:
    """E_pi[sum_t c_t grad log pi_t] [B, N, V], the mean over prompts, of coefficients that broadcast to [B, L, T]."""
    return to_logits(p, p.law[..., None] * coefficients * p.mask) / len(p.rewards)


def reward(p: Problem) -> Tensor:
    """The gradient of E[r]."""
    return of_tokens(p, p.rewards[..., None])


def penalties(p: Problem) -> dict[str, Tensor]:
    """The gradients of minus each divergence to the reference, by name; "of each next token" on trees alone.

    The latter are the sum over the prefixes that the policy visits of the next token's divergence, differentiated
    without the effect on which prefixes are visited.
    """
    each = (p.tokens("logp") - p.tokens("ref_logp")) * p.mask
    whole = each.sum(-1, keepdim=True)
    found = {}
    for name, log_ratio in {"": whole, LOCAL: each}.items():
        if name and p.tree.horizon == 1:
            continue
        found[REVERSE + name] = of_tokens(p, -log_ratio)
        found[FORWARD + name] = of_tokens(p, (-log_ratio).expm1())
        found[CHI2 + name] = of_tokens(p, -log_ratio.expm1())
    return found


def entropy(p: Problem) -> Tensor:
    """The gradient of the entropy of each next token at the prefixes that the policy visits."""
    return of_tokens(p, -p.tokens("logp"))


def conditioned(p: Problem) -> Tensor | None:
    """The gradient of minus KL(q||pi), q the reference given a reward above one half; None without such a reward."""
    if not bool((p.rewards > 0.5).any(-1).all()):
        return None
    law = filtered(leaf_log_probs(p.tree, p.reference), p.rewards > 0.5).exp()
    return likelihood_gradient(p.tree, p.logits, law) / len(p.rewards)


@cache
def to_posteriors(p: Problem) -> dict[str, Tensor]:
    """The gradients [len(BETAS), B, N, V] of minus D_f(pi||posterior(beta)), for each f and a range of beta."""
    base, log_pi = leaf_log_probs(p.tree, p.reference), p.law.log()
    target = posterior(base, p.rewards, BETAS[:, None].expand(-1, len(base)))
    return {
        f"{name} divergence from the posterior": of_tokens(
            p, -f.df(log_pi - target)[..., None].nan_to_num(posinf=0.0, neginf=0.0)
        )
        for name, f in DIVERGENCES.items()
    }
