"""Trainers of other libraries as peers: one optimizer step at a time, in a thread that otherwise waits."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from threading import Semaphore, Thread
from typing import Any

import torch

MANY_STEPS = 1_000_000  # more than any benchmark runs

Train = Callable[[Callable[[], bool]], Any]


class Stepped:
    """A training loop that belongs to someone else, made to stand still between its steps.

    `train` gets a function that it must call after each step and stop when that returns True. `step()` lets the loop
    go on until the end of its next step; what the loop raises comes out of `step()`. The loop runs in a thread with
    as many compute threads as this one, and is at rest whenever `step()` is not running.
    """

    def __init__(self, train: Train) -> None:
        self._go, self._done = Semaphore(0), Semaphore(0)
        self._stop, self._ended = False, False
        self._error: BaseException | None = None
        self._thread = Thread(target=self._work, args=(train, torch.get_num_threads()), daemon=True)
        self._thread.start()

    def step(self) -> None:
        """Raises RuntimeError where the loop has ended by itself."""
        if not self._ended:
            self._go.release()
            self._done.acquire()
        if self._error is not None:
            raise self._error
        if self._ended:
            raise RuntimeError("the peer's training loop ended before the benchmark did")

    def close(self) -> None:
        """Ends the loop after its latest step."""
        self._stop = True
        self._go.release()
        self._thread.join()

    def _work(self, train: Train, threads: int) -> None:
        torch.set_num_threads(threads)  # OpenMP keeps this for each thread
        self._go.acquire()
        try:
            if not self._stop:
                train(self._after_step)
        except BaseException as error:
            self._error = error
        finally:
            self._ended = True
            self._done.release()

    def _after_step(self) -> bool:
        self._done.release()
        self._go.acquire()
        return self._stop


def callback(after_step: Callable[[], bool]) -> Any:
    """A callback of transformers' Trainer that calls `after_step` and ends the training when it says so."""
    from transformers import TrainerCallback

    class AfterStep(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> Any:
            if after_step():
                control.should_training_stop = True
            return control

    return AfterStep()


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


def stepped(make: Callable[[str], Any]) -> tuple[Callable[[], None], Callable[[], None]]:
    """(step, close) of a trainer of the transformers kind; `make` builds it, given a folder that `close` removes."""
    folder = tempfile.TemporaryDirectory(prefix="toykit-bench-")
    trainer = make(folder.name)

    def train(after_step: Callable[[], bool]) -> None:
        trainer.add_callback(callback(after_step))
        trainer.train()

    loop = Stepped(train)

    def close() -> None:
        loop.close()
        folder.cleanup()

    return loop.step, close
