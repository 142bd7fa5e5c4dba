"""The command line as a whole: help, version, errors, and what it costs to ask for help."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import toykit as package
from toykit.cli.commands import app, main, one_line

COMMANDS = (
    *("lab", "lessons", "run", "claims", "catalogue", "horizons"),
    *("pretrain", "train", "audit", "atlas", "bench", "doctor"),
)


def test_help_lists_the_commands_in_the_order_in_which_they_are_met(toykit):
    found = toykit("--help")
    assert found.status == 0
    listed = found.out.split("Commands:")[1].split("\n")
    assert tuple(line.split()[0] for line in listed if line.strip()) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_and_each_of_its_options(toykit, command):
    found = toykit(command, "--help")
    assert found.status == 0 and found.out.startswith(f"Usage: toykit {command}")
    assert max(map(len, found.out.splitlines())) <= 100
    made = get_command(app).commands[command]
    assert made.help and made.params
    assert [param.name for param in made.params if not param.help] == []


def test_options_stand_under_their_headings(toykit):
    found = toykit("train", "--help").out
    headings = [line for line in found.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        "Options:",
        "Completions:",
        "Learning:",
        "The reference policy:",
        "Your own problems (a .jsonl task):",
        "The run:",
    ]
    assert found.index("The run:") < found.index("--save-every")


def test_no_command_shows_the_help(toykit):
    assert "Commands:" in toykit().out + toykit().err


def test_the_version_is_the_packages(toykit):
    assert toykit("--version").out == f"toykit {package.__version__}\n"


def test_an_unknown_command_or_option_is_refused_with_status_2(toykit):
    found = toykit("lesons")
    assert found.status == 2 and "No such command 'lesons'. Did you mean 'lessons'" in found.err
    assert toykit("lessons", "--jso").status == 2
    assert toykit("run").status == 2


def test_what_a_user_can_mend_is_one_line_on_stderr(toykit, monkeypatch):
    for error, line in {
        ValueError("two\n  lines"): "two lines",
        FileNotFoundError("checkpoint 'x' does not exist"): "checkpoint 'x' does not exist",
        PermissionError(13, "Permission denied", "/some/file"): "Permission denied: /some/file",
        NotADirectoryError(20, "Not a directory"): "Not a directory",
    }.items():

        def fail(error=error):
            raise error

        monkeypatch.setattr("toykit.lessons.all_lessons", fail)
        assert toykit("lessons").err == f"toykit: error: {line}\n"
        assert toykit("lessons").refused()
        assert one_line(error) == line


def test_a_mistake_of_ours_is_not_dressed_up_as_the_users(toykit, monkeypatch):
    monkeypatch.setattr("toykit.lessons.all_lessons", lambda: [].missing)
    with pytest.raises(AttributeError, match="missing"):
        toykit("lessons")


def test_ctrl_c_gives_status_130(toykit, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("toykit.lessons.all_lessons", interrupted)
    assert toykit("lessons").status == 130


def test_main_exits_with_the_status_and_calls_itself_toykit(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert capsys.readouterr().out.splitlines()[1].startswith("Usage: toykit ")


def test_asking_for_help_loads_nothing_heavy():
    """In a process of its own: `python -m toykit`."""
    code = (
        "import runpy, sys\n"
        "sys.argv = ['toykit', 'train', '--help']\n"
        "try:\n    runpy.run_module('toykit', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as ended:\n    assert ended.code == 0\n"
        "print(*sys.modules)"
    )
    root = Path(package.__file__).parents[1]
    paths = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "Usage: toykit train" in done.stdout
    loaded = set(done.stdout.splitlines()[-1].split())
    assert loaded.isdisjoint(("torch", "transformers", "numpy", "matplotlib", "gymnasium", "jupyterlab"))
