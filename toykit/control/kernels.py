"""Expectations and flows through transition probabilities, dense [..., S] or as successor lists [..., K]."""

from __future__ import annotations

import warnings
from functools import cache

import torch
from torch import Tensor

MOST_ENTRIES = 2**31 - 1  # that int32 can count


def expect(P: Tensor, successors: Tensor | None, v: Tensor, rows: Rows | None = None) -> Tensor:
    """E[v(s')] [*batch, ...] of values `v` [*batch, S]; `P` is [..., S], or [..., K] over the `successors` [..., K].

    rows  what `rows_of` makes of them, which is taken where neither a batch nor a gradient is asked for
    """
    lead = P.shape[:-1]
    if successors is None:
        table = P.flatten(0, -2)
        flat = table @ v if v.dim() == 1 else v @ table.mT
        return flat.unflatten(-1, lead)
    if rows is not None and v.dim() == 1 and not (torch.is_grad_enabled() and (v.requires_grad or P.requires_grad)):
        size = len(rows[0]) - 1, len(v)
        matrix = torch.sparse_csr_tensor(*rows, P.detach().flatten(), size, check_invariants=False)
        return (matrix @ v).unflatten(0, lead)
    reached = v.index_select(-1, successors.flatten()).unflatten(-1, successors.shape)
    return (reached * P).sum(-1)


def push(P: Tensor, successors: Tensor | None, mass: Tensor, n_states: int) -> Tensor:
    """Where `mass` [...] goes in one transition, [S]: the transpose of `expect`."""
    if successors is None:
        return mass.flatten() @ P.flatten(0, -2)
    return mass.new_zeros(n_states).index_add_(0, successors.flatten(), (P * mass[..., None]).flatten())


Rows = tuple[Tensor, Tensor]
"""int32: where the list of each row ends [N + 1], and all lists [N K]."""


def rows_of(successors: Tensor) -> Rows | None:
    """What makes of successor lists [..., K] a sparse matrix, whose product with values is three times as fast.

    None where torch has no such product (it comes with MKL), and for more entries than int32 can count.
    """
    if successors.numel() > MOST_ENTRIES or not _multiplies():
        return None
    ends = torch.arange(0, successors.numel() + 1, successors.shape[-1], dtype=torch.int32)
    return ends, successors.flatten().int()


@cache
def _multiplies() -> bool:
    """Whether torch multiplies sparse rows here; what it says of their being new is heard once, and kept silent."""
    one = torch.ones(1, dtype=torch.int32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            row = torch.sparse_csr_tensor(torch.tensor([0, 1], dtype=torch.int32), one - 1, one.double(), (1, 1))
            return (row @ one.double()).item() == 1.0
        except RuntimeError:
            return False


def to_dense(P: Tensor, successors: Tensor, n_states: int) -> Tensor:
    """Probabilities [..., S] of successor lists [..., K]; a state that is listed twice gets the sum."""
    return P.new_zeros(*P.shape[:-1], n_states).scatter_add_(-1, successors, P)


def to_sparse(P: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and successors [..., K] of dense rows [..., S]; K is the largest number of successors."""
    width = max(int((P > 0).sum(-1).max()), 1)
    found = P.topk(width, dim=-1)
    return found.values, found.indices
