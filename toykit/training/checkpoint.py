"""Checkpoints: one safetensors file that is there as a whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit.training.processes import ALONE, Processes

FORMAT = 1


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file beside `path`, forces it to disk and renames it: a reader sees the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def clear_parts(folder: Path) -> None:
    """Removes what writers that were killed left half written in a folder; for the one process that writes there."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def save(
    path: str | Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], processes: Processes = ALONE
) -> None:
    """Writes named tensors and JSON-able `meta` to one file, whole or not at all.

    Of several processes the first one writes; every one must call it, for shards are gathered.
    """
    from safetensors.torch import save as to_bytes

    whole: dict[str, Tensor] = {}
    for name, value in tensors.items():
        found = full(value)
        if processes.first:
            whole[name] = found.to("cpu").contiguous().clone()
    head = {"toykit": json.dumps({"format": FORMAT, **meta}, sort_keys=True)}
    processes.on_first(lambda: write_whole(Path(path), to_bytes(whole, metadata=head)))


def load(path: str | Path, kind: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, meta) of a file that `save` wrote.

    Raises FileNotFoundError where there is none, and ValueError for a truncated or foreign file, or one of another
    kind than `kind` (meta["kind"]).
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"checkpoint {str(path)!r} does not exist")
    try:
        with safe_open(path, framework="pt") as file:
            head = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (SafetensorError, OSError) as error:
        raise ValueError(f"checkpoint {str(path)!r} is truncated or not a safetensors file: {error}") from error
    try:
        meta = json.loads(head["toykit"])
    except (KeyError, json.JSONDecodeError) as error:
        raise ValueError(f"checkpoint {str(path)!r} was not written by toykit") from error
    if meta.get("format") != FORMAT or (kind is not None and meta.get("kind") != kind):
        raise ValueError(
            f"checkpoint {str(path)!r} must be of kind {kind!r} and format {FORMAT}, "
            f"got kind {meta.get('kind')!r} and format {meta.get('format')}"
        )
    return tensors, meta


def full(value: Tensor) -> Tensor:
    """A tensor without its gradient, as one process alone would hold it; of a shard every process must ask."""
    gather = getattr(value.detach(), "full_tensor", None)
    return value.detach() if gather is None else gather()


def placed(value: Tensor, like: Tensor) -> Tensor:
    """A whole tensor cut into shards as `like` is; itself where that is none. Every process must ask."""
    if not hasattr(like, "full_tensor"):
        return value
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(like, DTensor)
    return distribute_tensor(value.to(like.device, like.dtype), like.device_mesh, like.placements)


def module_tensors(name: str, module: nn.Module) -> dict[str, Tensor]:
    """A module's parameters as "name/parameter": what training changes (buffers are made by the constructor)."""
    return {f"{name}/{k}": v for k, v in _kept(module).items()}


def _kept(module: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train; all of them where none does, as in a reference."""
    every = dict(module.named_parameters())
    return {k: v for k, v in every.items() if v.requires_grad} or every


def frozen(module: nn.Module) -> dict[str, int]:
    """{"frozen": a sum over the bits of what does not train} of a module that trains in part, else nothing."""
    kept = _kept(module)
    others = [p for name, p in module.named_parameters() if name not in kept]
    return {"frozen": sum(int(_bits(full(p)).sum(dtype=torch.int64)) for p in others)} if others else {}


def _bits(values: Tensor) -> Tensor:
    """Numbers as whole ones with the same bits, whose sum is the same in any order and on any device."""
    whole = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[values.element_size()]
    return values.detach().flatten().view(whole)


def load_modules(modules: Mapping[str, nn.Module], tensors: Mapping[str, Tensor]) -> None:
    """Copies "name/..." into the parameters of each module that `module_tensors` keeps; raises ValueError, before
    anything is copied, where names or shapes differ."""
    found: list[tuple[nn.Parameter, Tensor]] = []
    for name, module in modules.items():
        for k, parameter in _kept(module).items():
            stored = tensors.get(f"{name}/{k}")
            if stored is None or stored.shape != parameter.shape:
                got = "nothing" if stored is None else f"shape {list(stored.shape)}"
                raise ValueError(f"checkpoint must hold {name}/{k} of shape {list(parameter.shape)}, got {got}")
            found.append((parameter, stored))
    with torch.no_grad():
        for parameter, stored in found:
            parameter.copy_(placed(stored, parameter))


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as "optimizer/index/name"."""
    state = optimizer.state_dict()["state"]
    return {f"optimizer/{i}/{k}": torch.as_tensor(v) for i, s in state.items() for k, v in s.items() if v is not None}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Restores what `optimizer_tensors` gave, under the groups and learning rates that the optimizer has."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer/"):
            _, i, k = name.split("/", 2)
            state.setdefault(int(i), {})[k] = value.clone()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for kept, like in ((kept, parameters[at]) for at, kept in state.items()):
        kept.update({k: placed(v, like) for k, v in kept.items() if v.shape == like.shape})
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
