"""Standing controls: what must not happen whatever the method."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toykit.objectives import CATALOGUE, GAE, EntropyBonus, ForwardKL, Method, PolicyGradient, ValueLoss, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Mixed, Sampled, Solutions, supplying
from toykit.tasks.bandit import Bandit, TreeTask, tricks_tree
from toykit.training import TrainConfig, Trainer

N, ARMS = 100, 6


class Noisy(Bandit):
    """Rewards 0 or 1 by the toss of a coin, whatever the completion."""

    generator = torch.Generator().manual_seed(7)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        return torch.randint(2, mask.shape[:2], generator=self.generator).double()


def arms() -> tuple[Tensor, Tensor]:
    """(rewards 0 or 1, logits that know nothing of them), [N, ARMS]: as many runs at once, for nothing is shared."""
    generator = torch.Generator().manual_seed(3)
    rewards = (torch.rand(N, ARMS, generator=generator) < 0.4).double()
    return rewards, torch.randn(N, 1, ARMS, generator=generator, dtype=torch.float64)


def improvement(task: Bandit, given: Method) -> tuple[float, float]:
    """(mean change of the true expected reward, its standard error) over the runs."""
    rewards, logits = arms()
    policy = TabularLM.of(task, logits=logits)
    reference = TabularLM.of(task, logits=logits + 0.3)  # with the same probabilities
    strategy = supplying(given.data, Sampled(8), Solutions.of(Bandit(rewards)))
    trainer = Trainer(policy, task, given, strategy, TrainConfig(lr=0.08), reference=reference)
    before = (policy.table.softmax(-1) * rewards).sum(-1)
    for _ in range(20):
        trainer.step()
    change = ((policy.table.softmax(-1) * rewards).sum(-1) - before).detach()
    return change.mean().item(), change.std().item() / N**0.5


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_random_reward_does_not_improve_a_clean_task_and_the_true_one_does(name):
    rewards, _ = arms()
    mean, error = improvement(Noisy(rewards), method(name))
    assert error > 0.003 and abs(mean) < 4 * error  # the policy moves, but nowhere
    unstopped = replace(method(name), selection=None)  # SELF's filter stops as soon as the greedy answer is right
    mean, error = improvement(Bandit(rewards), unstopped if name == "self" else method(name))
    assert mean > 10 * error


WITHOUT_CRITIC_OR_TARGET = (
    *("rloo", "kl_rl", "grpo", "dr_grpo", "dapo", "gspo", "lite_ppo", "self", "remax", "reinforce_plus_plus"),
    *("rloo_clip", "grpo_trl", "luspo", "rorecomp", "prorl", "mvsr", "mssr"),
)


def constant(reward: float) -> tuple[TreeTask, TabularLM]:
    task, logits = tricks_tree()
    alike = TreeTask(task.tree, torch.full((2, 5), reward))
    return alike, TabularLM.of(alike, logits=logits)


@pytest.mark.parametrize("name", WITHOUT_CRITIC_OR_TARGET)
@pytest.mark.parametrize("strategy", [Sampled(3), Enumerated()], ids=["sampled", "enumerated"])
def test_a_constant_reward_does_not_move_the_policy_at_all(name, strategy):
    """Not by a bit, though Adam turns the least gradient into a whole step."""
    for optimizer in ("adam", "sgd", "natural") if strategy == Enumerated() else ("adam", "sgd"):
        task, policy = constant(0.1)
        start = policy.table.detach().clone()
        objective = method(name).objective  # without DAPO's penalty on the length
        trainer = Trainer(policy, task, objective, strategy, TrainConfig(lr=0.5, optimizer=optimizer))
        for _ in range(4):
            trainer.step()
        assert torch.equal(policy.table, start)


def test_a_constant_reward_does_not_move_ppo_once_its_critic_knows_it():
    task, policy = constant(0.5)
    start = policy.table.detach().clone()
    objective = PolicyGradient(GAE(), ratio="token", aggregate="token_mean", value=ValueLoss())
    trainer = Trainer(policy, task, objective, Enumerated(), TrainConfig(lr=0.5))
    with torch.no_grad():
        trainer.critic.table.fill_(0.5)
    for _ in range(3):
        trainer.step()
    assert torch.equal(policy.table, start)


WITHOUT_CRITIC = [name for name in CATALOGUE if not method(name).objective.needs_critic]


def test_immediate_rewards_move_the_policy_for_a_constant_reward():
    """CoT reward optimisation as printed credits the last token alone: it learns to end early, for nothing."""
    task, policy = constant(1.0)
    enumerated = Enumerated()(policy, task, task.prompts())
    lengths = enumerated.mean(enumerated.lengths.double())
    trainer = Trainer(policy, task, "cot_ro", Enumerated(), TrainConfig(lr=0.5, optimizer="sgd"))
    for _ in range(4):
        trainer.step()
    after = Enumerated()(policy, task, task.prompts())
    assert (after.mean(after.lengths.double()) < lengths - 0.05).all()


@pytest.mark.parametrize("name", [name for name in WITHOUT_CRITIC if name != "cot_ro"])
def test_a_constant_reward_leaves_every_method_where_it_is_in_expectation(name):
    """Without a baseline samples push; what is expected of them is 0. For a target it is the reference itself, and for
    RAPO's forward KL too, whose reference is flat only where the reward is low."""
    task, policy = constant(1.0)
    start = policy.table.detach().clone()
    objective = method(name).objective
    if isinstance(objective, PolicyGradient):
        left = tuple(term for term in objective.penalties if not isinstance(term, EntropyBonus))  # it pushes by itself
        objective = objective.with_(penalties=left)
    strategy = supplying(method(name).data, Enumerated(), Solutions.of(task))
    trainer = Trainer(policy, task, objective, strategy, TrainConfig(lr=0.5, optimizer="sgd"))
    for _ in range(4):
        trainer.step()
    assert torch.allclose(policy.table, start, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", CATALOGUE)
def test_a_huge_sampled_batch_makes_the_step_of_the_enumeration(name):
    """Sixteen steps from 2,000 completions a prompt each: their mean is the exact step within 4 standard errors.

    A method with solutions as rows has one of eight rows there, and one of eight is the share beside the enumeration.
    """
    task, logits = tricks_tree()
    both = TreeTask(task.tree, torch.cat([task.rewards, torch.tensor([[0.1, 1.0, 0.0, 1.0, 0.3]])]))
    reference = TabularLM.of(both, logits=logits.roll(1, 0))
    chosen: str | Method | PolicyGradient = name
    if name in ("dapo", "prorl"):
        chosen = method(name).objective  # without the hook that would draw again
    elif name == "self":  # without the hook that would leave out a prompt, and with many samples of the base
        chosen = replace(method(name), selection=None, forward_kl=ForwardKL(0.2, samples=2_000))

    def step(strategy, seed: int = 0) -> Tensor:
        policy = TabularLM.of(both, logits=logits)
        start = policy.table.detach().clone()
        config = TrainConfig(optimizer="sgd", lr=1.0, seed=seed)
        Trainer(policy, both, chosen, strategy, config, reference=reference).step()
        return policy.table.detach() - start

    own = Solutions.of(both)
    exact = step(supplying(method(name).data, Enumerated(), own))
    many = supplying(method(name).data, Sampled(2_000), own)
    if isinstance(many, Mixed):
        rows = zip(own.ids.tolist(), own.completions, own.mask, strict=True)
        eighth = {i: 250 * [tokens[0][seen[0]].tolist()] for i, tokens, seen in rows}
        many = Mixed(Solutions.from_lists(eighth, both), 2_000, external=250)
    sampled = torch.stack([step(many, seed) for seed in range(16)])
    error = 4 * sampled.std(0) / 16**0.5
    assert exact.abs().max() > 0.01
    assert error.max() < 0.04
    assert ((sampled.mean(0) - exact).abs() <= error + 1e-3 * exact.abs() + 1e-12).all()
