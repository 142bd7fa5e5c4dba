from __future__ import annotations

import torch

from toykit.control.kernels import columns_first, expect, push, to_dense, to_sparse

P = torch.tensor([[[0.5, 0.0, 0.5]], [[0.0, 1.0, 0.0]], [[0.25, 0.25, 0.5]]], dtype=torch.float64)
V = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)


def test_by_hand_in_both_layouts():
    mass = torch.tensor([[1.0], [2.0], [4.0]], dtype=torch.float64)
    for table, successors in ((P, None), to_sparse(P)):
        assert expect(table, successors, V)[:, 0].tolist() == [2.5, 2.0, 2.75]
        assert expect(table, successors, torch.stack([V, 2 * V]))[1, :, 0].tolist() == [5.0, 4.0, 5.5]
        assert push(table, successors, mass, 3).tolist() == [1.5, 3.0, 2.5]


def test_a_sparse_table_is_as_wide_as_its_longest_list():
    table, successors = to_sparse(P)
    assert table.shape == successors.shape == (3, 1, 3)
    assert torch.equal(to_dense(table, successors, 3), P)
    assert to_sparse(P[:2])[0].shape == (2, 1, 2)


def test_the_layout_in_memory_changes_no_value():
    table = torch.arange(24.0).view(2, 3, 4)
    assert torch.equal(columns_first(table), table)
    assert columns_first(table)[..., 2].is_contiguous()
