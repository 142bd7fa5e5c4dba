"""Steps on enumerated rollouts are exact: by gradient, by natural gradient, and where they lead."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toykit.exact import natural_gradient, posterior
from toykit.objectives import KL, Advantage, PolicyGradient
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, leaf_logps
from toykit.tasks.bandit import Bandit, TreeTask, random_bandit, tricks_tree
from toykit.tasks.tree import Tree
from toykit.training import TrainConfig, Trainer


def leaf_logps_of(task: TreeTask, table: Tensor) -> Tensor:
    """Log-probabilities [B, L] of the leaves under a table [B N, A], differentiable."""
    tree = task.tree
    logp = table.view(-1, tree.n_nodes, 3).masked_fill(tree.child == -2, -torch.inf).log_softmax(-1)
    return logp[:, tree.nodes, tree.tokens].masked_fill(~tree.mask, 0.0).sum(-1)


def test_figures_of_an_enumeration_are_exact(fresh):
    task, policy = fresh()
    reference = TabularLM.of(task, logits=policy.table.detach().view(3, 3, 3) * 0.5)
    trainer = Trainer(policy, task, "kl_rl", Enumerated(), reference=reference)
    log_pi = leaf_logps(policy, task.prompts(), task.tree).sum(-1)
    log_ref = leaf_logps(reference, task.prompts(), task.tree).sum(-1)
    p, figures = log_pi.exp(), trainer.step()
    assert figures["reward"] == pytest.approx((p * task.rewards).sum(-1).mean().item(), abs=1e-14)
    assert figures["entropy"] == pytest.approx(-(p * log_pi).sum(-1).mean().item(), abs=1e-14)
    assert figures["kl"] == pytest.approx((p * (log_pi - log_ref)).sum(-1).mean().item(), abs=1e-14)
    assert figures["length"] == pytest.approx((p * task.tree.mask.sum(-1)).sum(-1).mean().item(), abs=1e-14)
    assert figures["informative"] == 1


def test_sgd_takes_the_step_of_the_exact_gradient(fresh):
    task, policy = fresh()
    start = policy.table.detach().clone()
    expected = start.clone().requires_grad_()
    log_pi = leaf_logps_of(task, expected)
    gradient = torch.autograd.grad((log_pi.exp() * task.rewards).sum(-1).mean(), expected)[0]
    figures = Trainer(policy, task, "rloo", Enumerated(), TrainConfig(lr=0.3, optimizer="sgd")).step()
    assert torch.allclose(policy.table.detach(), start + 0.3 * gradient, rtol=0, atol=1e-14)
    assert figures["grad_norm"] == pytest.approx(gradient.norm().item(), abs=1e-14)


def test_a_natural_step_is_the_closed_form_of_a_table(fresh):
    task, policy = fresh()
    start = policy.table.detach().clone()
    Trainer(policy, task, "rloo", Enumerated(), TrainConfig(lr=0.3, optimizer="natural")).step()
    step = natural_gradient(task.tree, start.view(3, 3, 3), task.rewards)
    assert torch.allclose(policy.table.detach().view(3, 3, 3), start.view(3, 3, 3) + 0.3 * step, rtol=0, atol=1e-11)


def test_one_natural_step_of_kl_rl_reaches_the_posterior_of_a_bandit():
    task, beta = random_bandit(n_prompts=3, n_arms=5), 0.2
    prior = torch.randn(3, 1, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    policy = TabularLM.of(task, logits=prior)
    objective = PolicyGradient(Advantage("leave_one_out"), kl=KL(beta, "k1", route="reward"))
    Trainer(policy, task, objective, Enumerated(), TrainConfig(lr=1 / beta, optimizer="natural")).step()
    target = posterior(prior[:, 0].log_softmax(-1), task.rewards, beta)
    assert torch.allclose(policy.table.log_softmax(-1), target, rtol=0, atol=1e-10)


def test_a_second_natural_step_on_the_same_completions_is_that_of_fresh_ones(fresh):
    """The Fisher matrix is the present policy's; importance weights make the old completions serve."""
    objective = PolicyGradient(Advantage("none"), ratio="importance", aggregate="sequence_mean")
    found = []
    for epochs in (1, 2):
        task, policy = fresh()
        config = TrainConfig(lr=0.3, optimizer="natural", epochs=epochs)
        trainer = Trainer(policy, task, objective, Enumerated(), config)
        for _ in range(2 // epochs):
            trainer.step()
        found.append(policy.table.log_softmax(-1))
    assert torch.allclose(*found, rtol=0, atol=1e-10)


def test_plain_rl_collapses_and_kl_rl_comes_to_the_posterior():
    task, logits = tricks_tree()
    beta = 0.3
    collapsed = TabularLM.of(task, logits=logits)
    trainer = Trainer(collapsed, task, "reinforce", Enumerated(), TrainConfig(lr=0.1))
    entropy = [trainer.step()["entropy"] for _ in range(400)]
    assert entropy[-1] < 0.7 and entropy[-1] < entropy[0] / 1.8  # two completions are best: log 2 at most
    bayesian = TabularLM.of(task, logits=logits)
    objective = PolicyGradient(Advantage("leave_one_out"), kl=KL(beta))
    trainer = Trainer(bayesian, task, objective, Enumerated(), TrainConfig(lr=0.05))
    for _ in range(400):
        trainer.step()
    target = posterior(leaf_logps_of(task, logits)[0], task.rewards[0], beta)
    assert torch.allclose(leaf_logps(bayesian, task.prompts(), task.tree).sum(-1)[0], target, rtol=0, atol=1e-4)


def test_a_network_too_large_for_natural_steps_says_so():
    task = Bandit(torch.rand(3000, 2, generator=torch.Generator().manual_seed(0)))
    trainer = Trainer(TabularLM.of(task), task, "rloo", Enumerated(), TrainConfig(optimizer="natural"))
    trainer.prompts = trainer.prompts[slice(0, 2)]
    with pytest.raises(ValueError, match="optimizer='natural' is for at most 5000 parameters, got 6000"):
        trainer.step()


def test_too_many_completions_for_natural_steps_say_so():
    task = TreeTask(Tree(2, horizon=11), torch.zeros(3, 2048))
    trainer = Trainer(TabularLM.of(task, "stationary"), task, "rloo", Enumerated(), TrainConfig(optimizer="natural"))
    with pytest.raises(ValueError, match="optimizer='natural' is for at most 5000 completions, got 6144"):
        trainer.step()
