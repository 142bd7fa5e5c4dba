from __future__ import annotations

import math

import pytest
import torch

from toykit.objectives import BradleyTerry, ProcessReward, process_score
from toykit.objectives.reward_models import last


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_bradley_terry_by_hand():
    chosen, rejected = torch.tensor([1.0, 0.2]).double(), torch.tensor([0.5, 1.2]).double()
    plain = [-math.log(sigma(0.5)), -math.log(sigma(-1.0))]
    assert BradleyTerry()(chosen, rejected).tolist() == pytest.approx(plain)
    centred = [plain[0] + 0.01 * 1.5**2, plain[1] + 0.01 * 1.4**2]
    assert BradleyTerry(centre=0.01)(chosen, rejected).tolist() == pytest.approx(centred)
    margins = torch.tensor([0.3, 0.0]).double()
    assert BradleyTerry()(chosen, rejected, margins)[0].item() == pytest.approx(-math.log(sigma(0.2)))
    with pytest.raises(ValueError, match="centre must be >= 0"):
        BradleyTerry(centre=-1)


def test_only_the_centring_term_sees_a_constant():
    chosen, rejected = torch.tensor([1.0]).double(), torch.tensor([0.5]).double()
    assert torch.allclose(BradleyTerry()(chosen + 3, rejected + 3), BradleyTerry()(chosen, rejected))
    assert BradleyTerry(0.01)(chosen + 3, rejected + 3) > BradleyTerry(0.01)(chosen, rejected)


SCORES = torch.tensor([[2.0, 9.0, -1.0, 9.0], [0.5, 9.0, 9.0, 9.0]], dtype=torch.float64, requires_grad=True)
ENDS = torch.tensor([[True, False, True, False], [True, False, False, False]])


def test_the_process_loss_by_hand():
    labels = torch.tensor([[1.0, 7.0, 0.0, 7.0], [0.25, 7.0, 7.0, 7.0]], dtype=torch.float64)  # 7 is not read
    expected = [
        (-math.log(sigma(2)) - math.log(1 - sigma(-1))) / 2,
        -0.25 * math.log(sigma(0.5)) - 0.75 * math.log(1 - sigma(0.5)),
    ]
    loss = ProcessReward()(SCORES, ENDS, labels)
    assert loss.tolist() == pytest.approx(expected)
    gradient = torch.autograd.grad(loss.sum(), SCORES)[0]
    assert gradient[0, 0].item() == pytest.approx((sigma(2) - 1) / 2) and not gradient[~ENDS].any()


def test_one_logit_is_a_head_of_two_classes():
    """Cross-entropy of two classes with logits (0, s), as trainers of process reward models take it."""
    s = SCORES.detach()[ENDS]
    two = torch.stack([torch.zeros_like(s), s], -1)
    labels = torch.tensor([1, 0, 1])
    theirs = torch.nn.functional.cross_entropy(two, labels, reduction="none")
    ones = torch.ones(3, 1, dtype=torch.bool)
    assert torch.allclose(ProcessReward()(s[:, None], ones, labels[:, None].double()), theirs)


def test_steps_are_summed_up_by_the_worst_or_by_all():
    assert process_score(SCORES, ENDS).tolist() == pytest.approx([sigma(-1), sigma(0.5)])
    assert process_score(SCORES, ENDS, "product").tolist() == pytest.approx([sigma(2) * sigma(-1), sigma(0.5)])
    nothing = torch.zeros_like(ENDS)
    assert process_score(SCORES, nothing).tolist() == process_score(SCORES, nothing, "product").tolist() == [1, 1]
    with pytest.raises(ValueError, match="how must be one of min, product, got 'mean'"):
        process_score(SCORES, ENDS, "mean")


def test_the_last_token_by_hand():
    mask = torch.tensor([[True, True, False, False], [False] * 4])
    assert last(SCORES, mask).tolist() == [9.0, 0.0]
