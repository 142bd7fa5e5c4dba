"""`toykit bench`, on a benchmark made up for the purpose."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from toykit.bench import KEYS, Benchmark, Case, registry


def noisy():
    print("the peer talks")


def prepare(size, peer):
    return [Case("", lambda: None, noisy if peer else None, lambda: f"a note on size {size}")]


MADE_UP = {
    "won": Benchmark("won", "nothing", "someone", 1e-9, prepare),
    "away": Benchmark("away", "nothing", "someone else", 2.0, prepare, needs=("no_such_package",)),
    "figure": Benchmark("figure", "nothing", None, 60.0, prepare, "seconds"),
}


@pytest.fixture
def bench(toykit, monkeypatch):
    """The command in a world with these three benchmarks."""
    monkeypatch.setattr(registry, "BENCHMARKS", MADE_UP)
    return lambda *words: toykit("bench", *words)


def test_the_json_is_a_list_of_rows_and_nothing_else_is_on_stdout(bench):
    found = bench("--json")
    rows = found.json
    assert [row["name"] for row in rows] == ["won", "away", "figure"]
    assert all(tuple(row) == KEYS for row in rows)
    assert [row["ratio"] is None for row in rows] == [False, True, True]
    assert rows[1]["skipped"] == "no_such_package is not installed: pip install 'toykit[bench]'"
    assert "the peer talks" in found.err


def test_the_table_says_what_was_reached_and_what_was_skipped(bench):
    out = bench().out
    lines = {line.split()[0]: line for line in out.splitlines()}
    head = lines["name"].split()
    assert head == ["name", "ratio", "ratio_min", "ratio_max", "goal", "verdict", "ours_s", "peer_s", "peer"]
    assert " reached " in lines["won"] and " - " in lines["away"]
    assert "away: skipped: no_such_package is not installed" in out
    assert "figure: the ratio is: seconds" in out and "won: a note on size full" in out


def test_names_choose_and_unknown_ones_are_refused_before_anything_runs(bench):
    assert [row["name"] for row in bench("figure", "won", "--json").json] == ["figure", "won"]
    assert bench("wone").refused("name must be one of away, figure, won, got 'wone'; did you mean 'won'?")


def test_nothing_is_kept_unless_asked_for(bench, tmp_path):
    bench("--json")
    assert list(tmp_path.iterdir()) == []


def test_out_writes_the_same_rows_to_a_file(bench, tmp_path):
    rows = bench("won", "away", "--json", "--out", "kept.json").json
    assert json.loads((tmp_path / "kept.json").read_text()) == rows


def test_record_keeps_what_was_measured_and_not_what_was_skipped(bench, tmp_path):
    found = bench("--record")
    folder = tmp_path / "data" / "results" / "bench"
    assert sorted(p.name for p in folder.iterdir()) == ["figure.json", "won.json"]
    assert found.err.count("recorded as ") == 2


def test_values_that_cannot_be_are_refused(bench, tmp_path):
    assert bench("--runs", "4").refused("runs must be >= 5, got 4")
    assert bench("--size", "tny").refused("size must be one of full, tiny", "did you mean 'tiny'?")
    assert bench("--threads", "0").refused("threads must be >= 1, got 0")
    assert bench("--size", "tiny", "--record").refused("size must be 'full' for results that are recorded")
    assert list(tmp_path.iterdir()) == []


def test_threads_are_those_asked_for_and_afterwards_those_from_before(bench):
    before = torch.get_num_threads()
    wanted = 2 if before == 1 else 1
    assert bench("figure", "--threads", wanted, "--json").json[0]["threads"] == wanted
    assert torch.get_num_threads() == before


def test_what_was_measured_before_a_benchmark_failed_is_kept(bench, monkeypatch, tmp_path):
    def fails(size, peer):
        raise OSError("no room")

    monkeypatch.setitem(MADE_UP, "broken", Benchmark("broken", "nothing", None, 1.0, fails))
    found = bench("figure", "broken", "won", "--json", "--out", "kept.json")
    assert found.status == 2 and found.err.endswith("toykit: error: no room\n")
    assert [row["name"] for row in found.json] == ["figure"]
    assert json.loads((tmp_path / "kept.json").read_text()) == found.json


def test_what_is_recorded_is_shown_without_running(bench, monkeypatch):
    measured = bench("won", "figure", "--record", "--json").json
    monkeypatch.setattr(registry, "BENCHMARKS", {k: replace(b, prepare=None) for k, b in MADE_UP.items()})
    assert bench("--recorded", "--json").json == measured
    out = bench("--recorded").out
    assert "won: a note on size full" in out and "figure: the ratio is: seconds" in out and "away" not in out
    lines = bench("figure", "--recorded", "--markdown").out.splitlines()
    assert lines[0].startswith("| name | ratio |") and lines[2].startswith("| figure | - |") and len(lines) == 3


def test_recorded_figures_that_are_not_there_are_an_error(bench):
    assert bench("away", "--recorded").refused("recorded figures must exist, got none of away")
    assert bench("--json", "--markdown").refused("json and markdown must not both be given")
