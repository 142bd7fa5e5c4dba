"""Logs; what happens to a run that is stopped is in test_resume.py."""

from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest

from toykit.training import loop


class Counter:
    """Counts its steps; a checkpoint is their number."""

    done = 0

    def step(self) -> dict[str, float]:
        self.done += 1
        return {"step": self.done, "loss": 1 / self.done}

    def save(self, path: str | Path) -> None:
        Path(path).write_text(str(self.done))


def test_a_checkpoint_is_written_when_due_and_at_the_end(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Counter, "save", lambda self, path: saved.append(self.done))
    loop.run(Counter(), 7, tmp_path, save_every=3, progress=False)
    assert saved == [3, 6, 7]


def test_a_run_without_a_folder_writes_nothing(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert [f["step"] for f in loop.run(Counter(), 3, progress=False)] == [1, 2, 3]
    assert not list(tmp_path.iterdir())


def test_the_log_holds_the_figures_of_each_step(tmp_path):
    history = loop.run(Counter(), 3, tmp_path, progress=False)
    assert [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()] == history


def test_a_step_that_fails_keeps_the_log_and_the_last_checkpoint(tmp_path):
    class Failing(Counter):
        def step(self) -> dict[str, float]:
            if self.done == 5:
                raise ValueError("rewards must be finite")
            return super().step()

    with pytest.raises(ValueError, match="rewards must be finite"):
        loop.run(Failing(), 9, tmp_path, save_every=2, progress=False)
    assert (tmp_path / "checkpoint.safetensors").read_text() == "4"
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 5


def test_progress_shows_rate_and_figures(tmp_path, capsys):
    loop.run(Counter(), 3)
    shown = capsys.readouterr().err
    assert "train" in shown and "3/3" in shown and "step" in shown


def test_a_run_outside_the_main_thread_leaves_signals_alone(tmp_path):
    found = []
    thread = threading.Thread(target=lambda: found.extend(loop.run(Counter(), 2, progress=False)))
    thread.start()
    thread.join()
    assert len(found) == 2


def test_save_every_is_checked():
    with pytest.raises(ValueError, match="save_every must be >= 1, got 0"):
        loop.run(Counter(), 2, save_every=0)


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path):
    half = tmp_path / ".checkpoint.safetensors.4711.part"
    half.write_bytes(b"half")
    loop.run(Counter(), 1, tmp_path, progress=False)
    assert not half.exists()


def test_events_of_steps_that_are_made_again_replace_those_of_the_killed_run(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loop.run(Counter(), 4, tmp_path, progress=False, tensorboard=True)
    again = Counter()
    again.done = 2
    loop.run(again, 5, tmp_path, progress=False, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("loss")] == [1, 2, 3, 4, 5]


def test_tensorboard_events_hold_the_same_figures(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loop.run(Counter(), 3, tmp_path, progress=False, tensorboard=True)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("loss")] == [(1, 1), (2, 0.5), (3, pytest.approx(1 / 3))]
