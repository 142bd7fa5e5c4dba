"""The whole state of a trainer as a checkpoint, and a trainer that goes on from one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from toykit.training import checkpoint

if TYPE_CHECKING:
    from toykit.training.trainer import Trainer


def save(trainer: Trainer, path: str | Path) -> None:
    """See `Trainer.save`."""
    tensors: dict[str, Tensor] = {}
    for name, module in trainer.modules().items():
        tensors |= checkpoint.module_tensors(name, module)
    if trainer.optimizer is not None:
        tensors |= checkpoint.optimizer_tensors(trainer.optimizer)
    for name, kept in trainer.moving().items():
        tensors |= {f"{name}/{k}": v for k, v in kept.state().items()}
    tensors["generator"] = trainer.generator.get_state()
    meta = {"kind": "train", "step": trainer.done, "config": asdict(trainer.config)}
    checkpoint.save(path, tensors, meta | checkpoint.frozen(trainer.policy), trainer.processes)


def load(trainer: Trainer, path: str | Path) -> None:
    """See `Trainer.load`."""
    tensors, meta = checkpoint.load(path, "train")
    kept = trainer.config.kept()
    if differ := sorted(k for k, v in kept.items() if meta["config"].get(k) != v):
        raise ValueError(f"checkpoint {str(path)!r} was made with another config; {', '.join(differ)} differ")
    if (frozen := checkpoint.frozen(trainer.policy)) and meta.get("frozen") != frozen["frozen"]:
        raise ValueError(f"checkpoint {str(path)!r} was made with another base: weights that do not train differ")
    wanted = [f"{name}/{key}" for name, kept in trainer.moving().items() for key in kept.state()]
    if missing := [key for key in wanted if key not in tensors]:
        raise ValueError(f"checkpoint must hold {' and '.join(missing)} for this objective, got none")
    checkpoint.load_modules(trainer.modules(), tensors)
    if trainer.optimizer is not None:
        checkpoint.load_optimizer(trainer.optimizer, tensors)
    for name, moving in trainer.moving().items():
        moving.load({k.removeprefix(f"{name}/"): v for k, v in tensors.items() if k.startswith(f"{name}/")})
    trainer.generator.set_state(tensors["generator"])
    trainer.done = meta["step"]
