"""New transformers models of the Qwen3 type, from sizes or by name, for machines that download none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from toykit._checks import at_least, one_of
from toykit.tasks.base import Vocab


@dataclass(frozen=True)
class Preset:
    """A named size, and how fast it is pretrained: its learning rate and the steps over which that rate rises."""

    sizes: dict[str, int]
    lr: float
    warmup: int


def _sizes(width: int, hidden: int, layers: int, heads: int) -> dict[str, int]:
    return {
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
    }


# The number in a name is that of the parameters without a vocabulary to speak of (a task has some 16 words).
PRESETS = {
    "qwen3-1m": Preset(_sizes(128, 384, 5, 4), lr=1e-3, warmup=0),
    "qwen3-60m": Preset(_sizes(896, 2880, 6, 14), lr=3e-4, warmup=100),  # few layers: drawing waits for their calls
    "qwen3-150m": Preset(_sizes(1024, 3200, 12, 16), lr=2e-4, warmup=200),
}


def preset(name: str) -> Preset:
    """The preset of that name; raises ValueError with the nearest one where there is none."""
    return PRESETS[one_of("config", name, PRESETS)]


def qwen3(vocab: Vocab, sizes: dict[str, int], seed: int = 0) -> Any:
    """A Qwen3 causal LM for a task's vocabulary, with the same random weights at each call with a seed.

    `sizes` are those of Qwen3Config: hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, and
    max_position_embeddings where a context of 64 tokens is not enough. A third of the heads have keys and values of
    their own, or the next smaller number that divides the heads. Under `torch.device("meta")` nothing is allocated.
    Raises ValueError for a size below 1, and a hidden_size (width) that the heads do not share in even parts.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    for name, value in sizes.items():
        at_least(name, value, 1)
    width, heads = sizes["hidden_size"], sizes["num_attention_heads"]
    if width % (2 * heads):
        raise ValueError(f"width must be a multiple of twice heads, got width {width} and heads {heads}")
    config = Qwen3Config(
        vocab_size=vocab.size,
        num_key_value_heads=max(n for n in range(1, max(1, heads // 3) + 1) if heads % n == 0),
        head_dim=width // heads,
        tie_word_embeddings=True,
        pad_token_id=vocab.pad,
        bos_token_id=None,
        eos_token_id=None,
        **{"max_position_embeddings": 64} | sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # transformers draws initial weights from the global generator
        return Qwen3ForCausalLM(config)
