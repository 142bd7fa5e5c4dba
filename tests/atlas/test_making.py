"""A small atlas end to end: made, kept, gone on with, recorded."""

from __future__ import annotations

import json

import pytest

from toykit.atlas import (
    MEASURES,
    Settings,
    absences,
    loaded,
    make,
    making,
    methods,
    missing,
    page,
    record,
    recorded,
    text,
)

SMALL = Settings(seeds=2, steps=2)
SHEET = {"audit": {"properties": {}, "diagnosis": [], "notes": []}, "unaudited": None}


@pytest.fixture
def unaudited(monkeypatch):
    monkeypatch.setattr(making, "_sheet", lambda name: SHEET)


def test_two_methods_with_two_seeds_are_kept_and_drawn_and_the_same_again(one_problem, tmp_path):
    told = []
    made = make(["rloo", "dpo"], SMALL, tmp_path, 1, lambda *said: told.append(said))
    assert told == [("rloo", 1, 2), ("dpo", 2, 2)]
    assert made["methods"]["rloo"]["audit"]["properties"]["direction.objective"]["verdict"] == "exact"
    dpo = made["methods"]["dpo"]
    assert dpo["kind"] == "offline" and dpo["audit"]["properties"]["target.posterior"]["verdict"] == "exact"
    for one in made["methods"].values():
        for rung in ("exact", "gpt"):
            at = one["rungs"][rung]["ladder"]
            assert at["lr"] > 0 and {len(values) for values in at["figures"].values()} == {2}
            assert list(at["figures"]) == list(MEASURES)
    assert made["made"]["seeds"] == [0, 1] and made["made"]["cpu_seconds"] > 0
    assert made["problems"]["ladder"]["reference"]["exact"]["support kept"] == 1
    assert "rloo" in page(made)

    (tmp_path / "methods" / "dpo.json").unlink()
    again = make(["rloo", "dpo"], SMALL, tmp_path, 1)  # rloo as it was kept, dpo anew
    assert again["made"]["seconds"] >= made["made"]["seconds"]  # those of both calls
    assert {k: v for k, v in again.items() if k != "made"} == {k: v for k, v in made.items() if k != "made"}
    with pytest.raises(ValueError, match="out must be a folder for these settings"):
        make(["rloo"], Settings(seeds=2, steps=3), tmp_path, 1)


def test_a_method_that_fails_is_recorded_and_stops_nothing(one_problem, unaudited, monkeypatch):
    def rate(name, problem, rung):
        if name == "grpo" and rung == "gpt":
            raise ValueError("gradient must be finite")
        return 0.1

    monkeypatch.setattr(making.runs, "rate", rate)
    made = make(["grpo", "rloo"], SMALL, workers=1)
    assert made["methods"]["grpo"]["rungs"]["gpt"] == {"ladder": {"failed": "gradient must be finite"}}
    assert "figures" in made["methods"]["grpo"]["rungs"]["exact"]["ladder"]
    assert "grpo failed on gpt, ladder: gradient must be finite" in absences(made)


def test_a_method_that_cannot_be_audited_says_why():
    found = making._sheet("cql")
    assert found["audit"] is None and "must be a loss of a policy to be audited" in found["unaudited"]


def test_methods_on_policy_and_offline_are_audited():
    for name in ("a2c", "dpo"):
        found = making._sheet(name)
        assert found["audit"]["properties"]["groups.scale"]["detail"] and found["unaudited"] is None


def test_several_processes_give_what_one_gives():
    assert dict(making.each(["a", "b", "c"], str.upper, 2)) == dict(making.each(["a", "b", "c"], str.upper, 1))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Settings(seeds=1), "seeds must be >= 2"),
        (lambda: Settings(steps=0), "steps must be >= 1"),
        (lambda: make(["grpp"]), "did you mean 'grpo'"),
        (lambda: make(["cql"]), "method must train a policy to be in the atlas, got 'cql': it trains values"),
        (lambda: make(["rloo"], workers=0), "workers must be >= 1"),
    ],
)
def test_what_cannot_be_made_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_results_are_written_rounded_and_read_back(tmp_path, monkeypatch, by_hand):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    assert json.loads(text({"x": 1 / 3, "n": 7, "of": (0.1234567,)})) == {"x": 0.333333, "n": 7, "of": [0.123457]}
    with pytest.raises(ValueError):
        text({"x": float("nan")})
    with pytest.raises(FileNotFoundError, match="toykit atlas --record"):
        recorded()
    with pytest.raises(ValueError, match=r"must be all of the catalogue to be recorded, got none of lite_ppo"):
        record(by_hand)
    whole = by_hand | {"methods": dict.fromkeys(methods(), by_hand["methods"]["rloo"])}
    assert missing(whole) == [] and loaded(record(whole)) == recorded()
