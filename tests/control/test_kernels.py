from __future__ import annotations

import copy
import pickle

import pytest
import torch

from toykit.control import garnet, kernels
from toykit.control.kernels import expect, push, rows_of, to_dense, to_sparse

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


def test_rows_give_the_same_expectation_and_are_left_where_a_gradient_or_a_batch_is_wanted():
    table, successors = to_sparse(P)
    rows = rows_of(successors)
    if rows is None:
        pytest.skip("torch has no sparse product here")
    assert expect(table, successors, V, rows)[:, 0].tolist() == [2.5, 2.0, 2.75]
    wrong = rows_of(torch.zeros_like(successors))
    assert expect(table, successors, V, wrong)[:, 0].tolist() == [1.0, 1.0, 1.0]
    assert expect(table, successors, V.clone().requires_grad_(), wrong)[:, 0].tolist() == [2.5, 2.0, 2.75]
    assert expect(table, successors, V[None], wrong)[0, :, 0].tolist() == [2.5, 2.0, 2.75]


def test_more_entries_than_int32_counts_and_a_torch_without_the_product_have_no_rows(monkeypatch):
    _, successors = to_sparse(P)
    monkeypatch.setattr(kernels, "_multiplies", lambda: False)
    assert rows_of(successors) is None
    monkeypatch.undo()
    monkeypatch.setattr(kernels, "MOST_ENTRIES", successors.numel() - 1)
    assert rows_of(successors) is None


def test_an_mdp_with_rows_can_be_copied():
    mdp = garnet(6, 2, 3)
    value = mdp.expect(torch.arange(6.0, dtype=torch.float64))
    again = pickle.loads(pickle.dumps(copy.deepcopy(mdp)))
    assert torch.equal(again.expect(torch.arange(6.0, dtype=torch.float64)), value)
