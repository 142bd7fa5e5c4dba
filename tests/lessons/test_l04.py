"""Lesson 04: every exact claim holds, every check can fail, and the sampled rungs run as they are called."""

from __future__ import annotations

import copy
import json

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from toykit.lessons import claims, load, picture, recorded, run
from toykit.lessons.l04_vagram import explorer, figures, linear, mirror, sampled
from toykit.lessons.l04_vagram.rows import Rows
from toykit.lessons.l04_vagram.value_aware_fit import fit_value_aware, levenberg_marquardt
from toykit.lessons.l04_vagram.world_models import METHODS

LESSON = load("04")
EXACT = ["C1", "C2", "C3", "C4a", "C4b", "C4c", "C4d", "C5a", "C5b", "C5c", "C6a", "C6b", "C6c", "C6d", "C7", "P1"]


def test_every_exact_claim_holds(results, verdicts):
    found = verdicts(results)
    assert list(found) == EXACT
    assert all(holds is True for holds in found.values())


def same_ends(results):
    results["mirror"]["ends"]["IterVAML"]["truth"] = results["mirror"]["ends"]["VaGraM"]["truth"]


def no_mirror(results):
    results["mirror"]["ends"]["IterVAML"]["mirror"] = [False] * 40


def same_costs(results, sweep, point, value=5.9, method="MSE"):
    place = results["linear"]["points"][sweep].index(point)
    for path in results["linear"]["cost"][sweep][method]:
        path[place] = value


SPOILED = {
    "C1": (("identities", "linear_value"), 1e-9),
    "C2": (("identities", "bound", "largest"), 1.001),
    "C3": (("identities", "constant", "minimiser"), 1e-3),
    "C4a": (("mirror", "gradients", "mirror", "IterVAML"), 1e-3),
    "C4b": (("mirror", "curvature", "VaGraM"), 0.0),
    "C4c": same_ends,
    "C4d": (("mirror", "moved", "controls", "mirror"), -2.12),
    "C5a": lambda r: same_costs(r, "rank", 2, 5.8),
    "C5b": (("linear", "cost", "std", "VaGraM"), [[5.83] * 5]),
    "C5c": lambda r: same_costs(r, "rank", 2, 5.8, "scaled MSE"),
    "C6a": lambda r: same_costs(r, "distractors", 4, 5.8),
    "C6b": lambda r: same_costs(r, "distractors", 0, 5.83),
    "C6c": (("linear", "mse", "distractors", "MSE"), [[0.0, 1.0, 30.0, 30.0]] * 5),
    "C6d": lambda r: same_costs(r, "std", 4.0, 5.8),
    "C7": lambda r: [one.update(loss=[1e-3]) for one in r["linear"]["value_aware"]],
    "P1": (("identities", "turned", "VaGraM"), 0.0),
}


@pytest.mark.parametrize("claim", EXACT)
def test_a_result_that_contradicts_a_claim_fails_its_check_and_no_other(spoiled, failing, claim):
    assert failing(spoiled(SPOILED[claim])) == [claim]


def test_a_mirror_that_is_never_reached_and_costs_that_are_optimal_fail_too(results, failing):
    wrong = copy.deepcopy(results)
    no_mirror(wrong)
    for one in wrong["linear"]["value_aware"]:
        one["cost"] = [wrong["linear"]["optimum"]]
    assert failing(wrong) == ["C4c", "C7"]


def test_numbers_are_those_of_the_card(results):
    found = results["mirror"]
    assert found["losses"]["mirror"]["IterVAML"] < 1e-29
    assert found["losses"]["mirror"]["VaGraM"] == pytest.approx(184.355, abs=5e-4)
    counts = {m: [sum(found["ends"][m][at]) for at in ("truth", "mirror")] for m in mirror.METHODS}
    assert counts == {"MSE": [40, 0], "IterVAML": [33, 6], "VaGraM": [40, 0]}
    assert found["moved"]["value_error"] == pytest.approx(80.4)
    costs, errors = results["linear"]["cost"], results["linear"]["mse"]
    assert costs["distractors"]["MSE"][0] == pytest.approx([5.8266, 5.898, 36.330, 36.453], abs=6e-4)
    assert costs["std"]["MSE"][0] == pytest.approx([5.8267, 5.8272, 5.842, 8.437, 36.330], abs=6e-4)
    assert costs["rank"]["MSE"][0] == pytest.approx([36.45, 36.33, 5.896, 5.827], abs=5e-3)
    assert costs["rank"]["VaGraM"][0] == pytest.approx([7.021, 5.8266, 5.8266, 5.8266], abs=6e-4)
    assert [errors["distractors"][m][0][2] for m in ("MSE", "VaGraM")] == pytest.approx([2.04, 14.50], abs=5e-3)
    assert (results["linear"]["optimum"], results["linear"]["idle"]) == pytest.approx((5.8266, 36.4535), abs=5e-5)
    assert all(min(path[2:]) > 30 for path in costs["distractors"]["MSE"])


def test_the_distractors_have_no_value_and_no_control_and_scale_with_their_std():
    quiet, loud = (linear.Data.draw(3, 2, std) for std in (1.0, 4.0))
    assert loud.value.P[2:].abs().max() == 0 and loud.lqr.B[2:].abs().max() == 0
    assert torch.equal(loud.inputs[:, [0, 1, 4]], quiet.inputs[:, [0, 1, 4]])
    assert torch.allclose(loud.inputs[:, 2:4], 4 * quiet.inputs[:, 2:4])
    assert torch.allclose(loud.after, loud.inputs @ torch.cat([loud.lqr.A, loud.lqr.B], 1).mT)
    assert loud.optimum() == pytest.approx(quiet.optimum()) and loud.idle() == pytest.approx(quiet.idle())


def test_the_true_model_costs_the_optimum_and_one_whose_control_explodes_costs_infinity():
    data = linear.Data.draw(0, 1, 1.0)
    truth = torch.cat([data.lqr.A, data.lqr.B], 1)
    assert data.cost_of(truth) == pytest.approx(data.optimum(), abs=1e-6)
    assert data.mse(truth) < 1e-25
    wrong = truth.clone()
    wrong[0, 0], wrong[1, 3] = 3.0, -0.01  # fast growth, and a weak control of the wrong sign
    assert data.cost_of(wrong) == float("inf")


def test_levenberg_marquardt_finds_a_line_and_each_start_by_itself():
    x = torch.linspace(0, 1, 20, dtype=torch.float64)

    def residuals(p):
        return p[:, :1].exp() * x + p[:, 1:] - (2 * x + 1), torch.stack(
            [p[:, :1].exp() * x, torch.ones(len(p), 20)], -1
        )

    start = torch.tensor([[0.0, 0.0], [3.0, -5.0]], dtype=torch.float64)
    found = levenberg_marquardt(residuals, start)
    assert torch.allclose(found, torch.tensor([[np.log(2), 1.0]] * 2), atol=1e-9)
    assert torch.allclose(levenberg_marquardt(residuals, start[1:]), found[1:], atol=1e-12)


@pytest.mark.parametrize("rank", [1, 2])
def test_value_aware_fits_are_stationary_of_their_rank_and_right_in_value_where_the_rank_allows(rank):
    data = linear.Data.draw(0, 2, 4.0)
    value = linear.Quadratic(data.value.P[:2, :2])
    models = fit_value_aware(data.inputs, data.after[:, :2], value, rank, torch.Generator().manual_seed(0), 4)
    assert torch.linalg.matrix_rank(models, atol=1e-9).tolist() == [rank] * 4
    residual = value(data.inputs @ models.mT) - value(data.after[:, :2])
    if rank == 2:
        assert residual.abs().max() < 1e-9
    else:
        losses = residual.square().mean(-1)
        assert losses.min() > 1 and losses.max() == pytest.approx(losses.min().item(), rel=1e-6)


def test_the_explorer_draws_every_preset_and_says_it_in_words(draws_every_preset):
    made = explorer.plane_explorer(live=False)
    assert draws_every_preset(made)
    words = explorer.plane_words(rank=2, std=4.0)
    assert "MSE 36.33 (squared error 2.04)" in words and "VaGraM 5.83 (squared error 14.50)" in words
    assert set(explorer.worth()) == {(r, s) for r in explorer.RANK.values for s in explorer.STD.values}


@pytest.mark.parametrize("curvature", explorer.CURVATURE.values)
def test_the_planes_show_what_the_losses_are(curvature):
    position = 0.5
    observed, gradient = explorer.observation(position, curvature)
    point = observed.clone().requires_grad_()
    assert torch.allclose(torch.autograd.grad(explorer.value(point, curvature), point)[0], gradient)
    axis, states = explorer.plane()
    found = explorer.losses(position, curvature)
    at = (30, 150)
    error = states[at] - observed
    assert states[at].tolist() == [axis[150], axis[30]]
    assert found["MSE"][at].item() == pytest.approx(error.square().sum().item())
    assert found["VaGraM"][at].item() == pytest.approx((gradient * error).square().sum().item())
    gap = explorer.value(states[at], curvature) - explorer.value(observed, curvature)
    assert found["IterVAML"][at].item() == pytest.approx(gap.square().item())
    x, y = explorer.isolines(curvature, explorer.value(observed, curvature).item())
    line = torch.tensor(np.stack([x, y], -1)[np.isfinite(x)])
    assert (explorer.value(line, curvature) - explorer.value(observed, curvature)).abs().max() < 2e-3


def test_figures_are_made_from_results(results):
    for made in LESSON.figures["exact"].values():
        assert isinstance(made(results), Figure)


SHORT = {
    "seeds": (3,),
    "settings": ((0, 4), (2, 4)),
    "model_steps": 4,
    "sweeps": 1,
    "episodes": 2,
    "stops": (0, 1),
}


def test_the_gpt_rung_measures_every_method_and_goes_on_where_it_stopped(tmp_path):
    found = run(LESSON, "gpt", **SHORT, folder=tmp_path)
    assert list(found["pendulum"]) == ["0,4", "2,4"]
    for m, by_method in ((0, found["pendulum"]["0,4"]), (2, found["pendulum"]["2,4"])):
        assert set(by_method) == {*METHODS, "simulator"}
        assert ("distractor_r2" in by_method["MSE"]) == bool(m)
        assert all(len(values) == 1 for one in by_method.values() for values in one.values())
    assert set(found["rows"]["runs"]) == {"plain", "weighted"}
    kept = json.loads((tmp_path / "pendulum_2_4.json").read_text())
    kept["MSE"]["shooting"] = [1.0]
    (tmp_path / "pendulum_2_4.json").write_text(json.dumps(kept))
    again = run(LESSON, "gpt", **SHORT, folder=tmp_path)
    assert again["pendulum"]["2,4"] == kept
    assert again["pendulum"]["0,4"] == found["pendulum"]["0,4"] and again["rows"] == found["rows"]


@pytest.fixture
def double():
    """Torch's default dtype as in a notebook."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def test_the_pendulum_alone_is_the_same_again(double):
    short = SHORT | {"seeds": (0,), "settings": ((2, 4),), "stops": (), "episodes": 1}
    first = run(LESSON, "gpt", **short)
    torch.set_default_dtype(torch.float32)
    assert run(LESSON, "gpt", **short)["pendulum"] == first["pendulum"] and first["rows"] == {}


def test_language_models_are_made_in_single_precision(monkeypatch, double):
    def made(make, sizes, *rest):
        return {"dtype": str(next(make(Rows(**sizes), 0).parameters()).dtype)}

    monkeypatch.setattr(sampled.row_models, "experiment", made)
    for found in (sampled.gpt(settings=()), sampled.llm(size="tiny")):
        assert found["rows"] == {"dtype": "torch.float32"}
    assert torch.get_default_dtype() == torch.float64


def test_the_llm_recipe_runs_on_a_tiny_model_and_resumes(tmp_path):
    found = run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path)
    assert found["parameters"] < 50_000
    assert set(found["rows"]["runs"]) == {"plain", "weighted"}
    assert run(LESSON, "llm", seeds=(0,), size="tiny", folder=tmp_path) | {"made": 0} == found | {"made": 0}
    assert isinstance(LESSON.figures["llm"]["rows"](found), Figure)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is CUDA")
def test_the_llm_recipe_refuses_cuda_where_there_is_none():
    with pytest.raises(ValueError, match="device must be one that is there, got 'cuda'"):
        run(LESSON, "llm", size="tiny", device="cuda")
    with pytest.raises(ValueError, match="size must be one of 24m, tiny, got 'big'"):
        run(LESSON, "llm", size="big")


def test_the_record_of_the_gpt_rung_has_these_claims():
    rows = claims(LESSON, "gpt")
    assert [row["claim"] for row in rows] == [f"G{i}" for i in range(1, 11)]


def made_up(better=True):
    """Results of the gpt rung in which every effect is there, or the opposite of each."""
    wobble = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    sign = 1 if better else -1
    score = {"MSE": -300, "scaled MSE": -250, "Taylor": -200, "IterVAML": -200, "VaGraM": -200 + sign * 100}
    few = {
        "MSE": -150,
        "scaled MSE": -150,
        "Taylor": -250,
        "IterVAML": -150 - sign * 50,
        "VaGraM": -150 + (not better) * 9,
    }

    def setting(scores):
        return {m: {k: (s + wobble).tolist() for k in ("shooting", "greedy")} for m, s in scores.items()}

    paths = {
        name: {f: [[0.0, 0.5 + gain]] * 5 for f in ("dials", "goal")}
        for name, gain in (("plain", 0.0), ("weighted", sign * 0.2))
    }
    if not better:
        score |= {"MSE": -200}
    small = {"MSE": -300, "VaGraM": -300 + sign * 50}
    pendulum = {"0,16": setting(few), "8,16": setting(score), "0,5": setting(small)}
    return {"pendulum": pendulum, "rows": {"runs": paths}, "made": {}}


def test_every_sampled_claim_follows_its_results_both_ways(verdicts):
    assert set(verdicts(made_up(), "gpt").values()) == {True}
    assert set(verdicts(made_up(better=False), "gpt").values()) == {False}
    llm = {"rows": made_up()["rows"], "made": {}}
    assert verdicts(llm, "llm") == {"L1": True, "L2": True}


def test_two_seeds_decide_nothing(verdicts):
    found = made_up()
    for setting in found["pendulum"].values():
        for one in setting.values():
            one |= {name: values[:2] for name, values in one.items()}
    for one in found["rows"]["runs"].values():
        one |= {name: paths[:2] for name, paths in one.items()}
    assert set(verdicts(found, "gpt").values()) == {None}


def test_a_rung_that_was_not_run_says_how_it_is(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("TOYKIT_DATA", str(tmp_path))
    assert picture(LESSON, "llm", "rows") is None
    assert "toykit run 04 --rung llm --device cuda --record" in capsys.readouterr().out
    assert all(row["holds"] is None and not row["recorded"] for row in claims(LESSON, "llm"))


def test_recorded_figures_are_drawn():
    found = recorded(LESSON, "gpt")
    assert isinstance(picture(LESSON, "gpt", "pendulum"), Figure)
    assert isinstance(picture(LESSON, "gpt", "rows", live=found), Figure)
    rows = figures.table_of_returns(found)
    assert [(row["width"], row["distractors"]) for row in rows] == [(5, 0), (16, 0), (16, 4), (16, 8), (64, 8)]
