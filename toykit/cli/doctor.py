"""`toykit doctor`: what there is on this machine, what of toykit works on it, and why the rest does not."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from toykit.cli.lessons import AsJson, show, to_json

CORE = ("torch", "numpy", "transformers", "gymnasium", "matplotlib", "safetensors", "typer")
EXTRAS = {
    "bench": ("accelerate", "datasets", "quantecon", "trl"),
    "control": ("minigrid", "stable-baselines3"),
    "lora": ("peft",),
    "lab": ("ipywidgets", "jupyterlab", "scikit-learn", "tensorboard"),
    "dev": (
        *("hypothesis", "ipykernel", "mypy", "nbclient", "nbconvert", "nbformat"),
        *("nbval", "pytest", "pytest-xdist", "ruff"),
    ),
}


def doctor(json_: AsJson = False) -> None:
    """Says what is installed, what this machine has, and what of toykit works here.

    The exit status is 0 whatever is found; a program asks for --json and looks at "works", a list of
    {part, works, why}, where `why` says what is missing and how it is come by.
    """
    found = report()
    if json_:
        typer.echo(to_json(found))
        return
    for line in _lines(found):
        typer.echo(line)
    _print_table(found["works"])


def report() -> dict[str, Any]:
    """Everything that `toykit doctor --json` prints."""
    extras = {name: missing(packages) for name, packages in EXTRAS.items()}
    return {
        "versions": _versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": _device(),
        "memory": _memory(),
        "threads": _threads(),
        "extras": {name: {"installed": not lacking, "missing": lacking} for name, lacking in extras.items()},
        "works": [{"part": part, "works": not (why := check()), "why": why} for part, check in PARTS.items()],
    }


def missing(packages: tuple[str, ...]) -> list[str]:
    """Which of these distributions are not installed; nothing is imported."""
    from toykit.training.machine import versions

    found = versions(packages)
    return [name for name in packages if found[name] is None]


def _versions() -> dict[str, str | None]:
    from toykit.training.machine import versions

    return versions(CORE)


def _memory() -> dict[str, int | None]:
    from toykit.training.machine import memory

    return memory()


def _device() -> dict[str, Any]:
    """{"cuda": [{name, memory, bf16}], "cuda_built": version or None}; both empty where torch cannot be imported."""
    try:
        import torch
    except Exception:
        return {"cuda": [], "cuda_built": None}
    gpus = []
    for i in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        of = torch.cuda.get_device_properties(i)
        gpus.append({"name": of.name, "memory": of.total_memory, "bf16": torch.cuda.is_bf16_supported()})
    return {"cuda": gpus, "cuda_built": torch.version.cuda}


def _threads() -> dict[str, Any]:
    from toykit.training.machine import cores

    found: dict[str, Any] = {"processors": cores(), "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"), "torch": None}
    try:
        import torch
    except Exception:
        return found
    return found | {"torch": torch.get_num_threads()}


def _imports(*modules: str) -> Callable[[], str]:
    """A check that modules can be imported, which is more than that they are there."""

    def check() -> str:
        for name in modules:
            try:
                importlib.import_module(name)
            except Exception as error:
                how = f"pip install {name.split('.')[0]}"
                said = " ".join(str(error).split()) or type(error).__name__
                return f"{name} cannot be imported: {said}; {how}"
        return ""

    return check


def _there(extra: str, *packages: str) -> Callable[[], str]:
    """A check that packages of an extra are installed, without importing them."""

    def check() -> str:
        lacking = missing(packages)
        return f"not installed: {', '.join(lacking)}; pip install 'toykit[{extra}]'" if lacking else ""

    return check


def _cuda() -> str:
    if broken := _imports("torch", "transformers")():
        return broken
    found = _device()
    if not found["cuda_built"]:
        return "this torch is built without CUDA; install a CUDA build of torch (the rung runs on the CPU, slowly)"
    if not found["cuda"]:
        return "torch finds no CUDA device; look at the driver (the rung runs on the CPU, slowly)"
    return "" if all(gpu["bf16"] for gpu in found["cuda"]) else "a CUDA device here has no bf16, which the rung uses"


def _compiler() -> str:
    if broken := _imports("torch")():
        return broken
    if os.environ.get("CXX") or any(map(shutil.which, ("g++", "clang++", "cl"))):
        return ""
    return "no C++ compiler is found, which torch.compile needs on the CPU; install g++, or set CXX"


def _processes() -> str:
    if broken := _imports("torch.distributed")():
        return broken
    import torch.distributed

    there = torch.distributed.is_available() and torch.distributed.is_gloo_available()
    return "" if there else "this torch is built without the gloo backend of torch.distributed"


def _shipped() -> str:
    from toykit.training.store import data_folder

    folder = data_folder() / "checkpoints"
    if list(folder.glob("*.safetensors")):
        return ""
    return f"no base policy in {str(folder)!r}; work in the project's folder, or name its data folder by TOYKIT_DATA"


def _recording() -> str:
    from toykit.training.store import data_folder

    at = data_folder().absolute()
    while not at.exists():
        at = at.parent
    return "" if at.is_dir() and os.access(at, os.W_OK) else f"{str(Path(at))!r} cannot be written to"


PARTS: dict[str, Callable[[], str]] = {
    "exact and gpt rungs": _imports("torch", "numpy"),
    "figures": _imports("matplotlib"),
    "transformers models, llm rung on the CPU": _imports("transformers", "tokenizers"),
    "llm rung at full size": _cuda,
    "gymnasium environments": _imports("gymnasium"),
    "toykit lab": _there("lab", "jupyterlab"),
    "explorers that move": _there("lab", "ipywidgets"),
    "logs for TensorBoard": _there("lab", "tensorboard"),
    "peers of toykit bench": _there("bench", *EXTRAS["bench"]),
    "LoRA": _there("lora", "peft"),
    "rooms of MiniGrid": _there("control", "minigrid"),
    "PPO and DQN": _there("control", "stable-baselines3"),
    "torch.compile": _compiler,
    "several processes": _processes,
    "base policies and recorded results": _shipped,
    "recording results": _recording,
}


def _lines(found: dict[str, Any]) -> list[str]:
    """The report above its table."""
    named = ", ".join(f"{name} {version or 'not installed'}" for name, version in found["versions"].items())
    gpus = ", ".join(f"{g['name']} ({_gib(g['memory'])})" for g in found["device"]["cuda"])
    threads, held = found["threads"], found["memory"]
    used, asked = threads["torch"], threads["OMP_NUM_THREADS"] or "-"
    lines = [
        f"versions    {named}",
        f"device      {found['system']}, {gpus or 'no CUDA device'}",
        f"memory      {_gib(held['total'])}, {_gib(held['available'])} of it available",
        f"threads     {used} of torch on {threads['processors']} processors, OMP_NUM_THREADS {asked}",
    ]
    if (used or 0) > threads["processors"]:
        lines.append("            more threads than processors are slow: set OMP_NUM_THREADS")
    for name, one in found["extras"].items():
        state = "installed" if one["installed"] else f"without {', '.join(one['missing'])}"
        lines.append(f"extra {name:<6}{state}")
    return [*lines, ""]


def _gib(size: int | None) -> str:
    return "unknown" if size is None else f"{size / 2**30:.1f} GiB"


def _print_table(works: list[dict[str, Any]]) -> None:
    """As a table; as plain lines where what draws tables is itself missing."""
    rows = [{**row, "works": "yes" if row["works"] else "no"} for row in works]
    try:
        from toykit.plots.tables import table
    except ImportError:
        for row in rows:
            typer.echo(f"{row['works']:<4}{row['part']}: {row['why']}")
        return
    show(table(rows))
