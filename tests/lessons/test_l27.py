from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import load, recorded
from toykit.lessons.l27_ace import exact, explorer, sampled
from toykit.lessons.l27_ace.claims import as_far, recovery
from toykit.tasks import Operator
from toykit.training import load_policy

LESSON = load("27")
UNSEEN = ["C4d", "C4g", "C5a", "C5c", "V2"]  # what the paper says and the toy does not show


def test_the_claims_of_the_exact_rung_hold_but_those_that_the_toy_does_not_show(results, failing):
    assert failing(results) == UNSEEN


def move(found, arm, k, by):
    """Changes an arm's pass@k at the end by `by`, in every world."""
    for curve in found[arm]["pass"]:
        curve[exact.KS.index(k)] += by


def shift(results, figure, by):
    found = results["misled"]["d = 16"]["ACE"]
    found[figure] = [x + by for x in found[figure]]


SPOILED = {
    "C1a": lambda r: r["decomposition"].__setitem__("error", 1e-11),
    "C1b": lambda r: r["decomposition"].__setitem__("difference", 1e-8),
    "C1c": lambda r: r["decomposition"].__setitem__("attached", r["decomposition"]["residual"]),
    "C2": lambda r: r["trainer"].__setitem__("right", 1e-9),
    "C3a": lambda r: r["spurious"]["entropy"]["uniform 2"].__setitem__(4, 1.3166),
    "C3c": lambda r: r["spurious"].__setitem__("uniform", 1e-9),
    "C4a": lambda r: move(r["misled"]["d = 8"], "uniform", 32, 0.001),
    "C4f": lambda r: move(r["control"], "GRPO", 1, 0.001),
    "C5b": lambda r: shift(r, "severity", 0.1),
    "S1": lambda r: r["trainer"]["errors"].__setitem__("relu", 1e-6),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert [c for c in failing(spoiled(SPOILED[claim])) if c not in UNSEEN] == [claim]


def test_a_rule_that_is_grpo_fails_what_is_said_of_ace(results, failing):
    wrong = copy.deepcopy(results)
    for found in (wrong["misled"]["d = 16"], wrong["misled"]["d = 8"]):
        found["ACE"] = found["uniform"] = found["GRPO"]
    for of in ("share", "entropy"):
        wrong["spurious"][of]["ACE 2"] = wrong["spurious"][of]["GRPO"]
    assert [c for c in failing(wrong) if c not in UNSEEN] == ["C3a", "C3b", "C4a", "C4b", "C4c", "C4e", "C5b", "V1"]


def test_an_ace_that_shows_what_the_paper_says_would_pass(results, failing):
    better = copy.deepcopy(results)
    for k in exact.KS:
        move(better["misled"]["d = 16"], "ACE", k, 0.05)
        move(better["control"], "ACE", k, 0.05)
    shift(better, "overconfident", -0.05)
    shift(better, "entropy", 0.2)
    assert failing(better) == ["C4a", "C4f"]  # no longer the card's


def test_fewer_than_five_worlds_decide_no_effect(results):
    few = copy.deepcopy(results)
    for found in (*few["misled"].values(), few["control"]):
        for arm in found.values():
            arm |= {name: values[:2] for name, values in arm.items()}
    assert all(c.check(few).holds is None for c in LESSON.claims_of("exact") if c.kind == "effect")


def test_one_step_from_the_spurious_winner_is_that_of_the_formula():
    """h_8 by the binomial law; the push on each answer is its mean advantage times the factor."""
    log_pi, log_ref = exact.winner()
    pi, ref = log_pi.exp().tolist(), log_ref.exp().tolist()
    p = pi[0]
    h = sum(math.comb(8, m) * p**m * (1 - p) ** (8 - m) * math.sqrt(m / 8 * (1 - m / 8)) for m in range(9))
    values = [h / p] + [-h / (1 - p) * (1 + 2 * math.log1p(q / r)) for q, r in zip(pi[1:], ref[1:], strict=True)]
    mean = sum(q * v for q, v in zip(pi, values, strict=True))
    logits = [math.log(q) + 0.5 * q * (v - mean) for q, v in zip(pi, values, strict=True)]
    expected = torch.tensor(logits, dtype=torch.float64).softmax(-1)
    assert torch.allclose(exact.path([exact.rule(2.0)], [1])[0, 0].exp(), expected, rtol=0, atol=1e-14)


def test_the_verifier_of_the_first_phase_wants_the_likeliest_wrong_answer_on_some_prompts():
    world = exact.worlds((3,), 16, 10)
    believed = exact.faulty(world, (3,))
    assert (believed.sum(-1) == 1).all()
    flipped = (believed != world.correct).any(-1)[0]
    assert flipped.tolist() == (np.random.default_rng(1003).random(24) < 0.3).tolist() and flipped.any()
    for x in flipped.nonzero()[:, 0]:
        likeliest = world.base[0, x].masked_fill(world.correct[0, x], -9e9).argmax()
        assert believed[0, x, likeliest]


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    shown = explorer.step_explorer(live=False)
    assert list(shown.presets) == ["spurious winner", "ReLU", "uniform", "no winner"]
    assert draws_every_preset(shown)
    assert "its c is 2.59 and its factor 6.33, that of the other wrong answers -1.54 and 1.39" in explorer.step_words()
    assert "its factor 3.00, that of the other wrong answers -1.54 and 3.00" in explorer.step_words(kind="uniform")


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


def test_the_faulty_verifier_wants_plus_on_the_misled_prompts_alone():
    task = Operator()
    ids = sampled.misled(task, 0)
    wrong = sampled.Misjudged(task, ids)
    prompts = task.prompts()
    plus, right = sampled.sums(task), task.right[prompts.ids]
    a, b = prompts.tokens[0, 0], prompts.tokens[0, 2]
    assert task.vocab.decode(plus[0].tolist()) == f"+ {(a + b) % 10}"
    assert len(ids) == 18 and (task.operators[ids] > 0).all() and len(set(ids.tolist())) == 18
    given, mask = torch.stack([plus, right], 1), torch.ones(60, 2, 2, dtype=torch.bool)
    found, true = (t.score(prompts.ids, given, mask) for t in (wrong, task))
    judged = torch.isin(prompts.ids, ids)
    assert found[judged].tolist() == [[1.0, 0.0]] * 18
    assert torch.equal(found[~judged], true[~judged])
    assert sampled.misled(task, 1).tolist() != ids.tolist()


def test_arms_begin_at_the_policy_of_the_faulty_phase_or_at_the_base_and_differ_in_their_factor_alone():
    base, made = load_policy("operator"), sampled.arms()
    begun = {name: made[name](base, sampled.ACE.gpt, 0) for name in ("GRPO", "ACE")}
    first, second = (list(t.policy.parameters()) for t in begun.values())
    assert all(torch.equal(p, q) for p, q in zip(first, second, strict=True))
    assert any(not torch.equal(p, q) for p, q in zip(first, base.parameters(), strict=True))
    assert all(torch.equal(p, q) for p, q in zip(begun["ACE"].reference.parameters(), base.parameters(), strict=True))
    methods = sampled.methods()
    assert methods["GRPO"].objective.transforms == ()
    assert all(m.objective.with_(transforms=()) == methods["GRPO"].objective for m in methods.values())


def runs(**arms):
    return {"stops": [0, 10, 30], "runs": arms}


def test_recovery_is_when_half_of_what_was_added_is_gone():
    found = runs(
        **{
            "GRPO": {"spurious": [[0.5, 0.4, 0.2], [0.5, 0.5, 0.45]]},
            "GRPO, never misled": {"spurious": [[0.1, 0.0, 0.0], [0.1, 0.0, 0.0]]},
        }
    )
    assert recovery(found, "GRPO") == pytest.approx([20.0, 30.0])  # 0.3 halfway between 10 and 30; never


def test_what_the_other_had_when_it_was_as_good_lies_between_its_stops():
    ours = {"train pass@1": [[0.1, 0.2, 0.3]] * 5, "f": [[0.9, 0.8, 0.7]] * 5}
    theirs = {"train pass@1": [[0.1, 0.2, 0.4]] * 5, "f": [[0.9, 0.6, 0.4]] * 5}
    assert as_far(runs(A=ours, B=theirs), "A", "B", "f").measured == pytest.approx(0.7 - 0.5)


def test_the_record_of_the_gpt_rung_has_these_claims(failing):
    assert failing(recorded(LESSON, "gpt"), "gpt") == ["G2", "G3", "G4", "G7", "G8", "G11", "G15"]


def test_each_claim_of_the_gpt_rung_fails_where_its_record_says_otherwise(verdicts):
    """Every run a copy of GRPO's that never moves."""
    still = recorded(LESSON, "gpt")
    one = {k: [[path[0] for _ in path] for path in paths] for k, paths in still["runs"]["GRPO"].items()}
    still["runs"] = {name: copy.deepcopy(one) for name in still["runs"]}
    assert not any(verdicts(still, "gpt").values())
