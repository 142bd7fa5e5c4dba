"""The way back from an exported model."""

from __future__ import annotations

import pytest
import torch

from toykit.policies import GPT, GPTConfig, TabularLM, export, load_exported
from toykit.tasks import make
from toykit.tasks.bandit import random_bandit

TASKS = {"prefix": "tree", "bigram": "tree", "features": "feature_tree"}


def changed(model):
    """The exported model after some training: every weight it trains is another one."""
    with torch.no_grad():
        for p in model.parameters():
            p += 0.1 * torch.randn_like(p)
    return model


@pytest.mark.parametrize("sharing", TASKS)
def test_a_table_takes_back_what_was_trained(sharing):
    task = make(TASKS[sharing])
    policy = TabularLM.of(task, sharing)
    model = changed(export(policy))
    assert load_exported(policy, model) is policy
    tokens = task.prompts().tokens
    assert torch.equal(policy(tokens).logits, model(tokens).logits)
    assert not torch.equal(policy.table, torch.zeros_like(policy.table))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_gpt_takes_back_what_was_trained(dtype):
    config = GPTConfig(11, context=8, width=16, heads=2, hidden=24)
    policy, tokens = GPT(config), torch.arange(6)[None]
    before = {name: p.clone() for name, p in policy.named_parameters()}
    model = export(policy)
    for p in model.parameters():  # not the rotary speeds, which would be rounded with them
        p.data = p.data.to(dtype)
    load_exported(policy, changed(model))
    assert all(p.dtype == torch.float32 and not torch.equal(p, before[name]) for name, p in policy.named_parameters())
    with torch.no_grad():
        torch.testing.assert_close(policy(tokens).logits, model.float()(tokens).logits, atol=1e-5, rtol=1e-5)


def test_another_model_is_refused_and_nothing_is_copied():
    policy = GPT(GPTConfig(11, context=8, width=16, heads=2, hidden=24))
    before = policy.state_dict()["embedding.weight"].clone()
    other = export(GPT(GPTConfig(11, context=8, width=16, heads=2, hidden=32)))
    with pytest.raises(ValueError, match=r"must be an export .*mlp.gate_proj.weight \[24, 16\] is of shape \[32, 16\]"):
        load_exported(policy, changed(other))
    shallow = export(GPT(GPTConfig(11, context=8, layers=1, width=16, heads=2, hidden=24)))
    with pytest.raises(ValueError, match=r"its model.layers.1.input_layernorm.weight \[16\] is missing"):
        load_exported(policy, changed(shallow))
    assert torch.equal(policy.embedding.weight, before)
    with pytest.raises(ValueError, match="policy must be a TabularLM or a GPT, got LlamaForCausalLM"):
        load_exported(other, other)


def test_a_table_of_another_task_is_refused():
    policy = TabularLM.of(random_bandit(n_prompts=2, n_arms=3))
    table = policy.table.detach().clone()
    model = changed(export(policy))
    model.model.move[1, 0] = 1
    with pytest.raises(ValueError, match="its model.move is that of another task"):
        load_exported(policy, model)
    assert torch.equal(policy.table, table)
