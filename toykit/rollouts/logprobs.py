"""Teacher-forced log-probabilities of given completions, and of a whole completion tree."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor, nn

from toykit.policies.base import cursor, read, vocab_size
from toykit.rollouts import chunks
from toykit.tasks.base import Prompts
from toykit.tasks.tree import Tree


def log_softmax(logits: Tensor) -> Tensor:
    """Log-probabilities in float32 or better, whatever the policy computes in."""
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(-1)


def outputs(policy: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
    """What a policy (or a critic) gives before each token of the completions: [B, G, T, V], with its gradient.

    prompts int64 [B, P], prompt_mask bool [B, P], completions int64 [B, G, T], mask bool [B, G, T]. A policy that
    takes a mask of pairs reads each prompt once, where that is less work.
    """
    b, g, t = completions.shape
    p = prompts.shape[1]
    if g > 1 and getattr(policy, "sees_pairs", False) and policy.prefers_one_row(p, g, t - 1):  # type: ignore[operator]
        out = policy(**as_one_row(prompts, prompt_mask, completions, mask)).logits
        first, rest = out[:, None, p - 1 : p].expand(b, g, 1, -1), out[:, p:].unflatten(1, (g, t - 1))
        return torch.cat([first, rest], 2)
    rows = _one_after_the_other(prompts, prompt_mask, completions, mask)
    return read(policy, *rows).logits[:, p - 1 :].unflatten(0, (b, g))


def _one_after_the_other(
    prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor
) -> tuple[Tensor, Tensor]:
    """(tokens, mask), each [B G, P + T - 1]: every completion after its prompt, without its last token."""
    g = completions.shape[1]
    tokens = torch.cat([prompts[:, None].expand(-1, g, -1), completions], -1).flatten(0, 1)[:, :-1]
    seen = torch.cat([prompt_mask[:, None].expand(-1, g, -1), mask], -1).flatten(0, 1)[:, :-1]
    return tokens, seen


def as_one_row(prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Arguments of a policy that reads each prompt [B, P] and all tokens but the last of its completions [B, G, T] as
    one row of P + G (T - 1) tokens, in which a completion sees the prompt and itself. Padding sees nothing."""
    _, g, t = completions.shape
    p, device = prompts.shape[1], prompts.device
    seen, place = _pairs(p, g, t - 1, device)
    known = torch.cat([prompt_mask, mask[..., :-1].flatten(1)], 1)
    if not bool(known.all()):
        padding = (~prompt_mask).sum(1, keepdim=True)
        place = (place - padding).clamp(min=0)
        seen = seen & known[:, None]
    tokens = torch.cat([prompts, completions[..., :-1].flatten(1)], 1)
    return {"input_ids": tokens, "attention_mask": seen, "position_ids": place}


@lru_cache(maxsize=32)
def _pairs(p: int, g: int, c: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(which tokens see which, bool [1, L, L], and their positions [1, L]) in a row of a prompt and g completions."""
    place = torch.cat([torch.arange(p), (p + torch.arange(c)).repeat(g)])
    whose = torch.cat([torch.full((p,), -1), torch.arange(g).repeat_interleave(c)])
    related = (whose[:, None] == whose) | (whose == -1)
    seen = related & (place[:, None] >= place)
    return seen[None].to(device), place[None].to(device)


def vocab_logps(
    policy: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Log-probabilities [B, G, T, V] of every token at every place of the completions, nats, with their gradient."""
    logits = outputs(policy, prompts, prompt_mask, completions, mask)
    return log_softmax(_tempered(logits, temperature))


def chosen(vocab_logp: Tensor, completions: Tensor, mask: Tensor) -> Tensor:
    """The log-probabilities [..., T] of the tokens that were chosen, 0 where masked."""
    logp = vocab_logp.gather(-1, completions[..., None])[..., 0]
    return logp.masked_fill(~mask, 0.0)


def token_logps(
    policy: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor, temperature: float = 1.0
) -> Tensor:
    """Log-probabilities [B, G, T] of the completions' own tokens, nats, 0 where masked, with their gradient.

    Where there would be many logits they are made in chunks.
    """
    if completions.numel() * vocab_size(policy) > chunks.LARGE:
        return _in_chunks(_logp, policy, prompts, prompt_mask, completions, mask, temperature)[0]
    logits = outputs(policy, prompts, prompt_mask, completions, mask)
    return chunks.logp_of(_tempered(logits, temperature), completions).masked_fill(~mask, 0.0)


def token_scores(
    policy: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(log-probabilities of the completions' tokens, entropies of the laws they are from), each [B, G, T] in nats,
    0 where masked, with their gradient. The logits are made in chunks, whatever their number."""
    logp, entropy = _in_chunks(_logp_and_entropy, policy, prompts, prompt_mask, completions, mask, temperature)
    return logp, entropy


def token_means(
    policy: nn.Module, prompts: Tensor, prompt_mask: Tensor, completions: Tensor, mask: Tensor, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """(log-probabilities of the completions' tokens, with their gradient; means of the log-probabilities of all tokens
    that may come, without one), each [B, G, T] in nats, 0 where masked. In chunks as in `token_logps`."""
    if completions.numel() * vocab_size(policy) > chunks.LARGE:
        logp, mean = _in_chunks(_logp_and_mean, policy, prompts, prompt_mask, completions, mask, temperature)
        return logp, mean
    logits = _tempered(outputs(policy, prompts, prompt_mask, completions, mask), temperature)
    logp, mean = _logp_and_mean(logits, completions)
    return logp.masked_fill(~mask, 0.0), mean.masked_fill(~mask, 0.0)


def _logp_and_mean(logits: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
    return chunks.logp_of(logits, tokens), chunks.mean_logp_of(logits.detach())


def _logp(logits: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
    return (chunks.logp_of(logits, tokens),)


def _logp_and_entropy(logits: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
    return chunks.logp_of(logits, tokens), chunks.entropy_of(logits)


def _in_chunks(
    score: chunks.Score,
    policy: nn.Module,
    prompts: Tensor,
    prompt_mask: Tensor,
    completions: Tensor,
    mask: Tensor,
    temperature: float,
) -> tuple[Tensor, ...]:
    tokens, seen = _one_after_the_other(prompts, prompt_mask, completions, mask)
    states, head = chunks.states_and_head(policy, tokens, seen)
    asked, rows = completions[mask], states[:, prompts.shape[1] - 1 :][mask.flatten(0, 1)]

    def tempered(logits: Tensor, tokens: Tensor) -> tuple[Tensor, ...]:
        return score(_tempered(logits, temperature), tokens)

    found = chunks.in_chunks(tempered, head, rows, asked, vocab_size(policy))
    return tuple(x.new_zeros(mask.shape).masked_scatter(mask, x) for x in found)


def _tempered(logits: Tensor, temperature: float) -> Tensor:
    return logits if temperature == 1.0 else logits / temperature


@torch.no_grad()
def node_logps(policy: nn.Module, prompts: Prompts, tree: Tree) -> Tensor:
    """Log-probabilities [B, N, V] of the next token at every node of the tree, each prefix evaluated once."""
    b, v, device = len(prompts), tree.n_actions, prompts.tokens.device
    at, found = cursor(policy, prompts.tokens, prompts.mask, tree.horizon), []
    for level in tree.levels:
        n = level.nodes.stop - level.nodes.start
        found.append(log_softmax(at.logits).view(b, n, -1))
        on = torch.arange(n * v, device=device)[level.on]
        if len(on):
            at.pick((torch.arange(b, device=device)[:, None] * n + on // v).flatten())
            at.append((on % v).repeat(b))
    return torch.cat(found, 1)


@torch.no_grad()
def leaf_logps(policy: nn.Module, prompts: Prompts, tree: Tree) -> Tensor:
    """Token log-probabilities [B, L, T] of every completion of the tree, 0 where masked."""
    device = prompts.tokens.device
    nodes, tokens, mask = tree.nodes.to(device), tree.tokens.to(device), tree.mask.to(device)
    return node_logps(policy, prompts, tree)[:, nodes, tokens].masked_fill(~mask, 0.0)
