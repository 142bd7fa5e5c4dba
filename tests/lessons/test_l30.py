from __future__ import annotations

import copy
import math

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import load, recorded
from toykit.lessons.l30_apo import exact, explorer, sampled
from toykit.lessons.rungs import start
from toykit.objectives import DADS
from toykit.rollouts import Sampled
from toykit.training import load_policy

LESSON = load("30")


def test_every_claim_of_the_exact_rung_holds(results, verdicts):
    assert all(verdicts(results).values())


def flow_at(results, figure, arm, start, place, value):
    results["flow"][figure][arm][start][place] = value


SPOILED = {
    "C1a": lambda r: r["gradient"].__setitem__("plain", 1e-11),
    "C1b": lambda r: r["gradient"].__setitem__("apart", 0.0),
    "C2a": lambda r: r["balance"].__setitem__("error", 1e-7),
    "C2b": lambda r: r["balance"]["roots"]["DADS"].__setitem__(2, 0.364872),
    "C2c": lambda r: r["balance"]["lead"]["2"].__setitem__(0, 0.1),
    "C2d": lambda r: r["flow"]["late"]["KL"].__setitem__(1, 0.97016),
    "C3a": lambda r: r["flow"]["entropy"]["no KL"].__setitem__(1, 0.0157),
    "C3b": lambda r: flow_at(r, "accuracy", "DADS", 0, 1, 0.0865),
    "C3c": lambda r: flow_at(r, "accuracy", "DADS", 1, 3, 0.94793),
    "C4a": lambda r: r["lengths"]["steps"][0].__setitem__(4, 58),
    "C4b": lambda r: r["lengths"]["right"][0].__setitem__(4, 2.5 + 1e-8),
    "C4c": lambda r: r["random"]["wrong"][3].__setitem__(2, 3.8),
    "C4d": lambda r: r["random"]["right"][0].__setitem__(2, 2.8),
    "C4e": lambda r: r["formatted"]["wrong"][0].__setitem__(2, 3.6),
    "C5": lambda r: r["released"].__setitem__(2, 1.04),
    "S1": lambda r: r["trainer"].__setitem__("error", 1e-6),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert failing(spoiled(SPOILED[claim])) == [claim]


def test_fewer_than_five_starts_decide_no_effect(results, verdicts):
    few = copy.deepcopy(results)
    few["random"] = {name: rows[:4] for name, rows in few["random"].items()}
    assert [c for c, holds in verdicts(few).items() if holds is None] == ["C4c", "C4d"]


def test_one_step_of_the_five_answers_by_hand():
    """p0 = 0.05 and a policy that is not the reference: after two steps, answer by answer."""
    log_ref = exact.base()[0]
    one, two = exact.follow(log_ref[None], exact.RIGHT, torch.ones(1).double(), 0.3, [1, 2]).exp()[:, 2, 0]
    p, ref = one[:2].sum().item(), log_ref.exp().tolist()
    value = []
    for i, (pi, base) in enumerate(zip(one.tolist(), ref, strict=True)):
        right = i < 2
        weight = 1 - math.exp(-math.e * p) if right else 1.0
        value.append((right - p) / math.sqrt(p * (1 - p)) - weight * (1 - base / pi))
    mean = sum(pi * v for pi, v in zip(one.tolist(), value, strict=True))
    logits = [math.log(pi) + 0.3 * pi * (v - mean) for pi, v in zip(one.tolist(), value, strict=True)]
    assert torch.allclose(torch.tensor(logits).double().softmax(-1), two, atol=1e-12)


def test_a_groups_push_by_hand():
    """Right answers of 1 and 3 tokens, wrong ones of 1 and 8: the last is 6 longer than they are on average."""
    index = torch.tensor([[0, 2, 4, 7]])
    found = exact.pushes(index, [(), (exact.STCR(0.2),)], torch.zeros(8).double())[:, 0]
    a = 0.5 / math.sqrt(1 / 3) / 4
    assert found[0].tolist() == pytest.approx([a, 0, a, 0, -a, 0, 0, -a])
    assert found[1].tolist() == pytest.approx([a, 0, a, 0, -a, 0, 0, -a * (2 - math.exp(-1.2))])


def test_a_root_is_where_gain_and_cost_meet_and_between_start_and_1():
    p0 = torch.tensor([0.01, 0.3, 0.9]).double()
    for curve in (None, DADS(), DADS("exponential")):
        p = exact.root(p0, 1.5, curve)
        assert torch.allclose(exact.gain(p), exact.cost(p, p0, 1.5, curve), atol=1e-12)
        assert (p > p0).all() and (p < 1).all()


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    shown = explorer.apo_explorer(live=False)
    assert list(shown.presets) == ["hard", "easy", "released b"]
    assert draws_every_preset(shown)
    assert "0.548 under the KL and at 0.587 under DADS" in explorer.apo_words()
    assert "0.273 under the KL and at 0.365 under DADS" in explorer.apo_words(beta=2.0)
    assert "1 times as large" in explorer.apo_words(lnb=1e-5)


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


def test_the_arms_differ_in_their_kl_and_transforms_alone():
    made = sampled.methods()
    plain = made["GRPO"].objective
    assert plain.kl is None and plain.transforms == ()
    for given in made.values():
        assert given.objective.with_(kl=None, transforms=()) == plain
    assert made["APO"].objective.kl.weight == DADS() and made["APO"].objective.transforms[0].lnb == 0.1


def test_the_base_finds_short_sums_easier_than_long_ones_and_is_no_further_from_itself():
    setup = sampled.APO.gpt
    base = load_policy(setup.base)
    found = sampled.measuring(base, setup)(start(base, setup, 0, sampled.methods()["APO"]), 0)
    assert found["easy success"] == pytest.approx(0.6, abs=0.05)
    assert found["hard success"] == pytest.approx(0.38, abs=0.05)
    assert abs(found["easy KL"]) + abs(found["hard KL"]) < 1e-9
    long = sampled.by_size(setup.task)["hard"]
    with torch.no_grad():
        made = Sampled(sampled.GROUP)(base, setup.task, long, torch.Generator().manual_seed(0))
    lengths = [made.lengths[of].double().mean().item() for of in (made.correct, ~made.correct)]
    assert lengths == pytest.approx([16, 11], abs=0.5)  # STCR has little to act on: the right ones are longer
    assert {len(prompts) for prompts in sampled.by_size(setup.task).values()} == {sampled.MEASURED}


def test_the_record_of_the_gpt_rung_has_these_claims(failing):
    assert failing(recorded(LESSON, "gpt"), "gpt") == ["G3", "G4", "G6", "G7"]


def test_each_claim_of_the_gpt_rung_fails_where_nothing_moves(verdicts):
    still = recorded(LESSON, "gpt")
    still["runs"] = {
        name: {k: [[path[0]] * len(path) for path in paths] for k, paths in of.items()}
        for name, of in still["runs"].items()
    }
    assert list(verdicts(still, "gpt").values()) == [False] * 8
