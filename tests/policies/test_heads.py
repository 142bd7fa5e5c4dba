from __future__ import annotations

import pytest
import torch

from toykit.objectives import DualRL
from toykit.objectives.offline import OfflineMethod
from toykit.policies import GPT, GPTConfig
from toykit.policies.heads import ValueHeads, split_heads
from toykit.policies.qwen3 import qwen3
from toykit.rewards import labelled
from toykit.rollouts import Sampled, sample
from toykit.tasks import Sorting
from toykit.training import OfflineConfig, OfflineTrainer

TASK = Sorting(places=2, n_train=8, n_test=4)


def a_gpt():
    return GPT(GPTConfig(TASK.vocab.size, context=8, layers=1, width=16, heads=2, hidden=16), seed=0).eval()


def a_transformer():
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    return qwen3(TASK.vocab, sizes).eval()


@pytest.mark.parametrize("make", [a_gpt, a_transformer])
def test_heads_start_at_0_beside_the_policys_own_logits(make):
    policy, tokens = make(), torch.tensor([[1, 2, 3], [4, 5, 6]])
    mask = torch.tensor([[False, True, True], [True, True, True]])
    out = ValueHeads(policy)(tokens, mask).logits
    logits, q, v = split_heads(out)
    assert out.shape == (2, 3, 23) and q.shape == (2, 3, 11) and v.shape == (2, 3)
    own = policy(input_ids=tokens[1:], attention_mask=mask[1:]).logits
    assert torch.allclose(logits[1:], own, atol=1e-6) and not q.any() and not v.any()


@pytest.mark.parametrize("make", [a_gpt, a_transformer])
def test_completions_are_drawn_from_the_body(make):
    policy, prompts = make(), TASK.prompts()
    drawn = [sample(p, prompts, 2, 2, (), torch.Generator().manual_seed(0)) for p in (policy, ValueHeads(policy))]
    assert torch.equal(drawn[0].tokens, drawn[1].tokens) and torch.equal(drawn[0].logp, drawn[1].logp)


def test_heads_are_as_precise_as_their_body_whatever_the_default_is():
    before, policy = torch.get_default_dtype(), a_gpt()
    torch.set_default_dtype(torch.float64)
    try:
        made = ValueHeads(policy)
    finally:
        torch.set_default_dtype(before)
    assert made.heads.weight.dtype == torch.float32


def test_a_module_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="body must be a GPT or a transformers causal LM, got Linear"):
        ValueHeads(torch.nn.Linear(2, 2))


def test_a_policy_without_heads_is_refused_by_a_loss_that_reads_them():
    data = labelled(Sampled(2)(a_gpt(), TASK, TASK.prompts(), torch.Generator().manual_seed(0)))
    with pytest.raises(ValueError, match="policy must be a ValueHeads for DualRL, got GPT"):
        OfflineTrainer(a_gpt(), TASK, OfflineMethod(DualRL(), "here"), data)


@pytest.mark.parametrize("make", [a_gpt, a_transformer])
def test_the_offline_trainer_moves_all_three_and_resumes_with_its_largest_norm(make, tmp_path):
    data = labelled(Sampled(4)(make(), TASK, TASK.prompts(), torch.Generator().manual_seed(0)))

    def trainer():
        return OfflineTrainer(
            ValueHeads(make()), TASK, OfflineMethod(DualRL(), "here"), data, OfflineConfig(lr=1e-2, batch=8)
        )

    first, through = trainer(), trainer()
    norms = [figures["grad_norm"] for figures in first.run(3, progress=False)]
    assert first.largest_norm == max(norms) > 0
    assert first.policy.heads.weight.abs().amax(1).gt(0).sum() > 2 and first.policy.heads.bias[-1] != 0
    through.run(2, progress=False)
    through.save(tmp_path / "half.safetensors")
    resumed = trainer().load(tmp_path / "half.safetensors")
    assert resumed.largest_norm == max(norms[:2])
    resumed.run(3, progress=False)
    assert resumed.largest_norm == max(norms)
    assert torch.equal(resumed.policy.heads.weight, first.policy.heads.weight)
    assert first.evaluate()
