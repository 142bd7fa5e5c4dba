"""The losses of V and the loss of a policy with Q and V: by hand, by their minimisers, and on a tree."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import Chi2Maximum, Expectile, LogSumExp, Quantile
from toykit.objectives import Asymmetric, ChiSquare, DualRL, Gumbel, TotalVariation
from toykit.objectives.dual_values import advantage_weight

E = math.exp


def at(loss, *x):
    return loss(torch.tensor(x, dtype=torch.float64)).tolist()


def slope_at(loss, *x):
    given_x = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    return torch.autograd.grad(loss(given_x).sum(), given_x)[0].tolist()


def test_losses_by_hand():
    assert at(TotalVariation(0.8), 2.0, 0.0, -5.0) == pytest.approx([0.8 * 2 - 0.2 * 2, 0.0, 1.0])
    assert at(ChiSquare(0.8), 2.0, 0.0, -5.0) == pytest.approx([0.8 * 3 - 0.2 * 2, 0.0, 1.0])
    assert at(ChiSquare(0.8, released=True), 2.0, -1.0, -5.0) == pytest.approx([2.0, 0.2, 0.8 * 1.25 + 1.0])
    assert at(Gumbel(0.5, clip=None), 1.0, -1.0) == pytest.approx([E(2) - 3, E(-2) + 1])
    assert at(Asymmetric(0.8), 2.0, -2.0) == pytest.approx([3.2, 0.8])


def test_slopes_of_card_12_and_what_the_clip_does_to_them():
    """At x = 20: exp(20) - 1, 11 and 1, with the parts of V's own term left out; beyond the clip there is no slope."""
    assert slope_at(Gumbel(1.0, clip=None), 20.0) == pytest.approx([E(20) - 1])
    assert slope_at(ChiSquare(0.999999), 20.0) == pytest.approx([11.0], abs=1e-4)
    assert slope_at(TotalVariation(0.999999), 20.0) == pytest.approx([1.0], abs=1e-4)
    assert slope_at(Gumbel(0.1, clip=7.0), 0.69, 0.71) == pytest.approx([10 * (E(6.9) - 1), 0.0])


def test_the_released_scale_divides_by_the_largest_of_the_batch():
    x = torch.tensor([0.3, -0.2, 0.9], dtype=torch.float64)
    plain, scaled = Gumbel(0.1, 7.0)(x), Gumbel(0.1, 7.0, scaled=True)(x)
    assert torch.allclose(scaled, plain * E(-7.0), rtol=1e-12)
    low = torch.tensor([-0.3, -0.5], dtype=torch.float64)
    assert torch.allclose(Gumbel(0.1, scaled=True)(low), Gumbel(0.1)(low) * E(1.0), rtol=1e-12)
    assert slope_at(Gumbel(0.1, 7.0, scaled=True), 0.5, 0.1) == pytest.approx(
        [10 * (1 - E(-5)), 10 * (E(1) - 1) * E(-5)]
    )


MAXIMA = (
    (TotalVariation, lambda level, prior: Quantile((2 * level - 1) / level, prior)),
    (ChiSquare, Chi2Maximum),
    (lambda level: Gumbel(level, clip=None), LogSumExp),
    (Asymmetric, Expectile),
)


@pytest.mark.parametrize(("loss", "maximum"), MAXIMA)
@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.floats(0.55, 0.95))
def test_each_loss_is_least_at_the_aggregator_of_the_exact_rung(loss, maximum, seed, level):
    draw = torch.Generator().manual_seed(seed)
    q, prior = torch.randn(4, generator=draw, dtype=torch.float64), torch.rand(4, generator=draw).double()
    prior = prior / prior.sum()
    best = maximum(level, prior)(q)

    def mean(v):
        return (prior * loss(level)(q - v)).sum()

    assert all(mean(best) <= mean(best + step) + 1e-12 for step in (-0.3, -0.01, 0.01, 0.3))


MASK = torch.tensor([[True, True, False]])
TOKENS = torch.tensor([[1, 0, 0]])
Q = torch.tensor([[[0.5, 0.2], [0.3, 0.9], [8.0, 8.0]]], dtype=torch.float64)
V = torch.tensor([[0.1, 0.4, 8.0]], dtype=torch.float64)
LOGP = torch.tensor([[-1.0, -2.0, -9.0]], dtype=torch.float64)
REWARDS = torch.tensor([[0.0, 1.0, 0.0]], dtype=torch.float64)


def test_dual_rl_by_hand():
    """x = .2 - .1 and .3 - .4; targets .5 * .4 and 1."""
    temporal = ((0.2 - 0.2) ** 2 + (0.3 - 1.0) ** 2) / 2
    towards = (0.8 * 0.1 - 0.2 * 0.1) + 0.2 * 0.1
    policy = E(0.3) * 1.0 + E(-0.3) * 2.0
    loss = DualRL(TotalVariation(0.8), gamma=0.5)
    assert loss(LOGP, Q, V, TOKENS, REWARDS, MASK).tolist() == pytest.approx([(temporal + towards + policy) / 2])
    far = Q.clone()
    far[0, 1, 0] = 41.0
    assert DualRL(TotalVariation(0.8), tau=0, gamma=0.5)(LOGP, far, V, TOKENS, REWARDS, MASK).tolist() == (
        pytest.approx([(20 * (40 - 10) + 0.06 + (0.8 - 0.2) * 40.6 + 3.0) / 2])
    )


def test_padding_does_not_count_though_the_scale_looks_at_all_values():
    loss = DualRL(Gumbel(0.1, 7.0, scaled=True), gamma=0.5)
    whole = loss(LOGP, Q, V, TOKENS, REWARDS, MASK)
    cut = loss(LOGP[:, :2], Q[:, :2], V[:, :2], TOKENS[:, :2], REWARDS[:, :2], MASK[:, :2])
    assert torch.equal(whole, cut)
    none = loss(LOGP, Q, V, TOKENS, REWARDS, torch.zeros_like(MASK))
    assert none.tolist() == [0.0]


def test_each_term_moves_one_of_the_three():
    logp, q, v = (x.clone().requires_grad_() for x in (LOGP, Q, V))
    loss = DualRL(TotalVariation(0.8), gamma=0.5)(logp, q, v, TOKENS, REWARDS, MASK)
    by_logp, by_q, by_v = torch.autograd.grad(loss.sum(), (logp, q, v))
    assert by_logp[0].tolist() == pytest.approx([-E(0.3) / 2, -E(-0.3) / 2, 0.0])
    assert by_q[0].flatten().tolist() == pytest.approx([0, 0, -0.35, 0, 0, 0])
    assert by_v[0].tolist() == pytest.approx([-0.3, 0.1, 0.0])


def test_values_of_a_tree_go_to_the_quantiles_of_what_the_data_reach():
    """Two tokens of two kinds; the data's law and rewards are over 00, 01, 10, 11. Level .8 is the quantile .75.

    Behind the first token 0 lie .2 and .9 in equal shares: .9; behind 1 lie .6 and .1, with 9 to 1: .6. At the root .9
    has a share of .3 and .6 of .7: the .75-quantile is .9; at level .6, the quantile 1/3, it is .6.
    """
    tokens = torch.tensor([[0, 0], [0, 1], [1, 0], [1, 1]])
    law = torch.tensor([0.15, 0.15, 0.63, 0.07], dtype=torch.float64)
    rewards = torch.stack([torch.zeros(4), torch.tensor([0.2, 0.9, 0.6, 0.1])], 1).double()
    nodes, mask = torch.stack([torch.zeros(4).long(), 1 + tokens[:, 0]], 1), torch.ones(4, 2, dtype=torch.bool)
    for level, expected in ((0.8, [0.9, 0.9, 0.6]), (0.6, [0.6, 0.2, 0.6])):
        q, v, logits = (torch.zeros(*s, dtype=torch.float64, requires_grad=True) for s in ((3, 2), (3,), (3, 2)))
        solver = torch.optim.Adam([q, v, logits], 0.05, betas=(0.8, 0.9))
        for step in range(600):
            solver.param_groups[0]["lr"] = 0.05 * (1 - step / 600)
            solver.zero_grad()
            logp = logits.log_softmax(-1)[nodes].gather(-1, tokens[..., None])[..., 0]
            loss = DualRL(TotalVariation(level), tau=8.0)(logp, q[nodes], v[nodes], tokens, rewards, mask)
            (law * loss).sum().backward()
            solver.step()
        assert v.tolist() == pytest.approx(expected, abs=0.02)
        if level == 0.8:  # the policy is the data's, tilted: 1 to 1 becomes e^(8 * .7) to 1, 9 to 1 becomes 9 e^4 to 1
            ratio = (logits[:, 0] - logits[:, 1]).detach()
            assert ratio[1:].tolist() == pytest.approx([-8 * 0.7, math.log(9) + 8 * 0.5], abs=0.3)


def test_weights_are_cut_above():
    q, v = torch.tensor([0.0, 1.0, 3.0]), torch.zeros(3)
    assert advantage_weight(q, v, 3.0, 100.0).tolist() == pytest.approx([1.0, E(3), 100.0], rel=1e-6)


def test_bounds_are_checked():
    with pytest.raises(ValueError, match="level must be between 1/2 and 1 for total variation, got 0.5"):
        TotalVariation(0.5)
    for make in (ChiSquare, Asymmetric):
        with pytest.raises(ValueError, match="level must be between 0 and 1, got 1"):
            make(1.0)
    with pytest.raises(ValueError, match="alpha must be > 0 and finite, got 0"):
        Gumbel(0.0)
    with pytest.raises(ValueError, match="clip must be > 0 and finite, got -1"):
        Gumbel(0.1, clip=-1.0)
    for name, value, allowed in (
        ("tau", -1.0, ">= 0"),
        ("most", 0.0, "> 0"),
        ("gamma", 1.1, "in "),
        ("delta", 0, "> 0"),
    ):
        with pytest.raises(ValueError, match=f"{name} must be {allowed}.*, got {value}"):
            DualRL(**{name: value})
