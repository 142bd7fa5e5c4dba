"""LUSPO is a combination of shared pieces: the length times the sequence's term is the sum over its tokens."""

from __future__ import annotations

from math import exp

import pytest
import torch
from torch import Tensor

from toykit.objectives import Advantage, PolicyGradient, method
from toykit.rollouts import Rollouts, of_lengths

MEAN = Advantage("group")


def batch(lengths: list[int], rewards: list[float]) -> Rollouts:
    """One prompt whose completions have these lengths and rewards."""
    return of_lengths(torch.tensor([lengths]), torch.tensor([rewards]))


def loss_and_slope(objective: PolicyGradient, made: Rollouts, logp: Tensor) -> tuple[float, Tensor]:
    logp = logp.clone().requires_grad_()
    loss, _ = objective.loss(logp, objective.prepare(made))
    return loss.item(), torch.autograd.grad(loss, logp)[0]


def test_loss_and_gradient_by_hand():
    """Advantages 1/2 and -1/2; mean log-ratios 0.01 (clipped), -0.001 and 0.001; an empty completion."""
    made = batch([1, 3, 2, 0], [1.0, 0.0, 1.0, 0.0])
    logp = torch.tensor(
        [[[0.01, 0.0, 0.0], [0.003, -0.006, 0.0], [0.001, 0.001, 0.0], [0.0, 0.0, 0.0]]], dtype=torch.float64
    )
    loss, slope = loss_and_slope(method("luspo").objective.with_(advantage=MEAN), made, logp)
    assert loss == pytest.approx(-(1 * 1.0025 - 3 * exp(-0.001) + 2 * exp(0.001)) / 8, abs=1e-15)
    expected = [[0.0] * 3, [exp(-0.001) / 8] * 3, [-exp(0.001) / 8] * 2 + [0.0], [0.0] * 3]
    assert slope[0].tolist() == [pytest.approx(row, abs=1e-15) for row in expected]


def test_it_is_the_length_times_gspos_term_whatever_is_clipped():
    """A completion alone (the others' advantages count for nothing with weight 0) under both, with the same clip."""
    draw = torch.Generator().manual_seed(0)
    luspo = method("luspo").objective
    gspo = luspo.with_(aggregate="sequence_mean")
    lengths = [1, 2, 3, 5, 8, 20]
    made = batch(lengths, torch.rand(6, generator=draw).tolist())
    logp = 0.01 * torch.randn(1, 6, 20, generator=draw, dtype=torch.float64).masked_fill(~made.mask, 0.0)
    (_, ours), (_, theirs) = (loss_and_slope(objective, made, logp) for objective in (luspo, gspo))
    length = torch.tensor(lengths)[:, None]
    assert torch.allclose(ours[0], length * theirs[0], rtol=1e-14, atol=0)
    pushed = ours[0].any(-1)
    assert pushed.any() and not pushed.all()  # some are clipped


def test_equal_rewards_move_nothing():
    loss, slope = loss_and_slope(method("luspo").objective, batch([1, 3], [1.0, 1.0]), torch.full((1, 2, 3), 0.1))
    assert loss == 0 and not slope.any()
