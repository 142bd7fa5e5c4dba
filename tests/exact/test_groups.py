from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.exact import (
    ESTIMATORS,
    enumerate_groups,
    expected_advantage,
    group_expectation,
    group_weight,
    informative,
    leaf_log_probs,
    policy_gradient,
    scores,
    squared_group_weight,
)
from toykit.tasks.tree import Tree


def t(*values):
    return torch.tensor(values, dtype=torch.float64)


def card_tree():
    """Five completions of lengths 1 to 3, of which (0) and (1, 1, 0) are right; success rate 0.33987."""
    tree = Tree.of([(0,), (1, 0), (1, 1, 0), (1, 1, 1), (2,)])
    rng = np.random.default_rng(0)
    logits = torch.zeros(3, 3, dtype=torch.float64)
    for node, children in enumerate((3, 2, 2)):
        logits[node, :children] = torch.from_numpy(0.7 * rng.normal(size=children))
    return tree, logits, torch.tensor([True, False, True, False, False])


def advantages(rewards, mean, std, ddof):
    """Advantages [M, G] of groups, as they are written in the methods; groups of equal rewards get 0."""
    g = rewards.shape[1]
    centre = {
        "none": 0.0,
        "group": rewards.mean(1, keepdim=True),
        "leave_one_out": (rewards.sum(1, keepdim=True) - rewards) / (g - 1),
    }
    spread = rewards.std(1, keepdim=True, correction=ddof) if std == "group" else torch.ones(1, dtype=rewards.dtype)
    return torch.where(spread > 0, (rewards - centre[mean]) / spread, 0.0)


@pytest.mark.parametrize("group_size", [2, 4])
@pytest.mark.parametrize(
    ("mean", "std", "ddof"),
    [
        ("none", "none", 1),
        ("group", "none", 1),
        ("leave_one_out", "none", 1),
        ("group", "group", 0),
        ("group", "group", 1),
        ("leave_one_out", "group", 1),
    ],
)
def test_weight_is_that_of_all_groups_written_out(mean, std, ddof, group_size):
    tree, logits, correct = card_tree()
    log_p, score = leaf_log_probs(tree, logits), scores(tree, logits)
    p = log_p[correct].exp().sum()

    def update(index):
        a = advantages(correct[index].double(), mean, std, ddof)
        return (a[..., None, None] * score[index]).mean(1)

    brute = group_expectation(update, log_p, group_size)
    weight = group_weight(p, group_size, mean=mean, std=std, ddof=ddof)
    law = log_p.exp()[:, None, None] * score
    right, wrong = law[correct].sum(0) / p, law[~correct].sum(0) / (1 - p)
    assert torch.allclose(brute, weight * (right - wrong), atol=1e-14)
    assert torch.allclose(brute, policy_gradient(tree, logits, expected_advantage(p, weight, correct)), atol=1e-14)


def test_success_rate_of_the_card_tree():
    tree, logits, correct = card_tree()
    assert leaf_log_probs(tree, logits)[correct].exp().sum().item() == pytest.approx(0.33987, abs=5e-6)


def test_unbiased_estimators_are_the_policy_gradient_and_the_group_mean_loses_one_gth():
    tree, logits, correct = card_tree()
    p = leaf_log_probs(tree, logits)[correct].exp().sum()
    exact = policy_gradient(tree, logits, correct.double())
    for mean, factor in (("none", 1.0), ("leave_one_out", 1.0), ("group", 3 / 4)):
        weight = group_weight(p, 4, mean=mean)
        assert weight.item() == pytest.approx(factor * (p * (1 - p)).item(), abs=1e-15)
        update = policy_gradient(tree, logits, expected_advantage(p, weight, correct))
        assert torch.allclose(update, factor * exact, atol=1e-15)


def test_finite_group_weights_of_card_03():
    p = t(0.02, 0.1, 0.5)
    assert group_weight(p, 8, std="group", ddof=0).tolist() == pytest.approx([0.05043, 0.20949, 0.46391], abs=5e-6)
    assert group_weight(p, 8, std="group", ddof=1).tolist() == pytest.approx([0.04718, 0.19596, 0.43395], abs=6e-6)
    ratio = group_weight(p, 8, std="group", ddof=1) / group_weight(p, 8, std="group", ddof=0)
    assert ratio.tolist() == pytest.approx([math.sqrt(7 / 8)] * 3, abs=1e-14)
    assert torch.allclose(group_weight(p, 8), 7 / 8 * p * (1 - p), atol=1e-15)


@pytest.mark.parametrize("ddof", [0, 1])
def test_share_of_the_update_from_nearly_solved_prompts_of_card_03(ddof):
    p = t(*[0.98] * 7, 0.5)
    for std, squared, expected in (("group", 35.4, 7.6), ("none", 22.3, 4.1)):
        size = squared_group_weight(p, 8, std=std, ddof=ddof)
        assert 100 * (size[:7].sum() / size.sum()).item() == pytest.approx(squared, abs=0.05)
        weight = group_weight(p, 8, std=std, ddof=ddof).square()
        assert 100 * (weight[:7].sum() / weight.sum()).item() == pytest.approx(expected, abs=0.05)


def test_large_groups_of_card_03():
    p = t(0.95, 0.5, 0.1)
    exact = p * (1 - p)
    amplified = group_weight(p, math.inf, **ESTIMATORS["group"]) / exact
    assert amplified.tolist() == pytest.approx([4.588, 2, 3.333], abs=5e-4)
    for name in ("lite", "batch"):
        assert (group_weight(p, math.inf, **ESTIMATORS[name]) / exact).tolist() == pytest.approx(
            [2.00111] * 3, abs=5e-6
        )
    for name in ESTIMATORS:
        near = group_weight(p, 20_000, **ESTIMATORS[name])
        assert torch.allclose(near, group_weight(p, math.inf, **ESTIMATORS[name]), rtol=2e-4), name
    # the limit for the group's own std is the gradient of 2 arcsin(sqrt p)
    slope = (torch.asin((p + 1e-6).sqrt()) - torch.asin((p - 1e-6).sqrt())) / 1e-6
    assert torch.allclose(group_weight(p, math.inf, std="group") / exact, slope, rtol=1e-8)


def test_noise_of_the_advantage_of_card_03():
    """E[A^2] without a scale: p (1 - p) about the group's mean; about the batch's mean more on the easy prompt."""
    p = t(0.95, 0.5, 0.1)
    by_group, by_batch = (p * (1 - m).square() + (1 - p) * m.square() for m in (p, p.mean()))
    assert by_group.tolist() == pytest.approx([0.0475, 0.25, 0.09], abs=1e-15)
    assert by_batch.tolist() == pytest.approx([0.235, 0.250, 0.264], abs=5e-4)
    exact = [group_weight(p, math.inf, mean=mean).tolist() for mean in ("group", "batch")]
    assert exact[0] == pytest.approx(exact[1], abs=1e-15)  # the same direction


@pytest.mark.parametrize(
    ("weight", "steps"),
    [
        (lambda p: group_weight(p, 8, mean="none"), [23, 47, 124, 480]),
        (lambda p: group_weight(p, 8, std="group", ddof=0), [11, 23, 54, 191]),
        (lambda p: 1 - p, [18, 23, 26, 29]),
    ],
    ids=["policy gradient", "divided by the group's std", "log-likelihood"],
)
def test_winner_take_all_is_speed_alone_where_nothing_is_shared_as_card_02_saw(weight, steps):
    """Steps of z += 0.5 w(p) / (1 - p) (e_c - pi) until p >= 0.9, from four success rates at once."""
    p = t(0.5, 0.1, 0.02, 0.004)
    logits = torch.stack([p.log(), *[((1 - p) / 7).log()] * 7], 1)
    right, taken = torch.eye(8, dtype=torch.float64)[0], torch.zeros(4, dtype=torch.int64)
    while bool((going := logits.softmax(-1)[:, 0] < 0.9).any()):
        pi = logits.softmax(-1)
        push = 0.5 * weight(pi[:, 0]) / (1 - pi[:, 0])
        logits = logits + going[:, None] * push[:, None] * (right - pi)
        taken += going
    assert taken.tolist() == steps


def test_advantage_of_the_only_wrong_answer():
    """With G - 1 of G right the wrong answer has A = -(G - 1) / sqrt(G), which sets that group's weight."""
    rewards = torch.ones(1, 8, dtype=torch.float64)
    rewards[0, 7] = 0
    a = advantages(rewards, "group", "group", 1)[0, 7].item()
    assert a == pytest.approx(-7 / math.sqrt(8), abs=1e-14)
    assert a == pytest.approx(-2.4749, abs=5e-5)
    # among groups of 2 only the mixed one counts: weight 2 p (1-p) m(1-m)/s with s = 1/sqrt 2
    p = t(0.3)
    assert group_weight(p, 2, std="group").item() == pytest.approx(2 * 0.21 * 0.25 * math.sqrt(2), abs=1e-15)


@settings(deadline=None)
@given(
    p=st.floats(0, 1), group_size=st.integers(2, 40), name=st.sampled_from(sorted(set(ESTIMATORS) - {"batch", "lite"}))
)
def test_weight_is_symmetric_bounded_and_zero_at_the_ends(p, group_size, name):
    weight = group_weight(t(p, 1 - p, 0.0, 1.0), group_size, **ESTIMATORS[name])
    assert weight[0].item() == pytest.approx(weight[1].item(), abs=1e-12)
    assert weight[2:].tolist() == [0, 0]
    assert -1e-15 <= weight[0] <= 0.5 + 1e-12


def test_batch_of_equal_rewards_gets_no_weight():
    for name in ("batch", "lite"):
        assert group_weight(t(0.0, 0.0), 8, **ESTIMATORS[name]).tolist() == [0, 0]


def test_group_of_equal_rewards_counts_zero_where_its_own_std_is_taken():
    """Without a mean, G = 2 and std with ddof 1: only the mixed groups push, by their right answer over std."""
    p = t(0.3)
    for eps in (0.0, 0.1):
        expected = 0.42 * 0.7 * 0.5 / (math.sqrt(0.5) + eps)
        assert group_weight(p, 2, mean="none", std="group", eps=eps).item() == pytest.approx(expected, abs=1e-15)


def test_eps_in_the_divisor_shrinks_the_weight():
    p, eps = t(0.3), 0.5
    # G = 2, one right: std = 1/sqrt 2
    expected = 0.42 * 0.25 / (math.sqrt(0.5) + eps)
    assert group_weight(p, 2, std="group", eps=eps).item() == pytest.approx(expected, abs=1e-15)


def test_probability_of_an_informative_group():
    assert informative(t(0.5, 0.1, 0.9), 4).tolist() == pytest.approx([0.875, 0.3438, 0.3438], abs=1e-15)
    assert informative(t(1e-18, 0.0, 1.0), 8).tolist() == pytest.approx([8e-18, 0, 0], rel=1e-12)
    assert informative(t(0.3), 1).item() == pytest.approx(0, abs=1e-15)


def test_groups_are_all_there_once_with_their_probability():
    log_p = t(0.2, 0.3, 0.5).log()
    index, log_weight = enumerate_groups(log_p.expand(2, 3), 2)
    assert index.tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]
    assert log_weight.shape == (2, 9)
    assert log_weight[0].exp().tolist() == pytest.approx(
        [0.04, 0.06, 0.1, 0.06, 0.09, 0.15, 0.1, 0.15, 0.25], abs=1e-15
    )
    assert group_expectation(lambda g: g.double().sum(1), log_p, 2).item() == pytest.approx(2.6, abs=1e-14)


def test_aggregation_by_sequence_or_token_biases_the_gradient_as_card_03_says():
    """Cosine with the exact gradient: 1 for the token sum, constant in G for sequence means, rising for token means."""
    tree, logits, correct = card_tree()
    log_p, score = leaf_log_probs(tree, logits), scores(tree, logits)
    length, exact = tree.mask.sum(1).double(), policy_gradient(tree, logits, correct.double())

    def cosine(group_size, divide):
        def update(index):
            a = advantages(correct[index].double(), "group", "none", 1)
            return (a[..., None, None] * score[index] / divide(length[index])[..., None, None]).sum(1)

        return torch.cosine_similarity(
            group_expectation(update, log_p, group_size).flatten(), exact.flatten(), dim=0
        ).item()

    assert cosine(2, torch.ones_like) == pytest.approx(1, abs=1e-12)
    by_sequence = [cosine(g, lambda n: n) for g in (2, 4)]
    assert by_sequence[0] == pytest.approx(by_sequence[1], abs=1e-9)
    assert by_sequence[0] == pytest.approx(0.99082, abs=5e-6)
    by_token = [cosine(g, lambda n: n.sum(1, keepdim=True).expand_as(n)) for g in (2, 4)]
    assert by_token == pytest.approx([0.99539, 0.99854], abs=5e-6)


def test_bad_input_is_named():
    with pytest.raises(
        ValueError, match=r"group_size 9 over 10 completions gives 1000000000 groups, the limit is 2222222"
    ):
        enumerate_groups(torch.zeros(10), 9)
    with pytest.raises(ValueError, match="group_size must be >= 2, got 1"):
        group_weight(t(0.5), 1, std="group")
    with pytest.raises(ValueError, match="p must be probabilities"):
        group_weight(t(1.5), 4)
    with pytest.raises(ValueError, match="did you mean 'group'"):
        group_weight(t(0.5), 4, mean="grup")
    with pytest.raises(ValueError, match="log_probs must have one axis"):
        group_expectation(lambda g: g, torch.zeros(2, 3), 2)
