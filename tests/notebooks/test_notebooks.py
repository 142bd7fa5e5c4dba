"""Every notebook: small, executed, free of machine paths, and opened by `toykit.setup`."""

import re
from pathlib import Path

import nbformat
import pytest

FOLDER = Path(__file__).parents[2] / "notebooks"
PATHS = sorted(p for p in FOLDER.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
MOST_CELLS, MOST_LINES, MOST_WORDS, MOST_BYTES = 30, 20, 1800, 1_500_000
FOLDERS = "home|root|tmp|Users|var|opt|work|private|mnt|usr"
MACHINE = re.compile(rf"(?<![\w.:/~])/(?:{FOLDERS})/\w|[A-Za-z]:\\+Users|ipykernel_\d")
ADDRESS = re.compile(r"\bat 0x[0-9a-f]{6,}")

every_notebook = pytest.mark.parametrize("path", PATHS, ids=lambda p: str(p.relative_to(FOLDER)))


def read(path):
    return nbformat.read(path, as_version=4)


def code_cells(path):
    return [cell for cell in read(path).cells if cell.cell_type == "code"]


def texts(path):
    """Sources and the textual part of outputs."""
    for cell in read(path).cells:
        yield cell.source
        for out in cell.get("outputs", []):
            yield out.get("text", "")
            yield "\n".join(out.get("traceback", []))
            yield from (str(v) for kind, v in out.get("data", {}).items() if not kind.startswith("image/"))


def test_the_first_notebook_is_there():
    assert FOLDER / "00_start_here.ipynb" in PATHS


@every_notebook
def test_it_is_a_valid_notebook(path):
    nbformat.validate(read(path))


@every_notebook
def test_it_is_small(path):
    cells = read(path).cells
    assert len(cells) <= MOST_CELLS
    assert path.stat().st_size <= MOST_BYTES
    words = sum(len(cell.source.split()) for cell in cells if cell.cell_type == "markdown")
    assert words <= MOST_WORDS


@every_notebook
def test_no_code_cell_is_long(path):
    lengths = [cell.source.count("\n") + 1 for cell in code_cells(path)]
    assert max(lengths) <= MOST_LINES


@every_notebook
def test_it_was_executed_from_top_to_bottom(path):
    counts = [cell.execution_count for cell in code_cells(path)]
    assert counts == list(range(1, len(counts) + 1))
    assert any(cell.outputs for cell in code_cells(path))


@every_notebook
def test_it_holds_no_error_that_was_not_planted(path):
    for cell in code_cells(path):
        planted = {"raises", "raises-exception"} & set(cell.metadata.get("tags", []))
        assert planted or all(out.output_type != "error" for out in cell.outputs), cell.source


@every_notebook
def test_it_names_no_place_of_the_machine_that_ran_it(path):
    for text in texts(path):
        assert not MACHINE.search(text), text
        assert not ADDRESS.search(text), text


@every_notebook
def test_its_first_code_cell_calls_setup(path):
    assert "toykit.setup(" in code_cells(path)[0].source


@every_notebook
def test_its_pictures_are_there_without_widgets_and_have_alternative_text(path):
    outputs = [out for cell in code_cells(path) for out in cell.outputs if "data" in out]
    for out in outputs:
        assert not any("widget" in kind for kind in out.data)
        if "image/png" in out.data:
            assert out.metadata.get("image/png", {}).get("alt")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("saved in /home/me/x", True),
        ("/tmp/run", True),
        ("C:\\Users\\me", True),
        ("data/results/01", False),
        ("https://host/home/page", False),
        ("a/root/b", False),
    ],
)
def test_machine_paths_are_recognised(text, found):
    assert bool(MACHINE.search(text)) is found
