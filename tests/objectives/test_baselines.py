from __future__ import annotations

import pytest
import torch

from toykit.objectives import Advantage, EntropyBonus, PolicyGradient, RunningMean, TokenReturns
from toykit.objectives.baselines import at_last_token
from toykit.rewards import ProcessRewards

REWARDS = torch.tensor([[1.0, 0.0], [0.5, 0.5]], dtype=torch.float64)
EVEN = torch.full((2, 2), 0.5, dtype=torch.float64)
MASK = torch.tensor([True, True, True, False])
TOKENS = torch.tensor([0.5, 0.0, 2.0, 9.0], dtype=torch.float64)


def test_a_running_mean_is_that_of_earlier_batches():
    baseline = RunningMean(decay=0.75)
    assert torch.equal(baseline(REWARDS, EVEN), REWARDS)  # there is none yet
    assert torch.equal(baseline(REWARDS + 1, EVEN), REWARDS + 1 - 0.5)
    assert baseline.mean == pytest.approx(0.75 * 0.5 + 0.25 * 1.5)
    other = RunningMean(decay=0.75)
    other.load(baseline.state())
    assert other == baseline
    other.load(RunningMean().state())
    assert other.mean is None
    for decay in (0.0, 1.0):
        with pytest.raises(ValueError, match="decay must be between 0 and 1"):
            RunningMean(decay)


def test_immediate_rewards_and_rewards_to_go_by_hand():
    assert TokenReturns(0.5, to_go=False)(TOKENS, MASK).tolist() == [0.5, 0.0, 0.5, 0.0]
    assert TokenReturns(0.5)(TOKENS, MASK).tolist() == [1.0, 0.5, 0.5, 0.0]
    assert TokenReturns()(TOKENS, MASK).tolist() == [2.5, 2.0, 2.0, 0.0]
    assert at_last_token(torch.tensor([3.0]), MASK[None]).tolist() == [[0, 0, 3, 0]]
    with pytest.raises(ValueError, match=r"gamma must be in \(0, 1\], got 0"):
        TokenReturns(0)


PER_NODE = torch.tensor([0.3, -0.2, 0.7], dtype=torch.float64)  # of a step that begins at each node


def with_token_rewards(tricks, policy):
    made = tricks.everything(policy, policy, policy)
    tree = tricks.task.tree
    rewards, _ = ProcessRewards(lambda r: (PER_NODE[tree.nodes] * (1.0 + tree.tokens)).expand(r.mask.shape))(made)
    return rewards


@pytest.mark.parametrize("gamma", [1.0, 0.6])
def test_returns_to_go_are_the_gradient_of_the_discounted_sum_and_immediate_rewards_are_not(tricks, gamma):
    policy = tricks.policy()
    batch = with_token_rewards(tricks, policy)

    def gradient(to_go: bool) -> torch.Tensor:
        objective = PolicyGradient(TokenReturns(gamma, to_go))
        loss = tricks.loss(objective, tricks.vocab_logp(policy), objective.prepare(batch))
        return -torch.autograd.grad(loss, policy.table)[0].flatten()

    discount = gamma ** torch.arange(3, dtype=torch.float64)
    returns = (discount * batch.extras["token_rewards"]).sum(-1)
    value = (tricks.logp(policy).sum(-1).exp() * returns).sum(-1).mean()
    true = torch.autograd.grad(value, policy.table)[0].flatten()
    assert torch.allclose(gradient(True), true, rtol=0, atol=1e-14)
    assert torch.cosine_similarity(gradient(False), true, dim=0) < 0.99


def test_process_rewards_stand_in_the_place_of_the_task_s_or_beside_them(tricks):
    policy = tricks.policy()
    made, task = with_token_rewards(tricks, policy), tricks.task.rewards
    assert torch.equal(made.rewards, made.extras["token_rewards"].sum(-1))
    assert torch.equal(made.extras["task_rewards"], task)
    both, means = ProcessRewards(lambda r: torch.ones(r.mask.shape), beside=True)(tricks.everything(*[policy] * 3))
    assert torch.allclose(both.rewards, both.lengths + task)
    assert both.extras["token_rewards"][0, 2].tolist() == [1, 1, 2]  # 110 is right
    assert means["reward/process"] == pytest.approx(both.mean(both.lengths.double()).mean().item())
    with pytest.raises(ValueError, match=r"token_rewards must have shape"):
        ProcessRewards(lambda r: r.rewards)(tricks.everything(*[policy] * 3))


def test_the_entropy_bonus_raises_the_entropy_and_moves_nothing_else(tricks):
    """For a reward that is constant the advantages are 0, and what is left is the bonus."""
    policy = tricks.policy()
    batch = tricks.everything(policy, policy, policy)
    same = batch.with_(rewards=torch.ones_like(batch.rewards))
    objective = PolicyGradient(Advantage(), penalties=(EntropyBonus(0.3),))
    vocab = tricks.vocab_logp(policy)
    loss = tricks.loss(objective, vocab, objective.prepare(same))
    visited = -(vocab.exp() * vocab).sum(-1) * batch.mask
    expected = -0.3 * (batch.weights * visited.sum(-1)).sum(-1).mean()
    assert torch.allclose(loss, expected, rtol=0, atol=1e-14) and objective.needs_vocab
    assert not objective.needs_reference_vocab
