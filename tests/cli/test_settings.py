from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from toykit.cli.settings import as_json, command_line, of_settings


@dataclass(frozen=True, kw_only=True)
class Settings:
    task: Annotated[str, typer.Argument(help="A task.")]
    option: Annotated[list[str] | None, typer.Option("-o", "--option")] = None
    micro_size: Annotated[int | None, typer.Option(help="A size.")] = None
    lr: Annotated[float, typer.Option()] = 0.5
    enumerate: Annotated[bool, typer.Option("--enumerate")] = False
    autocast: Annotated[bool | None, typer.Option("--autocast/--no-autocast")] = None
    out: Annotated[Path, typer.Option()] = Path("runs")
    resume: Annotated[bool, typer.Option("--resume")] = False


def parsed(words):
    """The settings that a command line gives."""
    found = []

    @of_settings(Settings)
    def train(given: Settings) -> None:
        """What it does."""
        found.append(given)

    app = typer.Typer()
    app.callback()(lambda: None)
    app.command()(train)
    result = CliRunner().invoke(app, ["train", *words])
    assert result.exit_code == 0, result.output
    return found[0]


def test_fields_are_options_with_their_defaults():
    assert parsed(["tree"]) == Settings(task="tree")
    assert parsed(["tree", "--lr", "2", "--micro-size", "3"]) == Settings(task="tree", lr=2.0, micro_size=3)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("tree", "toykit train tree"),
        ("tree --lr 0.5", "toykit train tree"),
        ("--resume tree --lr 2", "toykit train tree --lr 2.0 --resume"),
        ("tree -o a=1 --option b=2", "toykit train tree -o a=1 -o b=2"),
        ("tree --no-autocast --enumerate", "toykit train tree --enumerate --no-autocast"),
        ("tree --autocast --out 'my run'", "toykit train tree --autocast --out 'my run'"),
        ("tree --micro-size 4", "toykit train tree --micro-size 4"),
    ],
)
def test_a_command_line_says_what_differs_from_the_defaults_and_gives_the_same_settings(words, line):
    given = parsed(shlex.split(words))
    assert command_line("train", given) == line
    assert parsed(shlex.split(line)[2:]) == given


def test_what_is_left_out_is_not_in_the_command_line_or_the_record():
    given = parsed(["tree", "--resume", "--out", "x", "-o", "a=1"])
    assert command_line("train", given, without=("out", "resume")) == "toykit train tree -o a=1"
    assert as_json(given, without=("resume",)) == {
        "task": "tree",
        "option": ["a=1"],
        "micro_size": None,
        "lr": 0.5,
        "enumerate": False,
        "autocast": None,
        "out": "x",
    }
