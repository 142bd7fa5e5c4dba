from __future__ import annotations

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import load, recorded, run
from toykit.lessons.l17_luspo import exact, explorer, sampled
from toykit.objectives import Clip, method
from toykit.rollouts import Sampled
from toykit.tasks import ChainSum
from toykit.training import load_policy

LESSON = load("17")


def test_every_claim_of_the_exact_rung_holds(results, failing):
    assert failing(results) == []


SPOILED = {
    "C1a": lambda r: r["gradients"]["GRPO - GSPO"].__setitem__(1, 1e-9),
    "C1b": lambda r: r["gradients"]["LUSPO - 4 Dr. GRPO"].__setitem__(0, 1e-9),
    "C1c": lambda r: r["gradients"]["GRPO - GSPO, off policy"].__setitem__(0, 6.97e-4),
    "C2a": lambda r: r["expected"].__setitem__("LUSPO", 1e-9),
    "C2b": lambda r: r["expected"].__setitem__("cosine", 1.0),
    "C3a": lambda r: r["table"]["LUSPO"]["log-ratio, wrong"].__setitem__(7, 1e-9),
    "C3b": lambda r: r["pairs"].__setitem__("GSPO, to the shorter if right", False),
    "C3c": lambda r: r["table"]["GSPO"]["wrong"].__setitem__(-1, 3.216563),
    "C3d": lambda r: r["table"]["faster"].__setitem__(0, 1.049),
    "C4a": lambda r: r["drift"]["LUSPO"][1].__setitem__(0, 1e-9),
    "C4b": lambda r: r["drift"].__setitem__("signs", False),
    "C4c": lambda r: r["table"]["positive only"].__setitem__("LUSPO", 2.4),
    "X1": lambda r: r["inner"].__setitem__("clip", 0.0),
    "X2": lambda r: r["long"]["steps"].__setitem__("GSPO", 30),
    "X3": lambda r: r["branching"].__setitem__("LUSPO", 0.0),
    "S1": lambda r: r["trainer"].__setitem__("GSPO", 1e-6),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert failing(spoiled(SPOILED[claim])) == [claim]


def test_every_claim_of_the_exact_rung_is_spoiled_once():
    assert list(SPOILED) == [claim.id for claim in LESSON.claims_of("exact")]


def test_the_first_step_by_hand():
    """Advantages of 1/2 and -1/2, over the lengths 1 and 4 under GSPO, times probabilities of 1/4."""
    uniform = torch.zeros(4, dtype=torch.float64)
    assert exact.velocity(uniform, 0.0).tolist() == [1 / 8, 1 / 8, -1 / 8, -1 / 8]
    assert exact.velocity(uniform, 1.0).tolist() == [1 / 8, 1 / 32, -1 / 8, -1 / 32]
    # without the wrong ones the mean push of 5/32 comes off: 1/4 (1/2 - 5/32, 1/8 - 5/32, -5/32, -5/32)
    assert exact.velocity(uniform, 1.0, wrong=0.0).tolist() == [11 / 128, -1 / 128, -5 / 128, -5 / 128]


def test_clipped_negatives_move_the_turning_point():
    """A share of 1/2: dE[L]/dt is 0 at (1 - 1/2) / (2 - 1/2) = 1/3."""
    p = torch.tensor([0.3, 1 / 3, 0.36], dtype=torch.float64)
    logits = exact.at_success(p)
    low, zero, high = exact.growth(logits, exact.velocity(logits, 1.0, wrong=0.5)).tolist()
    assert low > 1e-4 and abs(zero) < 1e-15 and high < -1e-4


def test_other_trees_have_the_same_identities_and_other_numbers(failing):
    found = run(LESSON, "exact", seeds=(0,))
    assert failing(found) == ["C1c"]  # the card's 6.9e-4 is that of its own draw


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    shown = explorer.flow_explorer(live=False)
    assert draws_every_preset(shown)
    said = [explorer.flow_words(**state) for state in shown.presets.values()]
    for words, way in zip(said, ("falls", "grows", "falls", "stays"), strict=True):
        assert f" and {way} under GSPO at first" in words
    assert "after 50 steps it is 1.67 under GSPO (right answers 1.58, wrong ones 3.01) and 2.5 under LUSPO" in said[0]


def test_figures_are_made_from_results(results):
    assert isinstance(LESSON.figures["exact"]["flow"](results), Figure)
    live = run(LESSON, "gpt", seeds=(0,), stops=(0, 1), only=("LUSPO",))
    assert isinstance(LESSON.figures["gpt"]["training"](recorded(LESSON, "gpt"), live=live), Figure)


def test_the_arms_differ_from_the_catalogue_in_clip_and_penalty_alone():
    made = sampled.methods()
    assert made["GRPO"].objective == method("grpo").objective.with_(kl=None)
    for name in ("GSPO", "LUSPO"):
        assert made[name].objective == method(name.lower()).objective.with_(clip=Clip(0.03, 0.04))
    assert made["LUSPO"].objective.with_(aggregate="sequence_mean") == made["GSPO"].objective


def test_the_base_is_right_more_often_than_not_and_less_often_after_many_rechecks():
    """By C4 GSPO shortens only above 1/2; the notebook gives the rates of chains without and with six rechecks."""
    task, policy = ChainSum(), load_policy(sampled.LUSPO.gpt.base)
    made = Sampled(8)(policy, task, task.prompts("test"), torch.Generator().manual_seed(0))
    p = made.correct.double()
    assert p.mean().item() == pytest.approx(0.57, abs=0.01)
    rates = [p[made.lengths == n].mean().item() for n in (7, 19)]
    assert rates == pytest.approx([0.78, 0.67], abs=0.01)


def test_the_record_of_the_gpt_rung_has_these_claims(failing):
    assert failing(recorded(LESSON, "gpt"), "gpt") == ["G2", "G3", "G5"]  # what the toy does not show


def test_each_claim_of_the_gpt_rung_fails_where_its_record_says_otherwise(failing):
    """Every run GSPO's first figures, but for chance; LUSPO's lie a little lower, those of wrong completions higher."""
    still = recorded(LESSON, "gpt")
    for arm in still["runs"]:
        for name, paths in still["runs"]["GSPO"].items():
            by = 0.0 if arm != "LUSPO" else 0.05 if "wrong" in name else -0.05
            still["runs"][arm][name] = [[path[0] + by + 1e-3 * (i - 4.5) for _ in path] for i, path in enumerate(paths)]
    assert len(failing(still, "gpt")) == 7
