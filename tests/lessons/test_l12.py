from __future__ import annotations

import math

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import claims, judge, load, recorded, run
from toykit.lessons.l12_dual_rl import explorer, figures, grid, sampled
from toykit.objectives import DPO, SFT, ChiSquare, Gumbel, TotalVariation
from toykit.plots.images import pixels
from toykit.rollouts import Solutions
from toykit.training import load_policy

LESSON = load("12")


def test_every_claim_of_the_exact_rung_holds(results, failing):
    assert failing(results) == []


SPOILED = {
    "C1": (("others", "reverse_kl", "flow"), 1e-6),
    "C1c": (("duality", "reverse_kl", "zeros"), 1),
    "C2": (("others", "chi2_reverse", "dual-Q"), 1e-6),
    "C3": (("recoil", "covered", "random", "residual"), 1e-6),
    "C3c": (("recoil", "not covered", "random"), {"dual": -1.404, "primal": -1.404, "residual": 0.0}),
    "C3e": (("recoil", "not covered", "missing mass"), 0.5),
    "C4": (("soft", "slope"), 1e-6),
    "C5": (("maximum", "quantile"), 1e-3),
    "C5c": (("maximum", "XQL", 1), 1.548),
    "C5p": (("maximum", "far below"), [6.0, 7.0, 8.0]),
    "C6": (("slopes", "TV"), 2.0),
    "D1": (("support", "above"), 1e-6),
    "D2": (("support", "off", "XQL 0.1"), 1.3),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(failing, spoiled, claim):
    wrong = spoiled(SPOILED[claim])
    assert failing(wrong) == [claim]


def test_every_claim_of_the_exact_rung_is_spoiled_once():
    assert list(SPOILED) == [claim.id for claim in LESSON.claims_of("exact")]


def test_other_mdps_have_the_same_theorems_and_other_numbers(failing):
    assert failing(run(LESSON, "exact", seeds=(7,))) == ["C1c", "C3c", "D2"]


def test_the_arms_are_the_card_s():
    assert sampled.VALUES["TV"] == TotalVariation(0.9) and sampled.VALUES["chi2"] == ChiSquare(0.9)
    assert sampled.VALUES["XQL"] == Gumbel(0.1, 7.0) and sampled.VALUES["XQL, scaled"] == Gumbel(0.1, 7.0, scaled=True)
    assert list(sampled.arms()) == ["TV", "chi2", "XQL", "XQL, scaled", "IQL", "BC", "filtered", "DPO"]


def test_the_data_are_the_base_s_with_50_of_the_expert():
    setup = sampled.DUAL.gpt
    base = load_policy(setup.base)
    made, other = (sampled.offline(base, setup, seed) for seed in (0, 1))
    assert made.rewards.shape == (512, 4) and bool(made.correct[:50, 0].all())
    assert torch.equal(made.completions[:50, 0], Solutions.of(setup.task).completions[:50, 0])
    assert torch.equal(made.rewards, setup.task.score(made.prompt_ids, made.completions, made.mask))
    assert 0.4 < float(made.rewards.mean()) < 0.5 and not torch.equal(made.completions, other.completions)


def test_the_baselines_learn_from_right_completions_and_from_pairs():
    setup = sampled.DUAL.gpt
    made = sampled.offline(load_policy(setup.base), setup, 0)
    loss, right = sampled.BASELINES["filtered"](made)
    assert isinstance(loss, SFT) and len(right.weights) == int(made.correct.sum())
    assert float(right.weights.sum()) == pytest.approx(1) and float(right.weights.std()) < 1e-9
    loss, pairs = sampled.BASELINES["DPO"](made)
    mixed = made.correct.sum(1)
    assert isinstance(loss, DPO) and len(pairs.weights) == int((mixed * (4 - mixed)).sum())
    rewards = [setup.task.score(pairs.prompt_ids, pairs.completions, pairs.mask)[:, place] for place in (0, 1)]
    assert bool((rewards[0] == 1).all()) and bool((rewards[1] == 0).all())


def test_slopes_of_v_by_hand():
    x = torch.tensor([0.5, -0.5], dtype=torch.float64)
    assert sampled.slope(TotalVariation(0.9), x).tolist() == pytest.approx([0.8, -0.1])
    assert sampled.slope(Gumbel(0.1), x).tolist() == pytest.approx([10 * (math.e**5 - 1), 10 * (math.exp(-5) - 1)])


def test_the_grid_by_hand():
    """From the corner opposite to the goal it takes 8 moves; a policy that goes right and up takes just these."""
    policy = torch.nn.functional.one_hot(grid.best_move(), 4).double()
    assert float(grid.success(policy)) == pytest.approx(1.0)
    after = grid.next_state()
    assert after[0].tolist() == [1, 5, 0, 0] and after[24].tolist() == [24] * 4 and after[4].tolist() == [4, 9, 3, 4]
    left = torch.nn.functional.one_hot(torch.full((25,), 2), 4).double()
    assert float(grid.success(left)) == 0.0
    assert grid.expert_policy()[0].tolist() == pytest.approx([0.94, 0.02, 0.02, 0.02])


def test_coverage_is_the_share_of_the_expert_s_moves_that_is_kept():
    moves = grid.best_move()
    shares = {c: float(grid.data(0, c)[1].gather(1, moves[:, None]).sum()) for c in (1.0, 0.3, 0.0)}
    assert shares[1.0] == pytest.approx(0.25, abs=0.04) and shares[0.3] == pytest.approx(0.075, abs=0.03)
    assert shares[0.0] == 0.0
    expert, other = grid.data(1, 0.0)
    assert float(expert.sum()) == pytest.approx(1) and float(other.sum()) == pytest.approx(1)
    assert float(expert.gather(1, moves[:, None]).sum()) > 0.7


def test_a_short_run_measures_every_arm_and_the_llm_recipe_resumes(tmp_path, monkeypatch):
    monkeypatch.setattr(grid, "STEPS", 2)
    found = run(LESSON, "gpt", seeds=(0, 1), stops=(0, 1))
    assert set(found["runs"]) == set(sampled.arms())
    assert {len(path) for path in found["grid"]["success"]["ReCOIL"]} == {4}
    assert all(row["holds"] is None for row in judge(LESSON, "gpt", found, from_record=False))
    again = run(LESSON, "gpt", seeds=(1,), stops=(0, 1), only=("XQL",))
    assert again["runs"]["XQL"] == {name: paths[1:] for name, paths in found["runs"]["XQL"].items()}
    assert list(again["runs"]) == ["XQL"] and "grid" not in again
    tiny = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert tiny["parameters"] < 100_000 and set(tiny["runs"]) == set(sampled.arms())
    assert run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)["runs"] == tiny["runs"]
    assert isinstance(LESSON.figures["llm"]["training"](tiny), Figure)


def test_options_that_there_are_not_are_refused():
    with pytest.raises(ValueError, match="only must be one of .*, got 'XQ'; did you mean 'XQL'"):
        run(LESSON, "gpt", only=("XQ",))
    with pytest.raises(ValueError, match="size must be one of .*, got 'small'"):
        run(LESSON, "llm", size="small")


def test_the_explorer_draws_every_preset_and_says_it_in_words():
    shown = explorer.dual_explorer(live=False)
    pictures = [pixels(shown.figure(**state)).copy() for state in shown.presets.values()]
    assert all((a != b).any() for i, a in enumerate(pictures) for b in pictures[:i])
    said = [explorer.dual_words(**state) for state in shown.presets.values()]
    for words, off in zip(said, (0, 8, 0), strict=True):
        assert f"never takes {off} of 15 pairs" in words
    assert "V is 1.000 by TV and 1.000 by chi2 at level 0.65, 1.269 by XQL at temperature 2" in said[0]


def test_losses_of_the_picture_are_least_where_the_marks_stand():
    for level, temperature in ((0.55, 2.0), (0.8, 0.5), (0.99, 0.1)):
        for loss, best in figures.losses_of(level, temperature).values():
            assert float(loss.min()) > -1e-9
            near = (figures.V - best).abs() < 0.0101
            assert float(loss[near].min()) < 0.02


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)
    live = run(LESSON, "gpt", seeds=(0,), stops=(0, 1), only=("TV",))
    assert isinstance(LESSON.figures["gpt"]["training"](recorded(LESSON, "gpt"), live=live), Figure)


def test_the_record_of_the_gpt_rung_has_these_claims():
    assert [row["claim"] for row in claims(LESSON, "gpt") if not row["holds"]] == ["G1", "G7", "G8", "G10"]


def made_up(good):
    """Results in which every effect is there, or the opposite of each."""
    sign = 1 if good else -1
    wobble = [-0.002, -0.001, 0.0, 0.001, 0.002]

    def arm(success, norm=1.0, largest=1.0):
        figures = {"success": success, "gradient norm": norm, "largest Q": largest}
        return {name: [[0.0, value + w] for w in wobble] for name, value in figures.items()}

    runs = {name: arm(0.5, largest=1.5 if good else 2.5) for name in ("TV", "chi2")}
    runs |= {"XQL": arm(0.5 - 0.1 * sign, 20.0 if good else 5.0), "XQL, scaled": arm(0.5, 5.0 if good else 20.0)}
    runs |= {name: arm(0.5 - 0.1 * sign) for name in ("BC", "filtered", "DPO")}
    ends = {"ReCOIL": 0.5, "discriminator": 0.5 - 0.1 * sign, "BC, expert": 0.5 - 0.2 * sign}
    success = {name: [[0.5 + w, end - w] for w in wobble] for name, end in ends.items()}
    return {"runs": runs, "grid": {"covered": [1.0, 0.0], "success": success}, "made": {}}


def test_every_claim_of_the_gpt_rung_follows_its_results_both_ways(failing):
    assert failing(made_up(True), "gpt") == []
    assert len(failing(made_up(False), "gpt")) == len(LESSON.claims_of("gpt")) == 11
    assert failing(made_up(True), "llm") == [] and len(failing(made_up(False), "llm")) == 8
