from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.tasks.tree import FORBIDDEN, LEAF, LEAF_LIMIT, PLACE_LIMIT, Tree


def by_hand(n_actions: int, horizon: int, stop: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Every completion, by brute force over all token strings."""
    found = set()
    for word in itertools.product(range(n_actions), repeat=horizon):
        ends = [t + 1 for t, token in enumerate(word) if token in stop]
        found.add(word[: ends[0]] if ends else word)
    return sorted(found)


def leaves(tree: Tree) -> list[tuple[int, ...]]:
    return [
        tuple(t for t, keep in zip(row, kept, strict=True) if keep)
        for row, kept in zip(tree.tokens.tolist(), tree.mask.tolist(), strict=True)
    ]


trees = st.tuples(st.integers(1, 4), st.integers(1, 4)).flatmap(
    lambda size: st.tuples(st.just(size[0]), st.just(size[1]), st.sets(st.integers(0, size[0] - 1)).map(tuple))
)


@settings(deadline=None, max_examples=60)
@given(trees)
def test_leaves_are_all_completions_in_lexicographic_order_and_n_leaves_counts_them(
    sizes: tuple[int, int, tuple[int, ...]],
) -> None:
    tree = Tree(*sizes)
    assert leaves(tree) == by_hand(*sizes)
    assert tree.n_leaves == len(by_hand(*sizes))


@settings(deadline=None, max_examples=60)
@given(trees, st.randoms(use_true_random=False))
def test_index_inverts_tokens_for_full_stop_and_only_trees(sizes, rng) -> None:
    chosen = rng.sample(every := by_hand(*sizes), rng.randint(1, len(every)))
    for tree in (Tree(*sizes), Tree(*sizes, only=tuple(sorted(chosen)))):
        assert tree.index(tree.tokens, tree.mask).tolist() == list(range(tree.n_leaves))


@settings(deadline=None, max_examples=60)
@given(trees)
def test_a_leaf_walks_from_the_root_through_its_nodes_to_the_leaf_mark(sizes) -> None:
    tree = Tree(*sizes)
    for row, nodes in zip(leaves(tree), tree.nodes.tolist(), strict=True):
        at = 0
        for token, node in zip(row, nodes, strict=False):
            assert at == node
            at = int(tree.child[node, token])
        assert at == LEAF


def test_nodes_of_a_full_tree_are_numbered_breadth_first() -> None:
    tree = Tree(4, 3)
    assert (tree.n_nodes, tree.n_leaves) == (21, 64)
    for a, b, c in itertools.product(range(4), repeat=3):
        leaf = 16 * a + 4 * b + c
        assert tree.tokens[leaf].tolist() == [a, b, c]
        assert tree.nodes[leaf].tolist() == [0, 1 + a, 5 + 4 * a + b]


def test_a_tree_of_written_out_completions_forbids_everything_else() -> None:
    tree = Tree.of([(0,), (1, 0), (1, 1, 0), (1, 1, 1), (2,)])
    assert (tree.n_actions, tree.horizon, tree.stop, tree.n_nodes) == (3, 3, (0, 2), 3)
    assert tree.child.tolist() == [[LEAF, 1, LEAF], [LEAF, 2, FORBIDDEN], [LEAF, LEAF, FORBIDDEN]]
    assert leaves(tree) == [(0,), (1, 0), (1, 1, 0), (1, 1, 1), (2,)]


def test_index_reads_completions_with_leading_axes_and_padding_beyond_the_horizon() -> None:
    for tree in (Tree(3, 2), Tree(3, 2, stop=(0,))):
        tokens = torch.nn.functional.pad(tree.tokens, (0, 2)).expand(5, 2, -1, -1)
        mask = torch.nn.functional.pad(tree.mask, (0, 2)).expand(5, 2, -1, -1)
        assert torch.equal(tree.index(tokens, mask), torch.arange(tree.n_leaves).expand(5, 2, -1))


@pytest.mark.parametrize("tree", [Tree(3, 2), Tree(3, 2, stop=(2,)), Tree.of([(0, 1), (1, 0)], n_actions=3)])
@pytest.mark.parametrize("completion", [[0, 3], [4, 0], [0, -1]])
def test_index_refuses_tokens_outside_the_tree(tree: Tree, completion: list[int]) -> None:
    with pytest.raises(ValueError, match="completions must"):
        tree.index(torch.tensor([completion]), torch.ones(1, 2, dtype=torch.bool))


def test_index_refuses_an_unfinished_completion() -> None:
    for tree in (Tree(3, 2), Tree(3, 2, stop=(2,))):
        with pytest.raises(ValueError, match="completions must"):
            tree.index(torch.tensor([[0, 0]]), torch.tensor([[True, False]]))
        with pytest.raises(ValueError, match="completions must"):
            tree.index(torch.tensor([[0, 0, 0]]), torch.tensor([[True, False, True]]))


def test_index_refuses_a_token_that_the_tree_forbids() -> None:
    tree = Tree.of([(0,), (1, 0), (1, 1)])
    with pytest.raises(ValueError, match=r"leaves of the tree, got \[2, 0\]"):
        Tree.of([(0,), (1, 0), (1, 1)], n_actions=3).index(torch.tensor([[2, 0]]), torch.tensor([[True, True]]))
    assert tree.index(torch.tensor([[1, 0]]), torch.tensor([[True, True]])).tolist() == [1]


def test_a_tree_too_large_to_enumerate_raises_with_its_size_and_the_limit() -> None:
    tree = Tree(16, 20, stop=(11,))
    size = sum(15**t for t in range(20)) + 15**20
    assert tree.n_leaves == size
    with pytest.raises(ValueError, match=f"{size} completions, the limit is {LEAF_LIMIT}"):
        _ = tree.child


def test_a_number_of_completions_beyond_all_reading_is_rounded() -> None:
    with pytest.raises(ValueError, match=r"horizon 2000 give about 10\^9398 completions, the limit is 20000000"):
        Tree(50_000, 2000, stop=(0,)).check_size()


@pytest.mark.parametrize(("tree", "leaves"), [(Tree(2, 24), 2**24), (Tree(2, 10_000, stop=(0,)), 10_001)])
def test_a_tree_whose_completions_are_too_long_raises_before_it_is_built(tree: Tree, leaves: int) -> None:
    places = leaves * tree.horizon
    with pytest.raises(ValueError, match=f"{leaves} completions of {tree.horizon} tokens make {places} places, the"):
        tree.check_size()
    with pytest.raises(ValueError, match=f"the limit is {PLACE_LIMIT}; use sampling"):
        _ = tree.tokens
    assert tree.n_nodes == sum((2 if tree.horizon == 24 else 1) ** t for t in range(tree.horizon))  # without building


def test_so_many_prompts_of_a_tree_are_too_many() -> None:
    tree = Tree(2, 10)
    tree.check_size(copies=2000)
    with pytest.raises(ValueError, match="5000 prompts with 1024 completions of 10 tokens make 51200000 places"):
        tree.check_size(copies=5000)


def test_the_number_of_nodes_is_that_of_the_built_tree() -> None:
    for tree in (Tree(4, 3), Tree(3, 4, stop=(2,)), Tree(1, 2, stop=(0,)), Tree.of([(0,), (1, 0), (1, 1)])):
        assert tree.n_nodes == len(tree.child)


@pytest.mark.parametrize(
    ("completions", "message"),
    [
        ([], "not empty"),
        ([()], "not empty"),
        ([(0, 1), (0, 1)], "distinct"),
        ([(1,), (1, 0)], "prefix-free"),
        ([(0,), (1, 0, 1)], "prefix-free"),
    ],
)
def test_completions_that_are_no_prefix_free_list_are_refused(completions, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tree.of(completions)


@pytest.mark.parametrize("completions", [[(0, 3), (1, 1)], [(0, -1), (1, 1)]])
def test_completions_with_tokens_that_are_no_action_are_refused(completions) -> None:
    with pytest.raises(ValueError, match="completions must hold tokens from 0 to 2, got"):
        Tree.of(completions, n_actions=3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0, 1), "n_actions must be >= 1"), ((2, 0), "horizon must be >= 1"), ((2, 1, (2,)), "stop must hold tokens")],
)
def test_sizes_out_of_range_are_refused(arguments, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Tree(*arguments)
