"""The completion tree: the finite set of completions that a policy can make, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from toykit._checks import at_least
from toykit.tasks.levels import Level, as_run, down, up_

LEAF = -1  # `child` entry: the completion ends with this token
FORBIDDEN = -2  # `child` entry: this token may not follow

LEAF_LIMIT = 20_000_000  # completions
PLACE_LIMIT = 25_000_000  # completions times their tokens; so many take about 1 GB once their tables are made


@dataclass(frozen=True)
class Tree:
    """Completions over tokens 0..n_actions-1 that end at a token of `stop` or after `horizon` tokens.

    `only` restricts the tree to some of these completions (in lexicographic order); None means all of them.
    Nodes are the proper prefixes, numbered breadth first from the empty prefix 0, so that in a full tree with
    V tokens and no stop token the nodes of depth 0, 1, 2 are 0, 1 + a, 1 + V + V a + b.
    """

    n_actions: int
    horizon: int
    stop: tuple[int, ...] = ()
    only: tuple[tuple[int, ...], ...] | None = None

    def __post_init__(self) -> None:
        at_least("n_actions", self.n_actions, 1)
        at_least("horizon", self.horizon, 1)
        for token in self.stop:
            if not 0 <= token < self.n_actions:
                raise ValueError(f"stop must hold tokens from 0 to {self.n_actions - 1}, got {token}")

    @staticmethod
    def of(completions: Sequence[Sequence[int]], n_actions: int | None = None) -> Tree:
        """The tree of a prefix-free list of completions.

        Tokens that end a completion shorter than the longest become the stop tokens; raises ValueError where
        such a token also stands inside a completion, where a completion is repeated or empty, and for tokens that are
        not from 0 to n_actions - 1 (None takes as many actions as there are tokens).
        """
        found = sorted({tuple(c) for c in completions})
        if not found or len(found) != len(completions) or not found[0]:
            raise ValueError(f"completions must be distinct and not empty, got {list(completions)}")
        horizon = max(map(len, found))
        stop = tuple(sorted({c[-1] for c in found if len(c) < horizon}))
        for c in found:
            if set(c[:-1]) & set(stop):
                raise ValueError(
                    f"completions must be prefix-free, a stop token only at the end, got {c} with stop {stop}"
                )
        n_actions = n_actions or 1 + max(map(max, found))
        for c in found:
            if min(c) < 0 or max(c) >= n_actions:
                raise ValueError(f"completions must hold tokens from 0 to {n_actions - 1}, got {c}")
        return Tree(n_actions, horizon, stop, tuple(found))

    @property
    def n_leaves(self) -> int:
        """Number of completions, without building them."""
        if self.only is not None:
            return len(self.only)
        ends, goes = len(set(self.stop)), self.n_actions - len(set(self.stop))
        return ends * sum(goes**t for t in range(self.horizon)) + goes**self.horizon

    @property
    def n_nodes(self) -> int:
        """Number of proper prefixes; not built for a tree of all completions."""
        if self.only is not None:
            return self.child.shape[0]
        goes = self.n_actions - len(set(self.stop))
        return sum(goes**t for t in range(self.horizon))

    def check_size(self, copies: int = 1) -> None:
        """Raises ValueError where all completions, `copies` times (once a prompt), are too many to write out."""
        n, t = self.n_leaves, self.horizon
        if n > LEAF_LIMIT:
            count = n if n < 10**30 else f"about 10^{math.log10(n):.0f}"
            raise ValueError(
                f"tree is too large to enumerate: n_actions {self.n_actions} and horizon {t} give "
                f"{count} completions, the limit is {LEAF_LIMIT}; use sampling"
            )
        if copies * n * t > PLACE_LIMIT:
            whose = "" if copies == 1 else f"{copies} prompts with "
            raise ValueError(
                f"tree is too large to enumerate: {whose}{n} completions of {t} tokens make {copies * n * t} places, "
                f"the limit is {PLACE_LIMIT}; use {'' if copies == 1 else 'fewer prompts or '}sampling"
            )

    @cached_property
    def _walk(self) -> tuple[Tensor, tuple[Level, ...]]:
        """(child [N, V], levels), depth by depth."""
        self.check_size()
        stops = torch.zeros(self.n_actions, dtype=torch.bool)
        stops[list(self.stop)] = True
        first, n, children, levels = 0, 1, [], []
        for t in range(self.horizon):
            allowed = self._allowed(t, n)
            ends = allowed & (stops | (t + 1 == self.horizon))
            child = torch.full((n, self.n_actions), FORBIDDEN)
            child[ends] = LEAF
            on = (allowed & ~ends).flatten().nonzero()[:, 0]
            child.view(-1)[on] = torch.arange(first + n, first + n + len(on))
            children.append(child)
            levels.append(Level(slice(first, first + n), as_run(on)))
            first, n = first + n, len(on)
            if n == 0:
                break
        return torch.cat(children), tuple(levels)

    def _allowed(self, t: int, n: int) -> Tensor:
        """bool [n, V]: the tokens that may follow at the n nodes of depth t."""
        if self.only is None:
            return torch.ones(n, self.n_actions, dtype=torch.bool)
        longer = [c for c in self.only if len(c) > t]
        node = {prefix: i for i, prefix in enumerate(sorted({c[:t] for c in longer}))}
        allowed = torch.zeros(n, self.n_actions, dtype=torch.bool)
        allowed[[node[c[:t]] for c in longer], [c[t] for c in longer]] = True
        return allowed

    @property
    def child(self) -> Tensor:
        """int64 [N, V]: the node after a token, or LEAF, or FORBIDDEN."""
        return self._walk[0]

    @property
    def levels(self) -> tuple[Level, ...]:
        """The nodes of each depth that has any, from the root down."""
        return self._walk[1]

    @cached_property
    def forbidden(self) -> Tensor | None:
        """bool [N, V]: True where a token may not follow; None where every token may at every node."""
        forbidden = self.child == FORBIDDEN
        return forbidden if bool(forbidden.any()) else None

    @cached_property
    def ends(self) -> slice | Tensor:
        """int64 [L]: where in a table [N, V], flattened, each completion ends; a slice in a full tree."""
        leaf, below = self.child == LEAF, self._below()
        before = below.cumsum(1) - below  # completions of the same node that come earlier in lexicographic order
        rank = before + down(self.levels, before)[:, None]
        ends = torch.empty(int(leaf.sum()), dtype=torch.int64)
        ends[rank[leaf]] = leaf.flatten().nonzero()[:, 0]
        return as_run(ends)

    @cached_property
    def places(self) -> Tensor:
        """int64 [L, T]: where in a table [N, V], flattened, each completion's tokens stand (0 where masked)."""
        at, below = torch.arange(self.child.numel()).view_as(self.child), self._below()
        last = at.flatten()[self.ends]
        places = torch.zeros(len(last), self.horizon, dtype=torch.int64)
        for t, level in enumerate(self.levels):  # the completions of a place follow each other
            here = last >= at[level.nodes.start, 0]
            places[here, t] = at[level.nodes].flatten().repeat_interleave(below[level.nodes].flatten())
        return places

    def _below(self) -> Tensor:
        """int64 [N, V]: how many completions pass through each node and token."""
        return up_(self.levels, (self.child == LEAF).long())

    @cached_property
    def tokens(self) -> Tensor:
        """int64 [L, T]: every completion, in lexicographic order, padded with 0."""
        return self.places % self.n_actions

    @cached_property
    def mask(self) -> Tensor:
        """bool [L, T]: True on the tokens of each completion."""
        mask = self.places > 0
        mask[:, 0] = True  # only a first token may stand in place 0
        return mask

    @cached_property
    def nodes(self) -> Tensor:
        """int64 [L, T]: the node at which each token is chosen (0 where masked)."""
        return self.places // self.n_actions

    def index(self, completions: Tensor, mask: Tensor) -> Tensor:
        """Which leaf [...] each completion [..., T] is; raises ValueError for one that is not in the tree.

        Works for completions padded beyond the horizon or cut before it.
        """
        shape, t = completions.shape[:-1], completions.shape[-1]
        flat, keep = completions.reshape(-1, t), mask.reshape(-1, t)
        if self.only is None and not self.stop:  # mixed radix
            radix = self.n_actions ** torch.arange(self.horizon - 1, -1, -1, device=flat.device)
            whole = keep[:, : self.horizon].all(1) & (keep.sum(1) == self.horizon)
            if t < self.horizon or not bool(whole.all()):
                raise ValueError(f"completions must have {self.horizon} tokens, got lengths {keep.sum(1).tolist()[:8]}")
            tokens = flat[:, : self.horizon]
            outside = ((tokens < 0) | (tokens >= self.n_actions)).any(1)
            if bool(outside.any()):
                given = tokens[outside][0].tolist()
                raise ValueError(f"completions must hold tokens from 0 to {self.n_actions - 1}, got {given}")
            return (tokens * radix).sum(1).view(shape)
        leaf = self._slot.to(flat.device)
        child = self.child.to(flat.device)
        node = torch.zeros(flat.shape[0], dtype=torch.int64, device=flat.device)
        found = torch.full_like(node, -1)
        for i in range(min(t, self.horizon)):
            live = keep[:, i] & (node >= 0)
            token = flat[:, i].clamp(0, self.n_actions - 1)
            known = live & (flat[:, i] == token)
            step = torch.where(known, child[node.clamp(min=0), token], FORBIDDEN)
            found = torch.where(step == LEAF, leaf[node.clamp(min=0), token], found)
            node = torch.where(live, step, node)
        if bool((found < 0).any()):
            bad = flat[(found < 0).nonzero()[0, 0]].tolist()
            raise ValueError(f"completions must be leaves of the tree, got {bad}")
        return found.view(shape)

    @cached_property
    def _slot(self) -> Tensor:
        """int64 [N, V]: the leaf that ends here, -1 elsewhere."""
        slot = torch.full_like(self.child, -1)
        slot.view(-1)[self.ends] = torch.arange(self.n_leaves)
        return slot
