from __future__ import annotations

import copy

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import judge, load, recorded
from toykit.lessons.l33_prorl import exact, explorer, sampled
from toykit.objectives import Clip, method
from toykit.training import load_policy

LESSON = load("33")


def test_every_claim_of_the_exact_rung_holds(results, failing):
    assert failing(results) == []


SPOILED = {
    "C1a": lambda r: r["staircase"]["1"]["log-odds"].__setitem__(4, 0.4049),
    "C1b": lambda r: r["plain"].__setitem__("error", 1e-4),
    "C1c": lambda r: r["staircase"]["1"]["p"].__setitem__(2, 0.168667),
    "C1d": lambda r: r["staircase"]["0.5"]["KL to the base"].__setitem__(4, 4.3),
    "C2a": lambda r: r["kept"].__setitem__("enumerated", 1e-9),
    "C2b": lambda r: r["bound"].__setitem__("least slack", -1e-9),
    "C2c": lambda r: r["bound"].__setitem__("broken at k = 1", 0.0),
    "C3": lambda r: r["staircase"]["0.5"]["p"].__setitem__(0, 0.0694537),
    "C4a": lambda r: r["composition"]["composite"]["six skills"].__setitem__(1, 0.9095),
    "C4b": lambda r: r["composition"]["composite"]["three skills"].__setitem__(2, 0.02),
    "C4c": lambda r: r["composition"].__setitem__("after", 0.988),
    "X1": lambda r: r["clip"]["own term"].__setitem__(1, 1.5),
    "X2": lambda r: r["clip"]["all terms"].__setitem__(1, 1.4),
    "X3": lambda r: r["estimators"].__setitem__("k3, error", 1e-3),
    "S1": lambda r: r["trainer"].__setitem__("clip", 1e-6),
}
ALSO = {"C3": ["C1c"], "C4b": ["C4a"]}  # the same number is judged twice


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    wrong = spoiled(SPOILED[claim])
    assert sorted(failing(wrong)) == sorted([claim, *ALSO.get(claim, [])])


def test_every_claim_of_the_exact_rung_is_spoiled_once():
    assert list(SPOILED) == [claim.id for claim in LESSON.claims_of("exact")]


def test_the_first_step_by_hand():
    """At the reference the penalty has no gradient: pi (R - p), 0.01 times 0.99 for the right answer."""
    step = exact.gradient(exact.P0.log(), exact.P0.log(), 0.5)
    assert step.tolist() == pytest.approx([0.0099, -0.005, -0.003, -0.0015, -0.0004], abs=1e-15)


def test_two_skills_by_hand():
    """The task of both skills alone: dz = s^2 (1 - s) = 0.009 each; of each alone with 1/2: s (1 - s) / 2 = 0.045."""
    weights = torch.zeros(2, 22, dtype=torch.float64)
    weights[0, 6] = 1  # the first pair
    weights[1, :2] = 0.5
    path = exact.skills_path(weights, (0, 1)).logit()
    assert (path[1] - path[0])[:, :2].tolist() == [pytest.approx([0.009] * 2), pytest.approx([0.045] * 2)]
    assert (path[1] - path[0])[:, 2:].abs().max() == 0


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    shown = explorer.prorl_explorer(live=False)
    assert draws_every_preset(shown)
    assert (
        "cannot pass 0.0267, and after 200 steps is 0.0267; with resets every 40 it is 0.582" in explorer.prorl_words()
    )
    assert "with resets" not in explorer.prorl_words(reset="never")
    assert explorer.climb(0.5, 20)[20] == pytest.approx(explorer.climb(0.5, None)[20])


def test_figures_are_made_from_results(results):
    assert isinstance(LESSON.figures["exact"]["staircase"](results), Figure)


def test_arms_differ_from_the_catalogue_in_selection_beta_and_schedule_alone():
    prorl, base, made = method("prorl"), load_policy("operator"), sampled.arms()
    trainers = {name: arm(base, sampled.PRORL.gpt, 0) for name, arm in made.items()}
    assert trainers["ProRL"].objective == prorl.with_beta(1.0).objective
    assert trainers["KL 0.05"].objective == prorl.objective
    assert trainers["clip-higher"].objective == prorl.objective.with_(kl=None)
    assert trainers["GRPO"].objective == prorl.objective.with_(kl=None, clip=Clip(0.2, 0.2))
    how = {name: t.follower.how for name, t in trainers.items()}
    assert how["ProRL, on plateau"] == prorl.reference  # the catalogue's own
    assert [how[n].kind for n in ("KL", "KL 0.05", "ProRL")] == ["frozen", "frozen", "reset"]
    assert how["ProRL"].optimizer and not how["KL, reset, moments kept"].optimizer
    assert all(t.strategy.temperature == 1.2 and t.selection.after is None for t in trainers.values())


def test_each_claim_of_the_gpt_rung_fails_where_its_record_says_otherwise(failing):
    """Every run a copy of GRPO's that never moves, with a gain that rises with the base: only what stalls does."""
    still = recorded(LESSON, "gpt")
    one = {k: [[path[0] for _ in path] for path in paths] for k, paths in still["runs"]["GRPO"].items()}
    one["gain by base"] = [[0.5 for _ in path] for path in one["gain by base"]]
    still["runs"] = {name: copy.deepcopy(one) for name in still["runs"]}
    rows = judge(LESSON, "gpt", still, from_record=False)
    assert [row["claim"] for row in rows if row["holds"]] == ["G3"]
    for path in still["runs"]["KL"]["train pass@1"]:
        path[-1] += 0.1
    assert "G3" in failing(still, "gpt")
