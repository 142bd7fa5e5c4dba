"""Base policies on disk: a GPT with its sizes in one safetensors file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from toykit.policies import GPT, GPTConfig
from toykit.training import checkpoint


def data_folder() -> Path:
    """The project's data folder (checkpoints, recorded results, problems); TOYKIT_DATA names another.

    Where toykit is installed without the project, it is the folder `data` of the working directory.
    """
    if named := os.environ.get("TOYKIT_DATA"):
        return Path(named)
    project = Path(__file__).parents[2]
    return (project if (project / "pyproject.toml").exists() else Path()) / "data"


def save_policy(path: str | Path, policy: GPT, **meta: Any) -> None:
    """Writes a GPT's weights and sizes with what else is worth knowing of it (JSON-able)."""
    tensors = checkpoint.module_tensors("policy", policy)
    checkpoint.save(path, tensors, {"kind": "policy", "gpt": policy.config.asdict(), **meta})


def load_policy(path: str | Path) -> GPT:
    """The GPT that `save_policy` wrote; a bare name stands for a base policy shipped with the project.

    Raises FileNotFoundError or ValueError as `checkpoint.load` does.
    """
    path = Path(path)
    if not path.suffix:
        path = data_folder() / "checkpoints" / f"{path}.safetensors"
    tensors, meta = checkpoint.load(path, "policy")
    policy = GPT(GPTConfig(**meta["gpt"]))
    checkpoint.load_modules({"policy": policy}, tensors)
    return policy.eval()
