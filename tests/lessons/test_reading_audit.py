"""The notebook on the audit: its sheets, its explorer, and the bug that its exercises hide."""

from __future__ import annotations

import re
from pathlib import Path

import nbformat
import pytest
import torch

from toykit.audit import PLANTED, Probe, as_objective, audit, problem
from toykit.audit.candidates import FORWARD, REVERSE, penalties
from toykit.exercises import find, grade
from toykit.lessons import reading_audit as reading

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "foundations" / "audit.ipynb"
SOMEBODYS = reading._grpo_like(reading._clipped_early)


@pytest.fixture(scope="module")
def sheet():
    return audit(SOMEBODYS, "somebody's loss")


@pytest.fixture(scope="module")
def grpo():
    return audit("grpo")


def cell(start):
    """The source of the notebook's only code cell that starts so."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    (found,) = [c.source for c in cells if c.cell_type == "code" and c.source.startswith(start)]
    return found


def kl_update(way, name="graded/ones"):
    return Probe(as_objective(reading.with_kl(way))).on(name).gradient


def test_the_update_of_a_coin_is_that_by_hand():
    """G = 2 with the group's own mean: two mixed groups of probability p (1 - p), each moving the logit by 1/4."""

    def own_mean(logp, rewards, mask):
        return -((rewards - rewards.mean(-1, keepdim=True))[..., None] * logp * mask).sum(-1).mean()

    found = reading.update(own_mean)("coin/p=0.25@2")[0, 0]
    torch.testing.assert_close(found, torch.tensor([0.09375, -0.09375], dtype=torch.float64))


def test_each_way_to_write_a_kl_is_what_the_notebook_says():
    parts = {name: reading.BETA * part for name, part in penalties(problem("graded/ones")).items()}
    wanted = {
        "k1 in the loss": 0 * parts[REVERSE],
        "k2 in the loss": parts[REVERSE],
        "k3 in the loss": parts[FORWARD],
        "k1 in the reward": parts[REVERSE],
        "k3 in the reward": parts[REVERSE] - parts[FORWARD],
    }
    assert wanted.keys() == reading.WAYS.keys()
    for way, part in wanted.items():
        torch.testing.assert_close(kl_update(way), part, rtol=1e-9, atol=1e-12)


def test_loss_and_reward_are_the_two_halves_of_the_product_rule():
    whole = reading.BETA * penalties(problem("graded/ones"))[REVERSE]
    for estimator in ("k1", "k3"):
        halves = kl_update(f"{estimator} in the loss") + kl_update(f"{estimator} in the reward")
        torch.testing.assert_close(halves, whole, rtol=1e-9, atol=1e-12)


def test_the_table_names_each_divergence():
    rows = {row[0]: row[1:] for row in reading.kl_table().rows}
    assert rows["k1 in the loss"] == ("nothing: the update is 0",) * 2
    assert rows["k2 in the loss"] == ("0.1 KL(pi||ref)", "0.1 KL(pi||ref) of each next token")
    assert rows["k3 in the loss"] == ("0.1 KL(ref||pi)", "0.1 KL(ref||pi) of each next token")
    assert rows["k1 in the reward"] == ("0.1 KL(pi||ref)",) * 2
    assert all(said.startswith("none; ") for said in rows["k3 in the reward"])


def test_an_unknown_way_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'k1 in the loss'"):
        reading.with_kl("k1 in a loss")


def test_a_drawn_kl_has_a_bar_for_each_logit():
    made = reading.kl_figure()
    heights = [[bar.get_height() for bar in ax.patches] for ax in made.axes]
    for row, way in zip(heights, reading.WAYS, strict=True):
        assert row == pytest.approx(kl_update(way)[0, 0].tolist())


@pytest.mark.parametrize(
    ("mean", "std", "weight"),
    [("leave one out", "none", lambda g: 1.0), ("group", "none", lambda g: 1 - 1 / g)],
)
def test_without_a_division_every_prompt_has_the_same_weight(mean, std, weight):
    for g in (2, 8, 64):
        found = reading._weights(g, mean, std)
        torch.testing.assert_close(found, torch.full_like(found, weight(g)))


def test_the_explorer_agrees_with_the_audit_of_grpo(grpo):
    row = grpo["difficulty.weight"].measured
    for p, weight in zip(row["p"], row["weight"], strict=True):
        assert reading._at(p, 8, "group", "group") == pytest.approx(weight, rel=1e-4)  # the eps of the deviation


def test_with_groups_of_two_the_deviation_changes_the_step_alone():
    found = reading._weights(2, "group", "group")
    torch.testing.assert_close(found, torch.full_like(found, 0.5**0.5))


def test_the_weight_of_a_large_group_tends_to_one_over_the_deviation():
    p = reading.RATES[9:90]
    found = reading._weights(64, "group", "group")[9:90]
    torch.testing.assert_close(found, (p * (1 - p)).rsqrt(), rtol=0.05, atol=0.0)


def test_the_explorer_draws_its_state():
    made = reading.weight_figure(p=0.3, g=16, mean="group", std="none")
    marks = [line.get_xydata().tolist() for ax in made.axes for line in ax.lines if line.get_marker() == "D"]
    assert marks == [[[0.3, pytest.approx(15 / 16)]], [[16.0, pytest.approx(15 / 16)]]]
    assert "p = 0.3 is weighted 0.875" in reading.weight_words(0.3, 8, "group", "none")


def test_every_preset_of_the_explorer_is_a_state():
    explorer = reading.weight_explorer(live=False)
    assert set(explorer.presets) == {"RLOO", "Dr. GRPO", "GRPO", "GRPO, large groups"}
    assert "weighted 1, one of p = 0.5 1," in explorer.figure(**explorer.presets["RLOO"]).get_label()


def test_the_methods_stand_side_by_side(grpo):
    table = reading.beside(audit("rloo"), grpo)
    assert table.columns == ("", "rloo", "grpo")
    rows = {row[0]: row[1:] for row in table.rows}
    assert rows["the KL is"] == ("no reference", "KL(ref||pi)")
    assert rows["times the gradient of E[r], at G = 2 and 8"] == ("1 and 1", "0.707 and 1.9")
    assert rows["push on a token at length 3, beside length 1"] == ("1", "0.333")
    assert rows["ratios that have a gradient"] == ("there is no ratio", "right up to 1.2; wrong from 0.8")


def test_what_the_text_says_of_grpos_sheet_is_true(grpo):
    assert grpo.diagnosis == ()
    assert grpo["lengths.growth.correct"].measured < 0 < grpo["lengths.growth.wrong"].measured
    scale = grpo["groups.scale"].measured
    assert (round(scale["2"], 2), round(scale["8"], 1)) == (0.71, 1.9)
    assert "right completion up to 1.2; of a wrong completion from 0.8" in grpo["offpolicy.clip"].detail
    assert reading.lines(grpo).rows[0][:2] == ("direction.kl.token", "biased")


def test_the_hidden_bug_is_the_one_that_the_exercise_asks_for(sheet):
    assert [one.bug for one in sheet.diagnosis] == [find("audit.ex1").reference] == ["clip_sign"]
    assert audit(reading._grpo_like(reading._clipped)).diagnosis == ()
    assert find("audit.ex2").reference in {row[0] for row in reading.somebodys().rows}


def test_a_sealed_sheet_names_no_bug():
    for table in (reading.somebodys(), reading.sealed(3)):
        assert not any(bug in str(table) for bug in PLANTED)
        assert "likely" not in str(table)


def test_the_exercise_knows_every_other_bug():
    asked = find("audit.ex1")
    assert {asked.reference, *(m.wrong for m in asked.mistakes)} == set(reading.bug_names())


@pytest.mark.parametrize("bug", reading._NOT)
def test_what_is_said_of_a_wrong_bug_is_true(bug, sheet):
    """The line that the message names is another one under that bug; "would stand in this table" is checked too."""
    words, planted = reading._NOT[bug], audit(PLANTED[bug][0])
    (line,) = re.findall(r"(?:direction|groups|edges|invariance|lengths)\.[a-z_.]+[a-z]", words)
    assert planted[line].detail != sheet[line].detail
    if "stand in this table" in words:
        assert sheet[line].verdict == "exact"
        assert planted[line].verdict not in ("exact", "-")


def test_what_is_called_meant_is_biased_here_and_in_grpo(sheet, grpo):
    for line in (line for among in reading._MEANT.values() for line in among):
        assert (sheet[line].verdict, grpo[line].verdict) == ("biased", "biased"), line


def test_every_biased_line_has_an_answer(sheet):
    known = {line for among in reading._MEANT.values() for line in among}
    assert {p.name for p in sheet.properties if p.verdict == "biased"} == known


def test_the_notebooks_code_is_the_loss_of_the_sheet_and_its_answer_mends_it():
    source = cell("def mended").partition("\n\n\n")[0]
    made = {}
    exec(source, made)
    assert grade(find("audit.ex3"), reading.update(made["mended"])).message.startswith("Still as it was")
    before = "ratio.minimum(ratio.clamp(0.8, 1.2)) * advantages"
    after = "(ratio * advantages).minimum(ratio.clamp(0.8, 1.2) * advantages)"
    assert before in source
    exec(source.replace(before, after), made)
    assert grade(find("audit.ex3"), reading.update(made["mended"])).passed


def test_another_way_of_mending_is_accepted():
    """PPO's clip as a choice by the advantage's sign."""
    by_sign = reading._grpo_like(lambda r, a: torch.where(a > 0, r.clamp(max=1.2), r.clamp(min=0.8)) * a)
    assert grade(find("audit.ex3"), reading.update(by_sign)).passed


def test_the_ten_sealed_losses_are_the_planted_ones():
    losses = [reading.loss(n) for n in range(1, 11)]
    assert set(losses) == {wrong for wrong, _ in PLANTED.values()}
    assert losses != [wrong for wrong, _ in PLANTED.values()]


@pytest.mark.parametrize("number", [0, 11])
def test_there_is_no_other_sealed_loss(number):
    with pytest.raises(ValueError, match=f"number must be from 1 to 10, got {number}"):
        reading.loss(number)
