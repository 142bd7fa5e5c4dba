from __future__ import annotations

import math

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import load, recorded, run
from toykit.lessons.l38_rl_plus import exact, explorer, sampled
from toykit.objectives import MIS, Likelihood, method
from toykit.rollouts import Sampled
from toykit.tasks import OperatorChain
from toykit.training import load_policy

LESSON = load("38")


def test_every_claim_of_the_exact_rung_holds_but_that_pass_at_k_stays_above_the_base(results, failing):
    assert failing(results) == ["C4e"]


def raised(results, name, k, by):
    for row in results["sharing"]["pass"][name]:
        row[exact.KS.index(k)] += by


SPOILED = {
    "C1a": lambda r: r["laws"].__setitem__("both, error", 1e-9),
    "C1b": lambda r: r["laws"].__setitem__("share of the bound", 1.01),
    "C1c": lambda r: r["laws"]["IS"].__setitem__(-1, 1e6),
    "C1d": lambda r: r["weights"]["MIS, bias"].__setitem__(-1, -0.2547),
    "C2a": lambda r: r["coefficients"]["errors"].__setitem__("LUFFY", 1e-9),
    "C2b": lambda r: r["coefficients"]["at 1e-4"].__setitem__(0, 1.3),
    "C2c": lambda r: r["step"].__setitem__("paper", 1e-9),
    "C2d": lambda r: r["coefficients"]["exercise"].__setitem__(2, 1000.0),
    "C2e": lambda r: r["coefficients"]["rare to known"].__setitem__(1, 0.6),
    "C3a": lambda r: r["rare"]["steps"]["GRPO, no std"].__setitem__(2, 46037),
    "C3c": lambda r: r["scaling"]["slopes"]["RL-PLUS"].__setitem__(1, 1.2),
    "C3d": lambda r: r["scaling"]["length"]["GRPO"].__setitem__(4, 2000),
    "X1": lambda r: r["rare"]["steps"]["paper"].__setitem__(0, 13),
    "C4a": lambda r: raised(r, "LUFFY", 64, 1e-3),
    "C5": lambda r: r["sharing"]["entropy"].__setitem__("GRPO", [3.0, 3.1, 3.2, 3.3, 3.4]),
    "S1": lambda r: r["trainer"].__setitem__("SFT", 1e-9),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert set(failing(spoiled(SPOILED[claim]))) == {claim, "C4e"}


CARD_TOO = {  # these spoil the card's printed numbers as well
    "C3b": (lambda r: r["rare"]["steps"]["RL-PLUS"].__setitem__(2, 160), {"C3a", "C3b", "C4e"}),
    "C4b": (lambda r: raised(r, "GRPO", 1024, 0.15), {"C4a", "C4b", "C4e"}),
    "C4c": (lambda r: raised(r, "RL-PLUS", 1, -0.04), {"C4a", "C4c", "C4e"}),
    "C4d": (lambda r: raised(r, "RL-PLUS, 1/V", 1024, -0.2), {"C4a", "C4d", "C4e"}),
    "C4e": (lambda r: raised(r, "base", 1024, -0.3), {"C4a"}),
}


@pytest.mark.parametrize("claim", CARD_TOO)
def test_and_these_fail_with_the_card_s_numbers_or_hold_without_them(spoiled, failing, claim):
    spoil, expected = CARD_TOO[claim]
    assert set(failing(spoiled(spoil))) == expected


def test_every_claim_of_the_exact_rung_is_spoiled_once():
    assert {*SPOILED, *CARD_TOO} == {claim.id for claim in LESSON.claims_of("exact")}


def test_the_first_push_by_hand():
    """A path of 1/2 and 1/4: 49/64 · 1/8 by own rows, 7/64 · 7/8 · 4 p / (3 p + 1) · sqrt(1 - p) by the solution."""
    found = exact.pushes("RL-PLUS", torch.tensor([0.5, 0.25], dtype=torch.float64))
    weights = (2 / 2.5 * math.sqrt(0.5), 1 / 1.75 * math.sqrt(0.75))
    assert found.tolist() == pytest.approx([49 / 512 + 49 / 512 * w for w in weights], abs=1e-15)


def test_the_standard_deviation_triples_a_rare_solution_s_push():
    """Seven wrong rows and the solution: a std of sqrt(7)/8, so that 7/64 becomes sqrt(7)/8; eight right rows: none."""
    own, external = exact.beside(torch.tensor([0.0, 1 - 1e-12], dtype=torch.float64), std=True)
    assert external[0].item() == pytest.approx(math.sqrt(7) / 8, abs=1e-15) and own[0] == 0
    assert external[1].item() == pytest.approx(0, abs=1e-10)


def test_other_prompts_have_other_numbers_and_the_same_directions():
    found = exact.sharing((5, 6, 7, 8, 9), steps=300)["pass"]
    at = [row[-1] for row in found["RL-PLUS"]], [row[-1] for row in found["GRPO"]]
    assert all(a > b for a, b in zip(*at, strict=True))


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    shown = explorer.push_explorer(live=False)
    assert draws_every_preset(shown)
    words = explorer.push_words(steps=0)
    assert "0.6 (pushed by 0.059), 0.02 (pushed by 0.0082)" in words and "the path has 1.8e-05" in words


def test_figures_are_made_from_results(results):
    assert isinstance(LESSON.figures["exact"]["rare"](results), Figure)
    live = run(LESSON, "gpt", seeds=(0,), stops=(0, 1), only=("RL-PLUS",))
    assert isinstance(LESSON.figures["gpt"]["training"](recorded(LESSON, "gpt"), live=live), Figure)
    assert isinstance(LESSON.figures["gpt"]["coverage"](recorded(LESSON, "gpt")), Figure)


def test_the_arms_differ_in_the_weight_of_a_solution_s_tokens_alone():
    made, plus = sampled.methods(), method("rl_plus")
    assert made["RL-PLUS"] == plus and made["LUFFY"] == method("luffy")
    assert made["RL-PLUS, 1/V"].objective == plus.objective.with_(external=MIS(1 / 14))
    assert made["GRPO + SFT"].objective == plus.objective.with_(external=Likelihood(), transforms=())


def test_the_base_knows_how_to_reckon_and_not_which_operators_are_hidden():
    """Results are nearly certain, operators have the corpus's habit; and the notebook's number of rare prompts."""
    task, policy = OperatorChain(), load_policy(sampled.RL_PLUS.gpt.base)
    logp = sampled.right_logps(policy, task, "train")
    assert logp[:, 1::2].exp().mean().item() > 0.95
    habit = torch.tensor(task.habit, dtype=torch.float64)[task.operators[task.prompts().ids]]
    assert (logp[:, ::2].exp() - habit).abs().mean() < 0.03
    p = logp.sum(-1).exp()
    assert (p < sampled.RARE).sum().item() == 13
    drawn = Sampled(256)(policy, task, task.prompts(), torch.Generator().manual_seed(0)).correct.double().mean()
    assert drawn.item() == pytest.approx(p.mean().item(), abs=0.006)


def test_the_record_of_the_gpt_rung_has_these_claims(failing):
    assert failing(recorded(LESSON, "gpt"), "gpt") == ["G2", "G4", "G8"]  # plain SFT is better


def test_each_claim_of_the_gpt_rung_fails_where_its_record_says_otherwise(failing):
    """Every arm has GRPO's first figures, but for chance, and RL-PLUS a little lower ones, with u = 1/V lower still."""
    still = recorded(LESSON, "gpt")
    lower = {"RL-PLUS": 0.01, "RL-PLUS, 1/V": 0.02}
    for arm in still["runs"]:
        for name, paths in still["runs"]["GRPO"].items():
            by = lower.get(arm, 0.0)
            still["runs"][arm][name] = [[path[0] - by + 1e-4 * (i - 2) for _ in path] for i, path in enumerate(paths)]
    assert len(failing(still, "gpt")) == 10
