"""A training loop that belongs to someone else, made to stand still between its steps."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
import torch

from toykit.bench.peers import Stepped, quiet, stepped


class Loop:
    """Counts its steps; ends by itself after `most`, and fails in step `fails`."""

    def __init__(self, most=100, fails=None):
        self.most, self.fails, self.done, self.finished = most, fails, 0, False
        self.threads = None

    def train(self, after_step):
        self.threads = torch.get_num_threads()
        while self.done < self.most:
            if self.done + 1 == self.fails:
                raise ValueError("the loop's own trouble")
            self.done += 1
            if after_step():
                break
        self.finished = True


def test_a_step_is_a_step_and_between_them_nothing_moves():
    loop = Loop()
    held = Stepped(loop.train)
    assert loop.done == 0
    for i in range(1, 4):
        held.step()
        assert loop.done == i
    held.close()
    assert loop.done == 3 and loop.finished


def test_a_loop_that_was_never_started_is_closed_too():
    loop = Loop()
    Stepped(loop.train).close()
    assert loop.done == 0 and not loop.finished


def test_the_loop_computes_with_as_many_threads_as_the_caller():
    before, loop = torch.get_num_threads(), Loop()
    torch.set_num_threads(2 if before == 1 else 1)
    try:
        held = Stepped(loop.train)
        held.step()
        assert loop.threads == torch.get_num_threads() != before
        held.close()
    finally:
        torch.set_num_threads(before)


def test_what_the_loop_raises_comes_out_of_the_step_and_out_of_each_later_one():
    held = Stepped(Loop(fails=2).train)
    held.step()
    for _ in range(2):
        with pytest.raises(ValueError, match="the loop's own trouble"):
            held.step()
    held.close()


def test_a_loop_that_ends_too_soon_is_an_error_and_not_a_fast_peer():
    held = Stepped(Loop(most=1).train)
    held.step()
    for _ in range(2):
        with pytest.raises(RuntimeError, match="the peer's training loop ended before the benchmark did"):
            held.step()
    held.close()


class Trainer:
    """As much of transformers' Trainer as the peers use."""

    def __init__(self, folder):
        self.folder, self.callbacks, self.steps = Path(folder), [], 0

    def add_callback(self, callback):
        self.callbacks.append(callback)

    def train(self):
        from transformers import TrainerControl, TrainerState

        control = TrainerControl()
        while not control.should_training_stop:
            self.steps += 1
            (self.folder / "trace").write_text(str(self.steps))
            for callback in self.callbacks:
                control = callback.on_step_end(None, TrainerState(), control)


def test_a_trainer_of_transformers_kind_is_stepped_by_its_callbacks_and_leaves_no_folder():
    made = []
    before = threading.active_count()
    step, close = stepped(lambda folder: made.append(Trainer(folder)) or made[0])
    step()
    step()
    assert (made[0].steps, (made[0].folder / "trace").read_text()) == (2, "2")
    close()
    assert made[0].steps == 2 and not made[0].folder.exists()
    assert threading.active_count() == before


def test_the_options_of_both_trainers_are_those_of_transformers():
    import dataclasses

    from transformers import TrainingArguments

    assert set(quiet("x", 4, 0.1)) <= {f.name for f in dataclasses.fields(TrainingArguments)}
