"""The loop under every long run: a progress bar, a log, checkpoints, and Ctrl-C that loses nothing."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from toykit._checks import at_least
from toykit.training.checkpoint import clear_parts, write_whole
from toykit.training.processes import ALONE, Processes

MINUTE = 60.0  # seconds between checkpoints that may be a gigabyte each


class Stepper(Protocol):
    """What can be run: it counts its steps, makes one, and writes and reads its whole state."""

    @property
    def done(self) -> int: ...

    def step(self) -> dict[str, float]: ...

    def save(self, path: str | Path) -> None: ...


class Log:
    """Figures of each step: a line of JSON in `log.jsonl`, and TensorBoard events where asked for."""

    def __init__(self, folder: Path, done: int, tensorboard: bool = False) -> None:
        """Lines of steps after `done` (left by a run that was killed after its last checkpoint) are dropped."""
        folder.mkdir(parents=True, exist_ok=True)
        clear_parts(folder)
        self.path = folder / "log.jsonl"
        kept = [line for line in self._lines() if json.loads(line)["step"] <= done]
        write_whole(self.path, "".join(line + "\n" for line in kept).encode())
        self.file = open(self.path, "a", buffering=1)  # noqa: SIM115 (closed by close)
        self.events = None
        if tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ValueError("tensorboard must be installed for its logs: pip install 'toykit[lab]'") from error
            self.events = SummaryWriter(str(folder / "tensorboard"), purge_step=done + 1)

    def _lines(self) -> Iterator[str]:
        """The whole lines there are; a last line that a kill cut short is left out."""
        if not self.path.exists():
            return
        for line in self.path.read_text().splitlines():
            try:
                json.loads(line)
            except json.JSONDecodeError:
                continue
            yield line

    def __call__(self, figures: dict[str, float]) -> None:
        self.file.write(json.dumps(figures) + "\n")
        if self.events is not None:
            for name, value in figures.items():
                self.events.add_scalar(name, value, int(figures["step"]))

    def close(self) -> None:
        self.file.close()
        if self.events is not None:
            self.events.close()


@contextmanager
def stop_asked() -> Iterator[Callable[[], bool]]:
    """Within, the first Ctrl-C is only noted (the call then says True) and the second interrupts at once."""
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    def note(number: int, frame: Any) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, before)


def _step(stepper: Stepper, folder: Path | None) -> dict[str, float]:
    """A step; one that does not fit, and has changed nothing yet, leaves a checkpoint of what was there in `folder`."""
    try:
        return stepper.step()
    except MemoryError:
        if folder is not None and not getattr(stepper, "updates", 0):
            stepper.save(folder / "checkpoint.safetensors")
        raise


def run(
    stepper: Stepper,
    steps: int,
    out: str | Path | None = None,
    save_every: int = 50,
    progress: bool = True,
    label: str = "train",
    tensorboard: bool = False,
    shown: tuple[str, ...] = ("reward", "loss", "accuracy"),
    processes: Processes = ALONE,
    pause: float = 0.0,
    after: Callable[[], object] = lambda: None,
) -> list[dict[str, float]]:
    """Steps until `steps` are done, or the stepper says that it is `finished`; returns the figures of those made here.

    With `out`, writes log.jsonl and checkpoint.safetensors there every `save_every` steps, at the end, and when Ctrl-C
    is pressed (the step under way is finished first, then KeyboardInterrupt is raised). At least `pause` seconds lie
    between two checkpoints, so that there may be none at the end; Ctrl-C does not wait for them. `after` is called
    after each step, before its checkpoint. Of several processes the first one writes and shows; Ctrl-C in one stops all
    after the same step.
    """
    from tqdm.auto import tqdm

    at_least("save_every", save_every, 1)
    folder = None if out is None else Path(out)
    log = Log(folder, stepper.done, tensorboard) if folder is not None and processes.first else None
    history: list[dict[str, float]] = []
    saved = time.monotonic()

    def over() -> bool:
        return stepper.done >= steps or getattr(stepper, "finished", False)

    def due() -> bool:
        wanted = stepper.done % save_every == 0 or over()
        return wanted and (not pause or processes.any(time.monotonic() - saved >= pause))

    bar = tqdm(total=steps, initial=stepper.done, desc=label, unit="step", disable=not (progress and processes.first))
    try:
        with stop_asked() as stopped:
            while not over():
                history.append(figures := _step(stepper, None if processes.several else folder))
                bar.update()
                bar.set_postfix({k: f"{figures[k]:.3f}" for k in shown if k in figures}, refresh=False)
                if log is not None:
                    log(figures)
                after()
                # asked once: a Ctrl-C while the checkpoint is written belongs to the next step
                asked = processes.any(stopped())
                if folder and (asked or due()):
                    stepper.save(folder / "checkpoint.safetensors")
                    saved = time.monotonic()
                if asked:
                    raise KeyboardInterrupt
    finally:
        bar.close()
        if log is not None:
            log.close()
    return history
