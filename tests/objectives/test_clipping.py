from __future__ import annotations

import pytest
import torch

from toykit.objectives import Clip

W = torch.tensor([0.5, 0.9, 1.0, 1.25, 1.4, 4.0], dtype=torch.float64)
GOOD, BAD = torch.full_like(W, 2.0), torch.full_like(W, -2.0)


def test_surrogate_by_hand():
    clip = Clip(0.2, 0.28)
    assert clip(W, GOOD).tolist() == pytest.approx([1.0, 1.8, 2.0, 2.5, 2.56, 2.56])
    assert clip(W, BAD).tolist() == pytest.approx([-1.6, -1.8, -2.0, -2.5, -2.8, -8.0])


def test_dual_clip_bounds_the_loss_of_a_bad_completion_only():
    clip = Clip(0.2, 0.28, dual=3.0)
    assert clip(W, BAD).tolist() == pytest.approx([-1.6, -1.8, -2.0, -2.5, -2.8, -6.0])
    assert torch.equal(clip(W, GOOD), Clip(0.2, 0.28)(W, GOOD))


@pytest.mark.parametrize("sign", [2.0, -2.0, 0.0])
def test_active_is_where_a_bound_has_stopped_the_gradient(sign):
    w, advantage, clip = W.clone().requires_grad_(), torch.full_like(W, sign), Clip(0.2, 0.28)
    gradient = torch.autograd.grad(clip(w, advantage).sum(), w)[0]
    low, high = clip.active(W, advantage)
    assert not (low & high).any()
    assert torch.equal(gradient, advantage * ~(low | high))


def test_bounds_are_checked():
    for name in ("low", "high"):
        with pytest.raises(ValueError, match=f"{name} must be > 0 and finite, got -0.2"):
            Clip(**{name: -0.2})
    with pytest.raises(ValueError, match="low must be <= 1, got 1.5"):
        Clip(low=1.5)
    with pytest.raises(ValueError, match="dual must be > 1 or None, got 1"):
        Clip(dual=1)
