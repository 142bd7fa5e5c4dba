"""Teacher-forced log-probabilities of given completions, and of a whole completion tree."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from toykit.policies.base import cursor, read
from toykit.tasks.base import Prompts
from toykit.tasks.tree import Tree


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities in float32 or better, whatever the policy computes in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def outputs(policy: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
    """What a policy (or a critic) gives before each token of the completions: [B, G, T, V], with its gradient.

    prompts int64 [B, P], prompt_mask bool [B, P], completions int64 [B, G, T], mask bool [B, G, T].
    """
    b, g, t = completions.shape
    p = prompts.shape[1]
    tokens = torch.cat([prompts[:, None].expand(b, g, p), completions], -1).view(b * g, p + t)[:, :-1]
    seen = torch.cat([prompt_mask[:, None].expand(b, g, p), mask], -1).view(b * g, p + t)[:, :-1]
    return read(policy, tokens, seen).logits[:, p - 1 :].unflatten(0, (b, g))


def vocab_logps(
    policy: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Log-probabilities [B, G, T, V] of every token at every place of the completions, nats, with their gradient."""
    logits = outputs(policy, prompts, prompt_mask, completions, mask)
    return log_softmax(logits if temperature == 1.0 else logits / temperature)


def chosen(vocab_logp: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
    """The log-probabilities [..., T] of the tokens that were chosen, 0 where masked."""
    logp = vocab_logp.gather(-1, completions[..., None])[..., 0]
    return logp.masked_fill(~mask, 0.0)


def token_logps(
    policy: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Log-probabilities [B, G, T] of the completions' own tokens, nats, 0 where masked, with their gradient."""
    return chosen(vocab_logps(policy, prompts, prompt_mask, completions, mask, temperature), completions, mask)


@torch.no_grad()
def node_logps(policy: nn.Module, prompts: Prompts, tree: Tree) -> Tensor:
    """Log-probabilities [B, N, V] of the next token at every node of the tree, each prefix evaluated once."""
    child = tree.child.to(prompts.tokens.device)
    at = cursor(policy, prompts.tokens, prompts.mask, tree.horizon)
    b, first, found = len(prompts), 0, []
    n = 1
    while n:
        logp = log_softmax(at.logits)
        found.append(logp.view(b, n, -1))
        parent, token = (child[first : first + n] >= 0).nonzero(as_tuple=True)
        first, rows = first + n, torch.arange(b, device=child.device)[:, None] * n + parent
        n = len(parent)
        if n:
            at.pick(rows.flatten())
            at.append(token.repeat(b))
    return torch.cat(found, 1)


@torch.no_grad()
def leaf_logps(policy: nn.Module, prompts: Prompts, tree: Tree) -> Tensor:
    """Token log-probabilities [B, L, T] of every completion of the tree, 0 where masked."""
    device = prompts.tokens.device
    nodes, tokens, mask = tree.nodes.to(device), tree.tokens.to(device), tree.mask.to(device)
    return node_logps(policy, prompts, tree)[:, nodes, tokens].masked_fill(~mask, 0.0)
