from __future__ import annotations

import pytest
import torch

from toykit.exact import kl, leaf_log_probs, likelihood_gradient
from toykit.objectives import ForwardKL
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Rollouts, Sampled, token_logps
from toykit.tasks import Bandit


def logp_of(policy: TabularLM, r: Rollouts) -> torch.Tensor:
    return token_logps(policy, r.prompts, r.prompt_mask, r.completions, r.mask)


def test_cross_entropy_by_hand():
    """Two stored completions of lengths 1 and 2 with log-probabilities -1 and -2 - 4: the mean of their sums is 3.5."""
    mask = torch.tensor([[[True, False], [True, True]]])
    logp = torch.tensor([[[-1.0, 0.0], [-2.0, -4.0]]], dtype=torch.float64)
    one = torch.ones(1, 1, dtype=torch.int64)
    base = Rollouts(
        prompts=one,
        prompt_mask=one > 0,
        prompt_ids=torch.tensor([0]),
        completions=mask.long(),
        mask=mask,
        old_logp=logp,
        rewards=torch.zeros(1, 2, dtype=torch.float64),
        weights=torch.full((1, 2), 0.5, dtype=torch.float64),
    )
    term = ForwardKL(0.2, samples=2)
    loss, figures = term.loss(logp, term.prepare(base))
    assert loss.item() == pytest.approx(0.2 * 3.5, abs=1e-15)
    assert figures["cross_entropy"].item() == pytest.approx(3.5, abs=1e-15)


def test_on_all_completions_it_is_the_divergence_and_the_bases_entropy(tricks):
    """And its gradient is beta times that of KL(base || pi), with a beta for each prompt."""
    policy, base = tricks.policy(), tricks.policy(0.8, seed=2)
    whole = Enumerated()(base, tricks.task, tricks.task.prompts())
    betas = torch.tensor([0.3, 0.7], dtype=torch.float64)
    term = ForwardKL(betas)
    loss, figures = term.loss(logp_of(policy, whole), term.prepare(whole))
    tree = tricks.task.tree
    tables = (p.table.detach().view(2, tree.n_nodes, -1) for p in (policy, base))
    log_pi, log_base = (leaf_log_probs(tree, table) for table in tables)
    entropy = -(log_base.exp() * log_base).sum(-1)
    surprise = kl(log_base, log_pi) + entropy
    assert loss.item() == pytest.approx((betas * surprise).mean().item(), abs=1e-14)
    assert figures["cross_entropy"].item() == pytest.approx(surprise.mean().item(), abs=1e-14)
    loss.backward()
    exact = likelihood_gradient(tree, policy.table.detach().view(2, tree.n_nodes, -1), log_base.exp())
    expected = -(betas[:, None, None] * exact / 2).view_as(policy.table)
    assert expected.abs().max() > 0.01
    assert torch.allclose(policy.table.grad, expected, rtol=0, atol=1e-15)


def test_at_the_base_policy_its_exact_gradient_is_zero_and_that_of_samples_is_zero_in_expectation():
    task = Bandit(torch.zeros(1, 3))
    base = TabularLM.of(task, logits=torch.tensor([[0.0, 1.0, 2.0]]))
    term, found = ForwardKL(1.0), {}
    for name, make in (("exact", Enumerated()), ("sampled", Sampled(50_000))):
        stored = make(base, task, task.prompts(), torch.Generator().manual_seed(0))
        base.table.grad = None
        term.loss(logp_of(base, stored), term.prepare(stored))[0].backward()
        found[name] = base.table.grad.clone()
    assert found["exact"].abs().max() < 1e-15
    assert 0 < found["sampled"].abs().max() < 4 * 0.5 / 50_000**0.5


def test_cutting_the_batch_changes_nothing(tricks):
    policy, base = tricks.policy(), tricks.policy(0.8, seed=2)
    stored = Sampled(5)(base, tricks.task, tricks.task.prompts(), torch.Generator().manual_seed(1))
    term = ForwardKL(0.3, samples=5)
    prepared = term.prepare(stored)
    whole = term.loss(logp_of(policy, stored), prepared)[0].item()
    assert whole > 0.1
    for size in range(1, 10):
        parts = [term.loss(logp_of(policy, part.rollouts), part)[0].item() for part in prepared.micro(size)]
        assert sum(parts) == pytest.approx(whole, abs=1e-14)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="beta must be > 0 and finite, got 0"):
        ForwardKL(0)
    with pytest.raises(ValueError, match="samples must be >= 1, got 0"):
        ForwardKL(0.1, samples=0)
