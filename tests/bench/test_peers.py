"""A trainer that belongs to someone else, one step a turn."""

from __future__ import annotations

from pathlib import Path

from toykit.bench.peers import quiet, steps_of


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


def test_a_step_of_a_trainer_of_transformers_kind_is_a_turn_and_its_folder_is_removed():
    made, seen = [], []

    def turn():
        seen.append(made[0].steps)
        return len(seen) < 4

    steps_of(lambda folder: made.append(Trainer(folder)) or made[0])(turn)
    assert seen == [0, 1, 2, 3] and made[0].steps == 3
    assert not made[0].folder.exists()


def test_a_trainer_that_is_given_no_turn_is_not_started():
    made = []
    steps_of(lambda folder: made.append(Trainer(folder)) or made[0])(lambda: False)
    assert made[0].steps == 0 and not made[0].folder.exists()


def test_the_options_of_both_trainers_are_those_of_transformers():
    import dataclasses

    from transformers import TrainingArguments

    assert set(quiet("x", 4, 0.1)) <= {f.name for f in dataclasses.fields(TrainingArguments)}
