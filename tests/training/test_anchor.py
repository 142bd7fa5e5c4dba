"""The forward KL on stored completions of the base policy, within the trainer."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from toykit.exact import leaf_log_probs, likelihood_gradient, policy_gradient
from toykit.objectives import Advantage, ForwardKL, Method, PolicyGradient, method
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rollouts import Enumerated, Sampled
from toykit.selection import Selection, greedy_failures
from toykit.tasks import Bandit, ChainSum
from toykit.training import TrainConfig, Trainer

PLAIN = PolicyGradient(Advantage("none"))
ANCHORED = Method(PLAIN, "test", forward_kl=ForwardKL(0.5))
TASK = Bandit([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
LOGITS = torch.tensor([[[2.0, 0.0, 0.0]], [[2.0, 0.0, 0.0]], [[0.0, 0.5, 0.0]]], dtype=torch.float64)
SGD = TrainConfig(lr=1.0, optimizer="sgd")


def steps(objective, steps: int = 1, strategy=None, config: TrainConfig = SGD, **options) -> tuple[Tensor, list[dict]]:
    """(the table's change [3, 3], the figures) after steps on TASK."""
    policy = TabularLM.of(TASK, logits=LOGITS)
    trainer = Trainer(policy, TASK, objective, strategy or Enumerated(), config, **options)
    figures = [trainer.step() for _ in range(steps)]
    return policy.table.detach() - LOGITS[:, 0], figures


def test_an_exact_step_adds_beta_times_base_minus_pi():
    tree, base = TASK.tree, TabularLM.of(TASK, logits=LOGITS.flip(0))
    found, figures = steps(ANCHORED, reference=base)
    law = leaf_log_probs(tree, LOGITS.flip(0)).exp()
    reward = policy_gradient(tree, LOGITS, TASK.rewards)
    expected = (reward + 0.5 * likelihood_gradient(tree, LOGITS, law)) / 3
    assert torch.allclose(found, expected[:, 0], rtol=0, atol=1e-15)
    surprise = -(law * leaf_log_probs(tree, LOGITS)).sum(-1).mean().item()
    assert figures[0]["cross_entropy"] == pytest.approx(surprise, abs=1e-15)
    alone = steps(PLAIN, reference=base)[1][0]["loss"]
    assert figures[0]["loss"] == pytest.approx(alone + 0.5 * surprise, abs=1e-15)


def test_it_stays_where_the_reward_is_constant_and_the_policy_is_the_base():
    task = Bandit(torch.ones(3, 3))
    policy = TabularLM.of(task, logits=LOGITS)
    start = policy.table.detach().clone()
    chosen = replace(ANCHORED, objective=PolicyGradient(Advantage("group")))
    Trainer(policy, task, chosen, Enumerated(), SGD).step()
    assert torch.allclose(policy.table, start, rtol=0, atol=1e-15)


def test_the_anchor_holds_the_prompts_that_the_filter_drops():
    """Greedy is right on prompt 0 alone. Its own reward does not move it, the forward KL does once it has left."""
    off = TabularLM.of(TASK, logits=LOGITS.flip(0))
    found, _ = steps(replace(ANCHORED, selection="greedy_failures"), reference=off)
    tree = TASK.tree
    pull = 0.5 * likelihood_gradient(tree, LOGITS, leaf_log_probs(tree, LOGITS.flip(0)).exp()) / 3
    reward = policy_gradient(tree, LOGITS, TASK.rewards) / 3  # over the three that were asked
    assert torch.allclose(found[0], pull[0, 0], rtol=0, atol=1e-15)
    assert torch.allclose(found[1:], (pull + reward)[1:, 0], rtol=0, atol=1e-15)


@pytest.mark.parametrize(("over", "n"), [("asked", 3), ("kept", 2)])
@pytest.mark.parametrize("aggregate", ["token_sum", "token_mean", "sequence_mean"])
def test_the_mean_is_over_what_the_selection_says(over, n, aggregate):
    objective = PLAIN.with_(aggregate=aggregate)
    found, _ = steps(objective, selection=greedy_failures(over))
    reward = policy_gradient(TASK.tree, LOGITS, TASK.rewards)[:, 0] / n
    assert not found[0].any()
    assert torch.allclose(found[1:], reward[1:], rtol=0, atol=1e-15)


def test_the_share_of_the_kept_prompts_goes_with_every_minibatch():
    one_by_one = replace(SGD, minibatch=1)  # the prompts share nothing, so each makes one step of its own
    asked, kept = (steps(PLAIN, config=one_by_one, selection=greedy_failures(o))[0] for o in ("asked", "kept"))
    assert torch.allclose(asked, kept * 2 / 3, rtol=0, atol=1e-15)
    assert kept[1:].abs().max() > 0.1


def test_a_step_that_keeps_no_prompt_is_skipped():
    nothing = Selection(before=lambda policy, task, prompts: prompts[:0])
    found, figures = steps(ANCHORED, selection=nothing, reference=TabularLM.of(TASK, logits=LOGITS.flip(0)))
    assert not found.any()
    assert set(figures[0]) == {"step", "seconds"}


def test_samples_of_the_base_are_drawn_once_from_a_generator_of_their_own():
    with_anchor, without = (
        Trainer(TabularLM.of(TASK, logits=LOGITS), TASK, chosen, Sampled(4), SGD) for chosen in (ANCHORED, PLAIN)
    )
    stored = with_anchor.anchor.base
    assert stored.completions.shape == (3, 4, 1)  # 4 of each prompt, the term's own number
    assert torch.equal(with_anchor.rollouts()[0].completions, without.rollouts()[0].completions)
    with_anchor.step()
    assert with_anchor.anchor.base is stored
    rows = with_anchor.anchor.batch(TASK.prompts()[torch.tensor([2, 0])])
    assert torch.equal(rows.rollouts.completions, stored.completions[[2, 0]])
    again = Trainer(TabularLM.of(TASK, logits=LOGITS), TASK, ANCHORED, Sampled(9), SGD)
    assert torch.equal(again.anchor.base.completions, stored.completions)


def gpt(seed: int) -> GPT:
    return GPT(GPTConfig(16, context=16, layers=1, width=16, heads=2, hidden=16), seed).double()


CHAIN = ChainSum(n_digits=(2, 3), n_train=16, n_test=4, horizon=8)


def test_cutting_the_batch_changes_nothing():
    """Of RL and anchor together, with completions of several lengths."""
    found = []
    for size in (None, 3):
        policy = gpt(0)
        config = TrainConfig(lr=0.1, optimizer="sgd", prompts=4, micro_size=size)
        chosen = Method(PolicyGradient(Advantage("group")), "test", forward_kl=ForwardKL(0.5, samples=2))
        figures = Trainer(policy, CHAIN, chosen, Sampled(3), config, reference=gpt(1)).step()
        weights = torch.cat([p.detach().flatten() for p in policy.parameters()])
        found.append((weights, figures["loss"], figures["cross_entropy"]))
    assert torch.allclose(found[0][0], found[1][0], rtol=0, atol=1e-12)
    assert found[0][1:] == pytest.approx(found[1][1:], abs=1e-12)
    assert (found[0][0] - torch.cat([p.flatten() for p in gpt(0).parameters()])).abs().max() > 1e-3


def test_a_resumed_run_goes_on_with_the_samples_it_had(tmp_path):
    def trainer(base_seed: int) -> Trainer:
        return Trainer(gpt(0), CHAIN, method("self"), Sampled(4), TrainConfig(prompts=4), reference=gpt(base_seed))

    whole = trainer(1)
    whole.step()
    whole.save(tmp_path / "half.safetensors")
    whole.step()
    resumed = trainer(2).load(tmp_path / "half.safetensors")
    assert torch.equal(resumed.anchor.base.completions, whole.anchor.base.completions)
    resumed.step()
    for ours, theirs in zip(resumed.policy.parameters(), whole.policy.parameters(), strict=True):
        assert torch.equal(ours, theirs)


def test_a_selection_over_something_else_is_refused():
    with pytest.raises(ValueError, match="over must be one of asked, kept, got 'all'"):
        greedy_failures("all")
