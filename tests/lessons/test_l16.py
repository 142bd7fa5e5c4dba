from __future__ import annotations

import copy
import math

import pytest
import torch
from matplotlib.figure import Figure

from toykit.control import TabularMDP, softmax_policy, uniform_values
from toykit.lessons import load, recorded, run
from toykit.lessons.l16_rover import exact, explorer, practice, sampled
from toykit.lessons.l16_rover.card import card_tree, effective
from toykit.lessons.l16_rover.sampled_claims import ARMS
from toykit.objectives import Rover, method
from toykit.plots.images import pixels
from toykit.tasks import AlternatingSum
from toykit.training import load_policy

LESSON = load("16")
OPEN = ["C4c", "C6f"]  # what does not hold


def test_every_claim_of_the_exact_rung_holds_but_two(results, failing):
    assert failing(results) == OPEN
    assert results["binary"]["rising"] == 27 and results["binary"]["solvable"] == 222


def pushed(results, learner, figure, by, stop=50):
    place = results["practical"]["stops"].index(stop)
    for path in results["practical"]["runs"][learner][figure]:
        path[place] += by


SPOILED = {
    "C1": lambda r: r["binary"].__setitem__("optimal", 299),
    "C2a": lambda r: r["graded"].__setitem__("optimal", 75),
    "C2b": lambda r: r["dice"].__setitem__("greedy", 1.0),
    "C3a": lambda r: r["binary"].__setitem__("slack", -1e-9),
    "C3b": lambda r: r["table"].__setitem__(
        "rows", [(0.237534, *x[1:]) if x[0] < 0.3 else x for x in r["table"]["rows"]]
    ),
    "C3c": lambda r: r["table"].__setitem__("uniform", 1e-6),
    "C4a": lambda r: r["table"].__setitem__("kept", 1e-9),
    "C4b": lambda r: r["table"]["curves"].reverse(),
    "C5a": lambda r: r["gradient"].__setitem__("first", 1e-9),
    "C5b": lambda r: r["gradient"].__setitem__("second", 0.0),
    "C6a": lambda r: r["td"]["mean"]["effective"][1].__setitem__(0, 1.0),
    "C6b": lambda r: pushed(r, "REINFORCE", "pass@1", 0.01, 400),
    "X1": lambda r: r["scale"].__setitem__("odds", 3.0),
    "S1": lambda r: r.__setitem__("trainer", 1e-6),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(failing, spoiled, claim):
    wrong = spoiled(SPOILED[claim])
    assert failing(wrong) == sorted([claim, *OPEN])


@pytest.mark.parametrize(("claim", "learner", "figure"), [("C6c", "ROVER", "pass@1"), ("C6d", "GRPO", "effective")])
def test_the_orders_of_learners_are_read_off_their_means(results, failing, claim, learner, figure):
    wrong = copy.deepcopy(results)
    pushed(wrong, learner, figure, 5.0)
    assert claim in failing(wrong) and claim not in failing(results)


def test_the_claims_at_equal_success_are_decided_by_intervals(results, failing):
    """ROVER with one right completion more all along is above both; with two fewer it is below REINFORCE."""
    for by, wanted in ((1.0, ["C6e"]), (-2.0, ["C6e", "C6f"])):
        wrong = copy.deepcopy(results)
        for path in wrong["practical"]["runs"]["ROVER"]["effective"]:
            path[:] = [x + by for x in path]
        assert [name for name in failing(wrong) if name in ("C6e", "C6f")] == wanted


def test_every_claim_of_the_exact_rung_is_spoiled_somewhere():
    others = {"C4c", "C6c", "C6d", "C6e", "C6f"}
    assert SPOILED.keys() | others == {claim.id for claim in LESSON.claims_of("exact")}


def test_the_number_of_right_completions_rises_as_rho_falls_on_a_tree_of_two_places():
    """Three right leaves of 25, two below one token: they weigh the same at the uniform policy and near rho = 1/2.8."""
    rewards = torch.zeros(25, dtype=torch.float64)
    rewards[[15, 17, 24]] = 1.0
    task = exact.TreeTask(exact.Tree(5, horizon=2), rewards)
    q = exact.nodes(uniform_values(TabularMDP.of_tree(task.as_mdp())), task)[0]
    assert q[0].tolist() == pytest.approx([0, 0, 0, 0.4, 0.2])

    def number(rho: float) -> float:
        return float(effective(exact.leaf_log_probs(task.tree, q / rho), rewards > 0))

    assert number(1e9) == pytest.approx(3, abs=1e-12)
    assert number(1 / 1.8) == pytest.approx(2.999253, abs=1e-6)
    assert number(1 / 2.8) == pytest.approx(2.999998, abs=1e-6)
    assert number(0.01) == pytest.approx(2, abs=1e-6)


def test_the_effective_number_by_hand():
    log_p = torch.tensor([0.3, 0.3, 0.4], dtype=torch.float64).log()
    assert float(effective(log_p, torch.tensor([True, True, False]))) == pytest.approx(2, abs=1e-12)
    three, one = 0.3 / 0.7, 0.4 / 0.7
    expected = math.exp(-three * math.log(three) - one * math.log(one))
    assert float(effective(log_p, torch.tensor([True, False, True]))) == pytest.approx(expected, abs=1e-12)


def test_a_group_is_drawn_as_the_card_draws_it():
    """The first step from zero logits: advantages of the leaves of default_rng(0).choice(64, 16), over 48 tokens."""
    import numpy as np

    leaves = np.random.default_rng(0).choice(64, 16, p=np.full(64, 1 / 64))
    right = card_tree().rewards[0][leaves]
    advantage = right - right.mean()
    push = torch.zeros(4, dtype=torch.float64)
    for leaf, a in zip(leaves, advantage.tolist(), strict=True):
        push += a * (torch.eye(4, dtype=torch.float64)[leaf // 16] - 0.25)
    step = practice.train("REINFORCE", (0,), (1,))[0, 0, 0]  # two times 1/2 over 48 tokens
    assert torch.allclose(step, push / 48, rtol=0, atol=1e-12)


def test_the_explorer_draws_every_preset_and_says_it_in_words():
    shown = explorer.tree_explorer(live=False)
    pictures = [pixels(shown.figure(**state)).copy() for state in shown.presets.values()]
    assert all((a != b).any() for i, a in enumerate(pictures) for b in pictures[:i])
    said = [explorer.tree_words(**state) for state in shown.presets.values()]
    assert "greedy policy earns 1, which is the best" in said[0]
    assert "greedy policy earns 0.4, and the best policy 1" in said[3]
    assert "greedy policy earns 0.5, and the best policy 1" in said[4]


def test_dice_halve_what_is_behind_them():
    plain, dice = explorer.world(False, False), explorer.world(False, True)
    assert plain.q[0].tolist() == pytest.approx([6 / 9, 1 / 9, 2 / 9], abs=1e-12)
    assert dice.q[0].tolist() == pytest.approx([3 / 9, 1 / 9, 2 / 9], abs=1e-12)
    assert softmax_policy(plain.q, 1e9)[0].tolist() == pytest.approx([1 / 3] * 3)


def test_figures_are_made_from_results(results):
    assert isinstance(LESSON.figures["exact"]["theory"](results), Figure)
    live = run(LESSON, "gpt", seeds=(0,), stops=(0, 1), only=("ROVER", "REINFORCE"))
    assert isinstance(LESSON.figures["gpt"]["training"](recorded(LESSON, "gpt"), live=live), Figure)


def test_all_arms_make_as_many_updates_from_as_many_completions():
    base, setup, arms = load_policy("alternating_sum"), sampled.COMPARISON.gpt, sampled.arms()
    assert tuple(arms) == ARMS and arms["ROVER"].objective == method("rover").objective == Rover()
    once = arms["REINFORCE"](base, setup, 0)
    updates = []
    for config in (setup.train, once.config):
        size = config.minibatch or config.prompts
        updates.append((config.epochs * config.prompts // size, config.prompts, config.lr))
    assert updates == [(4, 16, 6e-4)] * 2 and once.config.epochs == 1
    assert isinstance(setup.task, AlternatingSum) and len(setup.task.prompts()) == 16


def test_the_gpt_claims_fail_where_rover_keeps_fewer(failing):
    found = copy.deepcopy(recorded(LESSON, "gpt"))
    before = failing(found, "gpt")
    for path in found["runs"]["ROVER"]["distinct"]:
        path[:] = [x - 0.5 for x in path]
    assert "G2" in failing(found, "gpt") and "G2" not in before
    for path in found["runs"]["GRPO"]["pass@1"]:
        path[-1] = 0.5
    assert "G1" in failing(found, "gpt")
