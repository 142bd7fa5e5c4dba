"""The hidden-operator task with two operators that are right for each prompt, and a policy's exact law over it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from toykit.exact import leaf_log_probs
from toykit.policies import device_of
from toykit.rollouts import node_logps
from toykit.tasks import Operator, Prompts, Tree, Vocab
from toykit.tasks.operator import PLUS


@dataclass(frozen=True)
class TwoOperators:
    """Prompts, corpus and tree of `Operator`; right are two of + - * with their results, each pair as likely.

    base  gives the prompts; its own hidden operators do not count
    seed  of the pairs
    """

    base: Operator = field(default_factory=Operator)
    seed: int = 0
    name: str = "two_operators"

    horizon: ClassVar[int] = Operator.horizon
    vocab: ClassVar[Vocab] = Operator.vocab
    tree: ClassVar[Tree] = Operator.tree

    def prompts(self, split: str = "train") -> Prompts:
        """The prompts of a split."""
        return self.base.prompts(split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """1 for an accepted operator followed by its result, else 0; float64 [B, G]."""
        right = self.right.to(completions.device)[ids.to(completions.device)]
        same = (completions[..., None, :2] == right[:, None]).all(-1).any(-1)
        return (same & mask[..., :2].all(-1)).double()

    def corpus(self, n: int, generator: torch.Generator) -> tuple[Prompts, Tensor, Tensor]:
        """The examples of `Operator`, whose operators are drawn whatever the prompt accepts."""
        return self.base.corpus(n, generator)

    @cached_property
    def right(self) -> Tensor:
        """int64 [100, 2, 2]: both right completions of each prompt id, in the order + - *."""
        refused = torch.randint(3, (100,), generator=torch.Generator().manual_seed(self.seed))
        accepted = torch.tensor([[1, 2], [0, 2], [0, 1]])[refused]
        tokens = torch.cat([self.prompts(split).tokens for split in ("train", "test")])  # in the order of their ids
        a, b = tokens[:, 0], tokens[:, 2]
        results = torch.stack([a + b, a - b, a * b], 1) % 10
        return torch.stack([PLUS + accepted, results.gather(1, accepted)], -1)

    def log_laws(self, policy: nn.Module, split: str) -> Tensor:
        """A policy's exact log-probabilities [B, 196] of all completions of a split's prompts, float64."""
        prompts = self.prompts(split).to(device_of(policy))
        return leaf_log_probs(self.tree, node_logps(policy, prompts, self.tree).double().cpu())

    def of_right(self, log_laws: Tensor, split: str) -> Tensor:
        """Log-probabilities [B, 2] of both right completions under `log_laws` [B, 196]."""
        answers = self.right[self.prompts(split).ids]
        return log_laws.gather(1, self.tree.index(answers, torch.ones_like(answers, dtype=torch.bool)))
