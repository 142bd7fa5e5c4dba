from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toykit.objectives import Filtered, MovingLogZ, Posterior, Tilted, batch_log_z


def float64(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.fixture
def whole(tricks):
    return tricks.everything(tricks.policy(), tricks.policy(), tricks.policy(0.5, seed=2))


def test_scores(whole):
    log_ref = whole.ref_logp.sum(-1)
    assert torch.allclose(Posterior(0.5)(whole), log_ref + 2 * whole.rewards)
    each = Posterior(float64([0.5, 0.25]))(whole)
    assert torch.allclose(each, log_ref + float64([[2], [4]]) * whole.rewards)
    assert torch.equal(each.flip(0), Posterior(float64([0.5, 0.25]))(whole.take(torch.tensor([1, 0]))))
    kept = Filtered(0.5)(whole)
    assert torch.equal(kept.isfinite(), whole.rewards > 0.5)
    assert torch.equal(kept[kept.isfinite()], log_ref[kept.isfinite()])
    features = torch.stack([whole.rewards, torch.ones_like(whole.rewards)], -1)
    tilted = Tilted((2.0, -1.0))(whole.with_(extras={"features": features}))
    assert torch.allclose(tilted, log_ref + 2 * whole.rewards - 1)


def test_log_z_is_exact_under_enumeration_whoever_made_it_and_unbiased_under_sampling(tricks):
    behaviour = tricks.policy(0.6, seed=1)
    whole = tricks.everything(tricks.policy(), behaviour, tricks.policy(0.5, seed=2))
    score = Posterior(0.5)(whole)
    exact = batch_log_z(score, whole.old_logp.sum(-1), whole.weights)
    assert torch.allclose(exact, score.logsumexp(-1), rtol=0, atol=1e-14)
    groups = tricks.groups(2)
    sampled = tricks.rollouts(groups, tricks.policy(), behaviour, tricks.policy(0.5, seed=2))
    z = batch_log_z(Posterior(0.5)(sampled), sampled.old_logp.sum(-1), sampled.weights).exp()
    assert torch.allclose(tricks.probability(groups, behaviour) @ z, exact.exp(), rtol=0, atol=1e-13)


def test_a_moving_z_is_an_average_for_each_prompt():
    z = MovingLogZ(decay=0.75)
    first = z(torch.tensor([4, 9]), float64([2.0, 8.0]).log())
    assert first.exp().tolist() == pytest.approx([2, 8])  # the first batch sets it
    second = z(torch.tensor([9, 5]), float64([4.0, 1.0]).log())
    assert second.exp().tolist() == pytest.approx([0.75 * 8 + 0.25 * 4, 1])
    assert z(torch.tensor([4]), float64([2.0]).log()).exp().tolist() == pytest.approx([2])
    nothing = z(torch.tensor([9]), float64([0.0]).log())
    assert nothing.exp().tolist() == pytest.approx([0.75 * 7])
    assert z(torch.tensor([1]), float64([0.0]).log()).tolist() == [-math.inf]
    assert z(torch.tensor([1]), float64([3.0]).log()).exp().tolist() == pytest.approx([3])


def test_decay_is_checked():
    for decay in (0, 1, -0.5):
        with pytest.raises(ValueError, match=f"decay must be between 0 and 1, got {decay}"):
            MovingLogZ(decay)


def test_a_moving_z_goes_round_through_its_state():
    z = MovingLogZ()
    z(torch.tensor([3, 1]), float64([-0.3, -math.inf]))
    again = MovingLogZ()
    again.load(z.state())
    assert again.log_z == z.log_z == {3: -0.3, 1: -math.inf}
    again.load(MovingLogZ().state())
    assert again.log_z == {}


@pytest.mark.parametrize("beta", [0, -1.0, math.nan, float64([0.1, 0.0])])
def test_beta_must_be_positive(beta):
    with pytest.raises(ValueError, match="beta must be > 0 and finite, got"):
        Posterior(beta)


def test_a_target_without_a_reference_is_refused(whole):
    with pytest.raises(ValueError, match="ref_logp must be given for a target"):
        Posterior(0.1)(whole.with_(ref_logp=None))
