"""Lesson 02: what holds and what does not, every check can fail, and the sampled rungs run as they are called."""

from __future__ import annotations

import copy

import pytest
import torch
from matplotlib.figure import Figure

from toykit.diagnostics import first_order_change
from toykit.lessons import judge, load, picture, recorded, run
from toykit.lessons.l02_reasoning_boundary import exact, explorer, sampled, theorems
from toykit.rollouts import token_logps
from toykit.tasks import Operator
from toykit.training import load_policy

LESSON = load("02")
NOT_HERE = ["C5b", "C6d"]  # of the card's claims, what the toy does not show


def test_every_theorem_holds_and_every_effect_is_decided(results, verdicts):
    found = verdicts(results)
    assert [c for c, holds in found.items() if holds is not True] == NOT_HERE
    assert all(found[c] is False for c in NOT_HERE)
    kinds = {c.id: c.kind for c in LESSON.claims}
    assert all(kinds[c] == "effect" for c in NOT_HERE)


def end(results, method, k, change):
    """Changes a method's pass@k at the end by `change`, in every world."""
    i = results["ks"].index(k)
    for curve in results["runs"][method]["pass"]:
        curve[i] += change


def start(results, k, lost):
    """Lets GRPO lose just `lost` of the base's pass@k, and reverse KL as much."""
    i, runs = results["ks"].index(k), results["runs"]
    for before, after, other in zip(
        runs["GRPO"]["pass_before"], runs["GRPO"]["pass"], runs["GRPO + reverse KL"]["pass"], strict=True
    ):
        before[i], other[i] = after[i] + lost, after[i]


SPOILED = {
    "C1": lambda r: r["identity"]["errors"][2].__setitem__(1, 3e-7),
    "C2": lambda r: r["groups"]["errors"].__setitem__("none", 1e-9),
    "C3a": lambda r: start(r, 1, -0.15),
    "C3b": lambda r: start(r, 256, 0.09),
    "C3c": lambda r: r["runs"]["GRPO"].__setitem__("delta_plus", [0.1, -0.2, 0.0, 0.1, -0.1]),
    "C4a": lambda r: r["runs"]["GRPO"].__setitem__("rank", [0.5, 0.7, 0.4, 0.6, 0.3]),
    "C4b": lambda r: r["independent"]["p"].__setitem__(-1, 0.005),
    "C4c": lambda r: r["runs"]["GRPO, nothing shared"].__setitem__("rank", [0.0] * 5),
    "C6a": lambda r: end(r, "GRPO + reverse KL", 256, 0.03),
    "C6b": lambda r: end(r, "GRPO + forward KL", 256, -0.07),
    "C7": lambda r: r["orthogonal"].__setitem__("least_rise", -1e-6),
    "C8": lambda r: r.__setitem__("independent", r["independent"] | {"least_rise": -1e-9}),
    "S1": lambda r: r["trainer"]["errors"].__setitem__("SELF", 1e-6),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert failing(spoiled(SPOILED[claim])) == sorted([claim, *NOT_HERE])


def test_a_self_that_is_no_better_than_the_others_fails_what_is_said_of_it(results, failing):
    wrong = copy.deepcopy(results)
    wrong["runs"]["SELF"] = wrong["runs"]["GRPO + forward KL"]
    assert failing(wrong) == ["C5a", "C6c", "C6d"]


def test_the_claims_that_do_not_hold_would_hold_for_other_numbers(results, verdicts):
    other = copy.deepcopy(results)
    for i, (own, grpo) in enumerate(zip(other["runs"]["SELF"]["pass"], results["runs"]["GRPO"]["pass"], strict=True)):
        own[0] = grpo[0] * (0.94 + 0.01 * i)
    end(other, "filter", 256, -0.05)
    assert all(verdicts(other).values())


def test_fewer_than_five_worlds_decide_no_effect():
    few = run(LESSON, "exact", seeds=(0, 1), steps=10)
    rows = judge(LESSON, "exact", few, from_record=False)
    assert all((row["holds"] is None) == (row["kind"] == "effect") for row in rows)


CARD = {  # pass@1, pass@256, pass@1024, delta plus
    "GRPO": (0.700, 0.753, 0.787, -1.37),
    "GRPO + reverse KL": (0.705, 0.757, 0.789, -1.29),
    "GRPO + forward KL": (0.693, 0.819, 0.875, -0.68),
    "filter": (0.359, 0.976, 0.985, 0.23),
    "SELF, β = 0.05": (0.355, 0.984, 0.993, 0.26),
    "SELF": (0.343, 0.989, 0.998, 0.25),
}


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("method", CARD)
def test_numbers_are_those_of_the_card(results, method):
    found = results["runs"][method]
    passes = [mean([curve[exact.KS.index(k)] for curve in found["pass"]]) for k in (1, 256, 1024)]
    assert passes == pytest.approx(CARD[method][:3], abs=5.1e-4)
    assert mean(found["delta_plus"]) == pytest.approx(CARD[method][3], abs=5.1e-3)
    base = [mean([curve[exact.KS.index(k)] for curve in found["pass_before"]]) for k in (1, 256, 1024)]
    assert base == pytest.approx([0.296, 0.997, 1.000], abs=5.1e-4)


def test_the_other_numbers_are_those_of_the_card(results):
    runs, first = results["runs"], results["identity"]
    assert runs["GRPO"]["rank"] == pytest.approx([0.75, 0.74, 0.65, 0.64, 0.70], abs=5e-3)
    change = runs["GRPO"]["rank_of_change"]
    assert [min(change), max(change)] == pytest.approx([-0.02, 0.34], abs=5e-3)
    change = runs["SELF"]["rank_of_change"]
    assert [min(change), max(change)] == pytest.approx([-0.85, -0.41], abs=5e-3)
    assert first["negative"][0] == pytest.approx(0.66, abs=5e-3)
    assert first["dragged"][0] == pytest.approx(0.42, abs=5e-3)
    assert [e[0] for e in first["errors"]] == pytest.approx([1.7e-5, 1.7e-6, 1.7e-7], rel=0.02)
    assert first["least_own"] > 0


def test_one_step_is_that_of_the_cards_formula():
    """W += lr/n sum_x [w / (1 - p) (e_c - pi) - beta pi (log ratio - KL) + beta_f (base - pi)] phi^T: step 41."""
    world = exact.worlds((3,))
    one = exact.Worlds.stack([world] * 4)
    settings = [exact.Setting(), exact.Setting(0.3), exact.Setting(0.0, 0.2), exact.Setting(0.1, 0.05, True)]
    before, after = exact.train(one, settings, (40, 41), lr=3.0)
    w, phi, right = world.weights[0, 0], world.features[0], world.correct[0]
    base = world.base[0].exp()
    for i, s in enumerate(settings):
        pi = before[i, 0].exp()
        p = pi[right]
        m = torch.arange(9, dtype=p.dtype)
        ways = torch.tensor([1, 8, 28, 56, 70, 56, 28, 8, 1], dtype=p.dtype)
        push = (ways * p[:, None] ** m * (1 - p[:, None]) ** (8 - m) * (m / 8 * (1 - m / 8)).sqrt()).sum(1) / (1 - p)
        if s.filter:
            push = push * (pi.argmax(1) != right.long().argmax(1))
        ratio = (pi / base).log()
        step = push[:, None] * (right.double() - pi) + s.forward * (base - pi)
        step = step - s.reverse * pi * (ratio - (pi * ratio).sum(1, keepdim=True))
        z = before[i, 0] + 3.0 / 24 * (phi @ phi.T) @ step
        assert torch.allclose(after[i, 0], z.log_softmax(1), rtol=0, atol=1e-13)
    assert w.shape == (8, 8)


def test_worlds_that_share_less_have_the_same_base_and_smaller_overlaps():
    world = exact.worlds((0, 1))
    whole = world.features @ world.features.mT
    for sharing in (0.0, 0.3, 1.0):
        less = world.blend(sharing)
        assert torch.allclose(less.base, world.base, rtol=0, atol=1e-13)
        gram = less.features @ less.features.mT
        assert torch.allclose(gram, (1 - sharing) * torch.eye(24, dtype=gram.dtype) + sharing * whole, atol=1e-14)
    alone = theorems.interference(world.blend(0.0).features, world.base, world.correct)
    assert torch.equal(alone, torch.diag_embed(alone.diagonal(dim1=-2, dim2=-1)))


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    shown = explorer.boundary_explorer(live=False)
    assert list(shown.presets) == ["base", "winner takes all", "nothing shared", "SELF"]
    assert draws_every_preset(shown)
    words = explorer.boundary_words(1.0, 0.0, "off", 1000)
    assert "pass@256 0.716 (base 0.993)" in words and "8 of 24 prompts have lost half" in words
    words = explorer.boundary_words(0.0, 0.0, "off", 1000)
    assert "0 of 24 prompts" in words and "next step 0% pushes" in words
    assert explorer.boundary_words(1.0, 0.05, "off", 0).startswith("GRPO + forward KL 0.05")
    assert explorer.boundary_words(1.0, 0.0, "on", 0).startswith("GRPO with the filter")


def test_what_the_explorer_shows_says_the_pillars_sentence():
    """The likely prompts win and the others lose where they share; where nothing is shared none loses."""
    before, p, _ = explorer._state(1.0, 0.0, "off", 1000)
    assert (p[:12] > 0.9).all() and (p < before / 2).sum() == 8
    for step in explorer.STEPS:
        before, p, matrix = explorer._state(0.0, 0.0, "off", step)
        assert (p >= before).all() and (matrix >= 0).all()


def test_the_filter_empties_the_rows_of_the_prompts_that_are_solved_greedily():
    full, kept = (explorer._state(1.0, 0.0, "off", 0)[2], explorer._state(1.0, 0.0, "on", 0)[2])
    empty = (kept == 0).all(1)
    assert 0 < empty.sum() < 24 and torch.equal(kept[~empty], full[~empty])


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


SHORT = {"seeds": (0, 1), "stops": (0, 2)}


@pytest.fixture(scope="module")
def short():
    return run(LESSON, "gpt", **SHORT)


def test_a_table_is_measured_on_what_it_knows_and_figures_are_drawn(short):
    for name, figures_of in short["runs"].items():
        assert ("test pass@1" in figures_of) == (name != sampled.TABLE)
    for made in LESSON.figures["gpt"].values():
        assert isinstance(made(short), Figure)
    assert isinstance(LESSON.figures["gpt"]["training"](short, live=short), Figure)


def test_before_training_every_method_is_the_base_and_the_table_too(short):
    for figures_of in short["runs"].values():
        for name, paths in figures_of.items():
            if "delta" in name:
                assert paths[0][0] == pytest.approx(0, abs=1e-6)
            elif "rank" in name:
                assert paths[0][0] == pytest.approx(1, abs=1e-6)
            else:
                assert paths[0][0] == pytest.approx(short["runs"]["GRPO"][name][0][0], abs=1e-6)
    assert mean(short["base"]["train"]) == pytest.approx(short["runs"]["SELF"]["train pass@1"][0][0], abs=1e-5)


def test_the_law_of_a_network_is_that_of_its_answers():
    task, policy = Operator(), load_policy("operator")
    log_p, right = sampled.law(policy, task, "test")
    assert log_p.shape == right.shape == (40, 196)
    assert torch.allclose(log_p.exp().sum(1), torch.ones(40, dtype=torch.float64), atol=1e-12)
    prompts = task.prompts("test")
    answers = task.right[prompts.ids][:, None]
    logp = token_logps(policy, prompts.tokens, prompts.mask, answers, torch.ones_like(answers, dtype=torch.bool))
    assert torch.allclose(log_p[right], logp.sum((1, 2)).double(), atol=1e-5)


def test_the_networks_influences_predict_a_small_step():
    """log p of the training prompts after a step of 1e-4 on all of them, against the column sums."""
    task = Operator(n_train=6)
    policy = load_policy("operator").double()
    found = sampled.influences(policy, task)
    assert len(found["matrix"]) == 6 and found["operators"] == sorted(found["operators"])
    prompts = task.prompts()
    answers = task.right[prompts.ids][:, None]
    mask = torch.ones_like(answers, dtype=torch.bool)

    def log_p():
        return token_logps(policy, prompts.tokens, prompts.mask, answers, mask).sum((1, 2))

    before = log_p()
    p = before.detach().exp()
    push = exact.group_values(torch.stack([p, 1 - p], 1).log(), torch.tensor([[True, False]]), 8, ddof=1)[:, 0] * p
    gradients = torch.autograd.grad((push / (1 - p) * before).mean(), list(policy.parameters()))
    with torch.no_grad():
        for parameter, gradient in zip(policy.parameters(), gradients, strict=True):
            parameter += 1e-4 * gradient
        change = (log_p() - before) / 1e-4
    order = torch.argsort(task.operators[prompts.ids].double() - p / 2)
    predicted = first_order_change(torch.tensor(found["matrix"], dtype=torch.float64), 1.0)
    assert torch.allclose(change[order], predicted, rtol=0.02, atol=0.02)
    assert predicted.abs().max() > 0.1


def test_prompts_of_one_hidden_operator_help_each_other_and_hurt_the_others():
    found = sampled.influences(load_policy("operator"), Operator())
    assert found["negative_same"] < 0.2 < 0.8 < found["negative_other"]


def test_the_record_of_the_gpt_rung_has_these_claims(failing):
    assert failing(recorded(LESSON, "gpt"), "gpt") == ["G12", "G13"]  # what the toy does not show


def test_each_claim_of_the_gpt_rung_fails_where_its_record_says_otherwise(verdicts):
    """Every run a copy of GRPO's, whose figures stay where they were at the start."""
    still = recorded(LESSON, "gpt")
    still["runs"] = {
        name: {k: [[path[0] + 1e-3 * i for _ in path] for i, path in enumerate(paths)] for k, paths in of.items()}
        for name, of in still["runs"].items()
    }
    for figures_of in still["runs"].values():
        figures_of["train rank"] = [[0.1 * i] for i in range(5)]
    still["runs"]["SELF"]["train pass@1"] = [[0.8 * path[-1]] for path in still["runs"]["GRPO"]["train pass@1"]]
    assert not any(verdicts(still, "gpt").values())


def test_a_rung_that_was_not_run_says_how_it_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    assert picture(LESSON, "llm", "training") is None
    assert "toykit run 02 --rung llm --device cuda --record" in capsys.readouterr().out
