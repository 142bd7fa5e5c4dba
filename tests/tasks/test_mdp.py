from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from toykit.tasks import (
    Arithmetic,
    Bandit,
    ChainSum,
    FeatureTree,
    JsonlTask,
    Letters,
    Operator,
    Task,
    Tree,
    TreeMDP,
    TreeTask,
    Vocab,
    tree_mdp,
    tricks_tree,
)


def uniform_return(mdp: TreeMDP) -> Tensor:
    """Expected return of the policy that is uniform over allowed tokens, by backward induction over states [S]."""
    policy = mdp.allowed.double() / mdp.allowed.sum(1, keepdim=True)
    value = torch.zeros(mdp.n_states, dtype=torch.float64)
    for state in reversed(range(mdp.n_states)):  # children come after their parents
        later = torch.where(mdp.terminal[state], 0.0, value[mdp.next_state[state]])
        value[state] = (policy[state] * (mdp.reward[state] + later)).sum()
    return (mdp.start * value).sum()


def enumerated_mean(task: TreeTask) -> Tensor:
    tree = task.tree
    branches = (tree.child >= -1).sum(1)
    p = (1 / branches[tree.nodes].double()).masked_fill(~tree.mask, 1.0).prod(1)
    assert p.sum().item() == pytest.approx(1.0, abs=1e-12)
    return (task.rewards * p).sum(1).mean()


def random_task(tree: Tree, n_prompts: int) -> TreeTask:
    rewards = torch.randn(n_prompts, tree.n_leaves, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return TreeTask(tree, rewards)


@pytest.mark.parametrize(
    "task",
    [
        Bandit([[1.0, 2.0, 4.0], [0.0, 0.5, -1.0]]),
        random_task(Tree(4, 3), 2),
        random_task(Tree(3, 4, stop=(0,)), 3),
        tricks_tree()[0],
        FeatureTree(n_prompts=3),
    ],
    ids=repr,
)
def test_backward_induction_gives_the_enumerated_mean_of_the_uniform_policy(task: TreeTask) -> None:
    assert uniform_return(task.as_mdp()).item() == pytest.approx(enumerated_mean(task).item(), abs=1e-12)


def test_the_mdp_of_two_written_out_prompts_is_this_table() -> None:
    mdp = TreeTask.of({(0,): [1.0, 5.0], (1, 0): [2.0, 6.0], (1, 2): [3.0, 7.0]}).as_mdp()
    assert mdp.next_state.tolist() == [[0, 1, 0], [1, 1, 1], [2, 3, 2], [3, 3, 3]]
    assert mdp.reward.tolist() == [[1, 0, 0], [2, 0, 3], [5, 0, 0], [6, 0, 7]]
    assert mdp.terminal.int().tolist() == [[1, 0, 0], [1, 0, 1], [1, 0, 0], [1, 0, 1]]
    assert mdp.allowed.int().tolist() == [[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 1]]
    assert mdp.start.tolist() == [0.5, 0.0, 0.5, 0.0]


def test_the_operator_task_pays_only_for_the_right_token_after_the_right_operator() -> None:
    task = Operator()
    mdp = task.as_mdp()
    assert mdp.n_states == 60 * 15
    assert mdp.reward.sum().item() == 60
    state = int(mdp.next_state[7 * 15, task.right[7, 0]])
    assert mdp.reward[state, task.right[7, 1]].item() == 1.0
    assert tree_mdp(task, "test").n_states == 40 * 15


@pytest.mark.parametrize(
    "task",
    [ChainSum(n_digits=1, n_train=6, n_test=4, horizon=4), Arithmetic(horizon=3, n_problems=20), Letters(horizon=2)],
    ids=lambda task: task.name,
)
def test_every_token_task_is_a_tree_mdp_where_its_horizon_is_short(task: Task) -> None:
    mdp, tree = task.as_mdp(), task.tree
    prompts = task.prompts()
    assert mdp.n_states == len(prompts) * tree.n_nodes and mdp.n_actions == task.vocab.size
    tokens, mask = (x.expand(len(prompts), *x.shape) for x in (tree.tokens, tree.mask))
    assert (task.score(prompts.ids, tokens, mask).sum() - mdp.reward.sum()).abs() < 1e-9
    assert uniform_return(mdp).item() > 0
    ends = torch.isin(torch.arange(mdp.n_actions), torch.tensor(task.vocab.stop, dtype=torch.int64))
    assert bool(mdp.terminal[:, ends].all())


def test_a_jsonl_task_is_a_tree_mdp_too(tmp_path: Path) -> None:
    file = tmp_path / "sums.jsonl"
    file.write_text('{"prompt": "0+1", "answer": "1"}\n{"prompt": "1+1", "answer": "0"}\n')
    vocab = Vocab(("0", "1", "+", "<eos>"), stop=(3,), sep="")
    mdp = JsonlTask.load(file, vocab, horizon=2, test_fraction=0.0).as_mdp()
    assert (mdp.n_states, mdp.n_actions) == (2 * 4, 4)
    assert mdp.reward[1 + 1].tolist() == [0, 0, 1, 1]  # after "1": 10, 11, "1+" and "1"
    assert mdp.reward[4 + 1].tolist() == [1, 0, 1, 1]


@pytest.mark.parametrize("task", [ChainSum(), Arithmetic(n_problems=20), Letters()], ids=lambda task: task.name)
def test_a_task_with_too_many_completions_says_how_many(task: Task) -> None:
    with pytest.raises(ValueError, match=f"give {task.tree.n_leaves} completions, the limit is 20000000"):
        task.as_mdp()


def test_too_many_prompts_are_refused_before_anything_is_scored() -> None:
    task = ChainSum(n_digits=2, n_train=90, n_test=10, horizon=5)
    with pytest.raises(ValueError, match=f"90 prompts with {task.tree.n_leaves} completions of 5 tokens make"):
        task.as_mdp()


def test_a_task_without_a_tree_is_refused() -> None:
    task = Bandit([1.0])
    task.tree = None
    with pytest.raises(ValueError, match="task must have a completion tree to be an MDP, bandit has none"):
        tree_mdp(task)
