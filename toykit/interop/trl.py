"""toykit inside TRL: a policy, a task or an objective handed to TRL's GRPOTrainer.

A task becomes a data set and a reward function, a policy a transformers model; after the training
`toykit.policies.load_exported(policy, trainer.model)` brings the weights back.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.utils.rnn import pad_sequence

from toykit._checks import at_least, positive
from toykit.interop.needs import as_method, check_supplied
from toykit.objectives import Method, Objective
from toykit.policies import check_fits, export
from toykit.tasks.base import Task
from toykit.tasks.tokenizer import tokenizer_of

SUPPLIED = ("penalty", "prepared", "reference", "shaping")  # kinds of `toykit.interop.needs`


def dataset(task: Task, split: str = "train") -> Any:
    """The prompts of a split as a datasets.Dataset with the columns `prompt` (text) and `prompt_id`.

    Raises ValueError for a prompt whose text the task's tokenizer reads as other tokens.
    """
    from datasets import Dataset

    prompts, tokenizer = task.prompts(split), tokenizer_of(task.vocab, complete=True)
    rows = [row[mask].tolist() for row, mask in zip(prompts.tokens.cpu(), prompts.mask.cpu(), strict=True)]
    texts = [task.vocab.decode(row) for row in rows]
    for i, (row, text) in enumerate(zip(rows, texts, strict=True)):
        if (again := tokenizer(text=[text])["input_ids"][0]) != row:
            raise ValueError(
                f"prompts must be read from their text as they are, got {again} from {text!r} (prompt {i})"
            )
    return Dataset.from_dict({"prompt": texts, "prompt_id": prompts.ids.tolist()})


def reward(task: Task) -> Callable[..., list[float]]:
    """The task's own score as a reward function of TRL, for a data set made by `dataset`."""

    def score(completion_ids: list[list[int]], prompt_id: list[int], **_: Any) -> list[float]:
        tokens = pad_sequence([torch.tensor(ids) for ids in completion_ids], batch_first=True)
        lengths = torch.tensor([len(ids) for ids in completion_ids])
        mask = torch.arange(tokens.shape[1]) < lengths[:, None]
        return task.score(torch.tensor(prompt_id), tokens[:, None], mask[:, None])[:, 0].tolist()

    score.__name__ = task.name
    return score


def config(
    task: Task,
    folder: str | Path,
    steps: int,
    prompts: int | None = None,
    group_size: int = 8,
    lr: float = 1e-3,
    seed: int = 0,
    **options: Any,
) -> Any:
    """A GRPOConfig that does what a `TrainConfig(lr=lr, prompts=prompts, max_grad_norm=1.0)` does.

    On the CPU, in the policy's own precision: `prompts` prompts a step (None takes all of the train split) with
    `group_size` completions each, one update a batch, AdamW without decay, no KL penalty, nothing written or printed.
    `options` are arguments of GRPOConfig that replace or complete these.
    """
    from trl import GRPOConfig

    at_least("steps", steps, 1)
    at_least("group_size", group_size, 2)
    known = GRPOConfig.__dataclass_fields__
    checkpointing = "activation_checkpointing" if "activation_checkpointing" in known else "gradient_checkpointing"
    chosen = {
        "output_dir": str(folder),
        "use_cpu": True,
        "bf16": False,
        checkpointing: False,
        "per_device_train_batch_size": (prompts or len(task.prompts())) * group_size,
        "num_generations": group_size,
        "max_completion_length": task.horizon,
        "max_steps": steps,
        "learning_rate": positive("lr", lr),
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "beta": 0.0,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": seed,
    }
    return GRPOConfig(**(chosen | options))


def trainer(
    policy: nn.Module,
    task: Task,
    args: Any,
    objective: str | Method | Objective | None = None,
    reference: nn.Module | None = None,
    **options: Any,
) -> Any:
    """A GRPOTrainer of TRL that trains a policy's export (a transformers model itself) on a task.

    `args` is a GRPOConfig, of `config` or your own; its loss is TRL's own, unless an `objective` is given: see
    `objective_trainer`, which also takes the `reference`. `options` are further arguments of the GRPOTrainer. Raises
    ValueError for a task that does not fit the policy, or where `args` lets completions be longer than the task.
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    from transformers import PrinterCallback
    from trl import GRPOTrainer

    check_fits(policy, task.vocab, task.prompts().tokens.shape[1], task.horizon)
    if args.max_completion_length > task.horizon:
        raise ValueError(
            f"max_completion_length must be at most the task's horizon {task.horizon}, got {args.max_completion_length}"
        )
    if objective is not None:
        if reference is not None:
            options["reference"] = export(reference, vocab=task.vocab)
        made: Any = objective_trainer(objective)
    elif reference is not None:
        raise ValueError("reference must be given with an objective only, TRL's own loss loads its reference itself")
    else:
        made = GRPOTrainer
    trainer = made(
        model=export(policy, vocab=task.vocab),
        reward_funcs=reward(task),
        args=args,
        train_dataset=dataset(task),
        processing_class=tokenizer_of(task.vocab, complete=True),
        **options,
    )
    if args.logging_strategy == "no":  # which leaves a line at the end
        trainer.remove_callback(PrinterCallback)
    return trainer


def objective_trainer(objective: str | Method | Objective) -> Callable[..., Any]:
    """A constructor of GRPOTrainers whose loss is a toykit objective: called as `trl.GRPOTrainer` is.

    TRL makes the completions, scores them and steps the optimizer; advantages, loss and KL penalty are the objective's,
    so that `beta` must be 0 in the GRPOConfig and its loss_type, epsilon and scale_rewards count for nothing. One more
    argument, `reference`, is a transformers model (default: a copy of the model as it starts). Raises ValueError for
    an objective that needs what TRL cannot supply.
    """
    given = as_method(objective)
    check_supplied(given, SUPPLIED, "TRL")

    def construct(*args: Any, **options: Any) -> Any:
        from toykit.interop.trl_trainer import ObjectiveTrainer

        return ObjectiveTrainer(*args, method=copy.deepcopy(given), **options)  # a moving Z belongs to one run

    return construct
