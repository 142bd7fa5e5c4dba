"""Small worlds that several tests look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from toykit.objectives import PolicyGradient, Prepared
from toykit.policies import TabularLM
from toykit.rollouts import Rollouts, chosen, vocab_logps
from toykit.rollouts.chunks import mean_of_allowed
from toykit.tasks.bandit import TreeTask, tricks_tree


@dataclass(frozen=True)
class Tricks:
    """Two prompts over the five completions 0, 10, 110, 111, 2; one prompt has the rewards of card 03.

    Tables are [B, L, ...] over prompts and leaves; `index` [..., B, G] below says which leaves a group holds.
    """

    task: TreeTask
    logits: Tensor  # [B, nodes, A] of the policy that is trained

    def policy(self, shift: float = 0.0, seed: int = 0) -> TabularLM:
        """The policy, or one beside it."""
        noise = torch.randn(self.logits.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        return TabularLM.of(self.task, logits=self.logits + shift * noise)

    def vocab_logp(self, policy: TabularLM) -> Tensor:
        """[B, L, T, V], with its gradient."""
        prompts, tree = self.task.prompts(), self.task.tree
        tokens, mask = (x.expand(len(prompts), *x.shape) for x in (tree.tokens, tree.mask))
        return vocab_logps(policy, prompts.tokens, prompts.mask, tokens, mask)

    def logp(self, policy: TabularLM) -> Tensor:
        """[B, L, T], with its gradient."""
        tree = self.task.tree
        return chosen(self.vocab_logp(policy), tree.tokens.expand(2, -1, -1), tree.mask)

    def rollouts(self, index: Tensor, policy: TabularLM, behaviour: TabularLM, reference: TabularLM) -> Rollouts:
        """Sampled groups `index` [..., B, G] of the behaviour policy, with everything that any objective asks for."""

        def at(table: Tensor) -> Tensor:
            return table[torch.arange(index.shape[-2])[:, None], index].detach()

        prompts, tree = self.task.prompts(), self.task.tree
        shape = index.shape[:-1]
        vocab = at(self.vocab_logp(policy))
        tokens, mask = tree.tokens[index], tree.mask[index]
        return Rollouts(
            prompts=prompts.tokens[: shape[-1]].expand(*shape, 1),
            prompt_mask=prompts.mask[: shape[-1]].expand(*shape, 1),
            prompt_ids=prompts.ids[: shape[-1]].expand(shape),
            completions=tokens,
            mask=mask,
            old_logp=at(self.logp(behaviour)),
            rewards=at(self.task.rewards),
            weights=torch.full(index.shape, 1 / index.shape[-1], dtype=torch.float64),
            ref_logp=at(self.logp(reference)),
            horizon=self.task.horizon,
            extras={
                "policy_logp": chosen(vocab, tokens, mask),
                "vocab_logp": vocab,
                "ref_vocab_logp": at(self.vocab_logp(reference)),
                "values": at(VALUES[:, tree.nodes]) * mask,
                "greedy_rewards": GREEDY[: shape[-1], None].expand(index.shape),
                "external": (index == FROM_ELSEWHERE)[..., None] & mask,
                "old_mean_logp": mean_of_allowed(at(self.vocab_logp(behaviour))),
                "expert_logp": at(self.logp(behaviour)[:, EXPERT, None].expand(-1, tree.n_leaves, -1) + OFF),
                "expert_mask": tree.mask[EXPERT].expand_as(mask),
            },
        ).check()

    def everything(self, policy: TabularLM, behaviour: TabularLM, reference: TabularLM) -> Rollouts:
        """The behaviour policy's enumeration, with everything that any objective asks for."""
        index = torch.arange(self.task.tree.n_leaves).expand(len(self.logits), -1)
        weights = self.logp(behaviour).sum(-1).exp().detach()
        return self.rollouts(index, policy, behaviour, reference).with_(weights=weights, enumerated=True)

    def groups(self, size: int, prompts: int = 2) -> Tensor:
        """Every batch of groups of `size`: int64 [M, prompts, size]."""
        leaves = torch.arange(self.task.tree.n_leaves)
        return torch.cartesian_prod(*[leaves] * (prompts * size)).view(-1, prompts, size)

    def probability(self, index: Tensor, behaviour: TabularLM) -> Tensor:
        """[M]: how likely the behaviour policy draws each batch of groups `index` [M, B, G]."""
        p = self.logp(behaviour).sum(-1).exp().detach()
        return p[torch.arange(index.shape[-2])[:, None], index].prod(-1).prod(-1)

    def gradient(
        self, objective: PolicyGradient, index: Tensor, policies: tuple[TabularLM, ...]
    ) -> tuple[Tensor, Tensor]:
        """(loss [...], its gradient with respect to the table [..., D]) of each batch of groups `index` [..., B, G].

        `policies` are the policy, the behaviour policy and the reference.
        """
        table = self.vocab_logp(policies[0])
        unit = torch.eye(table.numel(), dtype=table.dtype)
        scores = torch.autograd.grad(table.flatten(), policies[0].table, unit, is_grads_batched=True)[0].flatten(1)
        leaves = table.detach().expand(*index.shape[:-2], *table.shape).clone().requires_grad_()
        rollouts = self.rollouts(index, *policies)
        vocab = leaves.gather(-3, index[..., None, None].expand(*index.shape, *table.shape[2:]))
        loss = self.loss(objective, vocab, objective.prepare(rollouts))
        return loss.detach(), torch.autograd.grad(loss.sum(), leaves)[0].flatten(-4) @ scores

    def loss(self, objective: PolicyGradient, vocab: Tensor, prepared: Prepared) -> Tensor:
        """The loss [...] of the policy's vocab_logp [..., B, G, T, V], with a critic that has moved by 0.3."""
        batch = prepared.rollouts
        logp = chosen(vocab, batch.completions, batch.mask)
        return objective.loss(logp, prepared, vocab, batch.extras["values"] + 0.3)[0]


FROM_ELSEWHERE, EXPERT = 2, 3  # the completions that count as another policy's, and as the expert's
OFF = 0.05  # between the level and the expert's own, where a gate has no derivative
GREEDY = torch.tensor([0.3, 0.8], dtype=torch.float64)  # rewards of greedy completions [B]
VALUES = torch.tensor([[0.4, 0.3, 0.6], [0.5, 0.7, 0.2]], dtype=torch.float64)  # a critic's [B, nodes]


@pytest.fixture(autouse=True)
def threads():
    """Torch's threads are those of the whole process: a test that changed them would slow down all after it."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before


@pytest.fixture(scope="session")
def tricks() -> Tricks:
    task, logits = tricks_tree()
    other = torch.tensor([0.2, 1.0, 0.0, 0.5, 0.9], dtype=torch.float64)
    both = TreeTask(task.tree, torch.stack([task.rewards[0], other]))
    shift = torch.randn(logits.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    return Tricks(both, torch.stack([logits, logits + 0.5 * shift]))


@pytest.fixture(scope="session")
def differences() -> Callable[[Callable[[], Tensor], Tensor], Tensor]:
    """Central differences of a scalar function of a parameter that is changed in place."""

    def slopes(fn: Callable[[], Tensor], table: Tensor, step: float = 1e-5) -> Tensor:
        found = []
        with torch.no_grad():
            flat = table.view(-1)
            for i in range(len(flat)):
                middle, ends = flat[i].item(), []
                for at in (middle + step, middle - step):
                    flat[i] = at
                    ends.append(fn().item())
                flat[i] = middle
                found.append((ends[0] - ends[1]) / (2 * step))
        return torch.tensor(found, dtype=table.dtype).view_as(table)

    return slopes
