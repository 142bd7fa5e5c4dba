"""Distance from a policy to a target that is known up to its normaliser, from samples of any proposal."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from toykit.objectives.divergences import divergence


def log_normaliser(log_target: Tensor, log_proposal: Tensor, weights: Tensor | None = None) -> Tensor:
    """The importance-sampling estimate of log Z [...] of an unnormalised target.

    `log_target` and `log_proposal` [..., G] are scores of G completions drawn from the proposal, `weights` [..., G]
    their share of its expectation: 1/G where None, and the proposal's own probabilities give the exact value.
    Raises ValueError where no completion has target mass.
    """
    log_z = _log_masses(log_target, log_proposal, weights).logsumexp(-1)
    if bool((log_z == -torch.inf).any()):
        raise ValueError("log_target must be above -inf for some completion of each group, got -inf for all of one")
    return log_z


def effective_sample_size(log_target: Tensor, log_proposal: Tensor, weights: Tensor | None = None) -> Tensor:
    """1 / sum of squared self-normalised importance weights [...], from 1 (one sample decides) to G.

    Arguments as for `log_normaliser`; for sampled groups, where every completion stands for 1/G.
    """
    log_w = _log_masses(log_target, log_proposal, weights)
    return torch.exp(2 * log_w.logsumexp(-1) - (2 * log_w).logsumexp(-1))


@dataclass(frozen=True)
class Distance:
    """Distances [...] between a policy pi and a target p, in nats (tv: from 0 to 1).

    `kl` is KL(p || pi), `reverse_kl` KL(pi || p), `js` the Jensen-Shannon divergence (at most log 2); `log_z` is the
    target's log normaliser and `effective` the effective sample size of the target's weights.
    """

    kl: Tensor
    reverse_kl: Tensor
    tv: Tensor
    js: Tensor
    log_z: Tensor
    effective: Tensor


def distance_to_target(
    log_target: Tensor, log_pi: Tensor, log_proposal: Tensor, weights: Tensor | None = None
) -> Distance:
    """Estimates of the distance between a policy and a target from samples of the prior, the policy or another law.

    `log_target` (up to a constant), `log_pi` and `log_proposal` [..., G] are log-probabilities of completions drawn
    from the proposal; `weights` as for `log_normaliser`, so that an enumeration gives the exact distances. The
    target's weights are normalised by their own sum, the policy's are not. Where the effective sample size is far
    below G the estimates are not to be trusted. Source: GDC (arXiv 2012.11635), section 3.
    """
    log_z = log_normaliser(log_target, log_proposal, weights)
    p = _log_masses(log_target, log_proposal, weights) - log_z[..., None]
    pi = _log_masses(log_pi, log_proposal, weights)
    # The sums over completions of `Divergence.value` are means under the proposal when each term is a ratio to it.
    forward, reverse, tv, js = (divergence(d).value(pi, p) for d in ("forward_kl", "reverse_kl", "tv", "js"))
    return Distance(forward, reverse, tv, js / 2, log_z, effective_sample_size(log_target, log_proposal, weights))


def _log_masses(log_score: Tensor, log_proposal: Tensor, weights: Tensor | None) -> Tensor:
    """log(weight * score / proposal) [..., G], -inf where the weight is 0."""
    share = -math.log(log_proposal.shape[-1]) if weights is None else weights.log()
    drawn = log_proposal > -torch.inf
    return torch.where(drawn, log_score - torch.where(drawn, log_proposal, 0.0), -torch.inf) + share
