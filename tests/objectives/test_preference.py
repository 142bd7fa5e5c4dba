"""Losses on pairs and single completions: numbers by hand, and a zoo of triples against formulas written in numpy."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from toykit.objectives import CPO, DPO, IPO, KTO, ORPO, SFT, UNA, Hinge, Scored, SimPO
from toykit.objectives.preference import log1mexp, log_odds


def scored(logp: list[float], ref: list[float] | None = None) -> Scored:
    values = torch.tensor(logp, dtype=torch.float64)
    reference = None if ref is None else torch.tensor(ref, dtype=torch.float64)
    return Scored(values, torch.ones_like(values, dtype=torch.bool), reference)


CHOSEN, REJECTED = scored([-1.0, -0.5], [-1.5, -2.0]), scored([-0.2, -0.3], [-0.1, -0.2])  # h = 2 and -0.2
D = 2.2


def sigma(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_dpo_by_hand():
    assert DPO(0.5)(CHOSEN, REJECTED).item() == pytest.approx(-math.log(sigma(1.1)), abs=1e-15)
    assert DPO(0.5)(REJECTED, CHOSEN).item() == pytest.approx(-math.log(sigma(-1.1)), abs=1e-15)
    smoothed = 0.9 * -math.log(sigma(1.1)) + 0.1 * -math.log(sigma(-1.1))
    assert DPO(0.5, smoothing=0.1)(CHOSEN, REJECTED).item() == pytest.approx(smoothed, abs=1e-15)
    robust = (0.9 * -math.log(sigma(1.1)) - 0.1 * -math.log(sigma(-1.1))) / 0.8
    assert DPO(0.5, 0.1, robust=True)(CHOSEN, REJECTED).item() == pytest.approx(robust, abs=1e-15)


def test_robust_dpo_has_the_mean_of_clean_labels_when_some_are_flipped():
    loss, clean = DPO(0.7, smoothing=0.3, robust=True), DPO(0.7)
    noisy = 0.7 * loss(CHOSEN, REJECTED) + 0.3 * loss(REJECTED, CHOSEN)
    assert noisy.item() == pytest.approx(clean(CHOSEN, REJECTED).item(), abs=1e-14)
    assert abs(loss(CHOSEN, REJECTED).item() - clean(CHOSEN, REJECTED).item()) > 0.1


def test_hinge_and_ipo_by_hand():
    assert Hinge(0.1)(CHOSEN, REJECTED).item() == pytest.approx(1 - 0.22)
    assert Hinge(0.5)(CHOSEN, REJECTED).item() == 0.0
    assert IPO(0.25)(CHOSEN, REJECTED).item() == pytest.approx((D - 2) ** 2)
    assert IPO(0.25, per_token=True)(CHOSEN, REJECTED).item() == pytest.approx((1.1 - 2) ** 2)


def test_losses_without_a_reference_by_hand():
    p, q = -0.75, -0.25  # mean log-probabilities
    assert SimPO(2.0, 0.5)(CHOSEN, REJECTED).item() == pytest.approx(-math.log(sigma(2 * (p - q) - 0.5)))
    assert CPO(0.1, alpha=1)(CHOSEN, REJECTED).item() == pytest.approx(-math.log(sigma(0.1 * (-1.5 + 0.5))) + 1.5)
    halves = CPO(0.1, alpha=2, per_token=True)(CHOSEN, REJECTED).item()
    assert halves == pytest.approx(-math.log(sigma(0.1 * (-1.5 + 0.5))) + 2 * 0.75)
    odds = [math.log(math.exp(x) / (1 - math.exp(x))) for x in (p, q)]
    assert ORPO(0.1)(CHOSEN, REJECTED).item() == pytest.approx(0.75 - 0.1 * math.log(sigma(odds[0] - odds[1])))


def test_kto_by_hand():
    own = Scored(CHOSEN.logp.expand(2, 2), CHOSEN.mask.expand(2, 2), CHOSEN.ref_logp.expand(2, 2))
    loss = KTO(0.5, desirable=1.0, undesirable=2.0)(own, torch.tensor([1.0, 0.0]), 0.4)
    assert loss.tolist() == pytest.approx([1 - sigma(0.5 * 1.6), 2 * (1 - sigma(-0.5 * 1.6))])


def test_the_shift_of_kto_is_a_weighted_mean_above_0_without_a_gradient():
    logp = torch.tensor([[0.0], [-3.0]], dtype=torch.float64, requires_grad=True)
    other = Scored(logp, torch.ones(2, 1, dtype=torch.bool), torch.full((2, 1), -1.0, dtype=torch.float64))
    kto = KTO()
    z0 = kto.shared(other, torch.tensor([0.75, 0.25], dtype=torch.float64))
    assert z0.item() == pytest.approx(0.75 * 1 - 0.25 * 2) and not z0.requires_grad
    assert kto.shared(other, torch.tensor([0.5, 0.5], dtype=torch.float64)).item() == 0.0  # the mean is -1/2


def test_una_and_sft_by_hand():
    own = scored([-1.0, -0.5], [-1.5, -2.0])
    score = torch.tensor(0.3, dtype=torch.float64)
    assert UNA(0.5)(own, score).item() == pytest.approx((1.0 - 0.3) ** 2)
    bce = -0.3 * math.log(sigma(1)) - 0.7 * math.log(sigma(-1))
    assert UNA(0.5, "bce")(own, score).item() == pytest.approx(bce)
    mask = torch.tensor([[True, True], [True, False]])
    both = Scored(torch.tensor([[-1.0, -0.5], [-2.0, 9.0]], dtype=torch.float64), mask)
    weights = torch.full((2,), 0.5, dtype=torch.float64)
    for aggregate, expected in (("token_mean", 3.5 / 3), ("token_sum", 3.5 / 2)):
        loss = SFT(aggregate)
        assert (weights * loss(both, loss.shared(both, weights))).sum().item() == pytest.approx(expected)


# Seven triples (x, y_w, y_l): both completions' token log-probabilities under policy and reference, and their lengths.
N, T = 7, 4
RNG = np.random.default_rng(0)
LOGP, REF = -RNG.exponential(0.8, (N, 2, T)), -RNG.exponential(0.8, (N, 2, T))
LENGTHS = RNG.integers(1, T + 1, (N, 2))
INSIDE = np.arange(T) < LENGTHS[..., None]
LABELS = np.array([1.0, 0, 1, 1, 0, 0, 1])
SCORES = RNG.uniform(0, 1, N)
Z0 = max(0.0, ((LOGP - REF) * INSIDE).sum(-1)[:, 1].mean())

SUM, REFSUM = (LOGP * INSIDE).sum(-1), (REF * INSIDE).sum(-1)
H, MEAN = SUM - REFSUM, SUM / LENGTHS
GAP = H[:, 0] - H[:, 1]


def softplus(x: np.ndarray) -> np.ndarray:
    return np.logaddexp(0.0, x)


def odds(p: np.ndarray) -> np.ndarray:
    return p - np.log(1 - np.exp(p))


ZOO = {
    "dpo": (DPO(0.3), softplus(-0.3 * GAP)),
    "dpo_smoothed": (DPO(0.3, 0.2), 0.8 * softplus(-0.3 * GAP) + 0.2 * softplus(0.3 * GAP)),
    "dpo_robust": (DPO(0.3, 0.2, True), (0.8 * softplus(-0.3 * GAP) - 0.2 * softplus(0.3 * GAP)) / 0.6),
    "slic": (Hinge(0.3), np.maximum(0, 1 - 0.3 * GAP)),
    "ipo": (IPO(0.3), (GAP - 1 / 0.6) ** 2),
    "ipo_per_token": (IPO(0.3, True), ((H / LENGTHS)[:, 0] - (H / LENGTHS)[:, 1] - 1 / 0.6) ** 2),
    "orpo": (ORPO(0.3), -MEAN[:, 0] + 0.3 * softplus(odds(MEAN[:, 1]) - odds(MEAN[:, 0]))),
    "simpo": (SimPO(1.5, 0.4), softplus(-1.5 * (MEAN[:, 0] - MEAN[:, 1]) + 0.4)),
    "cpo": (CPO(0.3, 0.7), softplus(-0.3 * (SUM[:, 0] - SUM[:, 1])) - 0.7 * SUM[:, 0]),
    "cpo_per_token": (CPO(0.3, 0.7, True), softplus(-0.3 * (SUM[:, 0] - SUM[:, 1])) - 0.7 * MEAN[:, 0]),
    "kto": (
        KTO(0.3, 1.2, 0.9),
        np.where(LABELS > 0, 1.2 / (1 + np.exp(0.3 * (H[:, 0] - Z0))), 0.9 / (1 + np.exp(-0.3 * (H[:, 0] - Z0)))),
    ),
    "una": (UNA(0.3), (0.3 * H[:, 0] - SCORES) ** 2),
    "una_bce": (UNA(0.3, "bce"), SCORES * softplus(-0.3 * H[:, 0]) + (1 - SCORES) * softplus(0.3 * H[:, 0])),
    "sft": (SFT("token_sum"), -SUM[:, 0]),
}


def rows(loss, logp: Tensor) -> Tensor:
    """The loss [N] of a loss in the zoo."""
    mask, ref = torch.tensor(INSIDE), torch.tensor(REF)
    sides = [Scored(logp[:, i], mask[:, i], ref[:, i]) for i in (0, 1)]
    if loss.data == "pairs":
        return loss(*sides)
    if isinstance(loss, KTO):
        return loss(sides[0], torch.tensor(LABELS), loss.shared(sides[1], torch.full((N,), 1 / N, dtype=torch.float64)))
    return loss(sides[0], torch.tensor(SCORES)) if isinstance(loss, UNA) else loss(sides[0])


@pytest.mark.parametrize("name", ZOO)
def test_the_zoo_agrees_with_numpy(name):
    loss, expected = ZOO[name]
    assert np.abs(rows(loss, torch.tensor(LOGP)).numpy() - expected).max() < 1e-10
    assert np.ptp(expected) > 1e-2  # seven different numbers


@pytest.mark.parametrize("name", ZOO)
def test_the_gradients_of_the_zoo_agree_with_central_differences(name, differences):
    loss, logp = ZOO[name][0], torch.tensor(LOGP, requires_grad=True)
    z0 = torch.tensor(Z0)

    def total() -> Tensor:
        if isinstance(loss, KTO):  # z0 is held
            mask, ref = torch.tensor(INSIDE), torch.tensor(REF)
            return loss(Scored(logp[:, 0], mask[:, 0], ref[:, 0]), torch.tensor(LABELS), z0).sum()
        return rows(loss, logp).sum()

    gradient = torch.autograd.grad(total(), logp)[0]
    assert torch.allclose(gradient, differences(total, logp), rtol=0, atol=1e-6)
    assert gradient.abs().max() > 1e-3 and not gradient[~torch.tensor(INSIDE)].any()


@pytest.mark.parametrize("name", ZOO)
def test_nothing_outside_the_mask_counts(name):
    loss, logp = ZOO[name][0], torch.tensor(LOGP)
    dirty = logp.masked_fill(~torch.tensor(INSIDE), 7.0)
    assert torch.equal(rows(loss, dirty), rows(loss, logp))


def test_an_empty_completion_and_one_of_probability_1_are_finite():
    empty = Scored(torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1, 2))
    certain = Scored(torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2))
    other = Scored(torch.full((1, 2), -1.0, requires_grad=True), torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2))
    for loss in (DPO(), IPO(per_token=True), ORPO(), SimPO(), CPO(per_token=True)):
        for pair in ((empty, other), (certain, other), (other, certain)):
            value = loss(*pair)
            assert value.isfinite().all()
            wanted = [s.logp for s in pair if s.logp.requires_grad]
            for gradient in torch.autograd.grad(value.sum(), wanted, allow_unused=True):
                assert gradient is None or gradient.isfinite().all()


def test_log1mexp_is_exact_at_both_ends():
    x = torch.tensor([-1e-12, -0.1, -0.6931471805599453, -5.0, -50.0], dtype=torch.float64)
    expected = [math.log(-math.expm1(v)) if v > -1 else math.log1p(-math.exp(v)) for v in x.tolist()]
    assert log1mexp(x).tolist() == pytest.approx(expected, rel=1e-15)
    assert log1mexp(x)[-1].item() == pytest.approx(-math.exp(-50), rel=1e-12)
    assert log_odds(torch.zeros(1)).isfinite().all()


def test_what_a_loss_needs_is_checked():
    bare = scored([-1.0])
    with pytest.raises(ValueError, match="ref_logp must be given for a loss with a reference policy, got None"):
        DPO()(bare, bare)
    with pytest.raises(ValueError, match=r"smoothing must be in \[0, 0.5\), got 0.5"):
        DPO(smoothing=0.5)
    for make in (lambda: DPO(0), lambda: Hinge(-1), lambda: KTO(beta=0), lambda: SimPO(0), lambda: CPO(0)):
        with pytest.raises(ValueError, match="beta must be > 0 and finite"):
            make()
    with pytest.raises(ValueError, match="tau must be > 0"):
        IPO(0.0)
    with pytest.raises(ValueError, match="weight must be > 0"):
        ORPO(0.0)
    with pytest.raises(ValueError, match="loss must be one of bce, mse"):
        UNA(loss="mae")
    own = scored([-1.0], [-1.0])
    with pytest.raises(ValueError, match="labels must be 0 or 1 for KTO"):
        KTO()(own, torch.tensor(0.5), 0.0)
    with pytest.raises(ValueError, match=r"labels must be in \[0, 1\] for UNA's cross-entropy"):
        UNA(loss="bce")(own, torch.tensor(1.5))
