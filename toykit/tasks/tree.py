"""The completion tree: the finite set of completions that a policy can make, as arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from toykit._checks import at_least

LEAF = -1  # `child` entry: the completion ends with this token
FORBIDDEN = -2  # `child` entry: this token may not follow

LEAF_LIMIT = 20_000_000  # completions
PLACE_LIMIT = 25_000_000  # completions times their tokens; so many take about 2 GB while the tree is built


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
    def _walk(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(child [N, V], leaf tokens [L, T], leaf mask [L, T], leaf nodes [L, T]), level by level."""
        self.check_size()
        keep = None if self.only is None else {c[: t + 1] for c in self.only for t in range(len(c))}
        v, ends = self.n_actions, torch.zeros(self.n_actions, dtype=torch.bool)
        ends[list(self.stop)] = True
        nodes = torch.zeros(1, 0, dtype=torch.int64)  # tokens of this level's nodes
        paths = torch.zeros(1, 0, dtype=torch.int64)  # node before each of these tokens
        first, children, leaves = 0, [], []
        for t in range(self.horizon):
            n = nodes.shape[0]
            at = torch.arange(n).repeat_interleave(v)
            token = torch.arange(v).repeat(n)
            grown = torch.cat([nodes[at], token[:, None]], 1)
            path = torch.cat([paths[at], first + at[:, None]], 1)
            allowed = torch.ones(n * v, dtype=torch.bool)
            if keep is not None:
                allowed = torch.tensor([tuple(row) in keep for row in grown.tolist()], dtype=torch.bool)
            leaf = ends[token] | (t + 1 == self.horizon)
            goes = allowed & ~leaf
            child = torch.full((n * v,), FORBIDDEN)
            child[allowed & leaf] = LEAF
            child[goes] = first + n + torch.arange(int(goes.sum()))
            children.append(child.view(n, v))
            leaves.append((grown[allowed & leaf], path[allowed & leaf]))
            nodes, paths, first = grown[goes], path[goes], first + n
        tokens, mask, before = (
            torch.cat([torch.nn.functional.pad(x, (0, self.horizon - x.shape[1]), value=fill) for x in parts])
            for parts, fill in (
                ([a for a, _ in leaves], 0),
                ([torch.ones_like(a) for a, _ in leaves], 0),
                ([b for _, b in leaves], 0),
            )
        )
        order = torch.arange(tokens.shape[0])
        for t in reversed(range(self.horizon)):  # stable sorts from the last token make the order lexicographic
            order = order[torch.sort(tokens[order, t], stable=True).indices]
        return torch.cat(children), tokens[order], mask[order].bool(), before[order]

    @property
    def child(self) -> Tensor:
        """int64 [N, V]: the node after a token, or LEAF, or FORBIDDEN."""
        return self._walk[0]

    @property
    def tokens(self) -> Tensor:
        """int64 [L, T]: every completion, in lexicographic order, padded with 0."""
        return self._walk[1]

    @property
    def mask(self) -> Tensor:
        """bool [L, T]: True on the tokens of each completion."""
        return self._walk[2]

    @property
    def nodes(self) -> Tensor:
        """int64 [L, T]: the node at which each token is chosen (0 where masked)."""
        return self._walk[3]

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
        last = self.mask.sum(1, keepdim=True) - 1
        slot[self.nodes.gather(1, last)[:, 0], self.tokens.gather(1, last)[:, 0]] = torch.arange(self.tokens.shape[0])
        return slot
