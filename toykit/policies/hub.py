"""Any transformers causal LM as a policy: loading it. Importing transformers is left to the calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from toykit._checks import one_of
from toykit.policies.reach import reach

DTYPES = {"float32": torch.float32, "float64": torch.float64, "bfloat16": torch.bfloat16}


def load(name: str | Path, dtype: str = "float32", device: str = "cpu") -> tuple[nn.Module, Any]:
    """(model, tokenizer) of a transformers causal LM in a local folder or on a hub.

    A folder without tokenizer files gives None for the tokenizer; any other gets an attribute `stop_tokens`, the ids
    that end a completion: its own end-of-sequence token and those of the model's generation settings. A hub is asked
    once whether it has the model; where it cannot be reached, a copy in its cache is used.

    Raises ValueError for a folder that holds no model, or a truncated or foreign one, a hub id that can neither be
    downloaded nor is in the cache, an unknown dtype, or a device that is not there.
    """
    one_of("dtype", dtype, DTYPES)
    check_device(device)
    path = Path(name)
    if path.is_dir() and not (path / "config.json").exists():
        raise ValueError(f"policy must be a folder with a transformers model (config.json), got {str(name)!r}")
    at_hand = {} if path.is_dir() else reach(str(name))
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import toykit.policies.transformers_model  # noqa: F401  (registers exported tables)

    has_tokenizer = not path.is_dir() or any((path / f).exists() for f in ("tokenizer.json", "tokenizer_config.json"))
    try:
        model, found = AutoModelForCausalLM.from_pretrained(
            name, dtype=DTYPES[dtype], use_safetensors=True, output_loading_info=True, **at_hand
        )
        tokenizer = AutoTokenizer.from_pretrained(name, padding_side="left", **at_hand) if has_tokenizer else None
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"policy could not be loaded from {str(name)!r}: {error}") from error
    if found["missing_keys"]:  # transformers would go on with random weights
        raise ValueError(f"policy could not be loaded from {str(name)!r}: no {sorted(found['missing_keys'])[0]} there")
    if tokenizer is not None:
        generation = getattr(model.generation_config, "eos_token_id", None)
        tokenizer.stop_tokens = _stop_tokens(tokenizer.eos_token_id, generation)
    return model.to(device).eval(), tokenizer


def _stop_tokens(*given: int | list[int] | None) -> tuple[int, ...]:
    """All ids that are given, each once, in order."""
    return tuple(dict.fromkeys(i for ids in given for i in (ids if isinstance(ids, list) else [ids]) if i is not None))


def check_device(device: str) -> str:
    """Returns `device`; raises ValueError for an unknown name, and for a CUDA device that is not there."""
    try:
        found = torch.device(device)
    except RuntimeError:
        raise ValueError(f"device must be 'cpu', 'cuda' or a numbered one such as 'cuda:1', got {device!r}") from None
    if found.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be one that is there, got {device!r} where CUDA is not available; use 'cpu'")
    if found.type == "cuda" and (found.index or 0) >= (n := torch.cuda.device_count()):
        raise ValueError(f"device must be one that is there, got {device!r} where there are {n}")
    return device
