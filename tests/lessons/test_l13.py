"""Lesson 13: every claim is decided, every check can fail, and the simulator is the card's."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from toykit.exact import probability_change, subset_law, surrogate_step
from toykit.lessons import claims, judge, load, run
from toykit.lessons.l13_brorl import exact, explorer, figures, sampled, simulator
from toykit.lessons.l13_brorl.simulator import Run, simulate, start
from toykit.rollouts import Enumerated
from toykit.tasks import Operator
from toykit.training import TrainConfig, load_policy

LESSON = load("13")
NAMES = ["C1", "C2a", "C2b", "C3a", "C3b", "C3c", "C6", "D1", "D2", "C4a", "C4b", "C4c", "X1", "X2", "X3", "X4", "X5"]


def test_every_theorem_and_every_effect_of_the_simulator_holds(results, verdicts):
    found = verdicts(results)
    assert list(found) == NAMES
    assert all(holds is True for holds in found.values())


def at(results, *path):
    for key in path:
        results = results[key]
    return results


SPOILED = {
    "C1": (("identity", "sets"), 1e-6),
    "C2a": (("signs", "smallest_sampled"), -1e-9),
    "C2b": (("signs", "largest_unsampled_in_harm"), 1e-9),
    "C3a": (("lemma", "error"), 1e-9),
    "C3b": (("chance", "error"), 1e-6),
    "C3c": (("chance", "rising_path"), [0.1, 0.09, 0.01]),
    "C6": (("informative", "least_growth"), -1e-9),
    "D1": (("losers", "spread 0.3", "p", "disagree"), 1),
    "D2": (("multiplicity", "counts"), 0.02),
    "C4a": (("sampled", "equal", "mass"), lambda x: x[::-1]),
    "C4b": (("sampled", "equal", "improved"), lambda x: [x[0], [0.99] * 5, *x[2:]]),
    "C4c": (("sampled", "equal", "worst"), lambda x: [*x[:-1], [-1e-4] * 5]),
    "X1": (("sampled", "unequal", "improved"), lambda x: x[::-1]),
    "X2": (("sampled", "unequal", "worst"), lambda x: x[::-1]),
    "X3": (("sampled", "unequal", "mass"), lambda x: x[::-1]),
    "X4": (("limit", "p", "losing_by_draw"), [0.0] * 5),
    "X5": (("limit", "ratio", "worst_by_draw"), [0.001, 0.001, 0.001, -0.004, 0.001]),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert failing(spoiled(SPOILED[claim])) == [claim]


def test_all_checks_can_be_spoiled():
    assert list(SPOILED) == NAMES


def test_effects_are_not_decided_by_two_seeds(results, verdicts):
    few = copy.deepcopy(results)
    for part in few["sampled"].values():
        for name in ("mass", "improved", "worst"):
            part[name] = [values[:2] for values in part[name]]
    found = verdicts(few)
    assert [c for c, holds in found.items() if holds is None] == ["C4a", "C4b", "C4c", "X1", "X2", "X3"]


CARD = {  # start: {N: (final Q, share improved, worst change)}
    "equal": {
        4: (0.743, 0.978, -5.9e-4),
        16: (0.760, 1.0, None),
        64: (0.796, 1.0, None),
        512: (0.841, 1.0, None),
        8192: (0.868, 1.0, 1.4e-3),
    },
    "unequal": {
        4: (0.755, 0.938, -7.8e-4),
        16: (None, 0.970, None),
        64: (None, 0.756, None),
        8192: (0.864, 0.416, -3.3e-3),
    },
}


@pytest.mark.parametrize("name", CARD)
def test_the_simulator_gives_the_numbers_of_the_card(results, name):
    found = results["sampled"][name]
    assert found["draws"] == list(CARD[name])
    for i, numbers in enumerate(CARD[name].values()):
        means = [
            np.mean([path[-1] for path in found["mass"][i]]),
            *(np.mean(found[k][i]) for k in ("improved", "worst")),
        ]
        for mean, number, digits in zip(means, numbers, (5e-4, 5e-4, 5e-5), strict=True):
            assert number is None or mean == pytest.approx(number, abs=digits)


def test_the_table_is_that_of_the_card(results):
    assert [row["P(dQ < 0)"] for row in results["table"]] == pytest.approx(
        [0.12875, 0.01658, 0.00213, 0.00004], abs=5e-6
    )
    assert [row["sampled_wrong"] for row in results["table"]] == pytest.approx(
        [0.01130, 0.02697, 0.03910, 0.05346], abs=6e-6
    )
    assert results["sampled"]["equal"]["mass"][0][0][0] == pytest.approx(0.6299, abs=5e-5)


def test_the_limit_of_the_surrogate_is_not_that_of_the_policy_gradient(results):
    """Card 13 counts 8 and 78 losers by the policy gradient; its simulator, with multiplicities, goes elsewhere."""
    losers = {name: (p["p"]["by step"], p["ratio"]["by step"]) for name, p in results["losers"].items()}
    assert losers["spread 0.3"] == (53, 8)
    assert losers["spread 1"] == (91, 78)
    assert losers["equal"] == (0, 0)
    rows = {row["start"]: list(row.values())[1:] for row in figures.limit_rows(results)}
    assert rows["one correct token far ahead"][2:] == [99, 0]
    assert rows["spread 1"] == [91, 78, 91, 0]


def test_a_run_does_not_see_those_beside_it():
    alone = simulate([Run(start(), 16, 3)], (0, 20))
    beside = simulate([Run(start(0.3), 4, 0), Run(start(), 16, 3), Run(start(), math.inf)], (0, 20))
    assert torch.equal(alone.change[0], beside.change[1])
    assert torch.equal(alone.mass[:, 0], beside.mass[:, 1])


@pytest.mark.parametrize("kind", simulator.SURROGATES)
def test_many_draws_come_near_the_limit(kind):
    mean, many = simulate([Run(start(0.3), n, 0, kind) for n in (math.inf, 10**9)], (50,)).change
    assert torch.allclose(many, mean, rtol=0, atol=0.02 * float(mean.abs().max()))


def test_the_first_step_goes_the_way_of_the_surrogate():
    """Adam's first step is lr d / (|d| + 1e-8): with N = inf, d = p (w - w.p) for w = p (R - J)."""
    z = start(0.3)
    p, log_p = z.softmax(0), z.log_softmax(0)
    a = simulator.SIGN - (p * simulator.SIGN).sum()
    change = simulate([Run(z, math.inf)], (1,)).change[0]
    direction = p * (p * a - (p**2 * a).sum())
    expected = (z + simulator.LR * direction / (direction.abs() + 1e-8)).softmax(0) - p
    assert torch.allclose(change, expected[:100], rtol=0, atol=1e-15)
    right, wrong = float(a[0]), float(a[-1])
    assert torch.allclose(surrogate_step(log_p, torch.arange(1280) < 100, p, right, wrong), direction, atol=1e-15)


def test_weights_count_draws_with_multiplicity():
    """Four draws: a correct token three times, a wrong one once; b = 1/2."""
    share = torch.zeros(1, simulator.V, dtype=torch.float64)
    share[0, 5], share[0, 500] = 0.75, 0.25
    w = simulator.weights(share)[0]
    assert w[5] == 0.375 and w[500] == -0.375 and w.count_nonzero() == 2


def test_a_run_without_draws_or_of_an_unknown_surrogate_is_refused():
    with pytest.raises(ValueError, match="draws must be >= 1, got 0"):
        Run(start(), 0)
    with pytest.raises(ValueError, match="surrogate must be one of p, ratio, got 'ratios'; did you mean 'ratio'"):
        Run(start(), 4, 0, "ratios")


def test_the_chance_falls_to_0_though_it_may_rise_first(results):
    path = results["chance"]["rising_path"]
    assert path[0] < path[1]
    log_p = torch.tensor([0.1, 0.44, 0.45, 0.01], dtype=torch.float64).log()
    assert exact.harm(log_p, torch.arange(4) < 3, 3000)[-1] < 1e-12


@pytest.mark.parametrize("reward_wrong", explorer.WRONG.values)
@pytest.mark.parametrize("spread", [0.0, 0.7, 1.0])
def test_the_explorer_shows_exact_terms_and_chances(spread, reward_wrong):
    before = torch.zeros(6, dtype=torch.bool)
    for n in (1, 3, 64):
        now = explorer.state(n, reward_wrong, spread, 6)
        assert bool((now.drawn | ~before).all())  # a larger N sees more of the same draws
        before = now.drawn
        log_p = exact.position(spread)
        step = surrogate_step(log_p, exact.RIGHT, now.drawn, reward_wrong=reward_wrong)
        assert torch.allclose(now.change, probability_change(log_p, step), atol=1e-15)
        assert now.change[:3].sum().item() == pytest.approx(now.terms.total.item(), abs=1e-15)
        expected = exact.harm(log_p, exact.RIGHT, n, reward_wrong)[-1]
        assert now.harm[n - 1].item() == pytest.approx(expected.item(), abs=1e-15)


def test_the_weakest_correct_token_is_safe_among_equals_and_lost_among_unequals():
    equal, unequal = (explorer.state(1, -1.0, spread, 1) for spread in (0.0, 1.0))
    assert (equal.weak.diff() < 0)[:60].all() and equal.weak[-1] < 1e-12
    assert unequal.weak[-1] > 1 - 1e-9 and unequal.weak[0] < 0.9
    assert unequal.harm[-1] < 1e-12
    assert subset_law(exact.position(), 512)[-1, -1] > 0.99


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    made = figures.balance_explorer(live=False)
    assert list(made.presets) == ["an unlucky draw", "many draws", "many draws, equal tokens"]
    assert draws_every_preset(made)
    words = figures.balance_words(**made.presets["an unlucky draw"])
    assert "sampled B." in words and "sum -0.0004" in words and "falls with probability 0.13" in words
    assert isinstance(made.figure(n=1, draw=0, reward_wrong=0.0), Figure)  # nothing is rewarded: all terms are 0


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


SHORT = {"seeds": (0, 1), "narrow": 4, "broad": 16, "before": 1, "stops": (0, 4)}


def test_the_gpt_rung_measures_every_arm_and_is_the_same_again():
    found = run(LESSON, "gpt", **SHORT)
    assert list(found["runs"]) == list(sampled.ARMS)
    assert found["completions"] == [0, 4 * 64 * 4]
    starts = [{name: paths[1][0] for name, paths in of.items()} for of in found["runs"].values()]
    for name in ("train_1", "test_k", "improved", "worst"):  # all arms begin with one policy
        assert starts[0][name] == starts[1][name] == starts[2][name]
    assert starts[0]["informative"] < starts[1]["informative"] == starts[2]["informative"]
    assert found["before"]["train_1"][0][1] == found["runs"][sampled.NARROW]["train_1"][0][0]
    assert run(LESSON, "gpt", **SHORT)["runs"] == found["runs"]
    rows = judge(LESSON, "gpt", found, from_record=False)
    assert all(row["holds"] is None for row in rows)  # two seeds decide nothing
    assert isinstance(LESSON.figures["gpt"]["training"](found), Figure)
    assert [row["broad minus narrow"] for row in sampled.reported(found)] == list(sampled.REPORTED.values())


@pytest.mark.parametrize("arm", sampled.BROAD)
def test_every_effect_of_the_gpt_rung_can_fail(arm):
    """Differences of 0.1 +- 0.01 hold, the same with the other sign do not."""
    values = [0.3 + 0.01 * seed for seed in range(5)]
    for sign, holds in ((1, True), (-1, False)):
        other = {name: [[v + sign * 0.1] for v in values] for name in ("informative", "test_1")}
        same = {name: [[v] for v in values[::-1]] for name in ("informative", "test_1")}
        runs = dict.fromkeys(sampled.ARMS, same) | {arm: other}
        found = {c.statement: c.check({"runs": runs}).holds for c in LESSON.claims_of("gpt") if arm in c.statement}
        assert list(found.values()) == [holds, holds]


def test_success_is_the_enumerated_mean_reward():
    task, policy = Operator(n_train=64), load_policy("operator")
    for split in ("train", "test"):
        every = Enumerated()(policy, task, task.prompts(split))
        expected = (every.weights * every.rewards).sum(-1).double()
        assert torch.allclose(sampled.success(policy, task, split), expected, atol=1e-6)


def test_all_arms_draw_as_many_completions():
    plan = sampled.Plan(8, 64, 1, (0, 40, 160), TrainConfig(lr=1e-3))
    for arm in sampled.ARMS:
        strategy, config = plan.arm(arm, seed=7)
        made = [steps * (config.prompts or 64) * strategy.group_size for steps in plan.stops_of(arm)]
        assert made == [0, 40 * 512, 160 * 512]
        assert config.seed == 7
    rates = [plan.arm(arm, 0)[1].lr for arm in sampled.ARMS]
    assert rates == pytest.approx([1e-3, 1e-3, 1e-3 * 8**0.5])


def test_a_plan_that_cannot_be_kept_is_refused():
    with pytest.raises(ValueError, match="broad must be narrow times a divisor of 64, got 12 and 8"):
        sampled.Plan(8, 12, 1, (0,), TrainConfig())
    with pytest.raises(ValueError, match="broad must be narrow times a divisor of 64, got 24 and 8"):
        sampled.Plan(8, 24, 1, (0,), TrainConfig())
    with pytest.raises(ValueError, match=r"stops must be multiples of broad / narrow = 8, got \(0, 12\)"):
        sampled.Plan(8, 64, 1, (0, 12), TrainConfig())


def test_the_llm_recipe_runs_on_a_tiny_model_and_resumes(tmp_path):
    found = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert found["parameters"] < 50_000
    assert list(found["runs"]) == list(sampled.ARMS)
    again = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert (again["runs"], again["before"]) == (found["runs"], found["before"])
    assert isinstance(LESSON.figures["llm"]["training"](found), Figure)


def test_a_size_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="size must be one of 60m, tiny, got 'huge'"):
        run(LESSON, "llm", size="huge")


def test_the_record_of_the_gpt_rung_has_these_claims():
    rows = claims(LESSON, "gpt")
    assert [row["claim"] for row in rows] == ["G1", "G2", "G3", "G4"]
