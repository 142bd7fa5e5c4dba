"""Activations that are made again, and what a run that does not fit says."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from toykit.policies import GPT, GPTConfig, TabularLM
from toykit.rollouts import Sampled, token_logps
from toykit.tasks import ChainSum, Operator
from toykit.training import PretrainConfig, Pretrainer, TrainConfig, Trainer
from toykit.training.memory import explained, recomputing

TASK = ChainSum(n_train=6)


def gpt() -> nn.Module:
    return GPT(GPTConfig(TASK.vocab.size, width=16, heads=2, hidden=16)).double().eval()


def qwen3() -> nn.Module:
    from toykit.policies.qwen3 import qwen3

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    return qwen3(TASK.vocab, sizes).double().eval()


def calls_of_layers(policy: nn.Module) -> list[str]:
    """Filled with "call" whenever a part of the first layer begins to compute."""
    calls: list[str] = []
    part = policy.model.layers[0].mlp if hasattr(policy, "model") else policy.blocks[0]
    part.register_forward_pre_hook(lambda *_: calls.append("call"))
    return calls


@pytest.mark.parametrize("make", [gpt, qwen3])
def test_recomputing_changes_nothing_but_the_work(make):
    policy = make()
    made = Sampled(3)(policy, TASK, TASK.prompts(), torch.Generator().manual_seed(0))
    batch = (made.prompts, made.prompt_mask, made.completions, made.mask)
    calls, found = calls_of_layers(policy), []
    for again in (False, True):
        calls.clear()
        policy.zero_grad()
        if again:
            with recomputing(policy):
                token_logps(policy, *batch).sum().backward()
                assert not any(m.training for m in policy.modules() if isinstance(m, nn.Dropout))
        else:
            token_logps(policy, *batch).sum().backward()
        found.append([p.grad.clone() for p in policy.parameters()])
        assert len(calls) == 1 + again
    for a, b in zip(*found, strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-12)
    assert not any(m.training for m in policy.modules())
    again = Sampled(3)(policy, TASK, TASK.prompts(), torch.Generator().manual_seed(0))
    assert torch.equal(again.completions, made.completions)


def test_a_table_has_no_layers_to_recompute():
    task = Operator(n_train=2)
    said = "recompute must be False for a TabularLM, which has no layers to recompute"
    with pytest.raises(ValueError, match=said), recomputing(TabularLM.of(task, "prefix")):
        pass


NEEDS = r"memory of cpu must hold the step, which needs {}: it has .* GiB, of which .* are free; use less"


@pytest.mark.parametrize(
    ("error", "needed"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has"), "2.00 GiB more"),
        (RuntimeError("can't allocate memory: you tried to allocate 17179869184 bytes."), "16.00 GiB more"),
        (torch.OutOfMemoryError("CUDA error: out of memory"), "more"),
    ],
)
def test_what_does_not_fit_says_what_was_needed_and_what_to_change(error: RuntimeError, needed: str):
    with pytest.raises(MemoryError, match=NEEDS.format(needed)), explained(torch.device("cpu"), "use less"):
        raise error


def test_another_error_is_left_as_it_is():
    with pytest.raises(RuntimeError, match="another trouble"), explained(torch.device("cpu"), "use less"):
        raise RuntimeError("another trouble")


def test_an_allocation_that_cannot_be_had_on_this_machine():
    needed = NEEDS.format("4194304.00 GiB more")
    with pytest.raises(MemoryError, match=needed), explained(torch.device("cpu"), "use less"):
        torch.empty(2**52, dtype=torch.uint8)


class Small(GPT):
    """A GPT on a machine that cannot hold more than some rows with a gradient."""

    most = 1_000_000

    def forward(self, input_ids, attention_mask=None, position_ids=None):
        if torch.is_grad_enabled() and len(input_ids) > self.most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has")
        return super().forward(input_ids, attention_mask, position_ids)


def trainer(**options) -> Trainer:
    policy = Small(GPTConfig(TASK.vocab.size, width=16, heads=2, hidden=16)).double()
    return Trainer(policy, TASK, "grpo", Sampled(4), TrainConfig(prompts=3, lr=0.01, **options))


def test_a_run_that_did_not_fit_goes_on_with_another_setting_and_has_lost_nothing(tmp_path):
    whole = trainer()
    whole.run(4, progress=False)
    begun = trainer()
    begun.run(2, tmp_path, save_every=50, progress=False)
    begun.policy.most = 2
    said = "needs 2.00 GiB more: .*; set micro_size to a number of completions, such as 8, or set recompute"
    with pytest.raises(MemoryError, match=said):
        begun.run(4, tmp_path, save_every=50, progress=False)
    assert begun.done == 2 and begun.updates == 0
    resumed = trainer(micro_size=2, recompute=True).load(tmp_path / "checkpoint.safetensors")
    resumed.policy.most = 2
    resumed.run(4, tmp_path, progress=False)
    for a, b in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-10)
    again = trainer(compile=False, seed=1)
    with pytest.raises(ValueError, match="was made with another config; seed differ"):
        again.load(tmp_path / "checkpoint.safetensors")


def test_the_first_step_too_may_not_fit(tmp_path):
    begun = trainer(micro_size=3, recompute=True)
    begun.policy.most = 0
    with pytest.raises(MemoryError, match="set micro_size to less than 3$"):
        begun.run(1, tmp_path, progress=False)
    assert trainer().load(tmp_path / "checkpoint.safetensors").done == 0


def test_only_a_gpt_is_compiled():
    task = Operator(n_train=2)
    with pytest.raises(
        ValueError, match="compile must be False for a TabularLM, only a GPT or a transformers model is"
    ):
        Trainer(TabularLM.of(task, "prefix"), task, "grpo", Sampled(4), TrainConfig(compile=True))


def test_a_pretraining_step_that_does_not_fit_leaves_all_as_it_was(tmp_path):
    def pretrainer() -> Pretrainer:
        policy = Small(GPTConfig(TASK.vocab.size, width=16, heads=2, hidden=16)).double()
        return Pretrainer(policy, TASK, PretrainConfig(steps=3, batch=4))

    whole, begun = pretrainer(), pretrainer()
    whole.run(progress=False)
    begun.step()
    begun.policy.most = 3
    with pytest.raises(MemoryError, match="needs 2.00 GiB more: .*; set batch to less than 4"):
        begun.run(tmp_path, progress=False)
    resumed = pretrainer().load(tmp_path / "checkpoint.safetensors")
    resumed.run(progress=False)
    for a, b in zip(whole.policy.parameters(), resumed.policy.parameters(), strict=True):
        assert torch.equal(a, b)
