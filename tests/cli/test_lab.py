from __future__ import annotations

import importlib.util
import os
import sys
import webbrowser
from pathlib import Path

import pytest

from toykit.cli import lab

FOLDER = Path("some") / "project"


def found_browser():
    return object()


def no_browser():
    raise webbrowser.Error("could not locate runnable browser")


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The command lines that would have been started, on a machine with notebooks, JupyterLab and a browser."""
    commands: list[list[str]] = []
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "00_start_here.ipynb").write_text("{}")
    monkeypatch.setattr(lab, "__file__", str(tmp_path / "toykit" / "cli" / "lab.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(lab, "start", commands.append)
    monkeypatch.setattr(lab, "has_browser", lambda: True)
    monkeypatch.setattr(lab, "is_root", lambda: False)
    return commands


def test_jupyterlab_opens_on_the_first_notebook_of_the_project(toykit, started, tmp_path):
    assert toykit("lab").status == 0
    assert started == [
        [
            sys.executable,
            "-m",
            "jupyterlab",
            f"--ServerApp.root_dir={tmp_path}",
            "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb",
        ]
    ]


def test_options_are_jupyterlabs_and_others_are_passed_on(toykit, started):
    assert toykit("lab", "--no-browser", "--port", "9000", "--IdentityProvider.token=x", "--debug").status == 0
    assert started[0][5:] == ["--no-browser", "--port=9000", "--IdentityProvider.token=x", "--debug"]


def test_without_a_browser_it_says_so_and_serves(toykit, started, monkeypatch):
    monkeypatch.setattr(lab, "has_browser", lambda: False)
    assert "open one of the addresses below" in toykit("lab").err
    assert started[0][5:] == ["--no-browser"]


def test_root_is_allowed(toykit, started, monkeypatch):
    monkeypatch.setattr(lab, "is_root", lambda: True)
    toykit("lab")
    assert started[0][5:] == ["--allow-root"]


@pytest.mark.parametrize(
    ("platform", "screen", "get", "expected"),
    [
        ("linux", {}, found_browser, False),  # a browser for text would take over the terminal
        ("linux", {"DISPLAY": ":0"}, found_browser, True),
        ("linux", {"WAYLAND_DISPLAY": "wayland-0"}, found_browser, True),
        ("linux", {"BROWSER": "firefox"}, found_browser, True),
        ("linux", {"DISPLAY": ":0"}, no_browser, False),
        ("darwin", {}, found_browser, True),
        ("win32", {}, no_browser, False),
    ],
)
def test_a_browser_needs_a_screen(monkeypatch, platform, screen, get, expected):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(webbrowser, "get", get)
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
        if name in screen:
            monkeypatch.setenv(name, screen[name])
    assert lab.has_browser() is expected


def test_without_jupyterlab_it_says_how_to_install_it(toykit, started, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert toykit("lab").refused("JupyterLab must be installed: pip install 'toykit[lab]'")
    assert started == []


def test_without_the_notebooks_it_says_why(toykit, started, tmp_path):
    (tmp_path / "notebooks" / "00_start_here.ipynb").unlink()
    assert toykit("lab").refused(f"is not in {tmp_path}: toykit was installed without its notebooks", "make lab")
    assert started == []


def test_the_process_becomes_jupyterlab(monkeypatch):
    became = []
    monkeypatch.setattr(os, "execv", lambda program, words: became.append((program, words)))
    lab.start(["python", "-m", "jupyterlab"])
    assert became == [("python", ["python", "-m", "jupyterlab"])]


def test_root_is_the_user_with_number_0(monkeypatch):
    for number, expected in ((0, True), (1000, False)):
        monkeypatch.setattr(os, "geteuid", lambda number=number: number, raising=False)
        assert lab.is_root() is expected
    monkeypatch.delattr(os, "geteuid")
    assert lab.is_root() is False
