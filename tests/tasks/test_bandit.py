from __future__ import annotations

import numpy as np
import pytest
import torch

from toykit.tasks import Bandit, Tree, TreeTask, kl_bayes_tree, random_bandit, tricks_tree
from toykit.tasks.tree import FORBIDDEN


def leaf_log_prob(tree: Tree, logits: torch.Tensor) -> torch.Tensor:
    """Log-probability of every leaf under logits [nodes, actions], forbidden tokens left out."""
    log_p = logits.masked_fill(tree.child == FORBIDDEN, -torch.inf).log_softmax(-1)
    return log_p[tree.nodes, tree.tokens].masked_fill(~tree.mask, 0.0).sum(-1)


def all_leaves(task: TreeTask) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids = task.prompts().ids
    shape = (len(ids), *task.tree.tokens.shape)
    return ids, task.tree.tokens.expand(shape), task.tree.mask.expand(shape)


def test_scores_of_all_leaves_are_the_table() -> None:
    table = np.random.default_rng(0).normal(size=(3, Tree(3, 2, stop=(1,)).n_leaves))
    task = TreeTask(Tree(3, 2, stop=(1,)), table)
    assert torch.equal(task.score(*all_leaves(task)), torch.tensor(table))


def test_scores_follow_the_prompt_ids_of_the_batch() -> None:
    task = Bandit([[1.0, 2.0], [3.0, 4.0]])
    completions = torch.tensor([[[0], [1]], [[0], [1]], [[1], [1]]])
    rewards = task.score(torch.tensor([1, 0, 1]), completions, torch.ones(3, 2, 1, dtype=torch.bool))
    assert rewards.tolist() == [[3.0, 4.0], [1.0, 2.0], [4.0, 4.0]]


def test_the_vocabulary_is_the_actions_and_then_one_token_a_prompt() -> None:
    task = Bandit([[1, 2, 3], [4, 5, 6]], arms=["left", "middle", "right"])
    assert task.vocab.tokens == ("left", "middle", "right", "x0", "x1")
    assert task.prompts().tokens.tolist() == [[3], [4]]
    assert task.horizon == 1
    assert repr(task) == "Bandit(name='bandit', prompts=2, completions=3)"


def test_a_task_does_not_share_memory_with_the_rewards_it_was_made_of() -> None:
    table = np.zeros((1, 2))
    task = Bandit(table)
    table[0, 0] = 7
    assert task.rewards.tolist() == [[0.0, 0.0]]


def test_written_out_texts_become_actions_in_order_of_appearance() -> None:
    task = TreeTask.of({"the cat": 1.0, "the dog": 0.0, "a cat": 0.5, "a dog": 0.2})
    assert task.vocab.tokens == ("the", "cat", "dog", "a", "x0")
    assert task.rewards.tolist() == [[1.0, 0.0, 0.5, 0.2]]
    completions = torch.tensor([[task.vocab.encode("a dog"), task.vocab.encode("the cat")]])
    rewards = task.score(torch.tensor([0]), completions, torch.ones(1, 2, 2, dtype=torch.bool))
    assert rewards.tolist() == [[0.2, 1.0]]


def test_written_out_completions_may_have_a_reward_for_each_prompt() -> None:
    task = TreeTask.of({(1,): [0.0, 1.0], (0,): [2.0, 3.0]})
    assert task.rewards.tolist() == [[2.0, 0.0], [3.0, 1.0]]
    assert len(task.prompts()) == 2


@pytest.mark.parametrize(
    ("rewards", "message"),
    [
        ([[1.0, float("nan")]], r"rewards must be finite, got nan at index \[0, 1\] \(prompt 0\)"),
        ([[1.0, 2.0], [float("-inf"), 0.0]], r"rewards must be finite, got -inf at index \[1, 0\] \(prompt 1\)"),
        (np.zeros((0, 2)), r"rewards must have shape \[n prompts, K arms\] or \[K arms\], got \[0, 2\]"),
        (np.zeros((2, 2, 2)), r"rewards must have shape"),
        ([], r"rewards must have shape"),
    ],
)
def test_a_bandit_refuses_bad_rewards(rewards, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Bandit(rewards)


def test_a_tree_task_refuses_rewards_of_another_shape_without_enumerating() -> None:
    with pytest.raises(ValueError, match=r"shape \[n prompts, 8\] with n prompts >= 1, got \[1, 7\]"):
        TreeTask(Tree(2, 3), torch.zeros(7))
    with pytest.raises(ValueError, match=f"{16**20}"):
        TreeTask(Tree(16, 20), torch.zeros(7))


@pytest.mark.parametrize("arms", [["a"], ["a", "a"], ["a", "x0"], ["a", "b c"]])
def test_names_that_are_not_one_word_for_each_token_are_refused(arms: list[str]) -> None:
    with pytest.raises(ValueError, match="actions must be 2 distinct words"):
        Bandit([1.0, 2.0], arms=arms)


@pytest.mark.parametrize("rewards", [{}, {"a": 1.0, (1,): 0.0}, {"a b": 1.0, "a  b": 0.0}])
def test_written_out_completions_must_be_distinct_and_of_one_kind(rewards) -> None:
    with pytest.raises(ValueError, match="rewards must map"):
        TreeTask.of(rewards)


def test_a_completion_outside_the_tree_is_refused() -> None:
    task = TreeTask.of({(0,): 1.0, (1, 0): 0.0})
    with pytest.raises(ValueError, match=r"completions must be leaves of the tree, got \[1, 1\]"):
        task.score(torch.tensor([0]), torch.tensor([[[1, 1]]]), torch.ones(1, 1, 2, dtype=torch.bool))


def test_the_tree_of_lesson_01_has_the_numbers_of_its_card() -> None:
    task, logits = kl_bayes_tree()
    log_p, rewards = leaf_log_prob(task.tree, logits), task.rewards[0]
    log_evidence = torch.logsumexp(log_p + rewards / 0.2, 0)
    posterior = (log_p + rewards / 0.2 - log_evidence).exp()
    assert -(log_p.exp() * log_p).sum().item() == pytest.approx(3.6955, abs=5e-5)
    assert (log_p.exp() * rewards).sum().item() == pytest.approx(0.5969, abs=5e-5)
    assert (posterior * rewards).sum().item() == pytest.approx(0.8732, abs=5e-5)
    assert -torch.xlogy(posterior, posterior).sum().item() == pytest.approx(3.1122, abs=5e-5)
    assert rewards.max().item() == pytest.approx(0.9812, abs=5e-5)
    assert 0.2 * log_evidence.item() == pytest.approx(0.76968, abs=5e-6)
    assert log_p.exp()[::8].sum().item() == pytest.approx(0.0508, abs=5e-5)


def test_the_tree_of_card_03_has_the_success_rate_of_its_card() -> None:
    task, logits = tricks_tree()
    p = leaf_log_prob(task.tree, logits).exp()
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    assert (p * task.rewards[0]).sum().item() == pytest.approx(0.33987, abs=5e-6)
    assert logits[1:, 2].tolist() == [0.0, 0.0], "tokens that the tree forbids"


def test_a_random_bandit_is_fixed_by_its_seed() -> None:
    assert torch.equal(random_bandit(2, 3, seed=1).rewards, random_bandit(2, 3, seed=1).rewards)
    assert not torch.equal(random_bandit(2, 3, seed=1).rewards, random_bandit(2, 3, seed=2).rewards)
    with pytest.raises(ValueError, match="n_arms must be >= 1, got 0"):
        random_bandit(2, 0)
