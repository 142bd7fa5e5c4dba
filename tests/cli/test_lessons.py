"""`toykit lessons`, `toykit run` and `toykit claims`, on a lesson made up for the purpose and on the first real one."""

from __future__ import annotations

import io
import json
import math
import signal
import types

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from toykit.cli.lessons import show
from toykit.lessons import Claim, Evidence, Experiment, Lesson, at_most, effect, record, run
from toykit.lessons import registry as module
from toykit.plots import context, png, table
from toykit.training import loop

KEYS = ["lesson", "claim", "kind", "rung", "statement", "holds", "measured", "expected"]
LAST = ["seeds", "seconds", "recorded", "command"]


def exact(seeds=(0,)):
    return {"error": 1e-13, "seed": list(seeds)}


def gpt(seeds=(0,), folder=None, progress=False, steps=5, size="small"):
    """Counts to `steps` for each seed, and presses Ctrl-C once where the folder asks for it."""
    shift = {"small": 0.0, "large": 1.0}[size]

    class Counter:
        done = 0

        def step(self):
            self.done += 1
            if self.done == 3 and folder is not None and (folder / "press").exists():
                (folder / "press").unlink()
                signal.raise_signal(signal.SIGINT)
            return {"step": self.done}

        def save(self, path):
            path.write_text(str(self.done))

    def value(seed):
        counter, kept = Counter(), None if folder is None else folder / str(seed)
        if kept is not None and (kept / "checkpoint.safetensors").exists():
            counter.done = int((kept / "checkpoint.safetensors").read_text())
        made = len(loop.run(counter, steps, kept, progress=progress))
        return seed + shift + made / 1000

    return {"values": [value(seed) for seed in seeds], "worst": math.nan, "grid": {"a b": [1, 2]}}


def picture(results):
    made = Figure(figsize=(1, 1))
    made.text(0.5, 0.5, str(len(results["values"])))
    return made


CLAIMS = (
    Claim("C1", "the error | is 0", "theorem", "exact", lambda r: at_most(r["error"], 1e-12)),
    Claim("C2", "never seen", "theorem", "exact", lambda r: Evidence(False, np.float64("nan"), math.inf, 0.1)),
    Claim("C3", "grows", "effect", "gpt", lambda r: effect(r["values"], 1.0)),
    Claim("C4", "is a vector", "effect", "gpt", lambda r: Evidence(np.bool_(True), {"x": torch.ones(2)}, "1")),
)
TOY = Lesson(
    number="77",
    slug="a_toy",
    title="A toy",
    part="toys",
    paper="none",
    experiments={"exact": Experiment(exact), "gpt": Experiment(gpt, seeds=(0, 1, 2, 3, 4), recorded=True)},
    claims=CLAIMS,
    figures={"gpt": {"a picture": picture}},
)


@pytest.fixture
def toy(toykit, monkeypatch):
    """The command line in a world with this one lesson."""
    made = types.ModuleType("l77_a_toy")
    made.LESSON = TOY
    monkeypatch.setattr(module, "modules", lambda: {"77": "toykit.lessons.l77_a_toy"})
    monkeypatch.setitem(__import__("sys").modules, "toykit.lessons.l77_a_toy", made)
    return toykit


def test_lessons_are_a_table_and_a_list_for_programs(toy):
    assert toy("lessons", "--json").json == [
        {
            "number": "77",
            "slug": "a_toy",
            "title": "A toy",
            "part": "toys",
            "notebook": "notebooks/toys/77_a_toy.ipynb",
            "rungs": ["exact", "gpt"],
            "claims": ["C1", "C2", "C3", "C4"],
        }
    ]
    head, _, row = toy("lessons").out.splitlines()
    assert head.split() == ["number", "title", "part", "rungs", "claims", "notebook"]
    assert row.split()[-4:] == ["exact", "gpt", "4", "notebooks/toys/77_a_toy.ipynb"]


def test_claims_are_judged_with_null_where_nothing_was_run(toy):
    rows = toy("claims", "--json").json
    assert [(r["claim"], r["holds"]) for r in rows] == [("C1", True), ("C2", False), ("C3", None), ("C4", None)]
    assert [list(r) for r in rows] == [[*KEYS, "tolerance", *LAST]] * 2 + [[*KEYS, "interval", *LAST]] * 2
    assert rows[1]["measured"] is None and rows[1]["expected"] is None  # NaN and infinity are no JSON
    assert rows[0]["command"] == "toykit run 77 --rung exact" and rows[0]["recorded"] is False
    assert (rows[2]["seeds"], rows[2]["interval"]) == ([], None)


def test_long_results_are_judged_from_their_record_unless_they_are_to_be_run(toy):
    record(TOY, "gpt", run(TOY, "gpt", seeds=(2, 3, 4, 5, 6)))
    rows = toy("claims", "--rung", "gpt", "--json").json
    assert [r["holds"] for r in rows] == [True, True]
    assert rows[0]["measured"] == pytest.approx(4.005) and rows[0]["recorded"] is True
    assert rows[0]["interval"] == pytest.approx([4.005 - 1.9632, 4.005 + 1.9632], abs=1e-3)
    assert rows[1]["measured"] == {"x": [1.0, 1.0]}
    live = toy("claims", "--rung", "gpt", "--live", "--json").json
    assert live[0]["measured"] == pytest.approx(2.005) and live[0]["recorded"] is False
    assert live[0]["seeds"] == [0, 1, 2, 3, 4]


def test_claims_are_chosen_by_lesson_and_rung(toy):
    assert [r["claim"] for r in toy("claims", "--lesson", "a-toy", "--rung", "exact", "--json").json] == ["C1", "C2"]
    assert toy("claims", "--rung", "llm", "--json").json == []
    assert "0 claims" in toy("claims", "--rung", "llm").out


def test_a_claim_that_does_not_hold_is_a_result_and_not_an_error(toy):
    found = toy("claims", "--rung", "exact")
    assert found.status == 0
    assert found.out.splitlines()[0] == "2 claims: 1 holds, 1 does not, 0 not decided"
    assert "77.C2" in found.out and "✗ does not hold" in found.out


def test_the_ledger_is_markdown_that_says_the_same_every_time(toy):
    found = toy("claims", "--markdown")
    lines = found.out.splitlines()
    assert lines[0] == "| lesson | claim | kind | rung | statement | measured | expected | decided by | verdict |"
    assert lines[2] == (
        r"| 77 | C1 | theorem | exact | the error \| is 0 | 1e-13 | 0 | tolerance 1e-12, 1 seed | ✓ holds |"
    )
    assert toy("claims", "--markdown").out == found.out
    assert toy("claims", "--markdown", "--json").refused("json and markdown must not both be given")


@pytest.mark.parametrize(("terminal", "lines"), [(True, 3), (False, 1)])
def test_tables_are_wrapped_for_a_terminal_and_whole_for_a_file(monkeypatch, terminal, lines):
    class Screen(io.StringIO):
        def isatty(self):
            return terminal

    monkeypatch.setattr("sys.stdout", screen := Screen())
    monkeypatch.setenv("COLUMNS", "20")
    show(table([{"said": "one two three four five six seven eight nine"}]))
    assert len(screen.getvalue().splitlines()) == 2 + lines


def test_unknown_lessons_and_rungs_are_named_with_the_nearest(toy):
    assert toy("claims", "--lesson", "a-tow").refused("lesson must be one of", "did you mean 'a-toy'?")
    assert toy("run", "78").refused("lesson must be one of 77, got '78'")
    assert toy("claims", "--rung", "gtp").refused("rung must be one of exact, gpt, llm", "did you mean 'gpt'?")
    assert toy("run", "77", "--rung", "exat").refused("rung must be one of exact, gpt,", "did you mean 'exact'?")


def test_a_run_writes_results_claims_and_figures_and_prints_the_claims(toy, tmp_path):
    found = toy("run", "77", "--rung", "gpt")
    assert found.status == 0
    assert "77.C3" in found.out and "95% [0.04176, 3.968], 5 seeds" in found.out
    out = tmp_path / "runs" / "77" / "gpt"
    assert {p.name for p in out.iterdir()} == {
        "results.json",
        "claims.json",
        "a_picture.png",
        "settings.json",
        "checkpoints",
    }
    results = json.loads((out / "results.json").read_text())
    assert results["values"] == [0.005, 1.005, 2.005, 3.005, 4.005]
    assert results["made"]["seeds"] == [0, 1, 2, 3, 4]
    rows = json.loads((out / "claims.json").read_text(), parse_constant=lambda name: pytest.fail(name))
    assert [r["claim"] for r in rows] == ["C3", "C4"] and [*rows[0]] == [*KEYS, "interval", *LAST]
    with context():
        assert (out / "a_picture.png").read_bytes() == png(picture(results))


def test_a_run_takes_seeds_and_only_the_options_of_its_experiment(toy, tmp_path):
    toy("run", "77", "--seed", "7", "--seed", "9", "--out", tmp_path / "x")
    assert json.loads((tmp_path / "x" / "results.json").read_text())["seed"] == [7, 9]
    toy("run", "a-toy", "--rung", "gpt", "--seed", "3", "--steps", "2", "--size", "large", "--out", tmp_path / "y")
    assert json.loads((tmp_path / "y" / "results.json").read_text())["values"] == [4.002]
    for words in (["--device", "cpu"], ["--steps", "3"], ["--size", "large"]):
        assert toy("run", "77", *words, "--out", tmp_path / "z").refused(
            f"{words[0][2:]} must not be given for lesson 77 on rung exact"
        )
    assert not (tmp_path / "z").exists()


def test_several_jobs_need_runs_that_they_can_share(toy, monkeypatch, tmp_path):
    assert toy("run", "77", "--jobs", "2").refused("jobs must be 1 where nothing is kept in a folder", "got 2")
    assert toy("run", "77", "--rung", "gpt", "--jobs", "0").refused("jobs must be >= 1, got 0")
    monkeypatch.setattr("toykit.lessons.jobs.launched", lambda: 4)
    assert toy("run", "77", "--rung", "gpt", "--jobs", "2").refused("jobs must be 1 where 4 processes train together")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_run_goes_on_where_it_was_stopped(toy, tmp_path):
    out = tmp_path / "run"
    (out / "checkpoints").mkdir(parents=True)
    (out / "checkpoints" / "press").write_text("")
    words = ["run", "77", "--rung", "gpt", "--seed", "1", "--seed", "2", "--out", out]
    found = toy(*words)
    assert found.status == 130
    assert found.err.endswith(f"stopped; to go on:\ntoykit {' '.join(map(str, words))}\n")
    assert not (out / "results.json").exists()
    assert toy(*words).status == 0
    results = json.loads((out / "results.json").read_text())
    assert results["values"] == [1.002, 2.005]  # two of five steps were left for the first seed


def test_checkpoints_of_other_settings_are_not_mixed_in(toy, tmp_path):
    toy("run", "77", "--rung", "gpt", "--seed", "1", "--out", "x")
    kept = (tmp_path / "x" / "results.json").read_bytes()
    assert toy("run", "77", "--rung", "gpt", "--seed", "1", "--steps", "9", "--out", "x").refused(
        "out must be a folder for these settings, 'x' holds a run with other ones: steps 9 (was None)"
    )
    assert (tmp_path / "x" / "results.json").read_bytes() == kept
    assert toy("run", "77", "--rung", "gpt", "--seed", "1", "--out", "x").status == 0


def test_results_are_recorded_when_asked_to(toy, tmp_path):
    assert "recorded" not in toy("run", "77", "--rung", "gpt", "--out", "x").out
    assert not (tmp_path / "data").exists()
    assert toy("run", "77", "--rung", "gpt", "--out", "x", "--record").status == 0
    kept = json.loads((tmp_path / "data" / "results" / "77" / "gpt.json").read_text())
    assert kept["made"]["command"] == "toykit run 77 --rung gpt"
    assert [r["recorded"] for r in toy("claims", "--rung", "gpt", "--json").json] == [True, True]


def test_cuda_is_refused_where_there_is_none(toy, monkeypatch, tmp_path):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert toy("run", "77", "--device", "cuda").refused("device must be one that is there, got 'cuda'")
    assert toy("run", "77", "--device", "gpu").refused("device must be 'cpu', 'cuda' or", "got 'gpu'")
    assert not list(tmp_path.iterdir())


def test_the_first_lesson_runs_and_its_theorems_hold(toykit, tmp_path):
    assert "01" in {row["number"] for row in toykit("lessons", "--json").json}
    assert toykit("run", "01", "--out", "x").status == 0
    rows = json.loads((tmp_path / "x" / "claims.json").read_text())
    assert rows and {row["rung"] for row in rows} == {"exact"}
    assert all(row["holds"] is True for row in rows if row["kind"] == "theorem")
    assert list((tmp_path / "x").glob("*.png"))
