from __future__ import annotations

import copy
import math

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import load, recorded, run
from toykit.lessons.l54_mssr import exact, explorer, sampled
from toykit.lessons.l54_mssr.claims import completions_ratio
from toykit.objectives import EntropyBonus, EntropyShaping, method
from toykit.rollouts import Sampled
from toykit.training import load_policy

LESSON = load("54")


NOT_SEEN = ["B4", "B7", "B8"]  # MSSR before MVSR, and the law's entropy above MVSR's


def test_the_claims_of_the_exact_rung_hold_but_those_that_the_card_did_not_see_either(results, failing):
    assert failing(results) == NOT_SEEN


def shift(results, rule, of, by, noise="0"):
    found = results["bandits"][noise][rule]
    found[of] = [x + by for x in found[of]]


SPOILED = {
    "C1": lambda r: r["bounds"].__setitem__("signs", False),
    "C2": lambda r: r["state"].__setitem__("constant", 1e-9),
    "C3a": lambda r: r["state"]["ratio"].__setitem__(3, 1.1812),
    "C3b": lambda r: r["many"].__setitem__("capped", 1e-9),
    "C3c": lambda r: r["many"].__setitem__("cosine", 1.0),
    "C4": lambda r: r["state"]["central"].__setitem__(1, 1e-7),
    "X1": lambda r: r["sampled"]["64"].__setitem__(2, 0.98),
    "C5a": lambda r: r["tracker"].__setitem__("variance", 1e-9),
    "C5b": lambda r: r["tracker"].__setitem__("with the prior", 1e-9),
    "C5c": lambda r: r["draws"]["0.96"].__setitem__(0, 0.004317),
    "C6a": lambda r: r["rho"]["card"].__setitem__(5, 0.96),
    "C6b": lambda r: r["rho"].__setitem__("released", r["rho"]["monotone"]),
    "S1": lambda r: r["trainer"].__setitem__("law", 1e-6),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    wrong = spoiled(SPOILED[claim])
    assert sorted(failing(wrong)) == sorted([claim, *NOT_SEEN])


def test_the_claims_on_bandits_fail_where_nothing_is_ahead(results, failing):
    """The card's digits and counts are gone, and no effect is left, where all rules have GRPO's figures."""
    wrong = copy.deepcopy(results)
    for by_rule in wrong["bandits"].values():
        for rule in by_rule:
            by_rule[rule] = copy.deepcopy(by_rule["GRPO"])
    assert failing(wrong) == [f"B{i}" for i in range(1, 9)]
    shift(wrong, "MSSR", "accuracy", 0.01)
    shift(wrong, "MSSR, law", "entropy", 0.01)
    assert failing(wrong) == ["B1", "B2", "B3", "B5", "B6", "B8"]


def test_every_claim_of_the_exact_rung_is_spoiled():
    assert {*SPOILED, *(f"B{i}" for i in range(1, 9))} == {claim.id for claim in LESSON.claims_of("exact")}


def test_shaping_on_two_answers_by_hand():
    """p = 1/4: A = 3/4 and -1/4, and all capped by |A|/2 the gradient in the first logit is 3/16 (1 + 1/4)."""
    log_pi = torch.tensor([[0.25, 0.75]], dtype=torch.float64).log()
    rewards = torch.tensor([1.0, 0.0], dtype=torch.float64)
    plain, more = exact.push(log_pi, rewards, EntropyShaping(100.0, entropy="law"))
    assert plain[0].tolist() == pytest.approx([3 / 16, -3 / 16], abs=1e-15)
    assert more[0].tolist() == pytest.approx([3 / 64, -3 / 64], abs=1e-15)
    # the sampled token's, uncapped: pi_1 pi_2 (g_1 - g_2) with g = -pi log pi
    _, code = exact.push(log_pi, rewards, EntropyShaping(1.0, exact.UNCAPPED))
    assert code[0, 0].item() == pytest.approx(3 / 16 * (0.25 * math.log(4) - 0.75 * math.log(4 / 3)), abs=1e-15)


def test_the_released_term_moves_entropy_down_between_two_answers_of_unequal_mass():
    """dH/dt = 2 (pi_1 pi_2)^2 (h_1 - h_2)(g_1 - g_2), with h = -log pi: at 1/4 and 3/4 g_1 > g_2, so it rises there;
    at 0.4 and 0.6 too; a third answer with little mass turns it around."""
    two = torch.tensor([[0.25, 0.75], [0.4, 0.6]], dtype=torch.float64)
    h, g = -two.log(), -two * two.log()
    wanted = 2 * (two.prod(-1)) ** 2 * (h[:, 0] - h[:, 1]) * (g[:, 0] - g[:, 1])
    assert torch.allclose(exact.drift(two.log()), wanted, rtol=1e-12)
    assert (wanted > 0).all()
    assert exact.drift(torch.tensor([0.3, *[0.07] * 10], dtype=torch.float64).log()) < 0


def test_other_bandits_have_the_theorems_and_other_numbers(failing):
    found = run(LESSON, "exact", seeds=(6, 7))
    assert [c for c in failing(found) if c[0] != "B"] == []
    assert "B1" in failing(found)


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    shown = explorer.tracker_explorer(live=False)
    assert draws_every_preset(shown)
    assert "an advantage of 1 becomes 1.40 and one of -1 -0.60" in explorer.tracker_words()
    assert "an advantage of 1 becomes 2.00 and one of -1 0.00" in explorer.tracker_words(h=2.5, kappa=0.5)


def test_figures_are_made_from_results(results):
    assert isinstance(LESSON.figures["exact"]["shaping"](results), Figure)
    live = run(LESSON, "gpt", seeds=(0,), stops=(0, 1), only=("MSSR",))
    assert isinstance(LESSON.figures["gpt"]["training"](recorded(LESSON, "gpt"), live=live), Figure)


def test_the_arms_differ_from_the_catalogue_in_what_their_names_say():
    made = {name: given.pieces for name, given in sampled.methods().items()}
    assert made["GRPO"] == method("grpo").pieces.with_(kl=None)
    assert made["MVSR"].advantage.rule == "fixed"
    mvsr = made["MVSR"]
    assert mvsr.with_(advantage=None) == method("mvsr").pieces.with_(kl=None, advantage=None)
    for name, changes in {
        "MVSR, bonus": {"penalties": (EntropyBonus(0.01),)},
        "MSSR": {"transforms": (EntropyShaping(),)},
        "MSSR, law": {"transforms": (EntropyShaping(entropy="law"),)},
    }.items():
        assert made[name] == mvsr.with_(**changes)


def test_all_arms_take_as_many_completions_in_as_many_minibatches_and_runs_share_no_tracker():
    base, setup = load_policy(sampled.MSSR.gpt.base), sampled.MSSR.gpt
    arms = sampled.arms()
    for name, make in arms.items():
        t = make(base, setup, 3)
        size = t.strategy.group_size
        assert (t.config.prompts * size, t.config.minibatch * size, t.config.seed) == (64, 8, 3)
        assert size == (8 if name == "GRPO" else 1) and t.config.lr == setup.train.lr * (
            sampled.HARSH if name.endswith("harsh") else 1
        )
    first, second = (arms["MVSR"](base, setup, 0) for _ in range(2))
    first.step()
    assert first.objective.advantage.counts and not second.objective.advantage.counts
    assert isinstance(second.strategy, Sampled)


def test_completions_to_the_other_s_final_success_lie_between_the_stops():
    runs = {"GRPO": {"success": [[0.2, 0.3, 0.5]] * 3}}
    runs["A"] = {"success": [[0.2, 0.4, 0.6], [0.2, 0.3, 0.4], [0.6, 0.1, 0.1]]}
    found = completions_ratio({"stops": [0, 10, 20], "runs": runs}, "A")
    assert found == pytest.approx([0.75, 1.0, 0.0])  # halfway from 10 to 20; never; from the start


def test_the_record_of_the_gpt_rung_has_these_claims(failing):
    """What the toy does not show: a gain by the values, a collapse of entropy, and a rescue by the shaping."""
    not_seen = ["G3", *(f"G{i}" for i in range(7, 15))]
    assert failing(recorded(LESSON, "gpt"), "gpt") == not_seen


def test_each_claim_of_the_gpt_rung_fails_where_its_record_says_otherwise(failing):
    """Every run a copy of GRPO's that never moves, GRPO itself a little better at last."""
    still = recorded(LESSON, "gpt")
    one = {k: [[path[0] for _ in path] for path in paths] for k, paths in still["runs"]["GRPO"].items()}
    still["runs"] = {name: copy.deepcopy(one) for name in still["runs"]}
    for path in still["runs"]["GRPO"]["success"]:
        path[-1] += 0.01
    assert len(failing(still, "gpt")) == 15
