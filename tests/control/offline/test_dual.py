from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.control import TabularMDP, flow_residual, occupancy, uniform_policy
from toykit.control.offline import dual_q, dual_v, recoil, regularised_return
from toykit.objectives import CONJUGATES, divergence

NAMES = {"chi2_reverse": (0.7499511086, -0.0031050531), "reverse_kl": (0.8092576668, 0.6552869031)}


def problem(seed=0):
    """Card 12, A: MDP and the law of its offline data, with the generator that made them."""
    rng = np.random.default_rng(seed)
    P, R = rng.dirichlet([0.5] * 5, (5, 3)), rng.uniform(size=(5, 3))
    mdp = TabularMDP(P, R, 0.9, start=np.full(5, 0.2), terminal=[])
    return mdp, occupancy(mdp, rng.dirichlet([1.0] * 3, 5)), rng


@pytest.mark.parametrize("name", NAMES)
def test_strong_duality_with_the_numbers_of_card_12(name):
    mdp, offline, _ = problem()
    found = dual_v(mdp, offline, 0.1, name)
    assert found.value == pytest.approx(NAMES[name][0], abs=5e-9)
    assert found.value == pytest.approx(regularised_return(mdp, found.occupancy, offline, 0.1, name), abs=1e-11)
    assert flow_residual(mdp, found.occupancy).abs().max() < 1e-11
    assert torch.allclose(occupancy(mdp, found.policy), found.occupancy, atol=1e-10)
    assert int((found.ratio == 0).sum()) == {"chi2_reverse": 5, "reverse_kl": 0}[name]
    assert dual_q(mdp, found.policy, offline, 0.1, name).value == pytest.approx(found.value, abs=1e-11)


def test_dual_q_of_a_random_policy_of_card_12():
    mdp, offline, rng = problem()
    for name, (_, value) in NAMES.items():
        policy = rng.dirichlet([1.0] * 3, 5)
        found = dual_q(mdp, policy, offline, 0.1, name)
        assert found.value == pytest.approx(value, abs=5e-10)
        assert found.value == pytest.approx(
            regularised_return(mdp, occupancy(mdp, policy), offline, 0.1, name), abs=1e-13
        )


@pytest.mark.parametrize("name", [n for n in CONJUGATES if n != "tv"])
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(0, 10_000), alpha=st.sampled_from([0.02, 0.3, 5.0]))
def test_no_policy_has_a_larger_regularised_return_than_the_dual(name, seed, alpha):
    mdp, offline, rng = problem(seed)
    found = dual_v(mdp, offline, alpha, name, tol=1e-9)
    assert found.value == pytest.approx(regularised_return(mdp, found.occupancy, offline, alpha, name), abs=1e-7)
    for _ in range(5):
        law = occupancy(mdp, rng.dirichlet([1.0] * 3, 5))
        assert regularised_return(mdp, law, offline, alpha, name) <= found.value + 1e-9


@pytest.mark.parametrize("name", CONJUGATES)
def test_dual_q_is_the_regularised_return(name):
    mdp, offline, rng = problem(1)
    policy = rng.dirichlet([1.0] * 3, 5)
    exact = regularised_return(mdp, occupancy(mdp, policy), offline, 0.3, name)
    assert dual_q(mdp, policy, offline, 0.3, name).value == pytest.approx(exact, abs=1e-12)


@pytest.mark.parametrize("name", [n for n in CONJUGATES if n != "tv"])  # tv's minimum lies where f* ends
def test_the_minimum_over_q_is_one(name):
    mdp, offline, rng = problem()
    policy = torch.from_numpy(rng.dirichlet([1.0] * 3, 5))
    found, star = dual_q(mdp, policy, offline, 0.3, name), CONJUGATES[name]

    def objective(q):
        v = (policy * q).sum(-1)
        residual = mdp.q(v) - q
        return 0.1 * (mdp.start @ v) + 0.3 * (offline * star.free(residual / 0.3)).sum()

    assert objective(found.q).item() == pytest.approx(found.value, abs=1e-12)
    for _ in range(5):
        moved = found.q + 1e-3 * torch.from_numpy(rng.normal(size=(5, 3)))
        assert objective(moved).item() >= found.value - 1e-12


def expert_and_other(mdp, rng):
    greedy = mdp.R.argmax(-1)
    expert = torch.full((5, 3), 0.02, dtype=torch.float64)
    expert[torch.arange(5), greedy] = 0.96
    rng.dirichlet([1.0] * 3, 5), rng.dirichlet([1.0] * 3, 5)  # the two random policies of part A
    return expert, torch.from_numpy(rng.dirichlet([1.0] * 3, 5)), torch.from_numpy(rng.dirichlet([1.0] * 3, 5)), greedy


def test_recoil_with_the_numbers_of_card_12_with_and_without_coverage():
    mdp, _, rng = problem()
    expert, suboptimal, policy, greedy = expert_and_other(mdp, rng)
    for covered, expected in ((True, (-1.58970007, -1.45765100)), (False, (-1.40357894, -2.06994361))):
        if not covered:
            suboptimal = suboptimal.clone()
            suboptimal[torch.arange(5), greedy] = 0.0
            suboptimal = suboptimal / suboptimal.sum(-1, keepdim=True)
        laws = occupancy(mdp, expert), occupancy(mdp, suboptimal)
        for tried, value in zip((policy, suboptimal), expected, strict=True):
            found = recoil(mdp, tried, *laws, share=0.7)
            assert found.value == pytest.approx(value, abs=5e-9)
            own, target = (0.7 * law + 0.3 * laws[1] for law in (occupancy(mdp, tried), laws[0]))
            apart = divergence("chi2_reverse").value(own.flatten().log(), target.flatten().log())
            assert found.value == pytest.approx(-apart.item(), abs=1e-12)
            v = (tried * found.q).sum(-1)
            assert torch.allclose(mdp.discount * mdp.expect(v) - found.q, found.residual, atol=1e-12)
        assert recoil(mdp, expert, *laws, share=0.7).value == pytest.approx(0.0, abs=1e-12)


def test_bad_input_is_refused():
    mdp, offline, _ = problem()
    half = offline / 2
    gap = offline.clone()
    gap[1, 2] = 0.0
    gap = gap / gap.sum()
    uniform = uniform_policy(mdp)
    for call, message in (
        (lambda: dual_v(mdp, offline, 0.0), "alpha must be > 0"),
        (lambda: dual_v(mdp, half, 0.1), "offline must be a distribution over states and actions, its sum is 0.5"),
        (lambda: dual_v(mdp, offline[:2], 0.1), r"offline must have shape \[5, 3\], got \[2, 3\]"),
        (lambda: dual_v(mdp.with_(horizon=3), offline, 0.1), "mdp must have a discount < 1 and no horizon"),
        (lambda: dual_v(mdp, offline, 0.1, "tv"), "name must be one of .* got 'tv'"),
        (
            lambda: dual_q(mdp, uniform, gap, 0.1),
            "offline must have all pairs of the policy, has none for state 1, act",
        ),
        (lambda: recoil(mdp, uniform, offline, offline, share=1.0), "share must be between 0 and 1, got 1.0"),
        (lambda: recoil(mdp, uniform, offline, half), "other must be a distribution"),
        (lambda: recoil(mdp, uniform, gap, gap), "expert and other must have all pairs of the policy"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
