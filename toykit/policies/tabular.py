"""TabularLM: a policy that is a table of logits over a finite completion tree."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toykit._checks import one_of, shape
from toykit.policies.base import FORBIDDEN_LOGIT, Output
from toykit.tasks.base import Prompts, Task
from toykit.tasks.tree import Tree

ENTRY_LIMIT = 100_000_000  # of the automaton that reads prompts and completions, 8 bytes each
SHARING = ("prefix", "position", "bigram", "stationary", "features")


class TabularLM(nn.Module):
    """Logits from a table: the policy of rung 0, in float64.

    The policy is a finite automaton that reads tokens: a trie of the prompts, and behind each prompt a copy of the
    completion tree. A state's logits are `table[row] @ feature`, and `sharing` says which states have a row in common:

        prefix      a row for each prompt and prefix: nothing is shared
        position, bigram, stationary
                    a row for each prompt and number of tokens so far, last token, or for the prompt alone:
                    prefixes share
        features    a row for each prefix, times the prompt's feature vector [n_prompts, d]: prompts share

    `table` is [rows, A] (or [rows, A, d] with features) over the A actions of the tree; tokens that may not
    follow, and tokens of the vocabulary that are no action, have probability exactly 0.
    """

    exact_vocab = True
    table: nn.Parameter
    move: Tensor
    rows: Tensor
    node: Tensor
    whose: Tensor
    forbidden: Tensor | None
    features: Tensor | None

    def __init__(
        self,
        prompts: Prompts,
        tree: Tree,
        vocab_size: int,
        sharing: str = "prefix",
        features: Tensor | None = None,
        logits: Tensor | None = None,
        dtype: torch.dtype = torch.float64,
    ) -> None:
        """`logits` starts the table (broadcast over prompts where it has no axis for them); None means zeros.

        Raises ValueError for an unknown sharing mode, for features missing or given without need, for a vocabulary
        smaller than the tree's actions, for sizes beyond the limits, and for prompts that are not all different or
        begin another.
        """
        super().__init__()
        one_of("sharing", sharing, SHARING)
        if (features is not None) != (sharing == "features"):
            raise ValueError(f"features must be given with sharing='features' and only then, got sharing={sharing!r}")
        if vocab_size < tree.n_actions:
            raise ValueError(f"vocab_size must be at least the tree's {tree.n_actions} actions, got {vocab_size}")
        self.sharing, self.vocab_size, self.context = sharing, vocab_size, None
        n, x = tree.n_nodes, len(prompts)
        tree.check_size()
        if (entries := x * n * vocab_size) > ENTRY_LIMIT:
            raise ValueError(
                f"prompts and tree are too large for a table: {x} prompts with {n} states over {vocab_size} tokens "
                f"make {entries} entries, the limit is {ENTRY_LIMIT}"
            )
        row, n_rows = _rows(tree, sharing)
        move, first = _automaton(prompts, tree, vocab_size)
        rows = torch.full((move.shape[0],), -1)
        node = torch.full((move.shape[0],), -1)
        whose = torch.zeros(move.shape[0], dtype=torch.int64)
        per_prompt = 0 if sharing == "features" else n_rows
        rows[first:] = (row[None] + per_prompt * torch.arange(x)[:, None]).flatten()
        node[first:] = torch.arange(n).repeat(x)
        whose[first:] = torch.arange(x).repeat_interleave(n)
        self.register_buffer("move", move)
        self.register_buffer("rows", rows)
        self.register_buffer("node", node)
        self.register_buffer("whose", whose)
        self.register_buffer("forbidden", None if tree.forbidden is None else tree.forbidden.clone())
        self.register_buffer("features", None if features is None else features.to(dtype))
        size: tuple[int, ...] = (n_rows, tree.n_actions) if per_prompt == 0 else (x * n_rows, tree.n_actions)
        if features is not None:
            shape("features", features, (x, features.shape[-1]))
            size = (*size, features.shape[-1])
        start = torch.zeros(size, dtype=dtype)
        if logits is not None:
            start = torch.as_tensor(logits, dtype=dtype)
            if per_prompt and start.shape == (n_rows, tree.n_actions):
                start = start.repeat(x, 1)
            start = shape("logits", start.reshape(-1, *start.shape[start.dim() - len(size) + 1 :]), size).clone()
        self.table = nn.Parameter(start)

    @staticmethod
    def of(task: Task, sharing: str = "prefix", **options: Tensor | None) -> TabularLM:
        """The policy of a task with a tree, over all its prompts; with sharing="features" the task's own features."""
        if task.tree is None:
            raise ValueError(f"task must have a completion tree for a tabular policy, {task.name!r} has none")
        if sharing == "features" and "features" not in options:
            options["features"] = getattr(task, "features", None)
        return TabularLM(task.prompts(), task.tree, task.vocab.size, sharing, **options)  # type: ignore[arg-type]

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        """`.logits` [N, L, V] after each token of `input_ids` [N, L]; masked tokens leave the state as it is."""
        return Output(self.logits_at(self.states(input_ids, attention_mask)))

    def states(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """int64 [N, L]: the automaton's state after each token."""
        state = torch.ones(input_ids.shape[0], dtype=torch.int64, device=input_ids.device)
        seen = []
        for t in range(input_ids.shape[1]):
            after = self.move[state, input_ids[:, t]]
            state = after if attention_mask is None else torch.where(attention_mask[:, t].bool(), after, state)
            seen.append(state)
        return torch.stack(seen, 1)

    def logits_at(self, states: Tensor) -> Tensor:
        """[..., V]: the logits at states [...]; uniform over actions outside the completion tree."""
        row = self.rows[states]
        logits = self.table[row.clamp(min=0)]
        if self.features is not None:
            logits = (logits * self.features[self.whose[states]][..., None, :]).sum(-1)
        logits = logits.masked_fill(row[..., None] < 0, 0.0)
        if self.forbidden is not None:
            node = self.node[states]
            logits = logits.masked_fill(self.forbidden[node.clamp(min=0)] & (node >= 0)[..., None], FORBIDDEN_LOGIT)
        return F.pad(logits, (0, self.vocab_size - logits.shape[-1]), value=FORBIDDEN_LOGIT)

    def cursor(self, tokens: Tensor, mask: Tensor, room: int) -> TabularCursor:
        return TabularCursor(self, self.states(tokens, mask)[:, -1])


class TabularCursor:
    """Sequences under a TabularLM (or its exported backbone): their automaton states."""

    def __init__(self, policy: Any, state: Tensor) -> None:
        self.policy, self.state = policy, state

    @property
    def logits(self) -> Tensor:
        return self.policy.logits_at(self.state)

    def pick(self, rows: Tensor) -> None:
        self.state = self.state[rows]

    def append(self, tokens: Tensor) -> None:
        self.state = self.policy.move[self.state, tokens]


def _rows(tree: Tree, sharing: str) -> tuple[Tensor, int]:
    """(row of each node int64 [N], number of rows) for one prompt."""
    if sharing in ("prefix", "features"):
        return torch.arange(tree.n_nodes), tree.n_nodes
    if sharing == "stationary":
        return torch.zeros(tree.n_nodes, dtype=torch.int64), 1
    parent, token = (tree.child >= 0).nonzero(as_tuple=True)
    if sharing == "bigram":  # row 0 is the start, 1 + a follows token a
        row = torch.zeros(tree.n_nodes, dtype=torch.int64)
        row[tree.child[parent, token]] = 1 + token
        return row, 1 + tree.n_actions
    depth = torch.zeros(tree.n_nodes, dtype=torch.int64)
    for t, level in enumerate(tree.levels):
        depth[level.nodes] = t
    return depth, tree.horizon


def _automaton(prompts: Prompts, tree: Tree, vocab_size: int) -> tuple[Tensor, int]:
    """(next state int64 [S, vocab], first tree state): state 0 is off the tree, 1 has read nothing."""
    moves: dict[tuple[int, ...], int] = {(): 1}
    steps: list[tuple[int, int, int]] = []
    ends: list[tuple[int, int, int]] = []
    for x, (tokens, mask) in enumerate(zip(prompts.tokens.tolist(), prompts.mask.tolist(), strict=True)):
        words = tuple(t for t, m in zip(tokens, mask, strict=True) if m)
        if max(words) >= vocab_size:
            raise ValueError(f"prompts must hold tokens below vocab_size {vocab_size}, got {max(words)} in prompt {x}")
        for i in range(1, len(words)):
            if words[:i] not in moves:
                moves[words[:i]] = 1 + len(moves)
                steps.append((moves[words[: i - 1]], words[i - 1], moves[words[:i]]))
        ends.append((moves[words[:-1]], words[-1], x))
    first, n = 1 + len(moves), tree.n_nodes
    move = torch.zeros(first + len(prompts) * n, vocab_size, dtype=torch.int64)
    for state, token, onward in steps:
        move[state, token] = onward
    for state, token, x in ends:
        if move[state, token]:
            raise ValueError(f"prompts must differ and none may begin another, got prompt {x} twice or as a beginning")
        move[state, token] = first + x * n
    inside = tree.child >= 0
    roots = first + n * torch.arange(len(prompts))
    after = torch.where(inside[None], tree.child[None] + roots[:, None, None], 0)
    move[first:, : tree.n_actions] = after.reshape(-1, tree.n_actions)
    return move, first
