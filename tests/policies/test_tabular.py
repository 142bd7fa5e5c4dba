from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toykit.exact import node_log_probs
from toykit.policies import TabularLM
from toykit.policies.tabular import SHARING
from toykit.rollouts import Enumerated, leaf_logps, node_logps, token_logps
from toykit.tasks.bandit import TreeTask, tricks_tree
from toykit.tasks.base import Prompts
from toykit.tasks.features import FeatureTree
from toykit.tasks.tree import Tree

STOPPING = Tree(3, horizon=3, stop=(2,))  # nodes: the empty prefix, 0, 1, 00, 01, 10, 11
PROMPTS = Prompts.from_lists([[3], [4, 5], [4, 6, 5]])  # two of them begin alike
FEATURES = torch.tensor([[1.0, 0.0], [0.6, 0.8], [0.0, 2.0]], dtype=torch.float64)


def policy(sharing: str, tree: Tree = STOPPING, seed: int = 0) -> TabularLM:
    """A random table for the three prompts over a vocabulary of 7."""
    made = TabularLM(PROMPTS, tree, 7, sharing, FEATURES if sharing == "features" else None)
    with torch.no_grad():
        made.table.normal_(generator=torch.Generator().manual_seed(seed))
    return made


@pytest.mark.parametrize("sharing", SHARING)
def test_probabilities_sum_to_1_over_the_leaves(sharing):
    whole = leaf_logps(policy(sharing), PROMPTS, STOPPING).sum(-1)
    assert whole.exp().sum(-1).tolist() == pytest.approx([1, 1, 1], abs=1e-14)


@pytest.mark.parametrize("sharing", SHARING)
def test_tokens_that_may_not_follow_have_probability_exactly_0_and_finite_logarithms(sharing):
    tree = tricks_tree()[0].tree
    logp = node_logps(policy(sharing, tree), PROMPTS, tree)
    allowed = torch.zeros_like(logp, dtype=torch.bool)
    allowed[..., :3] = tree.child != -2
    assert torch.equal(logp.exp() > 0, allowed)
    assert logp.isfinite().all()
    assert not (logp.exp() * logp)[~allowed].any()


def test_without_sharing_the_table_is_the_nodes_logits_prompt_by_prompt():
    logits = torch.randn(3, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    made = TabularLM(PROMPTS, STOPPING, 7, logits=logits)
    assert made.table.shape == (21, 3)
    expected = node_log_probs(STOPPING, logits)
    assert torch.allclose(node_logps(made, PROMPTS, STOPPING)[..., :3], expected)
    alike = node_logps(TabularLM(PROMPTS, STOPPING, 7, logits=logits[0]), PROMPTS, STOPPING)  # for all prompts
    assert torch.allclose(alike[..., :3], expected[:1].expand(3, 7, 3))


# The rows of the nodes (), 0, 1, 00, 01, 10, 11.
ROWS = {
    "prefix": (7, [0, 1, 2, 3, 4, 5, 6]),
    "position": (3, [0, 1, 1, 2, 2, 2, 2]),
    "bigram": (4, [0, 1, 2, 1, 2, 1, 2]),
    "stationary": (1, [0] * 7),
}


@pytest.mark.parametrize("sharing", ROWS)
def test_a_row_is_shared_by_the_states_that_the_mode_names(sharing):
    n_rows, expected = ROWS[sharing]
    made = policy(sharing)
    assert made.table.shape == (3 * n_rows, 3)
    before, table = node_logps(made, PROMPTS, STOPPING), made.table.detach().clone()
    for row in range(3 * n_rows):
        with torch.no_grad():
            made.table.copy_(table)[row, 0] += 1
        touched = (node_logps(made, PROMPTS, STOPPING) != before).any(-1)
        x, r = divmod(row, n_rows)
        assert touched.tolist() == [[prompt == x and e == r for e in expected] for prompt in range(3)]


def test_with_features_the_logits_are_the_rows_matrix_times_the_prompts_vector():
    made = policy("features")
    assert made.table.shape == (7, 3, 2)
    expected = torch.einsum("nad,xd->xna", made.table, FEATURES).log_softmax(-1)
    assert torch.allclose(node_logps(made, PROMPTS, STOPPING)[..., :3], expected, rtol=0, atol=1e-14)


def test_a_task_brings_its_own_features():
    task = FeatureTree(n_prompts=3, n_features=2)
    made = TabularLM.of(task, "features", logits=task.initial_weights)
    expected = torch.einsum("nad,xd->xna", task.initial_weights, task.features).log_softmax(-1)
    assert torch.allclose(node_logps(made, task.prompts(), task.tree)[..., :4], expected, rtol=0, atol=1e-13)
    with pytest.raises(ValueError, match="features must be given with sharing='features' and only then"):
        TabularLM.of(tricks_tree()[0], "features")


@pytest.mark.parametrize("sharing", SHARING)
def test_masked_tokens_leave_the_state_as_it_is(sharing):
    made = policy(sharing)
    tokens = torch.tensor([[4, 6, 5, 1, 0]])
    plain = made(tokens, torch.ones_like(tokens)).logits
    padded = torch.tensor([[2, 0, 4, 1, 6, 5, 6, 1, 0, 3]])
    mask = torch.tensor([[0, 0, 1, 0, 1, 1, 0, 1, 1, 0]])
    assert torch.equal(made(padded, mask).logits[:, [2, 4, 5, 7, 8]], plain)
    assert torch.equal(made(padded, mask).logits[:, 9], plain[:, 4])
    assert torch.equal(made(tokens).logits, plain)


@pytest.mark.parametrize("sharing", SHARING)
def test_cursor_gives_the_logits_of_a_teacher_forced_pass(sharing):
    made = policy(sharing)
    completions = STOPPING.tokens.expand(3, -1, -1)
    forced = token_logps(made, PROMPTS.tokens, PROMPTS.mask, completions, STOPPING.mask.expand(3, -1, -1))
    assert torch.equal(leaf_logps(made, PROMPTS, STOPPING), forced)
    at = made.cursor(PROMPTS.tokens, PROMPTS.mask, 2)
    at.pick(torch.tensor([2, 0, 0]))
    at.append(torch.tensor([1, 0, 1]))
    expected = made(torch.tensor([[4, 6, 5, 1], [3, 0, 0, 0], [3, 1, 0, 0]])).logits
    assert torch.equal(at.logits, torch.stack([expected[0, 3], expected[1, 1], expected[2, 1]]))


def test_gradient_reaches_the_rows_that_were_visited_only():
    made = policy("prefix")
    made(torch.tensor([[3, 1]])).logits[0, 1, 0].backward()
    assert made.table.grad.nonzero().tolist() == [[2, 0]]


def test_off_the_tree_every_action_is_as_likely():
    made = policy("prefix")
    for tokens in ([5], [3, 2], [3, 0, 0, 0], [4, 4]):
        probabilities = made(torch.tensor([tokens])).logits[0, -1].softmax(-1)
        assert probabilities.tolist() == pytest.approx([1 / 3] * 3 + [0] * 4)


def test_it_is_the_policy_of_a_task_that_can_be_enumerated():
    task, logits = tricks_tree()
    whole = Enumerated()(TabularLM.of(task, logits=logits), task, task.prompts())
    assert (whole.weights * whole.rewards).sum().item() == pytest.approx(0.33987, abs=5e-6)  # card 03's p


def test_prompts_must_tell_the_states_apart():
    for prompts in ([[3], [3]], [[3], [3, 4]], [[3, 4], [3]]):
        with pytest.raises(ValueError, match="prompts must differ and none may begin another, got prompt [01] twice"):
            TabularLM(Prompts.from_lists(prompts), STOPPING, 7)
    with pytest.raises(ValueError, match="prompts must hold tokens below vocab_size 7, got 9 in prompt 1"):
        TabularLM(Prompts.from_lists([[3], [9]]), STOPPING, 7)


def test_a_tree_too_large_for_a_table_says_how_large_and_the_limit():
    with pytest.raises(ValueError, match=f"give {10**12} completions, the limit is 20000000; use sampling"):
        TabularLM(PROMPTS, Tree(10, horizon=12), 17)
    prompts = Prompts.from_lists([[4 + i // 500, 10 + i % 500] for i in range(3000)])
    with pytest.raises(ValueError, match=r"3000 prompts with 1023 states over 600 tokens make 1841400000 entries, the"):
        TabularLM(prompts, Tree(2, horizon=10), 600)


def table(**options: Tensor | str) -> TabularLM:
    return TabularLM(PROMPTS, STOPPING, **({"vocab_size": 7} | options))


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="sharing must be one of .*, got 'prefixes'; did you mean 'prefix'?"):
        table(sharing="prefixes")
    with pytest.raises(ValueError, match="features must be given with sharing='features' and only then"):
        table(features=FEATURES)
    with pytest.raises(ValueError, match=r"features must have shape \[3, 2\], got \[2, 2\]"):
        table(sharing="features", features=FEATURES[:2])
    with pytest.raises(ValueError, match="vocab_size must be at least the tree's 3 actions, got 2"):
        table(vocab_size=2)
    with pytest.raises(ValueError, match=r"logits must have shape \[21, 3\], got \[5, 3\]"):
        table(logits=torch.zeros(5, 3))
    task = TreeTask(Tree(2, horizon=1), [0.0, 1.0])
    task.tree = None
    with pytest.raises(ValueError, match="task must have a completion tree for a tabular policy, 'tree' has none"):
        TabularLM.of(task)
