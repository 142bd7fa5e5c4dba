"""Opening, grading and executing notebooks: what is printed, what is saved, what is left out."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, new_output

from toykit import exercises
from toykit.exercises import Exercise, register
from toykit.notebook import check, execute, find_notebooks, main, setup, trim
from toykit.plots.explorer import VIEW

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module", autouse=True)
def importable():
    """Lets processes that a test starts import toykit from anywhere."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT), prepend=os.pathsep)
        yield


def python(code, **environment):
    """What a fresh process prints."""
    env = {**os.environ, **environment}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def opened():
    """What `setup` does to a process, told by the process itself."""
    code = """
import json, random, warnings
import numpy, torch, matplotlib, toykit
generator = toykit.setup(seed=7, threads=1)
draws = [random.random(), numpy.random.rand(), torch.rand(()).item(), torch.rand((), generator=generator).item()]
warnings.warn("old", FutureWarning)
random.seed(7), numpy.random.seed(7), torch.manual_seed(7)
again = [random.random(), numpy.random.rand(), torch.rand(()).item()]
print(json.dumps([draws, again, generator.initial_seed(), str(torch.get_default_dtype()), torch.get_num_threads(),
    bool(matplotlib.rcParams["axes.spines.top"])]))
"""
    out, err = python(code)
    line, told = out.splitlines()
    return line, json.loads(told), err


def test_setup_prints_one_line_of_versions_device_threads_and_seed(opened):
    parts = opened[0].split(" · ")
    assert [p.split()[0] for p in parts[:3]] == ["toykit", "torch", "Python"]
    assert parts[4:] == ["1 thread", "float64", "seed 7"]


def test_setup_seeds_every_global_generator_and_returns_its_own(opened):
    draws, again, seed, *_ = opened[1]
    assert draws[:3] == again
    assert draws[3] == draws[2]  # torch's global generator and the one returned start alike
    assert seed == 7


def test_setup_sets_dtype_threads_and_style(opened):
    assert opened[1][3:] == ["torch.float64", 1, False]


def test_setup_silences_warnings_that_a_reader_cannot_act_on(opened):
    assert opened[2] == ""


def test_setup_keeps_to_the_threads_that_the_environment_allows():
    out, _ = python("import toykit; toykit.setup(dtype='float32')", OMP_NUM_THREADS="1")
    assert out.rstrip().endswith("1 thread · float32 · seed 0")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seed": -1}, "seed must be >= 0, got -1"),
        ({"dtype": "float16"}, "dtype must be one of float32, float64, got 'float16'"),
        ({"threads": 0}, "threads must be >= 1, got 0"),
    ],
)
def test_setup_refuses_and_changes_nothing(arguments, message):
    before = torch.get_rng_state()
    with pytest.raises(ValueError, match=message):
        setup(**arguments)
    assert torch.equal(torch.get_rng_state(), before)


def test_check_grades_by_name(monkeypatch):
    monkeypatch.setattr(exercises, "_REGISTRY", {})
    register(Exercise("00.half", 0.5, points=3))
    assert check("00.half", 0.5).points == 3
    assert check("half", 0.25).points == 0


def test_check_answers_an_unknown_lesson_with_those_there_are():
    with pytest.raises(ValueError, match="lesson must be one of"):
        check("99.ex1", 0.5)


def notebook(*sources):
    return new_notebook(cells=[new_code_cell(source) for source in sources])


@pytest.fixture(scope="module")
def executed(tmp_path_factory):
    """A notebook with a figure, an explorer, a progress bar, noise on stderr and a planted error, run twice."""
    path = tmp_path_factory.mktemp("notebooks") / "a.ipynb"
    sources = [
        "import sys\nimport toykit\nfrom toykit import plots\ntoykit.setup(seed=0)",
        "fig, ax = plots.figure(alt='A line rises.')\n_ = ax.plot([0, 1], [0, 1])\nfig",
        "def draw(x):\n    fig, ax = plots.figure(width=3)\n    ax.plot([0, x], [0, 1])\n    return fig\n\n"
        "toykit.explore(draw, {'x': (1, 5)}, {'one': {'x': 1}, 'five': {'x': 5}})",
        "from tqdm.auto import tqdm\nfor _ in tqdm(range(3)):\n    print('step', flush=True)\n"
        "print('noise', file=sys.stderr)",
        "1 / 0",
    ]
    made = notebook(*sources)
    made.cells[-1].metadata["tags"] = ["raises-exception"]
    nbformat.write(made, path)
    report = execute(path)
    first = path.read_bytes()
    execute(path)
    return report, first, path.read_bytes(), nbformat.read(path, as_version=4)


def test_running_a_notebook_again_changes_no_byte(executed):
    assert executed[1] == executed[2]


def test_a_report_tells_time_memory_and_what_was_left_out(executed):
    report = executed[0]
    assert report.seconds > 0
    assert 50 < report.peak_mb < 10_000
    assert report.dropped > 0
    assert "lines on stderr left out" in str(report)


def test_saved_cells_are_numbered_in_order_and_nothing_was_added(executed):
    assert [cell.execution_count for cell in executed[3].cells] == [1, 2, 3, 4, 5]


def test_an_opening_cell_shows_its_line_and_the_generator(executed):
    line, generator = executed[3].cells[0].outputs
    assert line.text.startswith("toykit ")
    assert generator.data["text/plain"] == "generator with seed 0"


def test_a_saved_figure_has_its_alternative_text(executed):
    (out,) = executed[3].cells[1].outputs
    assert out.metadata["image/png"]["alt"] == "A line rises."
    assert out.data["text/plain"] == "A line rises."


def test_a_saved_explorer_is_a_picture_of_its_presets(executed):
    (out,) = executed[3].cells[2].outputs
    assert set(out.data) == {"image/png", "text/plain"}
    assert "one: Figure." in out.data["text/plain"]
    assert "widgets" not in executed[3].metadata


def test_progress_bars_and_stderr_are_not_saved_and_streams_are_whole(executed):
    (out,) = executed[3].cells[3].outputs
    assert (out.name, out.text) == ("stdout", "step\nstep\nstep\n")


def test_a_planted_error_is_saved_without_the_paths_of_its_traceback(executed):
    (out,) = executed[3].cells[4].outputs
    assert out.traceback == ["ZeroDivisionError: division by zero"]


def test_a_notebook_that_fails_is_left_as_it_was_and_the_others_run(tmp_path, capsys):
    nbformat.write(notebook("raise ValueError('no')"), tmp_path / "a.ipynb")
    nbformat.write(notebook("1 + 1"), tmp_path / "b.ipynb")
    before = (tmp_path / "a.ipynb").read_bytes()
    assert main(["run", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "a.ipynb: failed" in told and "ValueError: no" in told
    assert (tmp_path / "a.ipynb").read_bytes() == before
    assert nbformat.read(tmp_path / "b.ipynb", as_version=4).cells[0].outputs[0].data["text/plain"] == "2"


def test_a_widget_view_is_dropped_beside_a_picture_and_with_its_output_when_alone():
    made = notebook("x")
    made.cells[0].outputs = [
        new_output("display_data", {VIEW: {"model_id": "a"}, "text/plain": "bar"}),
        new_output("execute_result", {VIEW: {"model_id": "b"}, "image/png": "aaaa", "text/plain": "words"}),
    ]
    trim(made)
    (out,) = made.cells[0].outputs
    assert set(out.data) == {"image/png", "text/plain"}


def test_text_that_was_written_over_is_not_saved():
    made = notebook("x")
    made.cells[0].outputs = [new_output("stream", name="stdout", text=text) for text in ("1%\r", "50%\r100%\n", "end")]
    trim(made)
    assert [out.text for out in made.cells[0].outputs] == ["100%\nend"]


def test_timings_and_versions_are_not_saved():
    made = notebook("x")
    made.cells[0].metadata = {"tags": ["exact"], "execution": {"iopub.status.busy": "2024"}}
    made.metadata = {"language_info": {"name": "python", "version": "3.11.2"}, "widgets": {}, "title": "kept"}
    trim(made)
    assert made.cells[0].metadata == {"tags": ["exact"]}
    assert set(made.metadata) == {"kernelspec", "language_info", "title"}
    assert made.metadata.language_info == {"name": "python"}


def test_notebooks_are_found_in_folders_without_checkpoints(tmp_path):
    for name in ("b/1.ipynb", "a.ipynb", "b/.ipynb_checkpoints/1-checkpoint.ipynb"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    assert [p.name for p in find_notebooks([tmp_path])] == ["a.ipynb", "1.ipynb"]
    with pytest.raises(ValueError, match="paths must be notebooks or folders that hold some, got .*none"):
        find_notebooks([tmp_path / "none"])
