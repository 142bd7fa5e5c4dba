from __future__ import annotations

import json

import pytest
import typer

from toykit.cli.folder import RunFolder, changed
from toykit.training import checkpoint

SETTINGS = {"lr": 0.1, "task": "tree", "steps": 10}


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path / "run", SETTINGS, "toykit train --out run", free=("steps",))


def test_a_new_folder_or_an_empty_one_is_free_for_a_run_and_is_not_touched_by_asking(folder):
    folder.check(resume=False)
    folder.check(resume=True)
    assert not folder.path.exists()
    folder.path.mkdir()
    folder.check(resume=False)


@pytest.mark.parametrize("name", ["settings.json", "checkpoint.safetensors", "log.jsonl", "evaluation.json", "model"])
def test_a_folder_that_holds_a_run_is_refused_unless_it_is_to_go_on(folder, name):
    folder.keep()
    (folder.path / "settings.json").rename(folder.path / "kept")
    (folder.path / name).write_text("{}")
    with pytest.raises(ValueError, match=f"out must be a folder without a run, .* holds {name}; add --resume"):
        folder.check(resume=False)


def test_a_run_goes_on_with_the_settings_that_it_began_with(folder):
    folder.keep()
    folder.check(resume=True)
    assert json.loads((folder.path / "settings.json").read_text()) == {"command": folder.command, "settings": SETTINGS}
    more = RunFolder(folder.path, {**SETTINGS, "steps": 20}, "", folder.free)
    more.check(resume=True)  # how far a run goes is not what it is
    other = RunFolder(folder.path, {**SETTINGS, "lr": 0.2, "task": "bandit", "beta": 1.0}, "", folder.free)
    with pytest.raises(ValueError) as refused:
        other.check(resume=True)
    assert str(refused.value).endswith(
        "got other ones: beta 1.0 (was None), lr 0.2 (was 0.1), task 'bandit' (was 'tree')"
    )


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"settings": 3}'])
def test_settings_that_are_none_are_refused(folder, text):
    folder.keep()
    (folder.path / "settings.json").write_text(text)
    with pytest.raises(ValueError, match="settings.json' must be the settings of a run, got something else"):
        changed(folder.path, SETTINGS)


def test_a_checkpoint_without_settings_cannot_go_on(folder):
    checkpoint.save(folder.checkpoint, {}, {"kind": "train", "step": 3})
    with pytest.raises(ValueError, match=r"out must hold the settings.json of the run that is to go on, .* has none"):
        folder.check(resume=True)


def test_a_file_is_no_folder(folder):
    folder.path.write_text("")
    with pytest.raises(ValueError, match="out must be a folder, got the file"):
        folder.check(resume=False)


@pytest.mark.parametrize("step", [None, 7])
def test_an_interrupted_run_says_how_to_go_on(folder, capsys, step):
    if step is not None:
        checkpoint.save(folder.checkpoint, {}, {"kind": "train", "step": step})
    with pytest.raises(typer.Exit) as ended, folder.resumable():
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    where = "before the first checkpoint" if step is None else "with a checkpoint of step 7"
    assert capsys.readouterr().err == f"\nstopped {where}; to go on:\ntoykit train --out run --resume\n"


def test_a_figure_of_the_log_went_from_its_first_steps_to_its_last(folder):
    folder.path.mkdir()
    log = folder.path / "log.jsonl"
    rows = [{"step": i, "reward": float(i)} for i in range(1, 21)]
    log.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert folder.change("reward") == "1.500 -> 19.500 (means of the first and last 2 steps)"
    log.write_text('{"step": 1, "reward": 0.25}\n{"step": 2}\n{"step": 3, "reward": 0.5}\n')
    assert folder.change("reward") == "0.250 -> 0.500 (first and last step)"
    log.write_text('{"step": 1}\n')
    assert folder.change("reward") == "not logged"


def test_a_cleared_folder_is_free_again(folder):
    folder.keep()
    checkpoint.save(folder.checkpoint, {}, {})
    (folder.path / "mine.txt").write_text("")
    folder.clear()
    folder.check(resume=False)
    assert [p.name for p in folder.path.iterdir()] == ["mine.txt"]
