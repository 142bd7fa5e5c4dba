"""`export`: a TabularLM or a GPT as a real transformers model, and `load_exported`: its weights back again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from toykit.policies import lora
from toykit.policies.gpt import GPT
from toykit.policies.tabular import TabularLM
from toykit.tasks.base import Vocab


def export(policy: nn.Module, folder: str | Path | None = None, vocab: Vocab | None = None) -> nn.Module:
    """The transformers model with the same logits; written to `folder` (safetensors) where one is given.

    A GPT becomes a LlamaForCausalLM, which loads anywhere. A TabularLM becomes a TabularForCausalLM: import
    `toykit.policies.transformers_model` before `AutoModelForCausalLM.from_pretrained(folder)`. A transformers model
    stays what it is; of one with adapters (`toykit.policies.lora`) a copy is made, with them merged. `vocab` gives the
    ids of the padding and stop tokens that `generate` uses.
    Raises ValueError for any other policy.
    """
    model: Any
    if isinstance(policy, TabularLM):
        model = _tabular(policy)
    elif isinstance(policy, GPT):
        model = _llama(policy)
    elif hasattr(policy, "save_pretrained"):
        model = lora.merged(policy) if lora.adapters(policy) else policy
    else:
        raise ValueError(f"policy must be a TabularLM, a GPT or a transformers model, got {type(policy).__name__}")
    if vocab is not None:
        stop = list(vocab.stop) or None
        for config in (model.config, model.generation_config):
            config.pad_token_id, config.eos_token_id, config.bos_token_id = vocab.pad, stop, None
    if folder is not None:
        model.save_pretrained(folder)
    return model.eval()


@torch.no_grad()
def load_exported(policy: nn.Module, model: nn.Module) -> nn.Module:
    """Copies the weights of a model that `export` made of the policy, and another library trained, into the policy.

    Returns the policy. Raises ValueError where the model is not one that `export` makes of such a policy (nothing is
    copied then): other names, other shapes, or a table's automaton that is not the policy's.
    """
    if not isinstance(policy, TabularLM | GPT):
        raise ValueError(f"policy must be a TabularLM or a GPT, got {type(policy).__name__}")
    state, kept = model.state_dict(), {id(buffer) for buffer in policy.buffers()}
    learned = {}
    for name, ours in _names(policy).items():
        theirs = state.get(name)
        if theirs is None or theirs.shape != ours.shape:
            there = "missing" if theirs is None else f"of shape {list(theirs.shape)}"
            raise ValueError(f"model must be an export of the policy, its {name} {list(ours.shape)} is {there}")
        if id(ours) not in kept:
            learned[name] = ours
        elif not torch.equal(theirs.to(ours.device), ours.to(theirs.dtype)):
            raise ValueError(f"model must be an export of the policy, its {name} is that of another task")
    for name, ours in learned.items():
        ours.copy_(state[name])
    return policy


def _names(policy: TabularLM | GPT) -> dict[str, Tensor]:
    """The policy's tensors (or views of them) by their names in the exported model, without the tied head."""
    if isinstance(policy, TabularLM):
        return {f"model.{name}": value for name, value in policy.state_dict(keep_vars=True).items()}
    found: dict[str, Any] = {"model.embed_tokens.weight": policy.embedding.weight, "model.norm.weight": policy.norm}
    block: Any
    for i, block in enumerate(policy.blocks):
        to = f"model.layers.{i}."
        found[to + "input_layernorm.weight"] = block.attention_norm
        found[to + "post_attention_layernorm.weight"] = block.feed_norm
        for name, part in zip("qkv", block.qkv.weight.chunk(3), strict=True):
            found[f"{to}self_attn.{name}_proj.weight"] = part
        found[to + "self_attn.o_proj.weight"] = block.out.weight
        for name, part in zip(("gate", "up"), block.gate_up.weight.chunk(2), strict=True):
            found[f"{to}mlp.{name}_proj.weight"] = part
        found[to + "mlp.down_proj.weight"] = block.down.weight
    return found


def _llama(policy: GPT) -> nn.Module:
    from transformers import LlamaConfig, LlamaForCausalLM

    c = policy.config
    config = LlamaConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.width,
        intermediate_size=c.hidden,
        num_hidden_layers=c.layers,
        num_attention_heads=c.heads,
        num_key_value_heads=c.heads,
        max_position_embeddings=c.context,
        rms_norm_eps=c.eps,
        rope_theta=c.rope_base,
        tie_word_embeddings=True,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
    )
    model = LlamaForCausalLM(config).to(policy.norm.dtype)
    missing, unexpected = model.load_state_dict(
        {k: v.detach().clone() for k, v in _names(policy).items()}, strict=False
    )
    assert set(missing) <= {"lm_head.weight"} and not unexpected, (missing, unexpected)
    model.tie_weights()
    return model


def _tabular(policy: TabularLM) -> nn.Module:
    from toykit.policies.transformers_model import TabularConfig, TabularForCausalLM

    state = policy.state_dict()
    config = TabularConfig(policy.vocab_size, {k: list(v.shape) for k, v in state.items()})
    model = TabularForCausalLM(config).to(policy.table.dtype)
    with torch.no_grad():
        for name, value in state.items():
            getattr(model.model, name).copy_(value)
    return model
