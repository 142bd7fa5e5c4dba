"""The check that every exact function makes of the log-probabilities it is given."""

from __future__ import annotations

from torch import Tensor

TOLERANCE = 1e-4  # wide enough for float32 sums, far too narrow for logits


def law(name: str, log_p: Tensor) -> Tensor:
    """Returns `log_p` [..., L]; raises ValueError unless its exponentials sum to 1 over the last axis."""
    total = log_p.detach().exp().sum(-1)
    wrong = ~((total - 1).abs() < TOLERANCE)  # also True for NaN
    if bool(wrong.any()):
        found = total[wrong].flatten()[0].item()
        raise ValueError(f"{name} must be log-probabilities that sum to 1 over the last axis, got a sum of {found:g}")
    return log_p
