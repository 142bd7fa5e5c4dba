"""The recursions over a tree against plain sums and products along each completion."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from toykit.tasks.levels import as_run, down, up_
from toykit.tasks.tree import FORBIDDEN, LEAF, Tree


@st.composite
def ragged(draw):
    """A tree with stop tokens, restricted to some of its completions."""
    n_actions, horizon = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    stop = tuple(draw(st.sets(st.integers(0, n_actions - 1))))
    every = Tree(n_actions, horizon, stop)
    words = [tuple(row[keep].tolist()) for row, keep in zip(every.tokens, every.mask, strict=True)]
    kept = draw(st.sets(st.sampled_from(words), min_size=1))
    return draw(st.sampled_from([every, Tree(n_actions, horizon, stop, tuple(sorted(kept)))]))


def paths(tree):
    """The nodes and tokens of each completion, found by walking from the root through the children."""
    found = []

    def walk(node, so_far):
        for token, after in enumerate(tree.child[node].tolist()):
            here = [*so_far, (node, token)]
            if after == LEAF:
                found.append(here)
            elif after != FORBIDDEN:
                walk(after, here)

    walk(0, [])
    return found


@settings(deadline=None, max_examples=80)
@given(ragged())
def test_a_tree_lists_the_places_of_its_completions_in_lexicographic_order(tree):
    v, walked = tree.n_actions, paths(tree)
    assert torch.arange(tree.child.numel())[tree.ends].tolist() == [v * p[-1][0] + p[-1][1] for p in walked]
    for path, places, mask in zip(walked, tree.places.tolist(), tree.mask.tolist(), strict=True):
        room = tree.horizon - len(path)
        assert places == [v * node + token for node, token in path] + [0] * room
        assert mask == [True] * len(path) + [False] * room


@settings(deadline=None, max_examples=80)
@given(ragged(), st.integers(0, 1000), st.sampled_from([(), (2,), (2, 0), (2, 3)]))
def test_down_joins_what_lies_on_the_way_to_a_node(tree, seed, lead):
    table = torch.rand(*lead, *tree.child.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    total, product = down(tree.levels, table), down(tree.levels, table, torch.mul)
    assert total.shape == product.shape == table.shape[:-1]
    for path in paths(tree):
        on_the_way = [table[..., node, token] for node, token in path]
        for depth, (node, _) in enumerate(path):
            expected = torch.stack([torch.zeros_like(table[..., 0, 0]), *on_the_way[:depth]])
            torch.testing.assert_close(total[..., node], expected.sum(0))
            torch.testing.assert_close(product[..., node], (expected[1:]).prod(0))


@settings(deadline=None, max_examples=80)
@given(ragged(), st.integers(0, 1000), st.sampled_from([(), (2,), (2, 0), (2, 3)]))
def test_up_sums_the_completions_that_pass_through_each_token(tree, seed, lead):
    walked = paths(tree)
    values = torch.randn(*lead, len(walked), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    table, expected = (torch.zeros(*lead, *tree.child.shape, dtype=torch.float64) for _ in range(2))
    table.flatten(-2)[..., tree.ends] = values
    for i, path in enumerate(walked):
        for node, token in path:
            expected[..., node, token] += values[..., i]
    assert up_(tree.levels, table) is table
    torch.testing.assert_close(table, expected)


def test_levels_of_a_full_tree_are_runs_and_those_of_a_ragged_one_are_not():
    full = Tree(3, 2)
    assert [(level.nodes, level.on) for level in full.levels] == [
        (slice(0, 1), slice(0, 3)),
        (slice(1, 4), slice(0, 0)),
    ]
    assert full.ends == slice(3, 12)
    assert full.forbidden is None
    few = Tree.of([(0, 1), (1,), (2, 0)], n_actions=3)
    assert few.levels[0].on.tolist() == [0, 2]
    assert few.ends.tolist() == [4, 1, 6]  # node 1 is behind token 0, node 2 behind token 2
    assert few.forbidden.tolist() == [[False] * 3, [True, False, True], [False, True, True]]


@pytest.mark.parametrize(
    ("places", "run"), [([], slice(0, 0)), ([4], slice(4, 5)), ([2, 3, 4], slice(2, 5)), ([2, 4], None), ([3, 2], None)]
)
def test_places_that_follow_each_other_are_a_slice(places, run):
    found = as_run(torch.tensor(places, dtype=torch.int64))
    assert found.tolist() == places if run is None else found == run
