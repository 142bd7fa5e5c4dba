"""The base policy of the llm rung: a transformers model of the Qwen3 type, pretrained where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from toykit.policies.hub import check_device
from toykit.tasks import Task
from toykit.training import PretrainConfig, Pretrainer


def pretrained(
    task: Task, sizes: dict[str, int], config: PretrainConfig, device: str, folder: Path | None, progress: bool
) -> nn.Module:
    """A Qwen3 causal LM that was trained on the task's corpus, frozen; with `folder` it goes on where it was stopped.

    Raises ValueError for a device that is not there and a task without a corpus.
    """
    corpus: Any = task
    base = qwen3(task, sizes).to(check_device(device))
    pretrainer = Pretrainer(base, corpus, config)
    kept = None if folder is None else folder / "pretrain"
    if kept is not None and (kept / "checkpoint.safetensors").exists():
        pretrainer.load(kept / "checkpoint.safetensors")
    pretrainer.run(kept, progress=progress)
    return base.eval().requires_grad_(False)


def qwen3(task: Task, sizes: dict[str, int], seed: int = 0) -> Any:
    """A Qwen3 causal LM for a task's vocabulary, with the same random weights at each call with a seed.

    `sizes` are those of Qwen3Config: hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, and
    max_position_embeddings where a context of 64 tokens is not enough.
    """
    from transformers import Qwen3Config, Qwen3ForCausalLM

    heads = sizes["num_attention_heads"]
    config = Qwen3Config(
        vocab_size=task.vocab.size,
        num_key_value_heads=max(1, heads // 3),
        head_dim=sizes["hidden_size"] // heads,
        tie_word_embeddings=True,
        pad_token_id=task.vocab.pad,
        bos_token_id=None,
        eos_token_id=None,
        **{"max_position_embeddings": 64} | sizes,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # transformers draws initial weights from the global generator
        return Qwen3ForCausalLM(config)
