"""The base policy of the llm rung: a transformers model of the Qwen3 type, pretrained where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from toykit.policies.hub import check_device
from toykit.policies.qwen3 import qwen3
from toykit.tasks import Task
from toykit.training import PretrainConfig, Pretrainer


def pretrained(
    task: Task, sizes: dict[str, int], config: PretrainConfig, device: str, folder: Path | None, progress: bool
) -> nn.Module:
    """A Qwen3 causal LM that was trained on the task's corpus, frozen; with `folder` it goes on where it was stopped.

    Raises ValueError for a device that is not there and a task without a corpus.
    """
    corpus: Any = task
    base = qwen3(task.vocab, sizes).to(check_device(device))
    pretrainer = Pretrainer(base, corpus, config)
    kept = None if folder is None else folder / "pretrain"
    if kept is not None and (kept / "checkpoint.safetensors").exists():
        pretrainer.load(kept / "checkpoint.safetensors")
    pretrainer.run(kept, progress=progress)
    return base.eval().requires_grad_(False)
