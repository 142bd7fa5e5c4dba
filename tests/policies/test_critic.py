from __future__ import annotations

import pytest
import torch

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.policies.critic import make_critic
from toykit.policies.qwen3 import qwen3
from toykit.rollouts import outputs
from toykit.tasks.bandit import tricks_tree
from toykit.tasks.features import FeatureTree


def values(critic, task) -> torch.Tensor:
    prompts = task.prompts()
    tokens, mask = (x.expand(len(prompts), *x.shape) for x in (task.tree.tokens, task.tree.mask))
    return outputs(critic, prompts.tokens, prompts.mask, tokens, mask)


def test_a_table_of_values_has_the_states_of_the_policy():
    task, logits = tricks_tree()
    critic = make_critic(TabularLM.of(task, logits=logits))
    assert values(critic, task).shape == (1, 5, 3, 1)
    assert not values(critic, task).any()
    with torch.no_grad():
        critic.table.copy_(torch.tensor([[1.0], [2.0], [3.0]]))
    found = values(critic, task)[0, ..., 0]
    assert torch.equal(found[task.tree.mask], (1.0 + task.tree.nodes[task.tree.mask]).double())


def test_a_table_with_features_shares_its_values_between_prompts_too():
    task = FeatureTree(n_prompts=3, n_features=2)
    critic = make_critic(TabularLM.of(task, "features"))
    assert critic.table.shape == (task.tree.n_nodes, 1, 2)
    with torch.no_grad():
        critic.table[0, 0] = torch.tensor([2.0, -1.0])
    assert torch.allclose(values(critic, task)[:, :, 0, 0], (task.features @ critic.table[0, 0])[:, None].expand(3, 64))


def test_a_gpt_critic_starts_at_0_and_leaves_the_policy_alone():
    policy = GPT(GPTConfig(vocab_size=4, context=8, width=16, heads=2)).double()
    task = tricks_tree()[0]
    critic = make_critic(policy)
    found = values(critic, task)
    assert found.shape == (1, 5, 3, 1) and found.dtype == torch.float64
    assert not found.any()
    found.sum().backward()
    assert all(p.grad is None for p in policy.parameters())
    with torch.no_grad():
        critic.head.weight.fill_(1.0)
    assert values(critic, task).std() > 0.1
    assert critic.body is not policy


@pytest.mark.parametrize("default", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("body", "head"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_the_head_of_a_transformers_models_critic_is_in_float32_or_better(body, head, default):
    task, before = tricks_tree()[0], torch.get_default_dtype()
    sizes = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    policy = qwen3(task.vocab, sizes).to(body)
    torch.set_default_dtype(default)
    try:
        critic = make_critic(policy)
    finally:
        torch.set_default_dtype(before)
    assert values(critic, task).dtype == head and {p.dtype for p in critic.body.parameters()} == {body}
