from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import load, recorded, run
from toykit.lessons.l24_rorecomp import exact, explorer, sampled
from toykit.objectives import method
from toykit.selection import Recomposition

LESSON = load("24")


def test_every_claim_of_the_exact_rung_holds(results, failing):
    assert failing(results) == []


SPOILED = {
    "C1": lambda r: r["partition"].__setitem__("off policy", 1e-9),
    "C2a": lambda r: r["start"]["alpha 0.25"]["length"].__setitem__(1, -0.0109),
    "C2b": lambda r: r["drift"]["logits of lengths"].__setitem__(0, 1e-9),
    "C2c": lambda r: r["independent"]["natural gradient"].__setitem__(1, 1e-9),
    "C2d": lambda r: r["independent"]["coupled"].__setitem__("priority lengthens", 0),
    "C3a": lambda r: r["table"]["steps"].__setitem__(1, 137),
    "C3b": lambda r: r["starts"]["wrong"][4].__setitem__(2, 3.0),
    "C4a": lambda r: r["branch"]["accuracy"]["0.6, 0.7"].__setitem__(2, 0.6112),
    "C4b": lambda r: r["branch"]["long"]["0.5, 0.7"].__setitem__(3, 0.51),
    "P1": lambda r: r["small"].__setitem__("alpha 0.8, G 4", -1e-9),
    "X1": lambda r: r["delay"]["right"].__setitem__(3, 2.46),
    "S1": lambda r: r["trainer"].__setitem__("p_comp 1", 1e-6),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check(spoiled, failing, claim):
    """And no other, but that 0.51 is not the card's 0.140 either."""
    assert failing(spoiled(SPOILED[claim])) == (["C4a", "C4b"] if claim == "C4b" else [claim])


def test_every_claim_of_the_exact_rung_is_spoiled_once():
    assert list(SPOILED) == [claim.id for claim in LESSON.claims_of("exact")]


def test_the_pushes_of_one_group_by_hand():
    """Right of 1 and 4 tokens, wrong of 1 and 4: advantages 1/2 and -1/2 over 4; the right 1 and the wrong 4 first."""
    made = exact.pushes(exact.FOUR)
    at = int((made.index == torch.tensor([0, 1, 2, 3])).all(-1).nonzero())
    assert made.priority[at].tolist() == [1 / 8, 0, 0, -1 / 8]
    assert made.rest[at].tolist() == [0, 1 / 8, -1 / 8, 0]
    assert made.share[at] == 1 / 2
    alike = int((made.index == torch.tensor([2, 2, 2, 2])).all(-1).nonzero())
    assert not made.priority[alike].any() and not made.rest[alike].any()


def test_all_of_the_rest_makes_the_choice_follow_the_success():
    """(1 - 1/G) times the gradient of success, s (1 - s) (long - short)."""
    x = torch.tensor([-1.0, 0.0, 2.0], dtype=torch.float64)
    s = x.sigmoid()
    found = exact.choosing(0.3, 0.8, 1.0, exact.pushes(exact.FOUR))(x)
    assert torch.allclose(found, 0.75 * 0.5 * s * (1 - s), atol=1e-15)


def test_ranked_together_two_groups_of_two_leave_something():
    """A right and a wrong one in each group: by group all four come first, together one right and one wrong."""
    apart, together = (exact.pushes(exact.EIGHT, Recomposition(scope=of), 2) for of in ("group", "batch"))
    at = int((apart.index == torch.tensor([0, 5, 3, 6])).all(-1).nonzero())
    assert apart.share[at] == 1 and together.share[at] == 1 / 2
    assert together.priority[at].nonzero()[:, 0].tolist() == [0, 6]


def test_a_law_whose_lengths_are_independent_of_success():
    pi = exact.law(torch.tensor(0.3, dtype=torch.float64), exact.SLOPED)
    assert torch.allclose(pi[:4] / 0.3, pi[4:] / 0.7) and float(pi @ exact.RIGHT) == pytest.approx(0.3)
    assert float(pi @ exact.LENGTHS) == pytest.approx(2.0)


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    shown = explorer.branch_explorer(live=False)
    assert draws_every_preset(shown)
    said = [explorer.branch_words(**state) for state in shown.presets.values()]
    assert "5 of 8 completions come first: 5+, 12-, 3+, 6-, 7+." in said[0]
    assert "P(long) is 0.14 and success 0.528, from 0.6" in said[0] and "P(long) is 0.939" in said[1]
    assert "7 of 8" in said[3]


def test_figures_are_made_from_results(results):
    assert isinstance(LESSON.figures["exact"]["flow"](results), Figure)
    live = run(LESSON, "gpt", seeds=(0,), stops=(0, 1), only=("p_comp 0",))
    assert isinstance(LESSON.figures["gpt"]["training"](recorded(LESSON, "gpt"), live=live), Figure)


def test_the_arms_differ_in_their_recomposition_alone():
    arms, given = sampled.methods(), method("rorecomp")
    assert all(arm.objective == given.objective for arm in arms.values())
    assert arms["GRPO"].recomposition is None
    assert [arms[sampled.arm(p)].recomposition.p_comp for p in sampled.RATES] == [1, 0.5, 0.2, 0]
    assert [arm.recomposition.capacity for arm in list(arms.values())[1:]] == [0, 0, 0, 0, 1]


def test_the_record_of_the_gpt_rung_has_these_claims(failing):
    assert failing(recorded(LESSON, "gpt"), "gpt") == ["G2", "G8", "G10"]


def test_each_claim_of_the_gpt_rung_fails_where_its_record_says_otherwise(failing):
    """Every arm as good as GRPO and as long, but for chance, and success 0.1 lower at p_comp 0.5 and in the buffer."""
    still = recorded(LESSON, "gpt")
    lower = {"p_comp 0.5": 0.1, sampled.DELAYED: 0.2}
    for arm in still["runs"]:
        for name, paths in still["runs"]["GRPO"].items():
            by = lower.get(arm, 0.0) if "success" in name else 0.0
            still["runs"][arm][name] = [[path[0] - by + 1e-3 * i for _ in path] for i, path in enumerate(paths)]
    assert len(failing(still, "gpt")) == 10
