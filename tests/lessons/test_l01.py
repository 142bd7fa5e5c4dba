"""Lesson 01: every theorem holds, every check can fail, and the sampled rungs run as they are called."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from matplotlib.figure import Figure

from toykit.exact import elbo, kl
from toykit.lessons import claims, judge, load, picture, run
from toykit.lessons.l01_kl_as_bayes import exact, figures, sampled
from toykit.tasks import Letters
from toykit.training import load_policy

LESSON = load("01")


def test_every_theorem_holds(results, verdicts):
    found = verdicts(results)
    assert list(found) == ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "S1"]
    assert all(holds is True for holds in found.values())


SPOILED = {
    "C1": (("identity", "gradient_error"), 1e-9),
    "C2": (("collapse", "gradient_at_posterior"), 1e-6),
    "C3": (("collapse", "objective"), [0.7, 0.8]),
    "C4": (("filter", "plain_kl_within"), 0.0),
    "C5": (("mean_field", "marginals"), [0.5, 0.5, 0.5, 0.6]),
    "C6": (("moments", "left"), 1.0),
    "C7": (("variance", "target_z"), {"mean": [0.0], "variance": 1.0}),
    "S1": (("trainer", "errors"), {"plain": 1e-6}),
}


@pytest.mark.parametrize("claim", SPOILED)
def test_a_result_that_contradicts_a_theorem_fails_its_check_and_no_other(spoiled, failing, claim):
    assert failing(spoiled(SPOILED[claim])) == [claim]


def test_numbers_are_those_of_the_card(results):
    numbers, found = results["numbers"], results["collapse"]
    expected = {
        "prior_entropy": 3.6955,
        "posterior_entropy": 3.1122,
        "prior_reward": 0.5969,
        "posterior_reward": 0.8732,
        "max_reward": 0.9812,
        "evidence": 0.76968,
    }
    assert numbers == pytest.approx(expected, abs=6e-5)
    at = [found["steps"].index(step) for step in (100, 1000, 10_000)]
    assert [found["entropy"]["plain"][i] for i in at] == pytest.approx([1.440, 0.204, 0.0225], abs=6e-4)
    assert [found["kl"]["kl_rl"][i] for i in at] == pytest.approx([0.123, 0.0105, 1.4e-4], rel=0.01)
    assert [found["kl"]["forward_kl"][i] for i in at] == pytest.approx([0.0436, 1.4e-3, 7.2e-6], rel=0.02)
    assert results["filter"]["prior_mass"] == pytest.approx(0.0508, abs=5e-5)
    assert results["mean_field"]["forward_kl"]["kl"][0] == pytest.approx(1.50425, abs=1e-5)
    assert results["mean_field"]["reverse_kl"]["kl"][0] == pytest.approx(0.73127, abs=1e-5)
    assert results["moments"]["multipliers"] == pytest.approx([-0.113475, 1.617341], abs=1e-6)
    variances = [
        results["variance"][f"{where}_{b}"]["variance"] for where in ("prior", "target") for b in ("zero", "z")
    ]
    assert variances[:3] == pytest.approx([8506, 4138, 3790], abs=0.5)


@pytest.mark.parametrize("objective", exact.OBJECTIVES)
def test_a_slider_at_any_beta_shows_a_law_and_its_bound(objective):
    task, _, log_prior = exact.problem()
    paths = figures.flows_by_beta(figures.BETA.values, figures.STEPS)[exact.OBJECTIVES[objective]]
    assert torch.allclose(paths.exp().sum(-1), torch.ones(paths.shape[:-1], dtype=paths.dtype), atol=1e-12)
    for i, beta in enumerate(figures.BETA.values):
        parts = elbo(paths[:, i], log_prior, task.rewards[0], beta)
        assert torch.allclose(parts.value + parts.gap, parts.evidence, rtol=0, atol=1e-12)
        if objective == "KL-RL":  # it ascends J: the gap closes at every step that is shown
            assert (parts.gap.diff() < 0).all()
        elif objective != "plain RL":
            assert parts.gap[-1] < 0.1 * parts.gap[0]


def test_plain_rl_does_not_look_at_beta():
    plain = figures.flows_by_beta(figures.BETA.values, figures.STEPS)["plain"]
    assert torch.equal(plain[:, :1].expand_as(plain), plain)


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    explorer = figures.posterior_explorer(live=False)
    assert list(explorer.presets) == ["prior", "inferred", "collapsed", "other route"]
    assert draws_every_preset(explorer)
    words = figures.posterior_words(0.2, 1000, "plain RL")
    assert "J = 0.248" in words and "0.521" in words and "Greatest probability 0.96" in words


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


SHORT = {"seeds": (0, 1), "stops": (0, 2), "samples": 16, "prior_samples": 2048, "measured": 32}


def test_the_gpt_rung_measures_every_method_and_is_the_same_again():
    found = run(LESSON, "gpt", **SHORT)
    assert set(found["runs"]) == set(sampled.METHODS)
    assert found["made"]["seeds"] == [0, 1]
    for figures_of in found["runs"].values():
        assert all(len(paths) == 2 and len(paths[0]) == 2 for paths in figures_of.values())
    assert run(LESSON, "gpt", **SHORT)["runs"] == found["runs"]
    assert all(
        row["holds"] is None for row in judge(LESSON, "gpt", found, from_record=False)
    )  # two seeds decide nothing
    assert isinstance(LESSON.figures["gpt"]["training"](found, live=found), Figure)


def test_before_training_every_method_is_the_prior():
    found = run(LESSON, "gpt", seeds=(0,), stops=(0, 1), samples=8, prior_samples=2048, measured=32)
    starts = [{name: paths[0][0] for name, paths in figures_of.items()} for figures_of in found["runs"].values()]
    assert starts[0] == starts[1] == starts[2]
    assert abs(starts[0]["kl_to_prior"]) < 1e-5


def test_the_prior_knows_the_grammar():
    """Estimates of the base policy agree with the grammar's exact numbers within 4 standard errors (and its KL)."""
    task = Letters("contains_a")
    prior = sampled.Prior.of(load_policy("letters"), task, 16_384)
    mass = float(task.probabilities[1:].sum())
    assert float(prior.sample.rewards.mean()) == pytest.approx(mass, abs=4 * (mass / 16_384) ** 0.5 + 0.005)
    exact_entropy = task.entropy(task.values > 0)
    assert prior.filtered_entropy() == pytest.approx(exact_entropy, abs=0.3)


def test_the_distance_from_the_target_is_the_exact_one_under_enumeration():
    """KL(p, pi0) of the filtered prior is -log of its mass."""
    task = Letters("contains_a", horizon=2)
    prior = sampled.Prior.of(load_policy("letters"), task, 40_000)
    trainer = type("Still", (), {"policy": prior.policy})()
    found = sampled.measure(trainer, 0, prior, 2_000)
    mass = float(prior.sample.rewards.mean())
    assert found["kl_from_target"] == pytest.approx(-torch.tensor(mass).log().item(), abs=1e-5)


def test_the_llm_recipe_runs_on_a_tiny_model_and_resumes(tmp_path):
    found = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert found["parameters"] < 50_000
    assert set(found["runs"]) == set(sampled.METHODS)
    moved = found["runs"]["KL-RL"]["kl_to_prior"][0]
    assert abs(moved[0]) < 1e-5 < moved[-1]
    assert run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)["runs"] == found["runs"]
    assert isinstance(LESSON.figures["llm"]["training"](found), Figure)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_the_llm_recipe_refuses_cuda_where_there_is_none():
    with pytest.raises(ValueError, match="device must be one that is there, got 'cuda'"):
        run(LESSON, "llm", size="tiny", device="cuda")


def test_options_that_an_experiment_does_not_take_are_refused():
    with pytest.raises(ValueError, match="option of lesson 01 on rung llm must be one of .* did you mean 'size'"):
        run(LESSON, "llm", sise="tiny")
    with pytest.raises(ValueError, match="size must be one of 60m, tiny, got 'small'"):
        run(LESSON, "llm", size="small")


def test_a_rung_that_was_not_run_says_how_it_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    assert picture(LESSON, "llm", "training") is None
    assert "toykit run 01 --rung llm --device cuda --record" in capsys.readouterr().out
    assert all(row["holds"] is None and not row["recorded"] for row in claims(LESSON, "llm"))


def test_a_prior_without_success_cannot_be_filtered():
    task = Letters("contains_na")
    prior = sampled.Prior.of(load_policy("letters"), task, 4)
    with pytest.raises(ValueError, match="prior must succeed at least once"):
        prior.filtered_entropy()


def test_kl_to_the_posterior_falls_along_kl_rl(results):
    path = results["collapse"]["kl"]["kl_rl"]
    assert all(a > b for a, b in pairwise(path))
    task, _, log_prior = exact.problem()
    start = kl(log_prior, (log_prior + task.rewards[0] / 0.2).log_softmax(-1))
    assert path[0] == pytest.approx(start.item(), abs=1e-12)
