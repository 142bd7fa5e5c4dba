"""The benchmark of pretraining: the small GPT against the same architecture under transformers' Trainer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from toykit.bench.apart import Loop, against_apart
from toykit.bench.base import TINY, Benchmark, Case
from toykit.bench.peers import MANY_STEPS, quiet, steps_of
from toykit.policies import GPT, GPTConfig, export
from toykit.tasks.chain_sum import ChainSum
from toykit.training.pretrain import PretrainConfig, Pretrainer

LR, IGNORED = 3e-3, -100


def examples(task: ChainSum, n: int) -> list[dict[str, Tensor]]:
    """`n` worked examples as transformers' Trainer takes them; the loss is on the completions alone."""
    prompts, completions, mask = task.corpus(n, torch.Generator().manual_seed(0))
    labels = torch.cat([torch.full_like(prompts.tokens, IGNORED), completions.masked_fill(~mask, IGNORED)], 1)
    columns = {
        "input_ids": torch.cat([prompts.tokens, completions], 1),
        "attention_mask": torch.cat([prompts.mask, mask], 1).long(),
        "labels": labels,
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def hf_trainer(model: Any, data: list[dict[str, Tensor]], batch: int, folder: str) -> Any:
    """The peer: transformers' Trainer with the same loss, batch and optimizer, on examples that are already made."""
    from transformers import PrinterCallback, Trainer, TrainingArguments, default_data_collator

    arguments = TrainingArguments(**quiet(folder, batch, LR), weight_decay=0.01, adam_beta2=0.98)
    made = Trainer(model=model, args=arguments, train_dataset=data, data_collator=default_data_collator)
    made.remove_callback(PrinterCallback)
    return made


def setting(size: str) -> tuple[ChainSum, GPT, int]:
    """The task, a new GPT and the number of examples in a step."""
    batch, width = (4, 16) if size == TINY else (128, 64)
    task = ChainSum(n_train=64) if size == TINY else ChainSum()
    return task, GPT(GPTConfig(task.vocab.size, width=width)), batch


def hf_steps(size: str) -> Loop:
    """The peer's loop, from the weights that ours begins with."""
    task, policy, batch = setting(size)
    return steps_of(lambda folder: hf_trainer(export(policy).train(), examples(task, 32 * batch), batch, folder))


def _against_trainer(size: str, peer: bool) -> list[Case]:
    task, policy, batch = setting(size)
    ours = Pretrainer(policy, task, PretrainConfig(steps=MANY_STEPS, batch=batch, lr=LR))
    return [against_apart(ours.step, f"{__name__}:hf_steps" if peer else None, size)]


PRETRAINING = (
    Benchmark(
        "pretrain_tokens",
        "tokens/s of pretraining the small GPT on chain_sum, 128 examples a step",
        "transformers Trainer",
        2.0,
        _against_trainer,
        needs=("accelerate",),
    ),
)
