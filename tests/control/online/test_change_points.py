"""The restarted detector of change points against its definition, by hand, and over all short sequences."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control.online import ChangePoints, detect, forecasters, log_marginal, theorem_prior
from toykit.control.online.change_points import prior_of


def test_the_marginal_by_hand():
    # 1/2 * 2/3 * 1/4 for a a b of two symbols
    assert math.exp(log_marginal([2, 1])) == pytest.approx(1 / 12, abs=1e-15)
    assert log_marginal([0, 0, 0]) == 0 and log_marginal([7]) == pytest.approx(0, abs=1e-14)
    assert np.exp(log_marginal([[1, 0], [1, 1]])).tolist() == pytest.approx([1 / 2, 1 / 6])


def test_the_evidence_for_a_change_sums_to_one_over_all_sequences():
    x = np.array(list(itertools.product(range(3), repeat=6)))
    counts = [(part[..., None] == np.arange(3)).sum(-2) for part in (x[:, :3], x[:, 3:])]
    assert np.exp(sum(map(log_marginal, counts))).sum() == pytest.approx(1, abs=1e-13)


def test_a_restart_by_hand():
    """a a a a b: DM(aaaa) DM(b) / DM(aaaab) = (1/5) (1/2) / (1/30) = 3, so that eta above 1/3 restarts."""
    x = [[0, 0, 0, 0, 1]]
    assert detect(x, 2, 0.34)[0].tolist() == [False] * 4 + [True]
    assert not detect(x, 2, 0.33).any()
    assert detect(x, 2, 0.17, skip_first_loss=True)[0].tolist() == [False] * 4 + [True]
    assert not detect(x, 2, 0.16, skip_first_loss=True).any()


PRIORS = (0.47, 1.0, 1e-2, "1/n", theorem_prior(0.9, 1.1))


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(1, 120),
    n_symbols=st.integers(1, 4),
    prior=st.sampled_from(PRIORS),
    skip=st.booleans(),
)
def test_restarts_are_those_of_the_definition_though_most_tests_are_left_out(seed, n, n_symbols, prior, skip):
    draw = np.random.default_rng(seed)
    x = draw.integers(0, n_symbols, n)
    x[n // 2 :] = draw.integers(0, max(1, n_symbols - 1), n - n // 2)
    weights, wanted = forecasters(x, n_symbols, prior, skip)
    assert detect(x[None], n_symbols, prior, skip)[0].tolist() == wanted.tolist()
    assert np.isfinite(weights[np.arange(n), np.arange(n)]).all()


def test_streams_are_apart_whatever_is_read_together():
    draw = np.random.default_rng(0)
    x = np.concatenate([draw.integers(0, 3, (4, 80)), draw.integers(1, 2, (4, 40))], 1)
    together = detect(x, 3)
    assert together.any(1).all()
    for row, found in zip(x, together, strict=True):
        assert detect(row[None], 3)[0].tolist() == found.tolist()
    detectors, seen = ChangePoints(3, 4), np.zeros((4, 120), dtype=bool)
    for t in range(120):
        for some in ([3, 0], [2], [1]):
            seen[some, t] = detectors.update(x[some, t], some)
    assert (seen == together).all()


def test_after_a_restart_it_is_new_and_one_symbol_never_restarts():
    x = [0] * 40 + [1] * 60
    first = int(detect([x], 2)[0].argmax()) + 1
    rest = detect([x[first:]], 2)[0]
    assert detect([x], 2)[0, first:].tolist() == rest.tolist()
    assert not detect([[0, 1, 2]], 3, 1.0)[:, 0].any()
    assert not detect([[0] * 50], 1, 1.0, skip_first_loss=True).any()


def test_an_age_cap_keeps_memory_and_loses_changes_that_are_not_seen_in_time():
    draw = np.random.default_rng(1)
    x = np.concatenate([draw.choice(2, 200, p=(0.9, 0.1)), draw.choice(2, 200, p=(0.7, 0.3))])[None]
    whole, capped, short = (detect(x, 2, 1e-3, most=most) for most in (None, 200, 5))
    assert whole.any() and (whole == capped).all() and not short.any()
    detectors = ChangePoints(2, 1, most=5)
    for symbol in x[0]:
        detectors.update([symbol])
    assert detectors._before.shape == (1, 2, 5)


def test_the_theorems_prior_by_hand():
    found = theorem_prior(0.1, 2.0)(np.array([4.0]), np.array([4.0]))
    wanted = 4 / 90 * (math.log(10) * 0.01 / (32 * math.log(40))) ** 2
    assert math.exp(found[0]) == pytest.approx(wanted)
    assert prior_of("1/n")(np.array([3.0]), np.array([5.0])) == pytest.approx(-math.log(8))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ChangePoints(3, prior=0.0), r"prior must be > 0 and at most 1, got 0\.0"),
        (lambda: ChangePoints(3, prior=1.5), r"prior must be > 0 and at most 1, got 1\.5"),
        (lambda: ChangePoints(3, prior=float("nan")), "prior must be > 0 and at most 1, got nan"),
        (lambda: ChangePoints(3, prior="1/m"), "prior must be a number, '1/n' or a function, got '1/m'"),
        (lambda: ChangePoints(0), "n_symbols must be >= 1, got 0"),
        (lambda: ChangePoints(2, most=0), "most must be >= 1, got 0"),
        (lambda: theorem_prior(1.0), "delta must be between 0 and 1"),
        (lambda: theorem_prior(0.1, 1.0), "a must be > 1, got 1.0"),
        (lambda: ChangePoints(2).update([2]), r"symbols must be whole numbers from 0 to 1, got \[2\]"),
        (lambda: ChangePoints(2).update([0.5]), "symbols must be whole numbers"),
        (lambda: ChangePoints(2, 3).update([0]), "symbols must have one entry for each of 3 streams"),
        (lambda: detect([0, 1], 2), r"symbols must have shape \[N, T\], got \[2\]"),
    ],
)
def test_bad_input_is_named(make, match):
    with pytest.raises(ValueError, match=match):
        make()
