"""Trainers of other libraries as peers: one optimizer step a turn."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import Any

from toykit.bench.apart import Loop, Turn

MANY_STEPS = 1_000_000  # more than any benchmark runs


def quiet(folder: str, batch: int, lr: float) -> dict[str, Any]:
    """Options that both transformers' and TRL's trainers take: float32 on the CPU, no logs, no checkpoints."""
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": False,
        "fp16": False,
        "gradient_checkpointing": False,
        "per_device_train_batch_size": batch,
        "max_steps": MANY_STEPS,
        "learning_rate": lr,
        "lr_scheduler_type": "constant",
        "max_grad_norm": 1.0,
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
        "seed": 0,
    }


def steps_of(make: Callable[[str], Any]) -> Loop:
    """The loop of a trainer of the transformers kind, a step a turn; `make` builds it, given a folder for its files."""

    def loop(turn: Turn) -> None:
        with tempfile.TemporaryDirectory(prefix="toykit-bench-") as folder:
            trainer = make(folder)
            trainer.add_callback(_callback(turn))
            if turn():
                trainer.train()

    return loop


def _callback(turn: Turn) -> Any:
    """A callback of transformers' Trainer that takes a turn after each step, and ends the training at the last."""
    from transformers import TrainerCallback

    class AfterStep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if not turn():
                control.should_training_stop = True
            return control

    return AfterStep()
