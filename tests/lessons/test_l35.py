"""Lesson 35: theorems hold, effects are decided, every check can fail, and the sampled rungs run as they are called."""

from __future__ import annotations

import copy
from itertools import chain
from statistics import fmean

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from toykit.diagnostics import exact_pass_at_k, perplexity
from toykit.exact import expected_group_update, linear_logits, shared
from toykit.lessons import load, run
from toykit.lessons.l35_limit_of_rlvr import exact, explorer, sampled
from toykit.lessons.l35_limit_of_rlvr.sampled_claims import ROWS
from toykit.policies import GPT, GPTConfig
from toykit.rollouts import token_logps
from toykit.tasks import Operator
from toykit.training import load_policy

LESSON = load("35")
THEOREMS = ("C1a", "C1b", "X1", "S1")


def test_every_theorem_holds_and_every_effect_is_decided(results, verdicts):
    found = verdicts(results)
    assert [found[name] for name in THEOREMS] == [True] * 4
    assert None not in found.values()
    assert all(found[name] for name in ("C2a", "C2b", "C2c", "C3a", "C3b", "C4b", "C5a", "C6"))


def of_two_seeds(results):
    """The results with their first two seeds only."""
    few = copy.deepcopy(results)
    few["missed"] = {name: [rows[:2] for rows in steps] for name, steps in few["missed"].items()}
    for part in (few["solvable"], few["perplexity"]["prompt"], few["algorithms"]["gap"], few["algorithms"]["missed"]):
        part.update({name: rows[:2] for name, rows in part.items()})
    few["algorithms"]["large_groups"] = few["algorithms"]["large_groups"][:2]
    few["temperature"]["missed"] = few["temperature"]["missed"][:2]
    return few


def test_too_few_seeds_decide_no_effect_that_has_an_interval(results, verdicts):
    found = verdicts(of_two_seeds(results))
    assert {name for name, holds in found.items() if holds is not None} == {*THEOREMS}


def spike(rows):
    """An outlier that leaves the interval no sign."""
    rows[0][0], rows[1][0] = 1.0, 7.0


K256 = exact.KS.index(256)
SPOILED = {
    "C1a": (("estimator", "unbiased_error"), 1e-9),
    "C1b": (("estimator", "plug_in_log_ratio"), -1e-6),
    "C2a": lambda r: spike(r["missed"]["RL"][-1]),
    "C2b": (("missed", "RL", -1, 0, K256), -9.0),
    "C2c": lambda r: r["missed"]["RL"][2][3].__setitem__(K256, r["missed"]["RL"][0][3][K256] - 1e-9),
    "C3a": lambda r: r["solvable"].update({"only RL": [1.0] * 5, "both": [13.0, 22.0, 16.0, 18.0, 16.0]}),
    "C3b": lambda r: r["solvable"].update({"both": [24.0] * 5, "only base": [0.0] * 5}),
    "C4b": lambda r: r["perplexity"]["prompt"].update({"base(right)": r["perplexity"]["prompt"]["base(base)"]}),
    "C5a": (("algorithms", "gap", "DAPO"), [-0.1, 0.1, -0.1, 0.1, 0.0]),
    "C6": lambda r: r["missed"]["distilled"][3][0].__setitem__(-1, 2 * r["missed"]["distilled"][0][0][-1]),
    "X1": (("orthogonal", "smallest_rise"), -1e-12),
    "S1": (("trainer", "errors", "distilled"), 1e-9),
}


@pytest.fixture
def changed(results, verdicts, spoiled):
    """The claims whose verdict is another one after a spoiling."""
    return lambda change: {c for c, holds in verdicts(spoiled(change)).items() if holds != verdicts(results)[c]}


@pytest.mark.parametrize("claim", sorted({*SPOILED} - {"C2a", "C2b"}))
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(changed, claim):
    assert changed(SPOILED[claim]) == {claim}


@pytest.mark.parametrize("claim", ["C2a", "C2b"])
def test_an_end_that_contradicts_the_crossing_fails_it(verdicts, results, changed, claim):
    assert verdicts(results)[claim] and {claim} <= changed(SPOILED[claim]) <= {claim, "C2c"}


def test_what_does_not_hold_with_five_seeds_would_hold_with_clearer_results(results, verdicts):
    """The checks of C4a, C5b, C7a and E1 can say yes too."""
    clear, n = copy.deepcopy(results), 5
    clear["perplexity"]["prompt"]["base(RL)"] = [
        [x - 0.3 for x in row] for row in clear["perplexity"]["prompt"]["base(base)"]
    ]
    clear["algorithms"]["gap"] = {name: [0.4 + 0.01 * i for i in range(n)] for name in exact.ALGORITHMS}
    clear["algorithms"]["large_groups"] = [[m / 2 for m in row] for row in clear["algorithms"]["missed"]["GRPO"]]
    clear["temperature"]["missed"] = [[m + 0.1 for m in row] for row in clear["missed"]["RL"][0]]
    before, after = verdicts(results), verdicts(clear)
    assert {c for c in before if before[c] != after[c]} == {c for c in ("C4a", "C5b", "C7a", "E1") if not before[c]}
    assert all(after[c] for c in ("C4a", "C5b", "C7a", "E1"))


def test_curves_are_those_of_the_card(results):
    ks = [results["ks"].index(k) for k in (1, 4, 16, 64, 256, 1024)]

    def mean(name, step):
        return (1 - np.mean(results["missed"][name][results["steps"].index(step)], 0))[ks]

    assert mean("RL", 0) == pytest.approx([0.056, 0.199, 0.543, 0.902, 0.997, 1.0], abs=6e-4)
    assert mean("RL", 50) == pytest.approx([0.121, 0.348, 0.677, 0.906, 0.989, 1.0], abs=6e-4)
    assert mean("RL", 200) == pytest.approx([0.387, 0.597, 0.695, 0.792, 0.882, 0.943], abs=6e-4)
    assert mean("RL", 2000) == pytest.approx([0.703, 0.717, 0.718, 0.723, 0.735, 0.760], abs=6e-4)
    assert mean("distilled", 200) == pytest.approx([0.365, 0.790, 0.986, 1.0, 1.0, 1.0], abs=6e-4)
    assert mean("distilled", 800) == pytest.approx([0.506, 0.894, 0.996, 1.0, 1.0, 1.0], abs=6e-4)
    assert fmean(results["gap"][-1]) == pytest.approx(0.294, abs=6e-4)
    assert fmean(results["gap"][1]) == pytest.approx(0.876, abs=1.1e-3)


def test_solvable_sets_and_perplexities_are_those_of_the_card(results):
    assert results["solvable"] == {
        "only base": [10, 1, 7, 5, 7],
        "both": [14, 23, 17, 19, 17],
        "only RL": [0] * 5,
        "none": [0] * 5,
    }
    order = ("base(base)", "base(RL)", "RL(RL)", "base(right)", "base(distilled)")
    for per, expected in (("prompt", [3.39, 3.20, 1.12, 3.93, 3.82]), ("completion", [3.55, 3.22, 1.21, 4.09, 4.04])):
        means = [fmean(chain.from_iterable(results["perplexity"][per][name])) for name in order]
        assert means == pytest.approx(expected, abs=6e-3)


def test_at_step_50_the_curves_cross_in_four_seeds_of_five(results):
    first, last = results["ks"].index(1), results["ks"].index(256)
    base, young = results["missed"]["RL"][0], results["missed"]["RL"][1]
    crossed = [r[first] < b[first] and r[last] > b[last] for b, r in zip(base, young, strict=True)]
    assert sum(crossed) == 4


def test_the_estimates_are_those_of_the_card(results):
    found = results["estimator"]["spread"]
    at = found["ks"].index(32)
    assert found["exact"][at] == pytest.approx(0.62269, abs=5e-6)
    assert found["plug_in"][at] == pytest.approx(0.5370, abs=5e-5)
    assert [found["unbiased_sd"][at], found["block_sd"][at]] == pytest.approx([0.300, 0.485], abs=5e-4)


def test_accuracies_go_to_both_ends(results):
    base, trained = results["histogram"]["base"], results["histogram"]["RL"]
    assert sum(base) == pytest.approx(1) and sum(trained) == pytest.approx(1)
    assert base[0] == 0 and base[-2] + base[-1] == 0
    assert trained[0] == pytest.approx(30 / 120) and trained[-2] + trained[-1] > 0.6


def test_the_lost_problem_is_one_that_the_base_finds_and_rl_does_not(results):
    found = results["lost"]
    right = {name: sum(law[i] for i in found["right"]) for name, law in found["laws"].items()}
    assert right["base"] > 0.05 > 1e-4 > right["RL"] and right["distilled"] > right["base"]


@pytest.fixture(scope="module")
def small():
    made = exact.world((0, 1))
    return made, made.train(exact.GRPO, (0, 60))


def test_training_by_right_paths_is_training_by_the_enumeration(small):
    made, trained = small

    def update(logits):
        return expected_group_update(made.tree, logits, made.correct)

    theirs = exact.ascend(shared(update, made.paths.features), made.base, exact.LR, (60,))[0]
    assert torch.allclose(trained[1], theirs, rtol=0, atol=1e-12)


def test_the_matched_temperature_gives_the_entropy_of_the_base(small):
    made, trained = small
    found = exact.temperature(made, trained[1])
    hot = made.logits(trained[1] / torch.tensor(found["matched"], dtype=torch.float64)[:, None, None, None])
    reached = exact.entropy(exact.leaf_log_probs(made.tree, hot)).mean(-1)
    assert reached.tolist() == pytest.approx(found["entropy"], abs=1e-9)
    assert all(after < whole for after, whole in zip(found["before"], found["entropy"], strict=True))


def test_a_policy_that_has_not_moved_needs_no_heat(small):
    made, _ = small
    assert exact.temperature(made, made.base)["matched"] == pytest.approx([1, 1], abs=1e-9)


def test_dynamic_sampling_goes_the_way_of_grpo_at_another_speed(small):
    log_pi = small[0].paths.log_probs(small[0].base)
    ratio = exact.dapo(log_pi) / exact.GRPO(log_pi)
    assert torch.allclose(ratio, ratio[:, :1, :1].expand_as(ratio)) and (ratio > 1).all()


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    made = explorer.coverage_explorer(live=False)
    assert list(made.presets) == ["before", "sharpened", "heated", "nothing shared"]
    assert draws_every_preset(made)
    words = {name: explorer.coverage_words(**state) for name, state in made.presets.items()}
    assert "24 are solvable by both, 0 by the base only" in words["before"]
    assert "14 are solvable by both, 10 by the base only, 0 by RL only" in words["sharpened"]
    assert "24 are solvable by both, 0 by the base only" in words["nothing shared"]


def test_where_nothing_is_shared_no_step_and_no_problem_is_lost():
    rates = torch.stack([explorer._state(step, explorer.ALONE, 1.0)["RL"] for step in explorer.STEPS])
    assert (rates.diff(dim=0) > 0).all()


@pytest.mark.parametrize("sharing", explorer.OVERLAPS)
def test_where_features_overlap_the_curves_cross(sharing):
    rates = explorer._state(800, sharing, 1.0)
    ahead = exact.missed(rates["base"]) - exact.missed(rates["RL"])
    assert ahead[0] > 0 > ahead[exact.KS.index(256)]


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


# The sampled rungs


@pytest.fixture(scope="module")
def short():
    return run(LESSON, "gpt", seeds=(0,), stops=(0, 1))


def test_before_training_every_arm_is_the_base(short):
    base = short["base"]
    for figures_of in short["runs"].values():
        start = {k: paths[0][0] for k, paths in figures_of.items()}
        for k in short["ks"]:
            assert start[f"train missed {k}"] == base[f"train missed {k}"]
            assert start[f"test missed {k}"] == base[f"test missed {k}"]
            assert start[f"hot missed {k}"] == pytest.approx(base[f"train missed {k}"], rel=1e-6)
        assert start["base(own)"] == start["own(own)"] == pytest.approx(base["base(base)"], abs=1e-9)
        assert start["matched"] == pytest.approx(1, abs=1e-9)
        assert start["train only RL"] == start["train only base"] == 0
        assert start["gap"] == pytest.approx(base["train missed 1"] - base["train missed 256"], abs=1e-12)


def test_a_law_is_that_of_the_policy():
    """Rates, entropy and perplexity from the enumeration are those of a teacher-forced pass over all answers."""
    task, policy = Operator(), load_policy("operator")
    law = sampled.Law.of(policy, task, "test")
    prompts, tree = task.prompts("test"), task.tree
    tokens, mask = (x.expand(40, *x.shape) for x in (tree.tokens, tree.mask))
    logp = token_logps(policy, prompts.tokens, prompts.mask, tokens, mask).detach().double()
    whole = logp.sum(-1)
    assert torch.allclose(law.leaves(), whole, rtol=0, atol=1e-4)
    right = task.right[prompts.ids]
    expected = [float(whole[i, 14 * a + b].exp()) for i, (a, b) in enumerate(right.tolist())]
    assert law.rates().tolist() == pytest.approx(expected, abs=1e-5)
    assert float(law.entropy()) == pytest.approx(float(-(whole.exp() * whole).sum(-1).mean()), abs=1e-4)
    expected = float(perplexity(logp, mask, whole.exp()).mean())
    assert law.surprise(law.leaves().exp()) == pytest.approx(expected, abs=1e-4)
    assert law.rates(1e3).tolist() == pytest.approx([1 / 196] * 40, rel=0.05)


def test_the_teacher_shows_right_answers_only():
    task = Operator()
    policy = GPT(GPTConfig(task.vocab.size, layers=1, width=16, heads=2, hidden=16))
    made = sampled.arms()["distilled"](policy, sampled.LIMIT.gpt, 0)
    assert bool((made.strategy(policy, task, task.prompts()).rewards == 1).all())


def made_up():
    """Results of the sampled rungs that every claim holds on."""
    seeds = range(5)
    ks = sampled.KS
    base = {f"{split} missed {k}": 0.5 / k for split in sampled.SPLITS for k in ks}
    base |= {"base(base)": 3.0, "base(right)": 4.0, "entropy": 2.0}

    def arm(one, large, gap, **more):
        figures = {f"{kind} missed {k}": one if k == 1 else large for kind in ("train", "test", "hot") for k in ks}
        figures |= {"gap": gap, "base(own)": 2.5, "train only RL": 0.0, "train only base": 6.0, **more}
        return {name: [[0.0, value * (1 + 0.01 * s)] for s in seeds] for name, value in figures.items()}

    runs = {name: arm(0.2, 0.1, 0.3 + 0.01 * i) for i, name in enumerate(sampled.ALGORITHMS)}
    runs["GRPO, G = 32"] = arm(0.2, 0.05, 0.3)
    runs["GRPO, KL 0.001"] = arm(0.21, 0.2, 0.3)
    runs["distilled"] = arm(0.1, 1e-6, 0.1)
    return {"ks": list(ks), "problems": {"train": 60, "test": 40}, "base": base, "runs": runs}


def worse(results, i):
    """Changes a result so that claim i (from 1) does not hold."""
    grpo = results["runs"]["GRPO"]

    def put(arm, name, value):
        arm[name] = [[0.0, value]] * 5

    if i == 1:
        put(grpo, "train missed 1", 0.6)
        put(results["runs"]["GRPO, KL 0.001"], "train missed 1", 0.6)
    elif i in (2, 3, 14):
        put(grpo, f"{ {2: 'train', 3: 'test', 14: 'hot'}[i] } missed 256", 0.0)
    elif i == 4:
        put(grpo, "train only RL", 2.0)
    elif i == 5:
        put(grpo, "train only base", 0.0)
    elif i == 6:
        put(grpo, "base(own)", 3.1)
    elif i == 7:
        results["base"]["base(right)"] = 2.9
    elif i == 8:
        put(results["runs"]["PPO"], "gap", -0.01)
    elif i == 9:
        put(results["runs"]["PPO"], "gap", 0.7)
    elif i == 10:
        put(results["runs"]["distilled"], "train missed 16", 0.9)
    elif i == 11:
        put(results["runs"]["GRPO, G = 32"], "train missed 256", 0.2)
    elif i == 12:
        put(results["runs"]["GRPO, KL 0.001"], "train missed 1", 0.3)
    elif i == 13:
        put(results["runs"]["GRPO, KL 0.001"], "train missed 128", 0.05)
    return results


@pytest.mark.parametrize("i", range(1, len(ROWS) + 1))
def test_each_claim_of_the_sampled_rungs_can_hold_and_can_fail(i, verdicts):
    good = made_up() | {"made": {"seeds": [0, 1, 2, 3, 4], "seconds": 0.0}}
    assert set(verdicts(good, "gpt").values()) == set(verdicts(good, "llm").values()) == {True}
    found = verdicts(worse(copy.deepcopy(good), i), "gpt")
    failed = {name for name, holds in found.items() if not holds}
    also = {8: {"G9"}, 2: {"G11"}}.get(i, set())  # a gap below 0 is far from the others; nothing is left to raise
    assert {f"G{i}"} <= failed <= {f"G{i}"} | also


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_the_llm_recipe_refuses_cuda_where_there_is_none():
    with pytest.raises(ValueError, match="device must be one that is there, got 'cuda'"):
        run(LESSON, "llm", size="tiny", device="cuda")


def test_the_exercise_of_the_card_by_the_library():
    base, trained = torch.tensor([0.5, 0.01], dtype=torch.float64), torch.tensor([0.9, 0.0], dtype=torch.float64)
    ahead = [float((exact_pass_at_k(base, k) - exact_pass_at_k(trained, k)).mean()) for k in range(1, 8)]
    assert [k for k, a in enumerate(ahead, start=1) if a > 0] == [5, 6, 7]
    assert [1 - float(exact.missed(base, (k,))) for k in (1, 5)] == pytest.approx([0.255, 0.509], abs=5e-4)


def test_logits_of_the_world_are_linear_in_the_features(small):
    made, _ = small
    assert torch.equal(made.logits(made.base), linear_logits(made.base, made.paths.features))
    rates = made.rates(torch.stack([made.base, made.base]))
    assert rates.shape == (2, 2, 24) and torch.equal(rates[0], rates[1])
