"""Benchmarks of the sampler against `generate` of transformers."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from toykit.bench.base import TINY, Benchmark, Case
from toykit.bench.sevens import Sevens
from toykit.bench.step import compile_for
from toykit.policies import GPT, GPTConfig, export
from toykit.rollouts import Sampling, sample
from toykit.tasks.base import Prompts

BATCHES, LENGTHS = (8, 128), (8, 64)
HUB_BATCH, HUB_LENGTH = 32, 64


def batch_of(n: int) -> Prompts:
    """`n` prompts of four tokens, all of them different up to 100."""
    every = Sevens().prompts()
    return every[torch.arange(n) % len(every)]


def ours(policy: nn.Module, prompts: Prompts, length: int, temperature: float = 1.0) -> Callable[[], Tensor]:
    """Draws `length` tokens [n, length] after each prompt; nothing ends a completion before that."""
    generator = torch.Generator().manual_seed(0)
    return lambda: sample(policy, prompts, 1, length, (), generator, Sampling(temperature)).tokens[:, 0]


def theirs(model: Any, prompts: Prompts, length: int, temperature: float = 1.0) -> Callable[[], Tensor]:
    """The same by `generate`: plain sampling (greedy at temperature 0), without a filter or a penalty."""
    options: dict[str, Any] = {"do_sample": False}
    if temperature:
        options = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    fixed = {"max_new_tokens": length, "min_new_tokens": length, "pad_token_id": 0, "eos_token_id": None}

    @torch.no_grad()
    def run() -> Tensor:
        found = model.generate(
            input_ids=prompts.tokens, attention_mask=prompts.mask.long(), use_cache=True, **options, **fixed
        )
        return found[:, prompts.tokens.shape[1] :]

    return run


def case(policy: nn.Module, model: nn.Module | None, batch: int, length: int) -> Case:
    prompts = batch_of(batch)

    return Case(
        f"batch {batch}, {length} new tokens",
        ours(policy, prompts, length),
        None if model is None else theirs(model, prompts, length),
    )


def small_gpt() -> GPT:
    """The GPT of the benchmarks: 2 layers, width 64, the vocabulary of `Sevens`, room for prompt and 64 tokens."""
    return GPT(GPTConfig(Sevens.vocab.size, context=128, hidden=256)).eval()


def hub_model(size: str) -> nn.Module:
    """A transformers model of the Qwen3 type with random weights: 100 million parameters, or a tiny one."""
    from transformers import Qwen3Config, Qwen3ForCausalLM

    sizes = {"vocab_size": 20_000, "hidden_size": 768, "intermediate_size": 2048, "num_hidden_layers": 12}
    heads = {"num_attention_heads": 12, "num_key_value_heads": 12, "head_dim": 64}
    if size == TINY:
        sizes = {"vocab_size": 20, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
        heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
    config = Qwen3Config(
        **sizes, **heads, max_position_embeddings=128, tie_word_embeddings=True, bos_token_id=None, eos_token_id=None
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Qwen3ForCausalLM(config).eval()


def _gpt_cases(size: str, peer: bool, compiled: bool = False) -> list[Case]:
    policy = small_gpt()
    model = export(policy) if peer else None
    if compiled:
        compile_for(policy, size)
    batches, lengths = ((2,), (3, 4)) if size == TINY else (BATCHES, LENGTHS)
    return [case(policy, model, batch, length) for batch in batches for length in lengths]


def _hub_case(size: str, peer: bool) -> list[Case]:
    model = hub_model(size)
    batch, length = (2, 3) if size == TINY else (HUB_BATCH, HUB_LENGTH)
    return [case(model, model if peer else None, batch, length)]


SAMPLING = (
    Benchmark(
        "sampling_vs_generate",
        "tokens/s of the small GPT at batches 8 and 128, 8 and 64 new tokens; the median over the four",
        "transformers generate",
        2.0,
        _gpt_cases,
    ),
    Benchmark(
        "sampling_vs_generate_compiled",
        "the same, our policy compiled",
        "transformers generate",
        4.0,
        partial(_gpt_cases, compiled=True),
    ),
    Benchmark(
        "sampling_hub",
        "tokens/s of a transformers model of 100M parameters, batch 32, 64 new tokens",
        "transformers generate",
        1.5,
        _hub_case,
    ),
)
