from __future__ import annotations

import pytest

from toykit.cli.verifier import find_verifier
from toykit.tasks.verifiers import number

SOURCE = """
from dataclasses import dataclass

@dataclass
class Part:
    text: str

LIMIT = 3

def short(completion, answer):
    return len(Part(completion).text) <= LIMIT

def broken(completion, answer):
    return int(completion)

def silent(completion, answer):
    pass
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    return path


def test_a_name_is_toykits_own_and_a_function_is_found_in_its_file(file):
    assert find_verifier("number") is number
    short = find_verifier(f"{file}:short")
    assert [short(text, "") for text in ("abc", "abcd")] == [1.0, 0.0]


@pytest.mark.parametrize("name", ["broken", "silent"])
def test_a_function_that_fails_is_named_with_what_it_was_given(file, name):
    with pytest.raises(ValueError, match=rf"verifier .*mine.py:{name} must return a number, got .*Error: .* for 'x y'"):
        find_verifier(f"{file}:{name}")("x y", "3")


def test_what_is_not_there_is_refused_with_the_nearest(file, tmp_path):
    with pytest.raises(ValueError, match=r"must be a function of .*mine.py, got 'shrt'; did you mean 'short'\?"):
        find_verifier(f"{file}:shrt")
    with pytest.raises(ValueError, match="must be a function of .*mine.py, got 'LIMIT'"):
        find_verifier(f"{file}:LIMIT")
    with pytest.raises(ValueError, match="verifier must be one of exact, number, set, got 'numbr'; did you mean"):
        find_verifier("numbr")
    with pytest.raises(ValueError, match="verifier must be FILE.py:FUNCTION, got 'mine.py' without a function"):
        find_verifier("mine.py")
    with pytest.raises(FileNotFoundError, match="verifier file '.*other.py' does not exist"):
        find_verifier(f"{tmp_path / 'other.py'}:short")


@pytest.mark.parametrize(("source", "error"), [("def f(:", "SyntaxError"), ("import nowhere_at_all", "ModuleNotFound")])
def test_a_file_that_does_not_run_is_refused(file, source, error):
    file.write_text(source)
    with pytest.raises(ValueError, match=f"verifier file '.*mine.py' must run, got {error}"):
        find_verifier(f"{file}:f")
