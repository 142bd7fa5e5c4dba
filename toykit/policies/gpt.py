"""GPT: a small decoder-only transformer with a KV cache, the policy of rung 1.

The architecture is Llama's (RMSNorm, rotary positions, SwiGLU, tied embeddings), so that `toykit.policies.export`
turns it into a transformers LlamaForCausalLM by renaming its weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from toykit._checks import at_least
from toykit.policies.base import Output, places

Past = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # adds a layer's new keys and values to those there are


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

    def forward(
        self, x: Tensor, rope: tuple[Tensor, Tensor], attend: Tensor | None = None, past: Past | None = None
    ) -> Tensor:
        n, length, d = x.shape
        h = F.rms_norm(x, (d,), self.attention_norm, self.eps)
        q, k, v = self.qkv(h).view(n, length, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
        q, k = rotate(q, *rope), rotate(k, *rope)
        if past is not None:
            k, v = past(k, v)
        causal = attend is None and length > 1
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=attend, is_causal=causal)
        x = x + self.out(y.transpose(1, 2).reshape(n, length, d))
        h = F.rms_norm(x, (d,), self.feed_norm, self.eps)
        gate, up = self.gate_up(h).chunk(2, -1)
        return x + self.down(F.silu(gate) * up)


class GPT(nn.Module):
    """A decoder with logits from the tied embedding; called like a transformers causal LM."""

    speed: Tensor

    def __init__(self, config: GPTConfig, seed: int = 0) -> None:
        """Weights are N(0, 0.02^2), residual outputs scaled by 1/sqrt(2 layers), drawn with a generator of `seed`."""
        super().__init__()
        self.config, self.vocab_size, self.context = config, config.vocab_size, config.context
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

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Output:
        """`.logits` [N, L, V] of the token after each of `input_ids` [N, L]; left padding changes nothing."""
        return Output(self.hidden(input_ids, attention_mask) @ self.embedding.weight.T)

    def hidden(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        """[N, L, width]: the last layer's output after its norm."""
        length = input_ids.shape[1]
        if length > self.context:
            raise ValueError(f"input_ids must have at most {self.context} tokens (the context), got {length}")
        attend, place = None, torch.arange(length, device=input_ids.device)[None]
        if attention_mask is not None and not bool(attention_mask.all()):
            place, attend = places(attention_mask), attended(attention_mask)
        x, rope = self.embedding(input_ids), self.rope(place)
        for block in self.blocks:
            x = block(x, rope, attend)
        return F.rms_norm(x, (x.shape[-1],), self.norm, self.config.eps)

    def rope(self, place: Tensor) -> tuple[Tensor, Tensor]:
        """(cos, sin), each [N, 1, L, head width / 2], for positions [N, L]."""
        angle = place[:, None, :, None] * self.speed
        dtype = self.embedding.weight.dtype
        return angle.cos().to(dtype), angle.sin().to(dtype)

    def cursor(self, tokens: Tensor, mask: Tensor, room: int) -> GPTCursor:
        return GPTCursor(self, tokens, mask, room)


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions (Su et al. 2021): pairs (i, i + half) of the last axis are turned by the position's angle."""
    a, b = x.chunk(2, -1)
    return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)


def attended(mask: Tensor) -> Tensor:
    """bool [N, 1, L, L]: which tokens each token sees under `mask` [N, L]: those before it, and itself (so that
    padding sees something and stays finite)."""
    length = mask.shape[1]
    before = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
    own = torch.eye(length, dtype=torch.bool, device=mask.device)
    return ((before & mask[:, None].bool()) | own)[:, None]


class Cache:
    """Keys and values of the tokens so far, in buffers of a fixed length that are filled from the left."""

    def __init__(self, config: GPTConfig, n: int, length: int, like: Tensor) -> None:
        size = (n, config.heads, length, config.width // config.heads)
        self.keys = [like.new_zeros(size) for _ in range(config.layers)]
        self.values = [like.new_zeros(size) for _ in range(config.layers)]
        self.filled = 0

    def extend(self, i: int, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Stores the new keys and values of layer i and returns all of that layer's."""
        end = self.filled + k.shape[2]
        self.keys[i][:, :, self.filled : end] = k
        self.values[i][:, :, self.filled : end] = v
        return self.keys[i][:, :, :end], self.values[i][:, :, :end]

    def pick(self, rows: Tensor) -> None:
        self.keys = [k[rows] for k in self.keys]
        self.values = [v[rows] for v in self.values]


class GPTCursor:
    """Sequences under a GPT: its cache, and the logits of the next token."""

    def __init__(self, policy: GPT, tokens: Tensor, mask: Tensor, room: int) -> None:
        n, length = tokens.shape
        if length + room > policy.context:
            raise ValueError(
                f"prompts must fit the context: {length} prompt tokens and room for {room} more, "
                f"the context is {policy.context}"
            )
        self.policy = policy
        self.cache = Cache(policy.config, n, length + room, policy.embedding.weight)
        self.padded = not bool(mask.all())
        self.keys = F.pad(mask.bool(), (0, room), value=True)
        self.place = mask.sum(1, keepdim=True) - 1  # position of each sequence's last token
        self._step(tokens, places(mask), attended(mask) if self.padded else None)

    def _step(self, tokens: Tensor, place: Tensor, attend: Tensor | None) -> None:
        policy = self.policy
        x, rope = policy.embedding(tokens), policy.rope(place)
        for i, block in enumerate(policy.blocks):
            x = block(x, rope, attend, partial(self.cache.extend, i))
        self.cache.filled += tokens.shape[1]
        x = F.rms_norm(x[:, -1], (x.shape[-1],), policy.norm, policy.config.eps)
        self.logits = x @ policy.embedding.weight.T

    def pick(self, rows: Tensor) -> None:
        self.cache.pick(rows)
        self.keys, self.place, self.logits = self.keys[rows], self.place[rows], self.logits[rows]

    def append(self, tokens: Tensor) -> None:
        self.place = self.place + 1
        attend = self.keys[:, None, None, : self.cache.filled + 1] if self.padded else None
        self._step(tokens[:, None], self.place, attend)
