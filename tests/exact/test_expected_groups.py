from __future__ import annotations

import math

import pytest
import torch

from toykit.exact import (
    ascend,
    expected_group_update,
    greedy_leaf,
    group_expectation,
    group_values,
    leaf_log_probs,
    likelihood_gradient,
    linear_logits,
    policy_gradient,
    pull_back,
    reverse_kl_gradient,
    scores,
    shared,
    success_rate,
)
from toykit.objectives import Advantage, PolicyGradient
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, greedy
from toykit.tasks import FeatureTree
from toykit.tasks.tree import Tree
from toykit.training import TrainConfig, Trainer

TREES = {
    "arms": Tree(4, 1),
    "full": Tree(2, 2),
    "only": Tree.of([(0,), (1, 0), (1, 1, 0), (1, 1, 1), (2,)]),
}


def draw(tree, seed, *lead):
    """Logits [*lead, N, V], a law [*lead, L] and right completions bool [*lead, L], of which one at least is each."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*lead, *tree.child.shape, generator=generator, dtype=torch.float64)
    law = torch.randn(*lead, tree.n_leaves, generator=generator, dtype=torch.float64).softmax(-1)
    correct = torch.rand(*lead, tree.n_leaves, generator=generator) < 0.4
    correct[..., 0], correct[..., 1] = True, False
    return logits, law, correct


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("ddof", [0, 1])
def test_the_expected_update_is_the_mean_over_all_groups_written_out(name, ddof):
    """Card 02, item 3, for groups of 3: A = (r - mean) / std, 0 where all rewards are equal."""
    tree = TREES[name]
    logits, _, correct = draw(tree, 0)
    score = scores(tree, logits)

    def update(index):
        rewards = correct[index].double()
        spread = rewards.std(1, keepdim=True, correction=ddof)
        advantage = torch.where(spread > 0, (rewards - rewards.mean(1, keepdim=True)) / spread, 0.0)
        return (advantage[..., None, None] * score[index]).mean(1)

    brute = group_expectation(update, leaf_log_probs(tree, logits), 3)
    assert brute.abs().max() > 0.01
    assert torch.allclose(expected_group_update(tree, logits, correct, 3, ddof=ddof), brute, rtol=0, atol=1e-14)


def test_the_expected_update_by_hand():
    """Two arms at 1/4 and 3/4, the first is right, groups of 2: w = 2 p (1 - p) sqrt(1/4) = 3/16."""
    logits = torch.tensor([[1.0, 3.0]], dtype=torch.float64).log()
    correct = torch.tensor([True, False])
    found = expected_group_update(Tree(2, 1), logits, correct, 2)
    # 3/16 / (1 - p) (e_0 - pi)
    assert found.tolist() == [pytest.approx([3 / 16, -3 / 16], abs=1e-15)]
    without_std = expected_group_update(Tree(2, 1), logits, correct, math.inf, std="none")
    assert torch.allclose(without_std, policy_gradient(Tree(2, 1), logits, correct.double()), atol=1e-15)


def test_group_values_can_be_added_to_what_else_is_ascended():
    """One gradient of f - beta log(pi / base) is GRPO's step less beta times the gradient of KL(pi || base)."""
    tree = TREES["only"]
    logits, law, correct = draw(tree, 5, 2)
    log_pi = leaf_log_probs(tree, logits)
    both = policy_gradient(tree, logits, group_values(log_pi, correct, 4, ddof=1) - 0.3 * (log_pi - law.log()))
    apart = expected_group_update(tree, logits, correct, 4, ddof=1) - 0.3 * reverse_kl_gradient(tree, logits, law.log())
    assert torch.allclose(both, apart, rtol=0, atol=1e-15)


def test_a_prompt_that_is_always_or_never_solved_is_left_where_it_is():
    tree = TREES["full"]
    logits, _, _ = draw(tree, 1, 3)
    logits[2, 0] = torch.tensor([0.0, 800.0])  # its success is certain to rounding
    correct = torch.tensor([[True] * 4, [False] * 4, [False, False, True, True]])
    for estimator in ({}, {"std": "none"}, {"mean": "leave_one_out", "std": "none"}, {"ddof": 1, "eps": 1e-6}):
        assert not expected_group_update(tree, logits, correct, 4, **estimator).any()


def test_success_rates_are_never_above_one():
    logits = torch.randn(100, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    log_p, right = logits.log_softmax(-1), torch.ones(9, dtype=torch.bool)
    assert log_p.exp().sum(-1).max() > 1  # by rounding
    assert success_rate(log_p, right).max() == 1
    never = torch.tensor([-math.inf, 0.0], dtype=torch.float64)
    assert success_rate(never, torch.tensor([True, False])) == 0


@pytest.mark.parametrize("name", TREES)
def test_gradients_of_both_divergences_agree_with_autograd(name):
    tree = TREES[name]
    logits, law, _ = draw(tree, 2, 3)
    logits.requires_grad_()
    log_pi = leaf_log_probs(tree, logits)
    (forward,) = torch.autograd.grad((law * log_pi).sum(), logits, retain_graph=True)
    (reverse,) = torch.autograd.grad((log_pi.exp() * (log_pi - law.log())).sum(), logits)
    at = logits.detach()
    assert torch.allclose(likelihood_gradient(tree, at, law), forward, rtol=0, atol=1e-15)
    assert torch.allclose(reverse_kl_gradient(tree, at, law.log()), reverse, rtol=0, atol=1e-15)


def test_gradients_of_both_divergences_are_those_of_card_02_on_one_token():
    """pi_b - pi, and pi (log(pi / pi_b) - KL); at the base both are 0."""
    tree = TREES["arms"]
    logits, law, _ = draw(tree, 3)
    pi, base = logits[0].softmax(-1), law
    ratio = (pi / base).log()
    assert torch.allclose(likelihood_gradient(tree, logits, base)[0], base - pi, rtol=0, atol=1e-15)
    expected = pi * (ratio - (pi * ratio).sum())
    assert torch.allclose(reverse_kl_gradient(tree, logits, base.log())[0], expected, rtol=0, atol=1e-15)
    for at_base in (likelihood_gradient(tree, logits, pi), reverse_kl_gradient(tree, logits, pi.log())):
        assert at_base.abs().max() < 1e-15


@pytest.mark.parametrize("name", TREES)
def test_terms_can_be_summed_as_weights_of_completions_before_one_gradient(name):
    tree = TREES[name]
    logits, law, correct = draw(tree, 6, 2)
    values, log_pi = correct.double() - 0.3, leaf_log_probs(tree, logits)
    apart = policy_gradient(tree, logits, values) + 0.2 * likelihood_gradient(tree, logits, law)
    both = likelihood_gradient(tree, logits, log_pi.exp() * values + 0.2 * law)
    assert torch.allclose(both, apart, rtol=0, atol=1e-15)


def test_likelihood_is_learned_from_a_law_that_the_policy_gives_no_mass():
    tree = TREES["full"]
    logits = torch.zeros(3, 2, dtype=torch.float64)
    logits[0, 1] = -torch.inf
    law = torch.tensor([0.0, 0.0, 0.5, 0.5], dtype=torch.float64)
    assert likelihood_gradient(tree, logits, law).tolist() == [[-1, 1], [0, 0], [0, 0]]


def test_greedy_decoding_takes_the_likeliest_token_at_each_node():
    tree = TREES["only"]
    logits = torch.zeros(3, 3, dtype=torch.float64)
    assert tree.tokens[greedy_leaf(tree, logits)].tolist() == [0, 0, 0]  # the lowest among equals
    logits[0] = torch.tensor([0.0, 0.1, 0.0])
    assert greedy_leaf(tree, logits) == 1  # (1, 0), though (0) is likelier
    assert leaf_log_probs(tree, logits).argmax() != 1
    logits[1, 2] = 5.0  # a token that may not follow
    assert greedy_leaf(tree, logits) == 1


def test_greedy_leaves_are_what_the_sampler_decodes():
    task = FeatureTree(seed=3)
    policy = TabularLM.of(task, "features", logits=task.initial_weights)
    decoded = greedy(policy, task, task.prompts())
    found = greedy_leaf(task.tree, linear_logits(task.initial_weights, task.features))
    assert torch.equal(found, task.tree.index(decoded.completions, decoded.mask)[:, 0])


def test_linear_logits_by_hand_and_over_settings():
    weights = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])  # one node, two tokens, two features
    features = torch.tensor([[1.0, 0.0], [1.0, -1.0], [0.0, 2.0]])
    found = linear_logits(weights, features)
    assert found.tolist() == [[[1, 3]], [[-1, -1]], [[4, 8]]]
    both = torch.stack([weights, 2 * weights])
    assert torch.equal(linear_logits(both, features)[1], 2 * found)
    assert torch.equal(linear_logits(both, torch.stack([features, 3 * features]))[1], 6 * found)
    with pytest.raises(ValueError, match=r"features must have shape \[3, 2\], got \[3, 4\]"):
        linear_logits(weights, torch.zeros(3, 4))


def test_pulling_back_is_the_mean_over_prompts_and_the_transpose_of_linear_logits():
    generator = torch.Generator().manual_seed(4)
    weights = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64, requires_grad=True)
    features = torch.randn(2, 6, 5, generator=generator, dtype=torch.float64)
    gradients = torch.randn(2, 6, 3, 4, generator=generator, dtype=torch.float64)
    (linear_logits(weights, features) * gradients).sum().div(6).backward()
    assert torch.allclose(pull_back(gradients, features), weights.grad, rtol=0, atol=1e-15)
    half = gradients.clone()
    half[:, 3:] = 0
    assert torch.allclose(pull_back(half, features), pull_back(gradients[:, :3], features[:, :3]) / 2, atol=1e-15)


def test_an_exact_flow_with_shared_weights_takes_the_steps_of_the_trainer():
    """The same code: a linear policy, enumerated rollouts, sgd on the expected reward."""
    task = FeatureTree(n_prompts=6, n_actions=3, horizon=2, n_features=4, seed=1)
    correct = task.rewards > 0.5

    def gradient(logits):
        return expected_group_update(task.tree, logits, correct, math.inf, std="none")

    flow = ascend(shared(gradient, task.features), task.initial_weights, 2.0, keep=(1, 20))
    policy = TabularLM.of(task, "features", logits=task.initial_weights)
    config = TrainConfig(lr=2.0, optimizer="sgd")
    trainer = Trainer(policy, task, PolicyGradient(Advantage("none")), Enumerated(), config)
    for steps, ours in zip((1, 20), flow, strict=True):
        trainer.run(steps, progress=False)
        assert torch.allclose(policy.table.detach(), ours, rtol=0, atol=1e-13)
    assert (flow[1] - task.initial_weights).abs().max() > 0.1
