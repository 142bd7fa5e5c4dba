"""Distributional policy gradients: going to a target distribution by any f-divergence."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from toykit.objectives.divergences import divergence
from toykit.objectives.targets import MovingLogZ, Target, batch_log_z
from toykit.rollouts.batch import Rollouts


@dataclass(frozen=True)
class PseudoReward:
    """-f'(pi/p) - baseline, so that its policy gradient is that of -D_f(pi || p) (f-DPG, arXiv 2302.08215).

    With f = -log t (forward KL, p = P/Z) it is P/(Z pi): DPG. Its expectation under pi is 1, so `baseline` 1 is GDC++'s
    Z of the unnormalised form: still unbiased, and without variance at pi = p (arXiv 2206.00761).
    `log_z` None takes Z from the batch: exact under enumeration. A prompt whose batch holds no completion that the
    target allows, and that has no average yet, gets 0.
    """

    target: Target
    divergence: str = "forward_kl"
    baseline: float = 0.0
    log_z: MovingLogZ | None = None

    def __post_init__(self) -> None:
        divergence(self.divergence)

    def __call__(self, rollouts: Rollouts) -> Tensor:
        """[..., B, G]; with a moving Z the batch must be one batch (no leading axes)."""
        log_score, log_behaviour = self.target(rollouts), rollouts.old_logp.sum(-1)
        log_pi = rollouts.policy_logp.sum(-1)
        log_z = batch_log_z(log_score, log_behaviour, rollouts.weights)
        if self.log_z is not None:
            log_z = self.log_z(rollouts.prompt_ids, log_z)
        known = log_z.isfinite()[..., None]
        log_p = log_score - log_z.masked_fill(~log_z.isfinite(), 0.0)[..., None]
        return torch.where(known, -divergence(self.divergence).df(log_pi - log_p) - self.baseline, 0.0)
