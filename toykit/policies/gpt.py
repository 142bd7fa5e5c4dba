"""GPT: a small decoder-only transformer with a KV cache, the policy of rung 1.

The architecture is Llama's (RMSNorm, rotary positions, SwiGLU, tied embeddings), so that `toykit.policies.export`
turns it into a transformers LlamaForCausalLM by renaming its weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from toykit._checks import at_least
from toykit.policies.base import Output, places
from toykit.policies.norm import unit

Rope = tuple[Tensor, Tensor]  # cos and sin, each [M or 1, 1, 1, h]
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]  # queries, keys and values of M tokens, each [M, H, h], to [M, H h]
FULL = 0.9  # where more of the places than this hold tokens, computing the padding too is less work than leaving it out
LANES = 32  # lengths that are multiples of it are computed with the fast kernels of small matrix products


@dataclass(frozen=True)
class GPTConfig:
    """Sizes of a GPT; the defaults with a vocabulary of 16 make 107,840 parameters."""

    vocab_size: int
    context: int = 64
    layers: int = 2
    width: int = 64
    heads: int = 4
    hidden: int = 192
    rope_base: float = 10_000.0
    eps: float = 1e-6

    def __post_init__(self) -> None:
        for name in ("vocab_size", "context", "layers", "width", "heads", "hidden"):
            at_least(name, getattr(self, name), 1)
        if self.width % (2 * self.heads):
            raise ValueError(f"width must be a multiple of twice heads, got width {self.width} and heads {self.heads}")

    def asdict(self) -> dict[str, float]:
        return asdict(self)


class Block(nn.Module):
    """One layer: attention over the tokens so far, then a gated feed-forward part."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        d, self.heads, self.eps = config.width, config.heads, config.eps
        self.attention_norm = nn.Parameter(torch.ones(d))
        self.qkv = nn.Linear(d, 3 * d, bias=False)
        self.out = nn.Linear(d, d, bias=False)
        self.feed_norm = nn.Parameter(torch.ones(d))
        self.gate_up = nn.Linear(d, 2 * config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, d, bias=False)

    def forward(self, x: Tensor, rope: Rope, attend: Attend) -> Tensor:
        """[M, d] of M tokens -> the same; that they stand in sequences is known to `attend` alone."""
        d = x.shape[-1]
        made = F.linear(unit(x, self.eps), self.qkv.weight * self.attention_norm)
        qk, v = (y.unflatten(-1, (-1, self.heads, d // self.heads)) for y in made.split([2 * d, d], -1))
        q, k = rotate(qk, *rope).unbind(1)
        x = x + F.linear(attend(q, k, v[:, 0]), self.out.weight)
        gate, up = (self.gate_up.weight * self.feed_norm).chunk(2)  # of weights, which are fewer than what they make
        y = unit(x, self.eps)
        return x + F.linear(F.silu(F.linear(y, gate)) * F.linear(y, up), self.down.weight)


class GPT(nn.Module):
    """A decoder with logits from the tied embedding; called like a transformers causal LM."""

    speed: Tensor
    sees_pairs = True  # takes a mask [N, L, L] of which tokens each token sees
    recompute = False  # makes a block's activations again in the backward pass instead of keeping them

    def __init__(self, config: GPTConfig, seed: int = 0) -> None:
        """Weights are N(0, 0.02^2), residual outputs scaled by 1/sqrt(2 layers), drawn with a generator of `seed`."""
        super().__init__()
        self.config, self.vocab_size, self.context = config, config.vocab_size, config.context
        self.decode = decode
        self.embedding = nn.Embedding(config.vocab_size, config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(config.width))
        half = config.width // config.heads // 2
        speed = config.rope_base ** (-torch.arange(half, dtype=torch.float32) / half)
        self.register_buffer("speed", speed, persistent=False)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, p in self.named_parameters():
                if p.dim() == 2:
                    residual = name.endswith(("out.weight", "down.weight"))
                    p.normal_(0.0, 0.02 / (2 * config.layers) ** 0.5 if residual else 0.02, generator=generator)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Output:
        """`.logits` [N, L, V] of the token after each of `input_ids` [N, L]; left padding changes nothing.

        `attention_mask` is bool [N, L], or [N or 1, L, L] of which tokens (the last axis) each token sees, whose
        positions are `position_ids` [N or 1, L]; a token of [N, L, L] that does not see itself is padding. What is
        given for padding means nothing. Raises ValueError for more tokens than the context in the first case.
        """
        return Output(self.hidden(input_ids, attention_mask, position_ids) @ self.embedding.weight.T)

    def hidden(
        self, input_ids: Tensor, attention_mask: Tensor | None = None, position_ids: Tensor | None = None
    ) -> Tensor:
        """[N, L, width]: the last layer's output after its norm."""
        n, length = input_ids.shape
        if position_ids is None:
            if length > self.context:
                raise ValueError(f"input_ids must have at most {self.context} tokens (the context), got {length}")
            position_ids = torch.arange(length, device=input_ids.device)[None]
        at = None
        if attention_mask is not None and attention_mask.dim() == 2:
            known = attention_mask.bool()
            if bool(known.all()):
                attention_mask = None
            else:
                at = worth_leaving_out(known)
                position_ids, attention_mask = places(known), None if on_the_right(known) else attended(known)
        elif attention_mask is not None and len(attention_mask) == n:
            at = worth_leaving_out(attention_mask.diagonal(dim1=1, dim2=2))
            attention_mask = attention_mask | torch.eye(length, dtype=torch.bool, device=input_ids.device)
        attend = among(n, length, None if attention_mask is None else attention_mask[:, None], at)
        tokens, position_ids = input_ids.flatten(), position_ids.expand(n, length).flatten()
        if at is not None:
            tokens, position_ids = tokens[at], position_ids[at]
        x, rope = self.embedding(tokens), self.rope(position_ids)
        for block in self.blocks:
            if self.recompute:
                x = checkpoint(block, x, rope, attend, use_reentrant=False)
            else:
                x = block(x, rope, attend)
        x = unit(x, self.config.eps) * self.norm
        return (x if at is None else spread(x, at, n * length)).view(n, length, -1)

    def compile(self, **options: Any) -> None:
        """Compiles the forward pass, as every module's `compile` does, and the drawing of completions.

        `options` are those of torch.compile. It takes half a minute for each new batch size and length: an option for
        long runs of one shape.
        """
        options = {"dynamic": False} | options
        super().compile(**options)
        self.decode = torch.compile(decode, **options)

    def prefers_one_row(self, prompt: int, group: int, rest: int) -> bool:
        """Whether a prompt and its whole group, with `rest` tokens of each completion, are less work as one row of
        tokens, in which attention is wasted on other completions, than as a row for each, which repeats the prompt.

        Padding costs the same in both: only attention is computed for it.
        """
        d, h = self.config.width, self.config.hidden
        one, each = prompt + group * rest, prompt + rest

        def work(rows: int, length: int) -> int:
            return rows * length * (8 * d * d + 6 * d * h + 4 * d * length)

        return work(1, one) < work(group, each)

    def rope(self, place: Tensor) -> Rope:
        """(cos, sin), each [M, 1, 1, h] with h the width of a head, for positions [M]."""
        angle = place[:, None, None, None] * self.speed
        cos, sin, dtype = angle.cos(), angle.sin(), self.embedding.weight.dtype
        return torch.cat([cos, cos], -1).to(dtype), torch.cat([-sin, sin], -1).to(dtype)

    def cursor(self, tokens: Tensor, mask: Tensor, room: int) -> GPTCursor:
        return GPTCursor(self, tokens, mask, room)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): pairs (i, i + half) of the last axis are turned by the position's angle."""
    return torch.addcmul(x * cos, x.roll(x.shape[-1] // 2, -1), sin)


def attended(mask: Tensor) -> Tensor:
    """bool [N, L, L]: which tokens each token sees under `mask` [N, L]: those before it, and itself (so that
    padding sees something and stays finite)."""
    length = mask.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    own = torch.eye(length, dtype=torch.bool, device=mask.device)
    return (before & mask[:, None].bool()) | own


def worth_leaving_out(known: Tensor) -> Tensor | None:
    """The places [M] in a flattened [N, L] of tokens that are no padding, None where that would save little.

    Compiled code wants shapes that stay, so that there nothing is left out.
    """
    if torch.compiler.is_compiling():
        return None
    at = known.flatten().nonzero()[:, 0]
    return at if len(at) < FULL * known.numel() else None


def on_the_right(known: Tensor) -> bool:
    """Whether all padding [N, L] is on the right, where the tokens before it do not see it."""
    return bool((known[:, :-1] >= known[:, 1:]).all())


def spread(x: Tensor, at: Tensor, places: int) -> Tensor:
    """[places, ...] with x [M, ...] at the places `at` [M], and zeros at the others."""
    return x.new_zeros(places, *x.shape[1:]).index_copy(0, at, x)


def among(n: int, length: int, seen: Tensor | None, at: Tensor | None = None) -> Attend:
    """Attention within `n` sequences of `length` tokens, which see those that `seen` bool [n or 1, 1, L, L] says, or
    (where it is None) those before them. Where only some tokens are given, `at` [M] are their places among all n L."""

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        if at is not None:
            q, k, v = (spread(x, at, n * length) for x in (q, k, v))
        q, k, v = (x.unflatten(0, (n, length)).transpose(1, 2) for x in (q, k, v))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen, is_causal=seen is None and length > 1)
        y = y.transpose(1, 2).flatten(2).flatten(0, 1)
        return y if at is None else y.index_select(0, at)

    return attend


class GPTCursor:
    """Sequences under a GPT: the keys and values of their tokens, and the logits [N, V] of the next one.

    Each layer's keys [N, H, h, room] and values [N, H, room, h] lie in buffers that are filled from the left; `unseen`
    [N or 1, room] is minus infinity where there is nothing to see, which is padding and what is not filled.
    """

    logits: Tensor

    @torch.inference_mode()
    def __init__(self, policy: GPT, tokens: Tensor, mask: Tensor, room: int) -> None:
        n, length = tokens.shape
        if length + room > policy.context:
            raise ValueError(
                f"prompts must fit the context: {length} prompt tokens and room for {room} more, "
                f"the context is {policy.context}"
            )
        self.policy, self.filled, self.fixed_shapes = policy, length, policy.decode is not decode
        config, like = policy.config, policy.embedding.weight
        width, self.padded = config.width // config.heads, not bool(mask.all())
        room_for = -(-(length + room) // LANES) * LANES
        shape = (n, config.heads, width, room_for)
        self.keys = [like.new_zeros(shape) for _ in policy.blocks]
        self.values = [k.new_zeros(k.mT.shape) for k in self.keys]
        self.at = torch.tensor([length], device=tokens.device)  # where the next token goes, known to the device
        known = mask.bool() if self.padded else mask.new_ones(1, length, dtype=torch.bool)
        self.unseen = like.new_full((len(known), room_for), -torch.inf)
        self.unseen[:, :length].masked_fill_(known, 0.0)
        at = places(known)
        later = at[:, -1:] - (length - 1) + torch.arange(length + room, device=at.device)  # of every place in the cache
        self.later = [x.expand(-1, 2, config.heads, -1).reshape(*later.shape, -1) for x in policy.rope(later.flatten())]
        self.weights, self.head = [_weights(block) for block in policy.blocks], (like * policy.norm).T
        self._read(tokens, at.expand(n, length), attended(known)[:, None] if self.padded else None)

    def _read(self, tokens: Tensor, at: Tensor, seen: Tensor | None) -> None:
        """The prompts, at positions `at` [N, P]."""
        n, length = tokens.shape
        within = among(n, length, seen)

        def attend(i: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            k_, v_ = (x.unflatten(0, tokens.shape).transpose(1, 2) for x in (k, v))
            self.keys[i][..., : self.filled], self.values[i][:, :, : self.filled] = k_.mT, v_
            return within(q, k, v)

        x, rope = self.policy.embedding(tokens).flatten(0, 1), self.policy.rope(at.flatten())
        for i, block in enumerate(self.policy.blocks):
            x = block(x, rope, partial(attend, i))
        self.logits = unit(x.unflatten(0, tokens.shape)[:, -1], self.policy.config.eps) @ self.head

    @torch.inference_mode()
    def append(self, tokens: Tensor) -> None:
        end = self.unseen.shape[1] if self.fixed_shapes else (self.filled // LANES + 1) * LANES
        policy, cache = self.policy, (self.keys, self.values, self.unseen)
        ends = (policy.embedding.weight, self.head)
        self.logits = policy.decode(tokens, self.at, self.later, end, cache, self.weights, ends, policy.config)
        self.filled, self.at = self.filled + 1, self.at + 1

    @torch.inference_mode()
    def pick(self, rows: Tensor) -> None:
        self.keys = [k.index_select(0, rows) for k in self.keys]
        self.values = [v.index_select(0, rows) for v in self.values]
        self.logits = self.logits[rows]
        if self.padded:
            self.unseen, self.later = self.unseen[rows], [x[rows] for x in self.later]


def decode(
    tokens: Tensor,
    at: Tensor,
    later: Sequence[Tensor],
    end: int,
    cache: tuple[Sequence[Tensor], Sequence[Tensor], Tensor],
    weights: Sequence[tuple[Tensor, ...]],
    ends: tuple[Tensor, Tensor],
    config: GPTConfig,
) -> Tensor:
    """What the layers do, for the `at`-th [1] token of each sequence, in as few operations as possible: logits [N, V].

    The cache's first `end` places are attended to. Its buffers, and what is `unseen` there, are changed in place. The
    `ends` of the network are the embedding [V, d] and what makes logits of its last states [d, V].
    """
    (keys, values, unseen), (embedding, head) = cache, ends
    (n,), d, heads = tokens.shape, config.width, config.heads
    unseen.index_fill_(1, at, 0.0)
    bias = unseen[:, None, None, :end].expand(n, heads, 1, end).flatten(0, 1)
    cos, sin = (x.index_select(1, at)[:, 0] for x in later)
    x = embedding[tokens]
    for i, (to_qkv, out, gate_up, down) in enumerate(weights):
        made = unit(x, config.eps) @ to_qkv
        qk = torch.addcmul(made[:, : 2 * d] * cos, made[:, 2 * d : 4 * d], sin)
        keys[i].index_copy_(3, at, qk[:, d:].view(n, heads, -1, 1))
        values[i].index_copy_(2, at, made[:, 4 * d :].view(n, heads, 1, -1))
        q = qk[:, :d].reshape(n * heads, 1, -1)
        scores = torch.baddbmm(bias, q, keys[i].flatten(0, 1)[..., :end], alpha=(d // heads) ** -0.5)
        x = torch.addmm(x, torch.bmm(scores.softmax(-1), values[i].flatten(0, 1)[:, :end]).view(n, d), out)
        gate, up = (unit(x, config.eps) @ gate_up).chunk(2, -1)
        x = torch.addmm(x, F.silu(gate).mul_(up), down)
    return unit(x, config.eps) @ head


def _weights(block: Any) -> tuple[Tensor, ...]:
    """A block's weights in the order in which `decode` multiplies by them, with the gains of the norms before them.

    Those of the queries and keys are followed by the same with the halves of each head exchanged, as rotary positions
    want them: it saves exchanging the halves of every token.
    """
    d = block.qkv.in_features
    qk, v = (block.qkv.weight * block.attention_norm).split([2 * d, d])
    exchanged = qk.view(2 * block.heads, -1, d).roll(d // block.heads // 2, 1).flatten(0, 1)
    to_qkv, gate_up = torch.cat([qk, exchanged, v]), block.gate_up.weight * block.feed_norm
    return to_qkv.T, block.out.weight.T, gate_up.T, block.down.weight.T
