"""The gradients of all divergences are in test_policy_gradient.py."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toykit.exact import posterior, scores
from toykit.objectives import Filtered, MovingLogZ, Posterior, PseudoReward, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, leaf_logps
from toykit.tasks.bandit import kl_bayes_tree

Z = 46.917  # of pi0 exp(r / 0.2)


@pytest.fixture(scope="module")
def lesson():
    """(task, prior's logits, the posterior's logits)."""
    task, logits = kl_bayes_tree()
    prior = leaf_logps(TabularLM.of(task, logits=logits), task.prompts(), task.tree).sum(-1)
    leaves = posterior(prior[0], task.rewards[0], 0.2).view(4, 4, 4)
    pairs = leaves.logsumexp(2)
    return task, logits, torch.cat([pairs.logsumexp(1)[None], pairs, leaves.flatten(0, 1)])


def signal_and_scores(lesson, logits: Tensor, baseline: float) -> tuple[Tensor, Tensor, Tensor]:
    """(probabilities [L], pseudo-rewards [L], scores [L, D]) of the policy with these logits."""
    task, prior, _ = lesson
    whole = Enumerated()(TabularLM.of(task, logits=logits), task, task.prompts())
    reference = leaf_logps(TabularLM.of(task, logits=prior), task.prompts(), task.tree)
    signal = PseudoReward(Posterior(0.2), baseline=baseline)(whole.with_(ref_logp=reference))
    return whole.weights[0], signal[0], scores(task.tree, logits).flatten(1)


def spread(lesson, logits: Tensor, baseline: float) -> float:
    """Trace of the covariance of the one-sample gradient, for the unnormalised target as on card 01."""
    p, signal, score = signal_and_scores(lesson, logits, baseline)
    gradient = Z * signal[:, None] * score
    return (p @ gradient.square().sum(1) - (p @ gradient).square().sum()).item()


def test_baseline_z_keeps_the_gradient_and_takes_its_variance(lesson):
    _, prior, target = lesson
    assert spread(lesson, prior, 0.0) == pytest.approx(8506, abs=1)
    assert spread(lesson, prior, 1.0) == pytest.approx(4138, abs=1)
    assert spread(lesson, target, 0.0) == pytest.approx(3790, abs=1)
    assert spread(lesson, target, 1.0) < 1e-20
    p, plain, score = signal_and_scores(lesson, prior, 0.0)
    _, centred, _ = signal_and_scores(lesson, prior, 1.0)
    assert torch.allclose(p @ (plain[:, None] * score), p @ (centred[:, None] * score), rtol=0, atol=1e-13)
    assert (p @ plain).item() == pytest.approx(1, abs=1e-13)


def test_the_signal_by_hand(tricks):
    """Forward KL: p / pi; with the filter a wrong completion gets nothing."""
    policy = tricks.policy()
    whole = tricks.everything(policy, policy, tricks.policy(0.5, seed=2))
    reference, allowed = whole.ref_logp.sum(-1).exp(), whole.rewards > 0.5
    p = reference * allowed / (reference * allowed).sum(-1, keepdim=True)
    signal = PseudoReward(Filtered(), baseline=1.0)(whole)
    assert torch.allclose(signal, p / whole.old_logp.sum(-1).exp() - 1, rtol=0, atol=1e-13)


def test_off_policy_the_ratio_is_that_of_the_policy_not_of_the_behaviour(tricks):
    policy, behaviour, reference = tricks.policy(), tricks.policy(0.6, seed=1), tricks.policy(0.5, seed=2)
    signal = PseudoReward(Posterior(0.3), "js")
    assert torch.allclose(
        signal(tricks.everything(policy, behaviour, reference)),
        signal(tricks.everything(policy, policy, reference)),
        rtol=0,
        atol=1e-13,
    )


def test_a_prompt_without_any_allowed_completion_gets_0_until_z_is_known(tricks):
    policy = tricks.policy()
    signal = PseudoReward(Filtered(), baseline=1.0, log_z=MovingLogZ())
    wrong = tricks.rollouts(torch.tensor([[1, 3], [1, 4]]), policy, policy, policy)
    assert wrong.rewards[0].tolist() == [0, 0]
    assert signal(wrong)[0].tolist() == [0, 0]
    signal(tricks.rollouts(torch.tensor([[0, 3], [1, 4]]), policy, policy, policy))
    assert signal(wrong)[0].tolist() == [-1, -1]


def test_a_moving_z_of_enumerations_is_the_true_one(tricks):
    policy, reference = tricks.policy(), tricks.policy(0.5, seed=2)
    moving, exact = method("gdc").objective.signal, PseudoReward(Filtered(), baseline=1.0)
    for shift in (0.0, 0.4):
        behaviour = tricks.policy(shift, seed=4)
        whole = tricks.everything(policy, behaviour, reference)
        assert torch.allclose(moving(whole), exact(whole), rtol=0, atol=1e-13)


def test_unknown_divergence_is_refused_at_once():
    with pytest.raises(ValueError, match="divergence must be one of .*, got 'reversed_kl'; did you mean 'reverse_kl'?"):
        PseudoReward(Posterior(0.1), "reversed_kl")
