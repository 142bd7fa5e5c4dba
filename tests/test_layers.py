"""The order of the packages and the size of their files."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "toykit"

# Each imports only from those before it and from itself.
ORDER = (
    "tasks",
    "policies",
    "rollouts",
    "rewards",
    "objectives",
    "selection",
    "training",
    "interop",
    "exact",
    "diagnostics",
    "control",
    "plots",
    "audit",
    "atlas",
    "exercises",
    "lessons",
    "notebook",
    "bench",
    "cli",
    "__main__",
)
EVERYWHERE = ("_checks", "_malloc")  # below all
MOST_LINES, LONGEST_FUNCTION = 400, 70
FILES = sorted(PACKAGE.rglob("*.py"))


def imported(tree):
    """(line, part of toykit) for every import of toykit, wherever it stands; "" for toykit itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: import from toykit by its full name"
            names = [f"{node.module}.{alias.name}" if node.module == "toykit" else node.module for alias in node.names]
        else:
            continue
        for parts in (name.split(".") for name in names):
            if parts[0] == "toykit":
                yield node.lineno, "" if len(parts) == 1 or parts[1].startswith("__version") else parts[1]


def problems(source, part, name):
    """What `source`, a file of `part`, imports though it must not, with file and line."""
    if part not in ORDER + EVERYWHERE:
        return [f"{name}: {part!r} has no place in the order"]
    allowed = EVERYWHERE if part in EVERYWHERE else EVERYWHERE + ORDER[: ORDER.index(part) + 1]
    return [
        f"{name}:{line}: {part} must not import toykit.{target}"
        for line, target in imported(ast.parse(source))
        if target and target not in allowed
    ]


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_package_imports_only_from_those_before_it(path):
    if path == PACKAGE / "__init__.py":
        return  # loads everything, on demand
    assert problems(path.read_text(), part_of(path), str(path.relative_to(PACKAGE.parent))) == []


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from toykit.training import Trainer", ["f.py:1: tasks must not import toykit.training"]),
        ("import os\nimport toykit.plots.style", ["f.py:2: tasks must not import toykit.plots"]),
        ("def f():\n    from toykit import exact, tasks", ["f.py:2: tasks must not import toykit.exact"]),
        ("from toykit import __version__\nimport toykit\nfrom toykit._checks import shape", []),
        ("from toykit.tasks.base import Task\nimport torch", []),
    ],
)
def test_an_import_against_the_order_is_found_with_its_line(source, found):
    assert problems(source, "tasks", "f.py") == found


def test_a_package_without_a_place_is_found():
    assert problems("", "extras", "f.py") == ["f.py: 'extras' has no place in the order"]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_files_and_functions_are_short(path):
    source = path.read_text()
    assert source.count("\n") <= MOST_LINES
    functions = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    long = [f"line {f.lineno}: {f.name}" for f in functions if f.end_lineno - f.lineno + 1 > LONGEST_FUNCTION]
    assert long == []


def test_there_is_something_to_look_at():
    assert len(FILES) > 20
