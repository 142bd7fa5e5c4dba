"""Lesson 47: every claim of the exact rung but one holds, every check can fail, and what is sampled is what is said."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from toykit.control import optimal_average
from toykit.lessons import load, recorded, run
from toykit.lessons.l47_change_points import exact, explorer, monitor
from toykit.lessons.l47_change_points.claims import delays
from toykit.policies import GPT, GPTConfig
from toykit.tasks import ChainSum
from toykit.tasks.chain_sum import ANSWER, EOS

LESSON = load("47")
EXACT = ["C1", "C2a", "C2b", "C3a", "C3b", "C3c", "C4a", "C4b", "B1", "B2", "B3"]
EXACT += ["C5a", "C5b", "C5c", "C5d", "C5e", "X1", "X2", "X3"]


def test_every_exact_claim_holds_but_the_nearness_to_the_oracle(results, verdicts):
    found = verdicts(results)
    assert list(found) == EXACT
    assert [claim for claim, holds in found.items() if not holds] == ["C5e"]


def regrets(name, value):
    return (("regret", "runs", name, "regret"), [value + i for i in range(6)])


SPOILED = {
    "C1": (("identities", "orders"), 1e-9),
    "C2a": (("identities", "sums", "3,6,3"), 1 + 1e-9),
    "C2b": (("identities", "alarms", "share", "0.1"), 1.01),
    "C3a": (("farther", 2, "missed"), 1),
    "C3b": lambda r: [one.update(delay=[5 + one["kl"] * (2 + i % 2) for i in range(30)]) for one in r["farther"]],
    "C3c": lambda r: [one.update(delay=[20 + i % 3 for i in range(60)]) for one in r["etas"]],
    "C4a": lambda r: [one.update({"false alarms": [i % 2 for i in range(60)]}) for one in r["etas"]],
    "C4b": lambda r: [one.update(delay=[20 + i % 3 for i in range(60)]) for one in r["etas"]],
    "B1": (("streams", "1/n, skipped", "false"), [False] * 60),
    "B2": (("streams", "0.001", "false alarms"), [1] + [0] * 59),
    "B3": lambda r: r["streams"].update(theorem=r["streams"]["0.001"]),
    "C5a": (("regret", "runs", "oracle", "thirds"), [[1.0] * 6] * 3),
    "C5b": regrets("window", 200.0),
    "C5c": regrets("UCRL2", 500.0),
    "C5d": (("regret", "runs", "R-BOCPD-UCRL2", "restarts"), [[4010]] * 6),
    "X1": (("unvisited", "R-BOCPD-UCRL2", "restarts"), [[1050]] * 6),
    "X2": regrets("local restarts", 150.0),
    "X3": regrets("Q-learning", 150.0),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check(verdicts, spoiled, claim):
    wrong = spoiled(SPOILED[claim])
    assert verdicts(wrong)[claim] is False


def test_the_nearness_to_the_oracle_can_hold(results, verdicts):
    near = copy.deepcopy(results)
    near["regret"]["runs"]["oracle"]["regret"] = near["regret"]["runs"]["R-BOCPD-UCRL2"]["regret"]
    near["regret"]["runs"]["oracle"]["regret"] = [x - 1 for x in near["regret"]["runs"]["oracle"]["regret"]]
    assert verdicts(near)["C5e"] is True


def test_the_cards_detections(results):
    marks = results["regret"]["runs"]["R-BOCPD-UCRL2"]["restarts"]
    assert [len(m) for m in marks] == [2, 3, 2, 2, 2, 2] and marks[1][0] == 1958  # the card counts from 0
    assert (min(m[-2] for m in marks), max(m[-2] for m in marks)) == (2012, 2034)
    assert (min(m[-1] for m in marks), max(m[-1] for m in marks)) == (4008, 4016)


def test_the_door_is_worth_opening_only_after_the_change():
    world = exact.hidden_door(10)
    best = [optimal_average(mdp) for mdp in world.phases]
    assert [one.policy.argmax(-1)[0].item() for one in best] == [0, 1]
    assert [one.gain for one in best] == pytest.approx([0.5, (0.5 + 0.9) / 2], abs=1e-9)


def test_a_loose_verifier_takes_any_digit_and_nothing_else():
    task = ChainSum()
    loose, asked = monitor.Loose(task), task.prompts()[:1]
    right = next(d for d in range(10) if score(task, asked.ids, [ANSWER, d, EOS]) == 1)
    wrong = (right + 1) % 10
    rows = [[ANSWER, right, EOS], [ANSWER, wrong, EOS], [ANSWER, ANSWER, EOS], [wrong, right, EOS], [EOS]]
    assert [score(loose, asked.ids, row) for row in rows] == [1, 1, 0, 0, 0]
    assert [score(task, asked.ids, row) for row in rows] == [1, 0, 0, 0, 0]


def score(task, ids, tokens):
    return task.score(ids, torch.tensor([[tokens]]), torch.ones(1, 1, len(tokens), dtype=torch.bool)).item()


def test_outcomes_are_those_of_the_verifier_in_force():
    setup = replace(monitor.MONITOR.llm["tiny"], stops=(0, 1, 2))
    base = GPT(GPTConfig(setup.task.vocab.size, context=16, width=16, hidden=16), 0)
    made = monitor.trainer(base, setup, 0, bug=True)
    made.run(2, progress=False)
    seen = made.trainer.others["outcomes"]
    assert np.shape(seen.symbols) == (2, 16) and isinstance(made.trainer.task, monitor.Loose)
    assert 1 not in seen.symbols[1]  # a loose verifier finds no answer wrong


def test_the_sampled_claims_follow_their_results_both_ways(verdicts):
    found = recorded(LESSON, "gpt")
    assert list(verdicts(found, "gpt").values()) == [True] * 7 + [False] * 3
    same = copy.deepcopy(found)
    for one in same["runs"].values():
        one.update(found["runs"]["no reset"])
    for runs in same["monitor"]["runs"].values():
        runs.update({"delay": [[0, 0, i % 3] for i in range(5)], "alarms before": [[0, 0, 0]] * 5})
    turned = verdicts(same, "gpt")
    assert [turned[f"G{i}"] for i in (1, 2, 3, 4, 6, 7)] == [False] * 6 and turned["G8"] and turned["G10"]
    assert delays(found, "oracle") == [0 + 80.0] * 5  # at the change itself, not after it
    assert all(3 <= wait <= 4 for wait in delays(found, "detector, falls"))


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


def test_the_explorer_says_what_it_draws(monkeypatch):
    monkeypatch.setattr(explorer, "STEPS", 60)
    explorer.regrets.cache_clear()
    made = explorer.change_explorer(live=False)
    for state in made.presets.values():
        assert isinstance(made.figure(**state), Figure)
    words = explorer.change_words()
    explorer.regrets.cache_clear()
    assert "restarts after 91, 185 symbols" in words
    for divergence in explorer.KL.values:
        assert exact.kl(explorer.law_at(divergence), exact.BEFORE) == pytest.approx(divergence)


def test_a_short_run_measures_an_arm_and_the_monitor_is_left_out():
    found = run(LESSON, "gpt", seeds=(0, 1), stops=(0, 1), only=("oracle", "periodic"))
    assert list(found["runs"]) == ["oracle", "periodic"] and "monitor" not in found
    assert found["runs"]["oracle"] == found["runs"]["periodic"]  # so early nothing is due
    with pytest.raises(ValueError, match="only must be one of .*, got 'oracel'; did you mean 'oracle'"):
        run(LESSON, "gpt", only=("oracel",))


def test_the_llm_recipe_runs_on_a_tiny_model_and_resumes(verdicts, tmp_path):
    found = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert found["parameters"] < 100_000 and list(found["monitor"]["runs"]) == ["bug", "no bug"]
    wrong = {arm: figures["wrong"][0][-1] for arm, figures in found["monitor"]["runs"].items()}
    assert wrong["bug"] < wrong["no bug"]
    assert run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)["monitor"] == found["monitor"]
    assert isinstance(LESSON.figures["llm"]["monitor"](found), Figure)
    assert all(holds is None for holds in verdicts(found, "llm").values())
    with pytest.raises(ValueError, match="size must be one of 60m, tiny, got 'small'"):
        run(LESSON, "llm", size="small")
