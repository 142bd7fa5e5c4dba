"""Lesson 32: every claim is decided, every check can fail, and the numbers are the card's."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from toykit.exact import kl, tilt_to_kl
from toykit.lessons import claims, judge, load, run
from toykit.lessons.l32_alignment_asymptotics import exact, explorer, figures, sampled
from toykit.lessons.l32_alignment_asymptotics.vowels import DELTA, Vowels, frontier_of_chain
from toykit.tasks import Letters

LESSON = load("32")
CARDS = ["C1", "C2a", "C2b", "C3a", "C3b", "C4a", "C4b", "C5a", "C5b", "C6a", "C6b", "C6c", "C7a", "C7b"]
NAMES = [*CARDS, "D1", "D2", "D3"]
OWN = ["X1", "X2", "X3", "X4", "X5", "X6"]


def test_every_theorem_holds(results, verdicts):
    found = verdicts(results)
    assert list(found) == NAMES + OWN
    assert all(holds is True for holds in found.values())


def last_row(**changes):
    return lambda rows: [*rows[:-1], rows[-1] | changes]


SPOILED = {
    "C1": (("maximiser", "rows"), lambda rows: [rows[0] | {"grid": rows[0]["tilt"] + 1e-9}, *rows[1:]]),
    "C2a": (("identity", "error"), 1e-9),
    "C2b": (("identity", "excess"), 1e-9),
    "C3a": (("curve", "kl_error"), 1e-9),
    "C3b": (("curve", "most_bend"), 1e-6),
    "C4a": (("bound", "least_slack"), -1e-9),
    "C4b": (("bound", "fine"), lambda fine: [*fine[:-1], 1e-4]),
    "C5b": (("table",), last_row(distance=10.0)),
    "C6a": (("deviations", "rate_by_moments"), 0.1066),
    "C6b": (("deviations", "constant"), 0.0),
    "C6c": (("cumulants", "error"), 1e-9),
    "C7a": (("two_levels", "worst"), 1e-9),
    "C7b": (("two_levels", "least_at_log_n"), 0.0),
    "D1": (("strings", "error"), 1e-8),
    "D2": (("strings", "from_product"), 0.0),
    "X3": (("pitfalls", "fixed_n"), lambda ahead: ahead[::-1]),
    "X4": (("pitfalls", "ties", "by_name"), 0.0),
    "D3": (("memory", "limit"), 0.5),
    "X6": (("memory", "rows"), lambda rows: [rows[0] | {"equal_kl_gap": 0.01}, *rows[1:]]),
    "X5": (("pitfalls", "naive"), lambda naive: [*naive[:-1], 1.87677]),
}
TOGETHER = {  # what contradicts more than one claim
    ("C5a", "X2"): (("table",), last_row(bon=1.5)),
    ("X1", "C5b", "X2"): (("table",), last_row(distance=9.0)),
}


@pytest.mark.parametrize("claim", sorted(set(SPOILED) - {"C5b"}))
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert failing(spoiled(SPOILED[claim])) == [claim]


@pytest.mark.parametrize("names", TOGETHER)
def test_a_result_that_contradicts_several_claims_fails_them(spoiled, failing, names):
    assert set(failing(spoiled(TOGETHER[names]))) >= set(names)


def test_all_checks_can_be_spoiled():
    assert set(SPOILED) | {name for names in TOGETHER for name in names} == set(NAMES + OWN)


CARD = {  # m: (E_bon / m, KL(bon, p), the bound, KL(bon, phi) / m)
    4: (1.43686, 0.7844, 0.8019, 0.09326),
    16: (1.71954, 5.3761, 5.4017, 0.05005),
    64: (1.83642, 24.5687, 24.6000, 0.02222),
    256: (1.87677, 101.3666, 101.4000, 0.00816),
}


@pytest.mark.parametrize("m", CARD)
def test_the_table_of_best_of_n_is_that_of_the_card(results, m):
    (row,) = (row for row in results["table"] if row["m"] == m)
    reward, spent, bound, distance = CARD[m]
    assert row["bon"] == pytest.approx(reward, abs=5e-6)
    assert row["kl"] == pytest.approx(spent, abs=5e-5)
    assert row["bound"] == pytest.approx(bound, abs=6e-5)
    assert row["distance"] / m == pytest.approx(distance, abs=5e-6)
    assert row["rl"] == pytest.approx(1.89560, abs=5e-6)


def test_the_letter_and_its_identity_are_those_of_the_card(results):
    found = results["letter"]
    assert found["alpha"] == pytest.approx(0.6477776544, abs=5e-11)
    assert (found["base_reward"], found["reward"]) == pytest.approx((0.8, 1.8955993377), abs=5e-11)
    assert found["error"] < 1e-14
    assert found["left"] == pytest.approx([0.7012717467, 0.0953645692, 0.3875967109], abs=5e-11)


def test_the_rare_rewards_are_those_of_the_card(results):
    found = results["deviations"]
    assert found["rate"] == pytest.approx(0.1065995, abs=5e-8)
    assert found["constant"] == pytest.approx(-0.0184, abs=5e-5)
    left = [r["minus_log"] - r["m"] * found["rate"] - 0.5 * math.log(r["m"]) for r in found["rows"]]
    assert left == pytest.approx([0.0050, -0.0123, -0.0169], abs=5e-5)
    assert [r["minus_log"] / r["m"] for r in found["rows"]][:2] == pytest.approx([0.1225, 0.1116], abs=5e-5)


def test_strings_without_a_sum_and_the_example_are_those_of_the_card(results):
    found = results["strings"]
    assert found["from_product"] == pytest.approx(0.2866, abs=5e-5)
    assert (found["kl"], found["bound"]) == pytest.approx((3.17416, 3.17451), abs=5e-6)
    example = results["two_levels"]["example"]
    assert list(example.values()) == pytest.approx([0.3439, 1.551, 0.6446, 0.2174], abs=5e-4)


def test_the_source_of_the_gpt_rung_by_its_own_task():
    found = Vowels.of(16)
    assert found.n == 16
    assert torch.allclose(found.log_p.exp(), Letters("vowels", 16).probabilities, rtol=1e-12)
    tilt = tilt_to_kl(found.log_p, found.counts, 16 * DELTA)
    reward = (tilt.log_p.exp() @ found.counts).item() / 16
    assert found.below_frontier(DELTA, reward) == pytest.approx(0, abs=1e-12)
    assert found.distance(DELTA, reward) == pytest.approx(0, abs=1e-12)
    base = (found.log_p.exp() @ found.counts).item() / 16
    assert found.distance(0.0, base) == pytest.approx(kl(found.log_p, tilt.log_p).item() / 16, abs=1e-12)


def test_the_frontier_of_the_chain_is_the_limit_of_that_of_its_strings():
    alphas = torch.tensor([0.5, 2.0], dtype=torch.float64)
    spent, reward = frontier_of_chain(alphas)
    for m in (64, 512):
        found = Vowels.of(m)
        tilts = (found.log_p + alphas[:, None] * found.counts).log_softmax(-1)
        assert torch.allclose(tilts.exp() @ found.counts / m, reward, atol=0.2 / m)
        assert torch.allclose(kl(tilts, found.log_p.expand_as(tilts)) / m, spent, atol=0.5 / m)


def test_the_gaps_of_the_vowels_at_equal_kl(results):
    """The card's lengths are too short for this gap to shrink."""
    gaps = {row["m"]: row["equal_kl_gap"] for row in results["memory"]["rows"]}
    assert [gaps[m] for m in (8, 16, 32, 128, 512)] == pytest.approx(
        [0.00649, 0.00651, 0.00709, 0.00359, 0.00132], abs=5e-6
    )


@pytest.mark.parametrize(("best", "top"), [(0.05, 4), (0.01, 6), (0.25, 3)])
def test_the_explorer_shows_exact_laws(best, top):
    now = explorer.state(16, 0.4, best, top)
    for law in now.laws.values():
        assert law.sum().item() == pytest.approx(1, abs=1e-12)
    assert now.rl[0].item() == pytest.approx(0.4, abs=1e-9)
    for name, point in (("RL", now.rl), ("best-of-n", now.bon[-1])):
        assert (now.laws[name] @ now.rewards).item() / 16 == pytest.approx(point[1].item(), abs=1e-9)
    frontier = torch.from_numpy(np.interp(now.bon[:, 0], *now.curve.T))
    assert (now.bon[:, 1] < frontier + 1e-3).all()
    assert (now.rl[1] - now.bon[:, 1]).diff().max() < 0  # nearer with every length


def test_the_explorers_letters_are_the_lessons():
    p, rewards = explorer.letters(0.05, 4)
    assert torch.allclose(p, exact.P, atol=1e-15) and torch.equal(rewards, exact.REWARDS)
    now = explorer.state(256, 0.4, 0.05, 4)
    assert now.bon[-1, 1].item() == pytest.approx(1.87677, abs=5e-6)


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    made = figures.frontier_explorer(live=False)
    assert list(made.presets) == ["one letter", "16 letters", "256 letters", "a rare jackpot"]
    assert draws_every_preset(made)
    words = figures.frontier_words(**made.presets["256 letters"])
    assert "best of n = 2.96e+44" in words and "a gap of 0.019" in words
    assert isinstance(made.figure(m=256, delta=0.8, best=0.25, top=6), Figure)


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


SHORT = {"seeds": (0, 1), "lengths": (4, 8), "stops": (0, 2), "samples": 32, "base_samples": 512, "measured": 128}


def test_the_gpt_rung_measures_every_length_and_is_the_same_again():
    found = run(LESSON, "gpt", **SHORT)
    assert list(found["lengths"]) == ["4", "8"]
    for m, of in found["lengths"].items():
        assert of["n"] == 2 ** (int(m) // 4)
        assert of["draws"][-1] == of["n"] and of["curve"][0][0][0] == pytest.approx(0, abs=1e-12)
        for arm in sampled.ARMS:
            assert [path[0] for path in of["runs"][arm]["kl"]] == pytest.approx([0, 0], abs=1e-5)
    assert run(LESSON, "gpt", **SHORT)["lengths"] == found["lengths"]
    assert all(row["holds"] is None for row in judge(LESSON, "gpt", found, from_record=False))  # two seeds
    assert isinstance(LESSON.figures["gpt"]["frontier"](found, live=found), Figure)
    assert [row["letters"] for row in figures.gap_rows(found)] == [4, 8]


def made_up(**changes):
    """Results of three lengths and five seeds that confirm every claim, but for the figures in `changes`."""
    good = {
        "ahead": (0.003, 0.002, 0.001),
        "gap": (0.03, 0.02, 0.01),
        "bon_distance": (0.03, 0.02, 0.01),
        "short_budget": (0.001, 0.001, 0.001),
        "short_matched": (0.001, 0.001, 0.001),
        "from_source": (0.001, 0.001, 0.001),
        "slack": (0.1, 0.2, 0.3),
    } | changes
    lengths = {
        str(m): {name: [values[i] + 1e-5 * seed for seed in range(5)] for name, values in good.items()}
        for i, m in enumerate((8, 16, 32))
    }
    return {"m": [8, 16, 32], "lengths": lengths, "made": {}}


@pytest.mark.parametrize(
    ("changes", "failing"),
    [
        ({}, set()),
        ({"ahead": (0.003, 0.002, -0.001)}, {"G1", "G2"}),
        ({"ahead": (0.003, 0.002, -0.00002)}, {"G2"}),  # within its interval of 0
        ({"gap": (0.03, 0.01, 0.02)}, {"G3"}),
        ({"ahead": (0.001, 0.002, 0.003)}, {"G4"}),
        ({"bon_distance": (0.01, 0.02, 0.03)}, {"G5"}),
        ({"short_matched": (0.001, 0.02, 0.001)}, {"G6"}),
        ({"from_source": (0.02, 0.001, 0.001)}, {"G7"}),
        ({"slack": (0.1, -0.1, 0.1)}, {"G8"}),
    ],
)
def test_every_effect_of_the_gpt_rung_can_fail(changes, failing):
    found = {c.id: c.check(made_up(**changes)).holds for c in LESSON.claims_of("gpt")}
    assert {name for name, holds in found.items() if not holds} == failing
    assert len(found) == 8


def test_the_llm_recipe_runs_on_a_tiny_model_and_resumes(tmp_path):
    found = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert found["parameters"] < 50_000
    assert run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)["lengths"] == found["lengths"]
    assert isinstance(LESSON.figures["llm"]["frontier"](found), Figure)


def test_the_full_llm_plan_draws_up_to_128():
    plan = sampled.SIZES["60m"].plan
    assert [Vowels.of(m).n for m in plan.lengths] == [4, 16, 128]


def test_a_size_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="size must be one of 60m, tiny, got 'huge'"):
        run(LESSON, "llm", size="huge")


def test_the_record_of_the_gpt_rung_has_these_claims():
    rows = claims(LESSON, "gpt")
    assert [row["claim"] for row in rows] == [f"G{i}" for i in range(1, 9)]
