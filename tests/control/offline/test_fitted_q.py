from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import LogSumExp, backward_induction, garnet, river_swim, value_iteration
from toykit.control.offline import by_action, fitted_q_iteration
from toykit.control.offline.fitted_q import projection
from toykit.control.worlds import linear_q


def card(u):
    """LinearQ of card 06 without its horizon, and its optimal Q."""
    mdp = linear_q(u)
    return mdp.with_(horizon=None), backward_induction(mdp).q[0]


def hinges(u, line=False):
    s = torch.arange(3 * u + 3, dtype=torch.float64)
    columns = [torch.ones_like(s), (2 * u + 1 - s).relu(), (3 * u + 1.5 - s).relu()] + [s] * line
    return by_action(torch.stack(columns, -1), 2)


@pytest.mark.parametrize(("u", "errors"), [(4, (9.32, 91.8, 916.4)), (8, (21.87, 203.3, 2017.7))])
def test_a_class_that_holds_the_best_q_diverges_where_the_end_is_not_known_as_in_card_06(u, errors):
    mdp, best = card(u)
    keep = tuple(mdp.n_states * times for times in (1, 10, 100))
    found = fitted_q_iteration(mdp, hinges(u), ends="fitted", keep=keep)
    gaps = (found - best).abs().amax((-1, -2)).tolist()
    assert gaps == pytest.approx(errors, rel=1e-3)
    with_ends = fitted_q_iteration(mdp, hinges(u), keep=keep)
    assert (with_ends[-1] - best).abs().max() < 1e-12  # the same class and weights: only the end is worth 0


def test_one_feature_more_repairs_it():
    for u, error in ((4, 0.070), (16, 0.240)):
        mdp, best = card(u)
        found = fitted_q_iteration(mdp, hinges(u, line=True), ends="fitted", sweeps=mdp.n_states)
        assert (found - best).abs().max().item() == pytest.approx(error, abs=5e-4)


def test_with_a_table_of_features_it_is_value_iteration():
    mdp = garnet(8, 3, 3, discount=0.8, seed=2)
    soft = LogSumExp(0.5)
    found = fitted_q_iteration(mdp, torch.eye(24).view(8, 3, 24), sweeps=150, aggregator=soft)
    assert torch.allclose(found, value_iteration(mdp, soft).q, atol=1e-9)
    swim = river_swim()
    assert torch.allclose(
        fitted_q_iteration(swim, by_action(torch.eye(6).double(), 2), sweeps=600), value_iteration(swim).q, atol=1e-9
    )


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_a_projection_leaves_its_class_alone_and_its_error_is_orthogonal(seed):
    draws = torch.Generator().manual_seed(seed)
    features = torch.randn(5, 2, 3, generator=draws, dtype=torch.float64)
    weights = torch.rand(5, 2, generator=draws, dtype=torch.float64) + 0.01
    fit = projection(features, weights)
    inside = (features @ torch.randn(3, generator=draws, dtype=torch.float64)).flatten()
    assert torch.allclose(fit @ inside, inside, atol=1e-9)
    table = torch.randn(10, generator=draws, dtype=torch.float64)
    error = weights.flatten() * (table - fit @ table)
    assert (features.flatten(0, 1).T @ error).abs().max() < 1e-9


def test_bad_input_is_refused():
    mdp = river_swim(3)
    features = torch.ones(3, 2, 1)
    for options, message in (
        ({"features": torch.ones(3, 1, 1)}, r"features must have shape \[3, 2\] and d more, got \[3, 1, 1\]"),
        ({"weights": torch.ones(3)}, r"weights must have shape \[3, 2\], got \[3\]"),
        ({"weights": torch.zeros(3, 2)}, "weights must be >= 0 and not all 0"),
        ({"sweeps": 0}, "sweeps must be >= 1, got 0"),
        ({"keep": (0, 3)}, "sweeps must be >= 1, got 0"),
        ({"ends": "none"}, "ends must be 'zero' or 'fitted', got 'none'"),
        ({"mdp": mdp.with_(horizon=3)}, "horizon must be None for a fit without the step, got 3"),
    ):
        with pytest.raises(ValueError, match=message):
            fitted_q_iteration(**{"mdp": mdp, "features": features} | options)
