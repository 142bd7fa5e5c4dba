"""A table and a GPT trained by TRL reach what our trainer reaches, and their weights come back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import pytest
import torch
from torch import Tensor

from toykit.diagnostics import paired_interval
from toykit.interop import trl
from toykit.objectives import Advantage, Clip, PolicyGradient
from toykit.policies import GPT, GPTConfig, TabularLM, load_exported
from toykit.rollouts import Enumerated, Sampled
from toykit.tasks import Prompts, Tree, TreeTask, Vocab, make
from toykit.training import TrainConfig, Trainer

pytest.importorskip("trl")
pytestmark = pytest.mark.filterwarnings("ignore:.*gradient_checkpointing:FutureWarning")

# TRL's grpo without a KL penalty: 1e-4 is its eps.
GRPO = PolicyGradient(Advantage(std="group", eps=1e-4), ratio="token", clip=Clip(), aggregate="sequence_mean")


@dataclass(frozen=True)
class Echo:
    """Prompts a, b, c; the reward is 1 for saying the prompt's letter first."""

    name: str = "echo"
    horizon: int = 2
    words: tuple[str, ...] = ("<pad>", "<eos>", "a", "b", "c")

    @property
    def vocab(self) -> Vocab:
        return Vocab(self.words, pad=0, stop=(1,))

    @cached_property
    def tree(self) -> Tree:
        return Tree(self.vocab.size, self.horizon, self.vocab.stop)

    def prompts(self, split: str = "train") -> Prompts:
        return Prompts.from_lists([[2], [3], [4]])

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        return (completions[..., 0] == 2 + ids[:, None]).double()


def expected_reward(policy, task) -> float:
    """Exact, by enumeration."""
    every = Enumerated()(policy, task, task.prompts())
    return float(every.mean(every.rewards).mean())


def reached(make_policy, task, folder, steps: int, lr: float, seeds: int, objective=None):
    """(ours, TRL's) exact expected rewards after training with the same settings, one a seed."""
    ours, theirs = [], []
    for seed in range(seeds):
        config = TrainConfig(lr=lr, max_grad_norm=1.0, seed=seed)
        trained = Trainer(make_policy(), task, objective or GRPO, Sampled(8), config)
        for _ in range(steps):
            trained.step()
        ours.append(expected_reward(trained.policy, task))
        policy = make_policy()
        args = trl.config(task, folder, steps, group_size=8, lr=lr, seed=seed, loss_type="grpo")
        trainer = trl.trainer(policy, task, args, objective)
        trainer.train()
        assert load_exported(policy, trainer.model) is policy
        theirs.append(expected_reward(policy, task))
    return ours, theirs


def test_a_table_reaches_under_trl_what_it_reaches_here(tricks, tmp_path):
    """Stated beforehand: both gain at least 0.2, and TRL's mean less ours lies within 0.05 of 0, with its 95 % interval
    over seeds; the samples differ, so single runs do too."""
    ours, theirs = reached(tricks.policy, tricks.task, tmp_path, steps=20, lr=0.05, seeds=6)
    start = expected_reward(tricks.policy(), tricks.task)
    assert min(ours + theirs) > start + 0.2
    difference = paired_interval(theirs, ours)
    assert max(-difference.low, difference.high) < 0.05
    assert ours != theirs


def test_a_gpt_reaches_under_trl_what_it_reaches_here(tmp_path):
    """Stated beforehand: with our rloo handed to TRL both gain at least 0.3, and TRL's mean less ours lies within 0.1
    of 0, with its 95 % interval over seeds."""

    def policy():
        return GPT(GPTConfig(Echo().vocab.size, context=4, layers=1, width=16, heads=2, hidden=32))

    ours, theirs = reached(policy, Echo(), tmp_path, steps=30, lr=0.003, seeds=4, objective=PolicyGradient())
    start = expected_reward(policy(), Echo())
    assert min(ours + theirs) > start + 0.3
    difference = paired_interval(theirs, ours)
    assert max(-difference.low, difference.high) < 0.1


@pytest.mark.parametrize("name", ["arithmetic", "chain_sum", "letters", "operator", "tree"])
def test_a_task_becomes_a_data_set_and_a_reward_function(name):
    task = make(name)
    rows = trl.dataset(task)
    prompts = task.prompts()
    assert rows["prompt_id"] == prompts.ids.tolist()
    assert rows["prompt"][0] == task.vocab.decode(prompts.tokens[0][prompts.mask[0]].tolist())
    policy = GPT(GPTConfig(task.vocab.size, context=64, layers=1, width=8, heads=1, hidden=8))
    if name == "tree":  # a completion outside its tree has no reward
        policy = TabularLM.of(task)
    drawn = Sampled(3)(policy, task, prompts[:2], torch.Generator().manual_seed(0))
    rows = zip(drawn.completions.flatten(0, 1), drawn.mask.flatten(0, 1), strict=True)
    ids, asked = [tokens[mask].tolist() for tokens, mask in rows], prompts.ids[:2].repeat_interleave(3).tolist()
    scores = trl.reward(task)(completion_ids=ids, prompt_id=asked)
    assert scores == drawn.rewards.flatten().tolist()


def test_a_prompt_that_its_text_does_not_say_is_refused():
    spaced = Echo(words=("<pad>", "<eos>", "a", "b", "a b"))
    with pytest.raises(
        ValueError, match=r"must be read from their text as they are, got \[2, 3\] from 'a b' \(prompt 2\)"
    ):
        trl.dataset(spaced)


def test_what_does_not_fit_is_refused_before_anything_is_trained(tricks, tmp_path):
    args = trl.config(tricks.task, tmp_path, 1, max_completion_length=5)
    with pytest.raises(ValueError, match="max_completion_length must be at most the task's horizon 3, got 5"):
        trl.trainer(tricks.policy(), tricks.task, args)
    args = trl.config(tricks.task, tmp_path, 1)
    with pytest.raises(ValueError, match="policy must know the task's vocabulary"):
        trl.trainer(TabularLM.of(TreeTask(Tree(2, 2), torch.zeros(4))), tricks.task, args)
    with pytest.raises(ValueError, match="reference must be given with an objective only"):
        trl.trainer(tricks.policy(), tricks.task, args, reference=tricks.policy())
    with pytest.raises(
        ValueError, match="beta must be 0.0 with a toykit objective, got 0.1: the objective has its own"
    ):
        trl.trainer(tricks.policy(), tricks.task, trl.config(tricks.task, tmp_path, 1, beta=0.1), "grpo")
    for name, value in (("steps", 0), ("group_size", 1), ("lr", 0.0)):
        with pytest.raises(ValueError, match=f"{name} must be >=? "):
            trl.config(tricks.task, tmp_path, **{"steps": 1, name: value})
