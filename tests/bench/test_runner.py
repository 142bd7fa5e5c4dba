"""The runner, on benchmarks made up for the purpose and a clock that is moved by hand."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from toykit.bench import KEYS, Benchmark, Case, Found, record, run, timed
from toykit.bench.registry import BENCHMARKS, chosen


class World:
    """A clock that only work moves, and a diary of who worked."""

    def __init__(self):
        self.now, self.diary = 0.0, []

    def clock(self):
        return self.now

    def work(self, name, seconds):
        """A callable that takes the next of `seconds` each time."""
        left = iter(seconds)

        def do():
            self.diary.append(name)
            self.now += next(left)

        return do


@pytest.fixture
def world():
    return World()


def of(case, peer="someone", goal=2.0, needs=()):
    """A benchmark of one or more given cases; without the peer where that is not wanted."""
    cases = case if isinstance(case, list) else [case]

    def prepare(size, with_peer):
        return cases if with_peer else [replace(one, peer=None) for one in cases]

    return Benchmark("made_up", "nothing", peer, goal, prepare, needs=needs)


def two(world, label="", ours=(9.0, 1.0, 2.0, 1.0, 4.0, 1.0), peer=(9.0, 3.0, 4.0, 5.0, 4.0, 2.0)):
    return Case(label, world.work("ours", ours), world.work("peer", peer))


def test_ours_and_the_peer_run_in_turn_and_change_places_after_a_warm_up(world):
    found = timed(two(world), 5, world.clock)
    assert world.diary == ["ours", "peer", "peer", "ours"] * 3
    assert found.ours == (1.0, 2.0, 1.0, 4.0, 1.0)
    assert found.peer == (3.0, 4.0, 5.0, 4.0, 2.0)


def test_short_work_is_done_again_until_it_has_taken_long_enough(world):
    case = Case("", world.work("ours", [9.0, *[0.25, 0.5] * 5]), world.work("peer", [9.0] + [0.75] * 5))
    found = timed(case, 5, world.clock, enough=0.7)
    assert found.ours == (0.375,) * 5 and found.peer == (0.75,) * 5  # the first run is not counted, nor repeated
    assert world.diary == [
        "ours",
        "peer",
        "peer",
        "ours",
        "ours",
        *["ours", "ours", "peer", "peer", "ours", "ours"] * 2,
    ]


def test_work_that_takes_no_time_comes_to_an_end(world):
    assert timed(Case("", lambda: None), 5, world.clock, enough=1.0).ours == (0.0,) * 5


def test_a_row_holds_the_median_of_the_ratios_of_pairs_and_their_range(world):
    row = run(of(two(world)), clock=world.clock).row()
    assert tuple(row) == KEYS
    assert (row["ratio"], row["ratio_min"], row["ratio_max"]) == (2.0, 1.0, 5.0)  # of 3, 2, 5, 1, 2
    assert (row["ours_s"], row["peer_s"]) == (1.0, 4.0)
    assert (row["name"], row["peer"], row["goal"], row["skipped"]) == ("made_up", "someone", 2.0, None)
    assert (row["device"], row["threads"]) == ("cpu", torch.get_num_threads())
    assert row["versions"]["torch"] == torch.__version__
    json.dumps(row, allow_nan=False)


def test_several_cases_give_the_median_of_their_medians_and_the_range_of_all(world):
    cases = [two(world, name, [1.0] * 6, [r] * 6) for name, r in (("a", 1.0), ("b", 2.0), ("c", 6.0), ("d", 4.0))]
    found = run(of(cases), clock=world.clock)
    row = found.row()
    assert (row["ratio"], row["ratio_min"], row["ratio_max"]) == (3.0, 1.0, 6.0)
    assert (row["ours_s"], row["peer_s"]) == (4.0, 13.0)
    assert found.notes[2] == "c: 1e+03 ms, ratio 6.00"


def test_a_peer_that_is_not_installed_is_skipped_and_never_won(world):
    found = run(of(two(world), needs=("no_such_package", "torch")), clock=world.clock)
    row = found.row()
    assert row["skipped"] == "no_such_package is not installed: pip install 'toykit[bench]'"
    assert [row[k] for k in ("ratio", "ratio_min", "ratio_max", "peer_s")] == [None] * 4
    assert row["ours_s"] == 1.0 and set(world.diary) == {"ours"}
    assert found.reached() is None
    assert row["versions"]["no_such_package"] is None


def test_a_peer_that_cannot_be_imported_is_skipped_with_the_reason(world):
    given = of(two(world))

    def broken(size, peer):
        if peer:
            raise ImportError("its library is of another world")
        return given.prepare(size, peer)

    row = run(replace(given, prepare=broken), clock=world.clock).row()
    assert row["skipped"] == "someone could not be imported: its library is of another world"
    assert row["ratio"] is None


def test_a_figure_has_no_ratio_and_shows_its_slowest_case(world):
    cases = [Case(n, world.work(n, [s] * 6)) for n, s in (("a", 0.5), ("b", 2.5))]
    found = run(of(cases, peer=None, goal=2.0), clock=world.clock)
    row = found.row()
    assert (row["ratio"], row["peer"], row["peer_s"], row["skipped"]) == (None, None, None, None)
    assert row["ours_s"] == 2.5
    assert found.reached() is False
    assert run(of(Case("", world.work("x", [1.0] * 6)), None), clock=world.clock).reached() is True


@pytest.mark.parametrize(("goal", "reached"), [(2.0, True), (2.1, False)])
def test_a_goal_is_reached_from_its_own_value_on(world, goal, reached):
    assert run(of(two(world), goal=goal), clock=world.clock).reached() is reached


def test_work_that_measures_itself_is_believed(world):
    found = timed(Case("", lambda: 0.25), 5, world.clock)
    assert found.ours == (0.25,) * 5


def test_cases_are_closed_also_where_one_fails(world):
    closed = []
    bad = Case("bad", {}.popitem, close=lambda: closed.append("bad"))
    good = replace(two(world), close=lambda: closed.append("good"))
    with pytest.raises(KeyError):
        run(of([good, bad], peer=None), clock=world.clock)
    assert closed == ["good", "bad"]


def test_the_global_random_numbers_are_left_as_they_were(world):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    run(of(Case("", lambda: torch.rand(3)), None), clock=world.clock)
    assert torch.equal(torch.rand(1), expected)


def test_few_runs_and_unknown_sizes_are_refused(world):
    with pytest.raises(ValueError, match="runs must be >= 5, got 4"):
        run(of(two(world)), runs=4)
    with pytest.raises(ValueError, match="size must be one of full, tiny, got 'huge'"):
        run(of(two(world)), size="huge")
    assert world.diary == []


def test_a_tiny_run_says_so_in_its_name(world):
    assert run(of(two(world)), "tiny", clock=world.clock).row()["name"] == "made_up@tiny"


def test_a_recorded_result_keeps_the_row_and_every_run(world, monkeypatch, tmp_path):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    found = run(of(two(world)), clock=world.clock)
    path = record(found)
    assert path == tmp_path / "results" / "bench" / "made_up.json"
    kept = json.loads(path.read_text())
    made = kept.pop("made")
    assert kept == found.row()
    assert made["runs"] == {"all": {"ours_s": [1, 2, 1, 4, 1], "peer_s": [3, 4, 5, 4, 2]}}
    assert made["command"] == "toykit bench made_up --record"


def test_skipped_and_tiny_results_are_not_recorded(world, monkeypatch, tmp_path):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    found = run(of(two(world)), clock=world.clock)
    assert record(replace(found, skipped="not there")) is None
    with pytest.raises(ValueError, match="size must be 'full' for results that are recorded, got 'tiny'"):
        record(replace(found, size="tiny"))
    assert list(tmp_path.iterdir()) == []


def test_benchmarks_are_chosen_by_name_and_all_by_none():
    assert [b.name for b in chosen(["sweep_256", "explorer"])] == ["sweep_256", "explorer"]
    assert [b.name for b in chosen([])] == list(BENCHMARKS)
    with pytest.raises(ValueError, match="name must be one of .*got 'sweep_265'; did you mean 'sweep_256'?"):
        chosen(["sweep_265"])


def test_a_benchmark_without_times_is_no_result():
    with pytest.raises(ValueError, match="empty"):
        Found(BENCHMARKS["explorer"], "full", (), None, (), 1).row()
