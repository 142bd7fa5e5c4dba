"""Expectations and flows through transition probabilities, dense [..., S] or as successor lists [..., K]."""

from __future__ import annotations

from torch import Tensor


def columns_first(table: Tensor) -> Tensor:
    """The same [..., K] values, laid out in memory so that each [..., k] is contiguous: sums over k run fastest."""
    return table.movedim(-1, 0).contiguous().movedim(0, -1)


def expect(P: Tensor, successors: Tensor | None, v: Tensor) -> Tensor:
    """E[v(s')] [*batch, ...] of values `v` [*batch, S]; `P` is [..., S], or [..., K] over the `successors` [..., K]."""
    lead = P.shape[:-1]
    if successors is None:
        rows = P.flatten(0, -2)
        flat = rows @ v if v.dim() == 1 else v @ rows.mT
        return flat.unflatten(-1, lead)
    total = v.new_zeros(*v.shape[:-1], *lead)
    for k in range(P.shape[-1]):
        total.addcmul_(P[..., k], v.index_select(-1, successors[..., k].flatten()).unflatten(-1, lead))
    return total


def push(P: Tensor, successors: Tensor | None, mass: Tensor, n_states: int) -> Tensor:
    """Where `mass` [...] goes in one transition, [S]: the transpose of `expect`."""
    if successors is None:
        return mass.flatten() @ P.flatten(0, -2)
    arrived = mass.new_zeros(n_states)
    for k in range(P.shape[-1]):
        arrived.index_add_(0, successors[..., k].flatten(), (P[..., k] * mass).flatten())
    return arrived


def to_dense(P: Tensor, successors: Tensor, n_states: int) -> Tensor:
    """Probabilities [..., S] of successor lists [..., K]; a state that is listed twice gets the sum."""
    return P.new_zeros(*P.shape[:-1], n_states).scatter_add_(-1, successors, P)


def to_sparse(P: Tensor) -> tuple[Tensor, Tensor]:
    """Probabilities and successors [..., K] of dense rows [..., S]; K is the largest number of successors."""
    width = max(int((P > 0).sum(-1).max()), 1)
    found = P.topk(width, dim=-1)
    return columns_first(found.values), columns_first(found.indices)
