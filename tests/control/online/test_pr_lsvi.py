"""PR-LSVI and its baselines, and Thompson sampling from preferences."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from toykit.control import TabularMDP, expected_return
from toykit.control.online import (
    PRLSVI,
    disagreement,
    fit_logistic,
    layered,
    norm_under,
    one_hot_features,
    pbts,
    pr_lsvi,
)
from toykit.rewards import Judge


def world(seed=0, h=2, s=2, a=3):
    draw = torch.Generator().manual_seed(seed)
    P = torch.rand(h, s, a, s, generator=draw, dtype=torch.float64)
    R = 4 * torch.rand(h, s, a, generator=draw, dtype=torch.float64)
    return layered(P / P.sum(-1, keepdim=True), R), one_hot_features(s, a, h)


def two_arms(gap=1.0):
    return layered(torch.ones(1, 1, 2, 1), torch.tensor([[[0.0, gap]]])), one_hot_features(1, 2, 1)


PLAIN = PRLSVI()
ARMS = [
    PLAIN,
    PRLSVI(eps=1.0),
    PRLSVI(randomise=False, truncate=False),
    PRLSVI(partner="same"),
    PRLSVI(passive=0.3),
]


def test_a_seed_and_an_arm_are_the_same_whatever_runs_beside_them():
    mdp, features = world()
    whole = pr_lsvi(mdp, features, ARMS, (3, 4), 40, bound=4.0)
    for i in (0, 2, 4):
        alone = pr_lsvi(mdp, features, ARMS[i : i + 1], (4,), 40, bound=4.0)
        for name in ("values", "asked", "differences", "norms", "weights"):
            assert torch.allclose(getattr(alone, name)[0, 0], getattr(whole, name)[i, 1].to(getattr(alone, name)))


def test_what_is_recorded_fits_together():
    """Norms, questions and the last fit, from the pairs and answers that were recorded."""
    mdp, features = world()
    found = pr_lsvi(mdp, features, ARMS, (0, 1), 60, bound=4.0)
    assert found.values.max() <= found.best + 1e-12 and (found.regret >= -1e-12).all()
    for i in (0, 1, 3):
        for seed in (0, 1):
            x, asked = found.differences[i, seed], found.asked[i, seed]
            precision = torch.eye(12).double()
            for t in range(60):
                norm = norm_under(x[t], precision)
                assert torch.allclose(norm, found.norms[i, seed, t])
                assert bool(asked[t]) == (float(disagreement(norm, 1.0)) > ARMS[i].eps)
                precision = precision + asked[t] * x[t][:, None] * x[t]
            fit = fit_logistic(x[asked], found.answers[i, seed][asked], 0.1)
            assert torch.allclose(fit.weights, found.weights[i, seed], atol=1e-8)
    assert torch.equal(found.queries, found.asked.sum(-1))


def test_the_second_policy_is_the_one_before_or_the_same():
    mdp, features = world()
    found = pr_lsvi(mdp, features, ARMS, (0,), 30, bound=4.0)
    previous, same = found.values[0, 0], found.values[3, 0]
    assert torch.equal(previous[1:, 1], previous[:-1, 0]) and torch.equal(same[:, 0], same[:, 1])
    first = expected_return(mdp, torch.zeros(2, mdp.n_states, dtype=torch.int64))
    assert previous[0, 1].item() == pytest.approx(first)


def test_asking_at_random_asks_that_share_of_the_pairs_that_differ():
    mdp, features = world()
    arms = [PRLSVI(passive=0.0), PRLSVI(passive=0.3), PRLSVI(passive=1.0)]
    found = pr_lsvi(mdp, features, arms, range(5), 200, bound=4.0)
    differ = (found.differences != 0).any(-1)
    assert found.queries[0].sum() == 0 and torch.equal(found.asked[2], differ[2])
    assert not (found.asked & ~differ).any()
    share = found.asked[1].sum() / differ[1].sum()
    assert share.item() == pytest.approx(0.3, abs=0.08)


def test_without_noise_two_arms_are_never_compared_and_with_noise_they_are():
    mdp, features = two_arms()
    greedy, noisy = PRLSVI(randomise=False, truncate=False), PLAIN
    found = pr_lsvi(mdp, features, [greedy, noisy, replace(greedy, truncate=True)], range(10), 100)
    for i in (0, 2):  # at the last step the default is 0, and changes nothing
        assert found.queries[i].sum() == 0 and (found.regret[i] == 2).all()
    assert (found.queries[1] > 0).all() and found.regret[1, :, -20:].mean(-1).median() == 0


def test_a_judge_who_always_sees_the_better_one_settles_two_arms_soon():
    mdp, features = two_arms()
    found = pr_lsvi(mdp, features, [PLAIN], range(10), 100, judge=Judge(temperature=0))
    assert (found.regret[0, :, 40:] == 0).double().mean() > 0.9 and (found.weights[0, :, 1] > 0).all()


def test_equal_rewards_cost_nothing_and_teach_nothing_about_transitions():
    mdp, features = world()
    flat = TabularMDP(mdp.P, torch.zeros_like(mdp.R), horizon=2, start=0, terminal=mdp.terminal)
    found = pr_lsvi(flat, features, [PLAIN], (0,), 20)
    assert found.best == 0 and (found.regret == 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sigma_r": 0.0}, "sigma_r must be > 0"),
        ({"sigma_p": -1.0}, "sigma_p must be >= 0"),
        ({"eps": -0.1}, "eps must be >= 0"),
        ({"ridge": 0.0}, "ridge must be > 0"),
        ({"low": 1.0}, "low must be >= 0 and below high, got 1.0 and 1.0"),
        ({"partner": "older"}, "partner must be one of previous, same, got 'older'"),
        ({"passive": 1.5}, "passive must be a probability, got 1.5"),
    ],
)
def test_settings_out_of_range_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        PRLSVI(**change)


def test_other_bad_input_is_named():
    mdp, features = world()
    with pytest.raises(ValueError, match="number of arms must be >= 1, got 0"):
        pr_lsvi(mdp, features, [], (0,), 5)
    with pytest.raises(ValueError, match="number of seeds must be >= 1"):
        pr_lsvi(mdp, features, [PLAIN], (), 5)
    with pytest.raises(ValueError, match="episodes must be >= 1"):
        pr_lsvi(mdp, features, [PLAIN], (0,), 0)
    with pytest.raises(ValueError, match="arms must share prior and ridge"):
        pr_lsvi(mdp, features, [PLAIN, PRLSVI(ridge=1.0)], (0,), 5)
    with pytest.raises(ValueError, match=r"features must have shape \[5, 3, 6\], got \[4, 3, 6\]"):
        pr_lsvi(mdp, features[:4], [PLAIN], (0,), 5)
    with pytest.raises(ValueError, match="features must be 0 in terminal states"):
        pr_lsvi(mdp, torch.ones_like(features), [PLAIN], (0,), 5)
    with pytest.raises(ValueError, match="horizon must be a number of steps"):
        pr_lsvi(mdp.with_(horizon=None), features, [PLAIN], (0,), 5)
    with pytest.raises(ValueError, match="mdp must be dense with every action allowed"):
        pr_lsvi(mdp.to_sparse(), features, [PLAIN], (0,), 5)


def hypotheses(mdp, seeds, k=4):
    draw = torch.Generator().manual_seed(1)
    rewards = 4 * torch.rand(len(seeds), k, mdp.n_states, mdp.n_actions, generator=draw, dtype=torch.float64)
    return rewards.masked_fill(mdp.terminal[:, None], 0.0)


def test_thompson_sampling_finds_the_truth_and_asks_less_with_a_larger_threshold():
    mdp, _ = world()
    seeds = range(20)
    found = pbts(mdp, hypotheses(mdp, seeds), (0.0, 0.5, 100.0), seeds, 150)
    assert (found.regret >= -1e-12).all()
    assert found.asked[2].sum() == 0 and torch.allclose(found.reward_mass[2], torch.full((20,), 0.25).double())
    assert found.asked[1].sum() < found.asked[0].sum()
    assert found.reward_mass[0].mean() > 0.8 and found.regret[0, :, -30:].mean() < 0.2 * found.regret[2].mean()
    assert (found.transition_mass == 1).all()
    alone = pbts(mdp, hypotheses(mdp, seeds)[7:8], (0.5,), (7,), 150)
    assert torch.allclose(alone.regret[0, 0], found.regret[1, 7])


def test_one_hypothesis_is_known_to_be_true():
    mdp, _ = world()
    found = pbts(mdp, hypotheses(mdp, (0, 1), k=1), (0.0,), (0, 1), 10)
    assert found.asked.sum() == 0 and (found.regret[..., 1:] == 0).all() and (found.regret[..., 0] > 0).any()


def test_transitions_are_learned_from_what_is_seen():
    mdp, _ = world()
    other, _ = world(5)
    seeds = range(10)
    found = pbts(mdp, hypotheses(mdp, seeds), (0.5,), seeds, 100, transitions=torch.stack([mdp.P, other.P]))
    assert found.transition_mass.mean() > 0.9 and (found.regret >= -1e-12).all()


def test_hypotheses_that_do_not_fit_are_named():
    mdp, _ = world()
    rewards = hypotheses(mdp, (0, 1))
    with pytest.raises(ValueError, match=r"rewards must have shape \[3, 4, 5, 3\], got \[2, 4, 5, 3\]"):
        pbts(mdp, rewards, (0.1,), (0, 1, 2), 5)
    with pytest.raises(ValueError, match="transitions must be distributions"):
        pbts(mdp, rewards, (0.1,), (0, 1), 5, transitions=2 * mdp.P[None])
    with pytest.raises(ValueError, match=r"transitions must have shape \[1, 5, 3, 5\]"):
        pbts(mdp, rewards, (0.1,), (0, 1), 5, transitions=mdp.P[None, :, :2])
    with pytest.raises(ValueError, match="eps must be >= 0, got -1"):
        pbts(mdp, rewards, (-1,), (0, 1), 5)
