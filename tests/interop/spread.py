"""Three steps of TRL with a toykit objective, on as many processes as torchrun started; see test_trl_processes.py.

    python spread.py FOLDER OBJECTIVE ...

Completions depend on the row and the step alone, and 3 groups of 8 make 24 rows: on two processes a group is split.
"""

import os
import sys
import warnings

import torch
from accelerate import PartialState

from toykit.interop import trl
from toykit.policies import TabularLM
from toykit.tasks import Tree, TreeTask

warnings.filterwarnings("ignore", ".*gradient_checkpointing", FutureWarning)
TREE = Tree(3, 3, stop=(2,))
TASK = TreeTask(TREE, torch.rand(3, TREE.n_leaves, generator=torch.Generator().manual_seed(0)))


def completions(prompts, trainer):
    first = trainer.accelerator.process_index * len(prompts) + 1000 * trainer.state.global_step
    seeds = [torch.Generator().manual_seed(first + row) for row in range(len(prompts))]
    leaves = [int(torch.randint(TREE.n_leaves, (), generator=seed)) for seed in seeds]
    ids = [TREE.tokens[leaf][TREE.mask[leaf]].tolist() for leaf in leaves]
    asked = trainer.processing_class(text=prompts)["input_ids"]
    return {"prompt_ids": asked, "completion_ids": ids, "logprobs": [[0.0] * len(row) for row in ids]}


def main(objective: str, folder: str) -> None:
    processes = PartialState(cpu=True).num_processes
    sizes = {"per_device_train_batch_size": 24 // processes, "optim": "sgd", "max_grad_norm": 100.0}  # a scale shows
    args = trl.config(TASK, folder, 3, group_size=8, lr=1.0, **sizes)
    trainer = trl.trainer(TabularLM.of(TASK), TASK, args, objective, rollout_func=completions)
    trainer.train()
    if trainer.accelerator.is_main_process:
        torch.save((processes, trainer.model.model.table.detach()), f"{folder}/{objective}-{processes}.pt")


if __name__ == "__main__":
    for name in sys.argv[2:]:
        main(name, sys.argv[1])
    PartialState().destroy_process_group()
    os._exit(0)  # else threads of the libraries below abort a process at its end, once in ten launches on busy cores
