from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.exact import (
    fisher,
    leaf_log_probs,
    likelihood_gradient,
    mean_score,
    natural_gradient,
    node_log_probs,
    policy_gradient,
    posterior,
    scores,
)
from toykit.tasks.tree import Tree

TREES = {
    "full": Tree(3, 3),
    "stop": Tree(3, 4, stop=(2,)),
    "only": Tree.of([(0,), (1, 0), (1, 1, 0), (1, 1, 1), (2,)]),
}


def by_completion(tree, logits):
    """log pi [..., L] completion by completion, from torch's own log_softmax."""
    log_p = logits if tree.forbidden is None else logits.masked_fill(tree.forbidden, -torch.inf)
    log_p = log_p.log_softmax(-1)
    rows = zip(tree.nodes, tree.tokens, tree.mask, strict=True)
    return torch.stack([log_p[..., node[keep], token[keep]].sum(-1) for node, token, keep in rows], -1)


def draw(tree, seed, *lead):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(*lead, *tree.child.shape, generator=generator, dtype=torch.float64)
    return logits, torch.randn(*lead, tree.n_leaves, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("name", TREES)
def test_leaf_probabilities_sum_to_one_and_are_products_along_the_path(name):
    tree = TREES[name]
    logits, _ = draw(tree, 0, 2)
    log_p = leaf_log_probs(tree, logits)
    assert torch.allclose(log_p.exp().sum(-1), torch.ones(2, dtype=torch.float64), atol=1e-14)
    node = node_log_probs(tree, logits)
    leaf = tree.n_leaves - 2
    path = [
        node[1, n, a].item()
        for n, a, keep in zip(
            tree.nodes[leaf].tolist(), tree.tokens[leaf].tolist(), tree.mask[leaf].tolist(), strict=True
        )
        if keep
    ]
    assert log_p[1, leaf].item() == pytest.approx(sum(path), abs=1e-14)


LEADS = st.sampled_from([((), ()), ((2,), (2,)), ((), (3,)), ((2, 1), (3,)), ((3,), ()), ((0,), ())])


@settings(deadline=None, max_examples=60)
@given(st.sampled_from(sorted(TREES)), st.integers(0, 1000), LEADS)
def test_values_and_gradients_are_those_of_a_sum_over_completions(name, seed, leads):
    """Also where only the logits or only the values have leading axes, and one order of differentiation further."""
    tree, (lead, values_lead) = TREES[name], leads
    logits = draw(tree, seed, *lead)[0].requires_grad_()
    values = draw(tree, seed + 1, *values_lead)[1].requires_grad_()
    log_p = by_completion(tree, logits)
    torch.testing.assert_close(leaf_log_probs(tree, logits), log_p)
    wanted = (log_p.exp() * values).sum(-1)
    found = policy_gradient(tree, logits, values)
    assert found.shape == (*wanted.shape, *tree.child.shape)
    total = found.sum_to_size(logits.shape)
    (expected,) = torch.autograd.grad(wanted.sum(), logits, create_graph=True)
    torch.testing.assert_close(total, expected)
    (pulled,) = torch.autograd.grad((log_p * values).sum(), logits, retain_graph=True)
    likelihood = likelihood_gradient(tree, logits, values)
    torch.testing.assert_close(likelihood.sum_to_size(logits.shape), pulled)
    ours, theirs = (torch.autograd.grad(g.square().sum(), (logits, values)) for g in (total, expected))
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("name", TREES)
def test_the_more_accurate_of_two_types_is_kept(name):
    tree = TREES[name]
    logits, values = draw(tree, 10, 2)
    assert leaf_log_probs(tree, logits.float()).dtype == torch.float32
    for gradient in (policy_gradient, natural_gradient, likelihood_gradient):
        exact, mixed = gradient(tree, logits, values), gradient(tree, logits.float(), values)
        assert mixed.dtype == torch.float64
        assert torch.allclose(mixed, exact, atol=1e-5)
        whole = (values > 0).long()
        torch.testing.assert_close(gradient(tree, logits, whole), gradient(tree, logits, whole.double()))


@pytest.mark.parametrize("name", TREES)
def test_log_probs_of_large_logits_are_as_accurate_as_those_of_torch(name):
    tree = TREES[name]
    logits = 1e3 + draw(tree, 8, 3)[0]
    assert torch.allclose(leaf_log_probs(tree, logits), by_completion(tree, logits), rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", TREES)
@pytest.mark.parametrize("block", [1, 4, 7])
def test_nodes_are_normalised_in_blocks(name, block, monkeypatch):
    tree = TREES[name]
    logits, _ = draw(tree, 11, 2)
    whole = node_log_probs(tree, logits)
    monkeypatch.setattr("toykit.exact.gradients.BLOCK", block)
    assert torch.equal(node_log_probs(tree, logits), whole)


@pytest.mark.parametrize("name", TREES)
def test_what_is_given_stays_as_it_was(name):
    tree = TREES[name]
    logits, values = draw(tree, 9, 2)
    before = logits.clone(), values.clone()
    for call in (leaf_log_probs, node_log_probs):
        call(tree, logits)
    for gradient in (policy_gradient, natural_gradient, likelihood_gradient):
        gradient(tree, logits, values)
    assert torch.equal(logits, before[0]) and torch.equal(values, before[1])


@pytest.mark.parametrize("name", TREES)
def test_policy_gradient_agrees_with_autograd_and_finite_differences(name):
    tree = TREES[name]
    logits, values = draw(tree, 1, 2)
    logits.requires_grad_()

    def objective(z):
        return (leaf_log_probs(tree, z).exp() * values).sum(-1)

    (auto,) = torch.autograd.grad(objective(logits).sum(), logits)
    found = policy_gradient(tree, logits.detach(), values)
    assert torch.allclose(found, auto, atol=1e-15)
    n, v = tree.child.shape
    shifts = 1e-5 * torch.eye(n * v, dtype=torch.float64).view(n * v, n, v)
    z = logits.detach()[0]
    up, down = ((leaf_log_probs(tree, z + s).exp() * values[0]).sum(-1) for s in (shifts, -shifts))
    assert torch.allclose(found[0].flatten(), (up - down) / 2e-5, atol=1e-9)


@pytest.mark.parametrize("name", TREES)
def test_scores_are_the_jacobian_of_the_leaf_log_probabilities(name):
    tree = TREES[name]
    logits, values = draw(tree, 2)
    jacobian = torch.autograd.functional.jacobian(lambda z: leaf_log_probs(tree, z), logits)
    score = scores(tree, logits)
    assert torch.allclose(score, jacobian, atol=1e-14)
    log_p = leaf_log_probs(tree, logits)
    mean = torch.tensordot(log_p.exp() * values, score, dims=1)
    assert torch.allclose(mean, policy_gradient(tree, logits, values), atol=1e-14)
    assert torch.tensordot(log_p.exp(), score, dims=1).abs().max() < 1e-15


@pytest.mark.parametrize("name", TREES)
def test_fisher_blocks_are_the_whole_second_moment_of_the_scores(name):
    tree = TREES[name]
    logits, _ = draw(tree, 3)
    score = scores(tree, logits).flatten(1)
    whole = (leaf_log_probs(tree, logits).exp()[:, None] * score).mT @ score
    blocks = torch.block_diag(*fisher(tree, logits))
    assert torch.allclose(whole, blocks, atol=1e-15)


@pytest.mark.parametrize("name", TREES)
def test_natural_gradient_is_the_pseudo_inverse_of_the_fisher_matrix_times_the_gradient(name):
    tree = TREES[name]
    logits, values = draw(tree, 4, 2)
    inverse = torch.linalg.pinv(fisher(tree, logits), hermitian=True, rtol=1e-12)
    expected = (inverse @ policy_gradient(tree, logits, values)[..., None])[..., 0]
    assert torch.allclose(natural_gradient(tree, logits, values), expected, atol=1e-11)


def test_natural_step_multiplies_each_probability_by_its_exponential_reward():
    """On a bandit the natural step eta gives pi exp(eta r) / Z, the posterior at beta = 1 / eta."""
    tree = Tree(5, 1)
    logits, values = draw(tree, 5)
    step = logits + 0.7 * natural_gradient(tree, logits, values)
    assert torch.allclose(
        leaf_log_probs(tree, step), posterior(leaf_log_probs(tree, logits), values, 1 / 0.7), atol=1e-14
    )


def test_masked_tokens_stay_out_of_every_gradient():
    tree = Tree(3, 2)
    logits, values = draw(tree, 6)
    logits[0, 1] = -torch.inf  # node 2 is never reached
    values[3:6] = -torch.inf
    for gradient in (policy_gradient, natural_gradient):
        found = gradient(tree, logits, values)
        assert found.isfinite().all()
        assert found[0, 1] == 0
        assert (found[2] == 0).all()
    assert leaf_log_probs(tree, logits)[3:6].tolist() == [-torch.inf] * 3


def test_constant_leaf_values_give_no_gradient():
    tree = TREES["stop"]
    logits, _ = draw(tree, 7)
    for gradient in (policy_gradient, natural_gradient):
        assert gradient(tree, logits, torch.full((tree.n_leaves,), 3.0, dtype=torch.float64)).abs().max() < 1e-14


def test_variance_of_the_dpg_gradient_of_lesson_01():
    """Trace of the covariance of (P/pi - b) grad log pi, P = pi0 exp(r/beta): b = Z against b = 0."""
    rng = np.random.default_rng(0)
    tree, logits = Tree(4, 3), torch.from_numpy(rng.normal(size=(21, 4)))
    rewards = torch.from_numpy(rng.uniform(0, 1, 64))
    log_prior = leaf_log_probs(tree, logits)
    log_target = log_prior + rewards / 0.2  # unnormalised
    z = log_target.logsumexp(0).exp()

    def trace(node_logits, baseline):
        log_pi, score = leaf_log_probs(tree, node_logits), scores(tree, node_logits)
        weight = (log_target - log_pi).exp() - baseline
        mean = policy_gradient(tree, node_logits, weight)
        return (log_pi.exp() * weight.square() * score.square().sum((-2, -1))).sum() - mean.square().sum(), mean

    plain, mean_plain = trace(logits, 0.0)
    centred, mean_centred = trace(logits, z)
    assert plain.item() == pytest.approx(8506, abs=0.5)
    assert centred.item() == pytest.approx(4138, abs=0.5)
    assert torch.allclose(mean_plain, mean_centred, atol=1e-12)  # the baseline leaves the mean
    mass = torch.zeros(21, 4, dtype=torch.float64)
    law = (log_target - z.log()).exp()
    for t in range(3):
        mass.index_put_((tree.nodes[:, t], tree.tokens[:, t]), law, accumulate=True)
    target = mass.log()  # node logits of the posterior: the log of the mass that passes through
    assert trace(target, 0.0)[0].item() == pytest.approx(3790, abs=0.5)
    assert abs(trace(target, z)[0].item()) < 1e-24


def test_ascent_of_the_objective_ends_at_the_posterior():
    """Natural steps on E r - beta KL: the leaf values are the rewards less beta times the log ratio."""
    tree = Tree(3, 2)
    logits, values = draw(tree, 8)
    log_prior = leaf_log_probs(tree, logits)
    target = posterior(log_prior, values, 0.5)
    z = logits
    for _ in range(400):
        log_pi = leaf_log_probs(tree, z)
        z = z + 0.4 * natural_gradient(tree, z, values - 0.5 * (log_pi - log_prior))
    assert torch.allclose(leaf_log_probs(tree, z), target, atol=1e-9)


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"logits must have shape \[4, 3\], got \[3, 3\]"):
        leaf_log_probs(Tree(3, 2), torch.zeros(3, 3))


def test_the_mean_score_of_one_law_is_the_policy_gradient_of_a_tree_of_one_token():
    logits, values = draw(Tree(4, 1), 3, 5)
    found = mean_score(logits[..., 0, :].softmax(-1), values)
    assert torch.allclose(found, policy_gradient(Tree(4, 1), logits, values)[..., 0, :], atol=1e-15)
    by_hand = mean_score(torch.tensor([0.25, 0.75], dtype=torch.float64), torch.tensor([1.0, 0.0]))
    assert by_hand.tolist() == [0.1875, -0.1875]
