"""Importance ratios between the policy that is trained and the one that made the completions."""

from __future__ import annotations

from torch import Tensor

from toykit._checks import one_of

RATIOS = ("none", "token", "sequence", "importance")


def ratio(kind: str, logp: Tensor, old_logp: Tensor, mask: Tensor, log_clip: float | None = None) -> Tensor:
    """The ratio [..., T] on each token of log-probabilities [..., T] with a mask [..., T].

        token       exp(logp_t - old_logp_t)                      PPO, GRPO
        sequence    exp of the mean of that log-ratio over the completion's tokens       GSPO (arXiv 2507.18071)
        importance  exp of its sum: the completion's true importance weight

    The last two stand on every token of the completion, so that a mean over its tokens counts them once, and a sum as
    often as it has tokens (LUSPO, arXiv 2602.05261: "sequence" with the aggregation "token_sum"). `log_clip`
    bounds the ratio's logarithm, in nats, before the exponential can overflow; beyond it there is no gradient
    (StableReinforce, arXiv 2505.02835). Raises ValueError for another kind.
    """
    one_of("ratio", kind, RATIOS[1:])
    delta = (logp - old_logp).masked_fill(~mask, 0.0)
    if kind != "token":
        delta = delta.sum(-1, keepdim=True)
    if kind == "sequence":
        delta = delta / mask.sum(-1, keepdim=True).clamp(min=1)
    if log_clip is not None:
        delta = delta.clamp(-log_clip, log_clip)
    return delta.exp().expand_as(logp)
