"""Where does probability come from? Tables, small GPTs and any transformers causal LM, called alike."""

from toykit.policies.base import Cursor, Output, check_fits, context, cursor, device_of, vocab_size
from toykit.policies.combined import Combined
from toykit.policies.export import export, load_exported
from toykit.policies.gpt import GPT, GPTConfig
from toykit.policies.tabular import TabularLM

__all__ = [
    "GPT",
    "Combined",
    "Cursor",
    "GPTConfig",
    "Output",
    "TabularLM",
    "check_fits",
    "context",
    "cursor",
    "device_of",
    "export",
    "load_exported",
    "vocab_size",
]
