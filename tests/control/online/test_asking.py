"""Answers of a random judge, the doubt about a pair, and how often it can be asked."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from toykit.control.online import (
    FinitePosterior,
    answer,
    disagreement,
    finite_disagreement,
    least_square,
    most_queries,
    norm_under,
)
from toykit.rewards import Judge


def test_a_judge_answers_with_the_logistic_law_of_the_difference():
    uniforms = (torch.arange(10_000) + 0.5).double() / 10_000
    bits = answer(Judge(), torch.tensor(2.0).double(), torch.tensor(1.0).double(), uniforms)
    assert bits.double().mean().item() == pytest.approx(1 / (1 + math.exp(-1)), abs=1e-4)
    sure = answer(
        Judge(temperature=0), torch.tensor([2.0, 1.0]).double(), torch.tensor([1.0, 2.0]).double(), uniforms[:2]
    )
    assert sure.tolist() == [1, 0]


def test_the_closed_form_by_hand_and_by_draws():
    precision = torch.tensor([[2.0, 0.3], [0.3, 1.0]]).double()
    x = torch.tensor([1.0, -0.5]).double()
    norm = norm_under(x, precision)
    assert norm.item() ** 2 == pytest.approx((1 * 1 + 0.3 * 1 + 2 * 0.25) / 1.91)  # adjugate over determinant
    assert disagreement(norm, 0.7).item() == pytest.approx(0.76678, abs=5e-6)
    gap = 0.7 * norm * 2**0.5 * torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert gap.abs().mean().item() == pytest.approx(disagreement(norm, 0.7).item(), rel=0.005)


@given(st.integers(0, 1000))
def test_asking_a_pair_lowers_the_doubt_about_every_pair(seed):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(6, 3, generator=draw, dtype=torch.float64)
    before = torch.eye(3).double()
    after = before + x[0][:, None] * x[0]
    assert (norm_under(x, after.expand(6, 3, 3)) <= norm_under(x, before.expand(6, 3, 3)) + 1e-12).all()
    square = norm_under(x[0], before).item() ** 2
    assert norm_under(x[0], after).item() ** 2 == pytest.approx(square / (1 + square))  # Sherman and Morrison


def test_finite_disagreement_by_hand():
    gaps = torch.tensor([0.0, 1.0, 3.0]).double()
    p = torch.tensor([0.5, 0.25, 0.25]).double()
    # 2 (1/2 1/4 1 + 1/2 1/4 3 + 1/4 1/4 2)
    assert finite_disagreement(gaps, p).item() == pytest.approx(2 * (1 / 8 + 3 / 8 + 2 / 16))
    assert finite_disagreement(gaps, torch.tensor([0.0, 1.0, 0.0]).double()).item() == 0


def test_the_bound_on_questions():
    assert least_square(0.5, 1.0) == pytest.approx(math.pi / 16)
    for eps, printed in ((0.25, 3445), (0.5, 660), (1.0, 111), (1.5, 80)):
        n = most_queries(eps, 1.0, 12, 4.0)
        assert round(n) == printed
        assert n * min(1, least_square(eps, 1.0)) == pytest.approx(24 * math.log1p(n / 3))
    assert most_queries(1.0, 2.0, 12, 4.0) == pytest.approx(most_queries(0.5, 1.0, 12, 4.0))  # only their ratio counts
    with pytest.raises(ValueError, match="eps must be > 0"):
        most_queries(0.0, 1.0, 12, 4.0)
    with pytest.raises(ValueError, match="scale must be > 0"):
        least_square(0.5, 0.0)


@pytest.mark.parametrize("eps", [0.5, 1.0])
def test_however_pairs_are_chosen_no_more_are_asked(eps):
    every = torch.eye(6).double()
    every = torch.cat([every[i] - every[j] for i in range(6) for j in range(i)]).view(-1, 6)
    precision, asked = torch.eye(6).double(), 0
    while True:
        norms = norm_under(every, precision.expand(len(every), 6, 6))
        if norms.max() ** 2 <= least_square(eps, 1.0):
            break
        x = every[norms.argmax()]
        precision, asked = precision + x[:, None] * x, asked + 1
    assert 0 < asked <= most_queries(eps, 1.0, 6, largest=2.0)


def test_a_posterior_by_hand_and_its_draws():
    made = FinitePosterior.uniform(3).after(torch.tensor([0.5, 0.25, 0.25]).double().log())
    assert made.probabilities.tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert made.draw(torch.tensor([0.0, 0.49, 0.51, 0.74, 0.76, 0.9999]).double()).tolist() == [0, 0, 1, 1, 2, 2]
    twice = made.after(torch.tensor([0.0, 0.25, 0.75]).double().log())
    assert twice.probabilities.tolist() == pytest.approx([0, 0.25, 0.75])


def test_answers_that_contradict_every_hypothesis_are_refused():
    """A judge who never errs said yes and then no: each hypothesis has ruled itself out."""
    made = FinitePosterior.uniform(2, 2).after(torch.tensor([[1.0, 0.0], [1.0, 1.0]]).double().log())
    with pytest.raises(ValueError, match=r"leave a hypothesis possible, got probability 0 of all at index \[0\]"):
        made.after(torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double().log())
