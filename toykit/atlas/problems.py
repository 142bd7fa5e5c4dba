"""The three problems of the atlas: tables of rewards over small completion trees, each with a reference policy.

A prompt is two tokens of its completions' own vocabulary, so that a table and a network can say exactly the same; the
two differ, because attention cannot count a token that is repeated from the start.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from itertools import permutations

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.exact import leaf_log_probs
from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rewards import demonstrations
from toykit.rollouts import Enumerated, leaf_logps
from toykit.tasks import Prompts, Tree, Vocab, split_of
from toykit.training.offline import OfflineConfig, OfflineTrainer

RUNGS = ("exact", "gpt")
FIT_STEPS, FIT_LR = 400, 5e-3  # of a network to the table's law


@dataclass(frozen=True)
class Small:
    """A table of rewards [n prompts, L] over the completions of a tree, in its order; prompts are lists of tokens."""

    name: str
    tree: Tree
    rewards: Tensor
    asked: tuple[tuple[int, ...], ...]
    features: Tensor | None = None

    @property
    def vocab(self) -> Vocab:
        words = ("a", "b", "c", "d", "e")[: self.tree.n_actions - len(self.tree.stop)] + (".",) * len(self.tree.stop)
        return Vocab(words, stop=self.tree.stop)

    @property
    def horizon(self) -> int:
        return self.tree.horizon

    def prompts(self, split: str = "train") -> Prompts:
        """All prompts, the same for both splits."""
        every = Prompts.from_lists(self.asked)
        return split_of({"train": every, "test": every}, split)

    def score(self, ids: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
        """Rewards float64 [B, G] from the table."""
        leaf = self.tree.index(completions, mask)
        return self.rewards.to(leaf.device)[ids.to(leaf.device).unsqueeze(-1), leaf]


@dataclass(frozen=True)
class Problem:
    """A task, and the logits of its reference policy: a table that shares rows between prompts as `sharing` says."""

    task: Small
    logits: Tensor
    sharing: str
    about: str

    @property
    def name(self) -> str:
        return self.task.name

    @property
    def right(self) -> Tensor:
        """bool [B, L]: the completions with the largest reward there is."""
        return self.task.rewards >= self.task.rewards.max()

    def table(self) -> TabularLM:
        """The reference policy as a table, a new one at each call."""
        return TabularLM.of(self.task, self.sharing, logits=self.logits)

    def law(self, policy: nn.Module) -> Tensor:
        """Log-probabilities float64 [B, L] of all completions under a policy."""
        with torch.no_grad():
            log_p = leaf_logps(policy, self.task.prompts(), self.task.tree).sum(-1).double()
        return log_p.log_softmax(-1)  # float32 sums to 1 only nearly

    def reference(self, rung: str) -> nn.Module:
        """The policy that training starts from: the table itself, or a small GPT that was fitted to its law."""
        if one_of("rung", rung, RUNGS) == "exact":
            return self.table()
        policy = _gpt(self.task)
        policy.load_state_dict(_fitted(self.name))
        return policy


def _gpt(task: Small) -> GPT:
    length = task.horizon + max(map(len, task.asked))
    return GPT(GPTConfig(task.vocab.size, context=length, layers=1, width=32, heads=4, hidden=96))


@cache
def _fitted(name: str) -> dict[str, Tensor]:
    """The weights of a GPT whose law is nearly that of the problem's table: exact maximum likelihood, seed 0."""
    problem = PROBLEMS[name]()
    task, policy = problem.task, _gpt(problem.task)
    every = Enumerated()(problem.table(), task, task.prompts())
    config = OfflineConfig(lr=FIT_LR)
    trainer = OfflineTrainer(policy, task, "sft", demonstrations(every), config)
    for _ in range(FIT_STEPS):
        trainer.step()
    return policy.state_dict()


def _ladder() -> Problem:
    draw = torch.Generator().manual_seed(0)
    tree = Tree(5, horizon=2)
    logits = torch.randn(tree.n_nodes, 5, generator=draw, dtype=torch.float64)
    rewards = _ranked(leaf_log_probs(tree, logits), {2: 1.0, 6: 1.0, 11: 1.0, 16: 1.0})
    about = "one prompt, 25 completions of two tokens; four are right, the 3rd, 7th, 12th and 17th likeliest"
    return Problem(Small("ladder", tree, rewards[None], ((0, 1),)), logits, "prefix", about)


def _lengths() -> Problem:
    draw = torch.Generator().manual_seed(1)
    tree = Tree(4, horizon=3, stop=(3,))
    logits = torch.randn(tree.n_nodes, 4, generator=draw, dtype=torch.float64)
    log_p, length = leaf_log_probs(tree, logits), tree.mask.sum(-1)
    rewards = torch.zeros(tree.n_leaves, dtype=torch.float64)
    for n in (2, 3):
        of_length = log_p.masked_fill(length != n, -torch.inf)
        rewards += _ranked(of_length, {1: 1.0, 2: 0.5, 4: 1.0} if n == 3 else {1: 1.0, 2: 0.5})
    about = (
        "one prompt, 40 completions of one to three tokens; of those of two tokens the 2nd likeliest has reward 1 and "
        "the 3rd 1/2, of those of three the 2nd and 5th 1 and the 3rd 1/2"
    )
    return Problem(Small("lengths", tree, rewards[None], ((0, 1),)), logits, "prefix", about)


def _shared() -> Problem:
    draw = torch.Generator().manual_seed(2)
    tree, n, d = Tree(4, horizon=2), 6, 3
    features = torch.randn(n, d, generator=draw, dtype=torch.float64)
    features[:, 0] += 1.5
    features /= features.norm(dim=1, keepdim=True)
    logits = 1.5 * torch.randn(tree.n_nodes, 4, d, generator=draw, dtype=torch.float64)
    log_p = leaf_log_probs(tree, torch.einsum("nad,bd->bna", logits, features))
    rewards = torch.stack([_ranked(row, {1 + i % 3: 1.0, 7: 1.0}) for i, row in enumerate(log_p)])
    about = (
        "six prompts, 16 completions of two tokens each; two are right, one among the 2nd to 4th likeliest, and the "
        "8th; the table's logits are linear in three features of the prompt, so that prompts share parameters"
    )
    asked = tuple(permutations(range(4), 2))[:n]
    return Problem(Small("shared", tree, rewards, asked, features), logits, "features", about)


def _ranked(log_p: Tensor, rewards: dict[int, float]) -> Tensor:
    """Rewards [L]: of the completion of each rank (0 the likeliest), 0 for all others."""
    order = log_p.argsort(descending=True)
    made = torch.zeros_like(log_p)
    for rank, reward in rewards.items():
        made[order[rank]] = reward
    return made


PROBLEMS: dict[str, Callable[[], Problem]] = {"ladder": _ladder, "lengths": _lengths, "shared": _shared}
