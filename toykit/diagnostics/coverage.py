"""What a policy can solve at all: the gap to its base's coverage, and how accuracies spread over the problems.

Which problems two policies solve, as a 2 x 2 table, is `support_table` of two `solved` sets.
"""

from __future__ import annotations

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.diagnostics.passk import exact_pass_at_k, pass_at_k


def efficiency_gap(base: Tensor, trained: Tensor, k: int = 256) -> Tensor:
    """The sampling-efficiency gap [...]: the base's pass@k minus the trained policy's pass@1, lower is better.

    `base` and `trained` [..., n] are success rates of n problems, known exactly; each mean is taken over the
    problems after pass@k. Source: arXiv 2504.13837.
    """
    return exact_pass_at_k(base, k).mean(-1) - trained.mean(-1)


def sampled_efficiency_gap(samples: int, base: Tensor, trained: Tensor, k: int = 256) -> Tensor:
    """The same gap, estimated without bias from the right answers `base` and `trained` int64 [..., n] among `samples`.

    Raises ValueError for k > samples and for counts outside 0..samples.
    """
    return pass_at_k(samples, base, k).mean(-1) - pass_at_k(samples, trained, 1).mean(-1)


def accuracy_histogram(accuracy: Tensor, bins: int = 10, edge: float = 0.0) -> Tensor:
    """The share of problems [..., bins + 2] with accuracy 0, in each of `bins` equal parts of (0, 1), and 1.

    `accuracy` [..., n] are success rates or shares of right samples; a rate within `edge` of 0 or 1 counts as 0 or
    1 (for rates that are known exactly: 1/2048 is what 1024 samples cannot see more often than not). A part holds
    its lower end. Source: arXiv 2504.13837.
    """
    at_least("bins", bins, 1)
    if not 0 <= edge < 0.5:
        raise ValueError(f"edge must be from 0 to below 0.5, got {edge}")
    if bool(((accuracy < 0) | (accuracy > 1) | accuracy.isnan()).any()):
        raise ValueError("accuracy must be from 0 to 1")
    inner = (accuracy * bins).floor().long().clamp(max=bins - 1) + 1
    place = torch.where(accuracy <= edge, 0, torch.where(accuracy >= 1 - edge, bins + 1, inner))
    share = torch.ones_like(accuracy) / accuracy.shape[-1]
    return accuracy.new_zeros(*accuracy.shape[:-1], bins + 2).scatter_add(-1, place, share)
