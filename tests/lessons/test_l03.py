"""Lesson 03: every claim is decided, every check can fail, and the numbers are the card's."""

from __future__ import annotations

import math
from itertools import product

import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import claims, judge, load, run
from toykit.lessons.l03_lite_ppo import dynamics, exact, explorer, figures, sampled, sampled_claims
from toykit.objectives import Clip, PolicyGradient

LESSON = load("03")
NAMES = [
    *("C1a", "C1b", "C1c", "C1d", "C1e", "C1f", "C2a", "C2b", "C3a", "C3b", "C3c", "C4a", "C4b", "C4c"),
    *("C6", "C8a", "C8b", "D1", "D2", "S1"),
]


def test_every_theorem_holds(results, verdicts):
    found = verdicts(results)
    assert list(found) == NAMES
    assert all(holds is True for holds in found.values())


SPOILED = {
    "C1a": (("factors", "c (mu+ - mu-)"), 1e-9),
    "C1b": (("batch", "factor", "Lite PPO"), lambda x: [x[0], x[1] * (1 + 1e-10), x[2]]),
    "C1c": (("arcsine", "error"), 1e-6),
    "C1d": (("batch", "changed", "batch"), lambda x: [10 * v for v in x]),
    "C1e": (("batch", "noise", "batch"), lambda x: x[::-1]),
    "C1f": (("finite", "factor"), lambda x: x[::-1]),
    "C2a": (("factors", "no std"), 1e-9),
    "C2b": (("factors", "RLOO"), 1e-9),
    "C3a": (("directions", "cosine", "token_sum"), [1.0, 0.999, 1.0]),
    "C3b": (("directions", "cosine", "sequence_mean"), [0.99082, 0.99083, 0.99082]),
    "C3c": (("directions", "cosine", "token_mean"), [0.99539, 0.99854, 0.9985]),
    "C4a": (("nearly solved", "wrong", "8", "group std"), -math.sqrt(7)),
    "C4b": (("nearly solved", "weight", "ddof 1"), [0.05043, 0.20949, 0.46391]),
    "C4c": (("nearly solved", "share", "no std", "of E[c^2]"), 0.354),
    "C6": (("clip_higher", "steps"), [11, 9, 8, 8, 6]),
    "C8a": (("overlong", "rate", "loss mask"), -0.00151),
    "C8b": (("overlong", "cut", "mask and baseline"), [0.0016]),
    "D1": (("dual_clip", "slope", "dual"), -1.0),
    "D2": (("first_step", "gspo"), 1e-6),
    "S1": (("trainer", "error"), 1e-6),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert failing(spoiled(SPOILED[claim])) == [claim]


def test_all_checks_can_be_spoiled():
    assert list(SPOILED) == NAMES


def test_the_factor_of_a_finite_batch_is_that_of_all_batches_written_out():
    """Two prompts, groups of two: 3 x 3 numbers of right answers."""
    p, size = torch.tensor([0.9, 0.4], dtype=torch.float64), 2
    expected = [0.0, 0.0]
    for counts in product(range(3), repeat=2):
        chance, rewards = 1.0, []
        for k, q in zip(counts, p.tolist(), strict=True):
            chance *= math.comb(2, k) * q**k * (1 - q) ** (2 - k)
            rewards += [1.0] * k + [0.0] * (2 - k)
        std = torch.tensor(rewards, dtype=torch.float64).std().item()
        for x, k in enumerate(counts):
            if std > 0:
                expected[x] += chance * (k / 2) * (1 - k / 2) / std / (p[x] * (1 - p[x])).item()
    assert exact.lite_factor(p, size, 1) == pytest.approx(expected, abs=1e-14)


def test_a_convolution_is_the_law_of_the_sum():
    a, b = (torch.tensor(x, dtype=torch.float64) for x in ([0.3, 0.7], [0.2, 0.3, 0.5]))
    assert exact.convolved(a, b).tolist() == pytest.approx([0.06, 0.23, 0.36, 0.35])


def test_an_expected_step_is_the_mean_over_single_groups():
    """Groups of two, one loss and one gradient after the other."""
    task, logits, _ = exact.problem()
    objective = PolicyGradient(exact.ADVANTAGES["no std"], aggregate="token_mean")
    tree, total = task.tree, torch.zeros_like(logits)
    s = exact.scores(tree, logits)
    law = exact.leaf_log_probs(tree, logits).exp()
    for i, j in product(range(5), repeat=2):
        r = task.rewards[0][[i, j]]
        tokens = tree.mask[[i, j]].sum()
        total += law[i] * law[j] * (r[0] - r[1]) / 2 * (s[i] - s[j]) / tokens
    assert torch.allclose(exact.expected_step(objective, 2), total, rtol=0, atol=1e-15)


def test_other_logits_keep_the_identities_and_not_the_cards_numbers():
    assert exact.factors(3)["c (mu+ - mu-)"] < 1e-12
    assert exact.arcsine(3)["error"] < 1e-8
    found = exact.directions(3, (2, 4))["cosine"]
    assert found["sequence_mean"][0] == pytest.approx(found["sequence_mean"][1], abs=1e-9)
    assert found["token_mean"][0] < found["token_mean"][1] < 1
    assert found["sequence_mean"][0] != pytest.approx(0.99082, abs=1e-4)


def test_without_clip_a_climb_takes_fewer_batches():
    """A bound that is never reached: the ratio of the right arm is at most 100."""
    assert len(dynamics.climb(Clip(1.0, 100.0))) - 1 == 1


def test_the_filter_never_changes_what_the_uncut_answers_earn(results):
    """All three learn: the reward at the end is above that of the start, the least with both filtered."""
    ends = [path[-1] - path[0] for path in results["overlong"]["reward"].values()]
    assert ends[0] > ends[1] > ends[2] > 0


@pytest.mark.parametrize("others", [0.02, 0.5, 0.98])
@pytest.mark.parametrize("group_size", [2, 8, 64])
def test_the_explorer_shows_factors_and_advantages_of_the_library(group_size, others):
    now = explorer.weights(0.3, group_size, others)
    rewards = torch.zeros(1, group_size, dtype=torch.float64)
    rewards[0, 0] = 1.0
    even = torch.full_like(rewards, 1 / group_size)
    for name, key in (("group std (GRPO)", "group std"), ("no std (Dr. GRPO)", "no std")):
        advantage = exact.ADVANTAGES[key](rewards, even)[0]
        assert now.right[name][0].item() == pytest.approx(advantage[0].item(), abs=1e-12)
        assert now.wrong[name][0].item() == pytest.approx(advantage[1].item(), abs=1e-12)
    plain, lite = (now.here[name] for name in ("no std (Dr. GRPO)", "batch std (Lite PPO)"))
    assert plain == pytest.approx((1 - 1 / group_size) * 0.21)
    mean = (0.3 + 7 * others) / 8
    assert lite == pytest.approx(plain / math.sqrt(mean * (1 - mean)))
    assert now.share["no std (Dr. GRPO)"] == now.share["batch std (Lite PPO)"]


def test_the_explorer_begins_at_the_cards_shares():
    share = explorer.weights(0.5, 8, 0.98).share
    assert 1 - share["group std (GRPO)"] == pytest.approx(0.354, abs=5e-4)
    assert 1 - share["no std (Dr. GRPO)"] == pytest.approx(0.223, abs=5e-4)


def test_token_weights_by_hand():
    """The card's exercise in small: lengths 2, 5, 12 of three completions."""
    found = {name: w[:, 0].tolist() for name, w in explorer.shares(2, 5, 12).items()}
    assert found["sequence mean"] == pytest.approx([1 / 6, 1 / 15, 1 / 36])
    assert found["token mean"] == pytest.approx([1 / 19] * 3)
    assert found["fixed length"] == pytest.approx([1 / 36] * 3)


@pytest.mark.parametrize("make", [figures.weights_explorer, figures.lengths_explorer])
def test_the_explorers_draw_every_preset_and_say_it_in_words(make, draws_every_preset):
    made = make(live=False)
    assert len(made.presets) == 3
    assert draws_every_preset(made)


def test_the_words_of_the_explorers():
    words = explorer.weights_words()
    assert "0.434 with group std" in words and "-2.475 with group std" in words and "64.6% with the group's" in words
    assert "Token mean: a token counts A 0.0526" in explorer.lengths_words()


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


SHORT = {"seeds": (0,), "stops": (0, 1), "prompts": 4}


def test_the_gpt_rung_measures_every_arm_and_is_the_same_again():
    found = run(LESSON, "gpt", **SHORT)
    assert list(found["runs"]) == list(sampled.ARMS)
    starts = {arm: [path[0] for path in of["length"]] for arm, of in found["runs"].items()}
    assert starts["Lite PPO"] == starts["GRPO"] == starts["DAPO"] != starts["Lite PPO, easy"]
    ends = {arm: [path[-1] for path in of["entropy"]] for arm, of in found["runs"].items()}
    assert starts["other seeds"] == starts["Lite PPO"] and ends["other seeds"] != ends["Lite PPO"]
    assert max(path[0] for path in found["runs"]["Lite PPO, short"]["length"]) <= 10
    again = run(LESSON, "gpt", **SHORT, only=("clip-higher", "no std, easy"))
    assert again["runs"] == {arm: found["runs"][arm] for arm in ("clip-higher", "no std, easy")}
    assert all(row["holds"] is None for row in judge(LESSON, "gpt", found, from_record=False))  # one seed
    assert isinstance(LESSON.figures["gpt"]["training"](found, live=again), Figure)
    rows = figures.ends(found)
    assert len(rows) == len(sampled.ARMS) + len(sampled.SETTINGS)


def test_an_arm_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="only must be one of .* got 'GRPO, easy'"):
        run(LESSON, "gpt", only=("GRPO, easy",))


def test_each_trick_changes_one_piece_of_lite_ppo():
    every = sampled.methods()
    lite = every["Lite PPO"].objective
    changed = {
        name: [
            k
            for k in ("advantage", "ratio", "clip", "aggregate", "kl", "signal", "value")
            if getattr(m.objective, k) != getattr(lite, k)
        ]
        for name, m in every.items()
    }
    assert {name: changed[name] for name in list(every)[:8]} == {
        "Lite PPO": [],
        "other seeds": [],
        "group std": ["advantage"],
        "no std": ["advantage"],
        "batch mean": ["advantage"],
        "sequence mean": ["aggregate"],
        "clip-higher": ["clip"],
        "overlong filter": [],
    }
    assert every["overlong filter"].selection == "overlong_filter" and every["Lite PPO"].selection is None


def test_a_measured_group_by_hand():
    """Four of eight completions of an untrained base: what is counted is in the rollouts."""
    trainer = made_trainer("hard")
    found = sampled.measure(trainer, seed=5, prompts=3)
    draw = torch.Generator().manual_seed(5)
    made = sampled.Sampled(8)(trainer.policy, trainer.task, trainer.task.prompts("test")[:3], draw)
    ends = [
        row[mask][-1].item() for row, mask in zip(made.completions.flatten(0, 1), made.mask.flatten(0, 1), strict=True)
    ]
    assert found["success"] == pytest.approx(made.rewards.mean().item())
    assert found["cut"] == sum(token != 11 for token in ends) / 24
    assert found["silent"] == sum(len(set(row)) == 1 for row in made.rewards.tolist()) / 3
    assert found["token entropy"] * found["length"] == pytest.approx(found["entropy"])


def made_trainer(setting):
    bases = sampled.Bases(
        sampled.load_policy("chain_sum_200"), sampled.load_policy("chain_sum_400"), sampled.ChainSum(), 10
    )
    policy, task = bases.of(setting)
    return sampled.Trainer(policy, task, "lite_ppo")


def test_every_effect_of_the_gpt_rung_can_fail():
    """Differences of 0.1 +- 0.01 in its direction hold, against it they do not; far apart is not alike."""
    wobble = [0.01 * seed for seed in range(5)]
    for claim in LESSON.claims_of("gpt"):
        given = claim.check.keywords
        arm, other = given.get("method", given.get("arm")), given.get("other")
        figure = given.get("figure", "success")
        for sign, holds in ((1, True), (-1, False)):
            high = [[0.5, 0.5 + sign * (0.1 + w)] for w in wobble]
            level = [[0.5, 0.5] for _ in wobble]
            if claim.check.func is sampled_claims.alike:
                high = [[0.5, 0.5 + (0.01 if holds else 0.1) + w / 10] for w in wobble]
            runs = {arm: {figure: high}} | ({other: {figure: level}} if other else {})
            assert claim.check({"runs": runs}).holds is holds, claim.id


def test_the_llm_recipe_runs_on_a_tiny_model_and_resumes(tmp_path):
    found = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert found["parameters"] < 50_000
    assert list(found["runs"]) == list(sampled.ARMS)
    again = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert again["runs"] == found["runs"]
    assert isinstance(LESSON.figures["llm"]["training"](found), Figure)


def test_a_size_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="size must be one of 60m, tiny, got 'huge'"):
        run(LESSON, "llm", size="huge")


def test_the_record_of_the_gpt_rung_has_these_claims():
    rows = claims(LESSON, "gpt")
    assert [row["claim"] for row in rows] == [f"G{i}" for i in range(1, 15)]
