"""The base policy of the llm rung: a transformers model of the Qwen3 type, pretrained where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import nn

from toykit.lessons.sharing import held
from toykit.policies.hub import check_device
from toykit.policies.qwen3 import qwen3
from toykit.tasks import Task
from toykit.training import PretrainConfig, Pretrainer, loop

P = TypeVar("P")


@dataclass(frozen=True)
class Size(Generic[P]):
    """A transformers model of the Qwen3 type, how it is pretrained, and what a lesson then does with it."""

    model: Mapping[str, int]
    pretrain: PretrainConfig
    plan: P


def facts(size: str, base: nn.Module) -> dict[str, Any]:
    """What the results of an llm rung say of its model."""
    return {"size": size, "parameters": sum(p.numel() for p in base.parameters())}


def pretrained(
    task: Task, sizes: Mapping[str, int], config: PretrainConfig, device: str, folder: Path | None, progress: bool
) -> nn.Module:
    """A Qwen3 causal LM that was trained on the task's corpus, frozen; with `folder` it goes on where it was stopped.

    Raises ValueError for a device that is not there and a task without a corpus.
    """
    corpus: Any = task
    base = qwen3(task.vocab, dict(sizes)).to(check_device(device))
    pretrainer = Pretrainer(base, corpus, config)
    at = None if folder is None else folder / "pretrain" / "checkpoint.safetensors"
    with held(at and at.with_name(".lock")):
        if at is not None and at.exists():
            pretrainer.load(at)
        out, processes = at and at.parent, pretrainer.processes
        made = loop.run(pretrainer, config.steps, out, 1, progress, "pretrain", processes=processes, pause=loop.MINUTE)
        if made and at is not None:
            pretrainer.save(at)
    return base.eval().requires_grad_(False)
