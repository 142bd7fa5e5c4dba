"""One run of the atlas: its data, its learning rate, its figures."""

from __future__ import annotations

import math

import pytest
import torch

from toykit.atlas import MEASURES, left_out, methods, runs
from toykit.atlas.problems import PROBLEMS
from toykit.exact import posterior
from toykit.objectives import CATALOGUE
from toykit.objectives.offline import OFFLINE
from toykit.rollouts import Demonstrations, Labelled, Pairs

LADDER = PROBLEMS["ladder"]()


def test_every_method_of_the_catalogue_is_trained_or_left_out_with_a_reason():
    assert {*methods(), *left_out()} == {*CATALOGUE, *OFFLINE}
    assert not {*methods()} & {*left_out()}
    assert "values" in left_out()["cql"] and "reward model" in left_out()["bradley_terry"]


def test_the_figures_of_a_law_written_by_hand():
    before = LADDER.law(LADDER.table())
    right = LADDER.right[0].nonzero()[:, 0]
    law = torch.full((1, 25), -torch.inf, dtype=torch.float64)
    law[0, right[0]], law[0, right[1]] = math.log(0.5), math.log(0.25)
    law[0, (~LADDER.right[0]).nonzero()[0]] = math.log(0.25)
    found = runs.measured(LADDER, law.clamp(min=-745), before)
    assert found["pass@1"] == pytest.approx(0.75)
    assert found["pass@8"] == pytest.approx(1 - 0.25**8)
    assert found["entropy"] == pytest.approx(1.5 * math.log(2))
    assert found["support kept"] == 0.5  # two of four
    assert list(found) == list(MEASURES)


def test_the_posterior_is_at_distance_0_from_itself():
    before = LADDER.law(LADDER.table())
    target = posterior(before, LADDER.task.rewards, runs.BETA)
    assert runs.measured(LADDER, target, before)["KL to posterior"] == pytest.approx(0, abs=1e-12)
    assert runs.measured(LADDER, before, before)["support kept"] == 1


def test_the_rate_makes_the_first_update_as_large_as_asked_for_and_undoes_a_constant_factor():
    rates = {name: runs.rate(name, LADDER, "exact") for name in ("rloo", "dr_grpo")}
    found = [runs.first_kl(name, LADDER, "exact", lr) for name, lr in rates.items()]
    assert found == pytest.approx([runs.FIRST_KL] * 2, rel=runs.CLOSE)
    # Dr. GRPO's mean holds the sample itself, and it divides by the horizon of two tokens
    assert rates["dr_grpo"] / rates["rloo"] == pytest.approx(2 / (1 - 1 / runs.GROUP), rel=runs.CLOSE)


def test_a_method_that_does_not_move_and_one_that_is_never_finite_have_no_rate(monkeypatch):
    monkeypatch.setattr(runs, "first_kl", lambda *given: 0.0)
    with pytest.raises(ValueError, match="must move the policy in its first update"):
        runs.rate("rloo", LADDER, "exact")
    monkeypatch.setattr(runs, "first_kl", lambda *given: math.nan)
    with pytest.raises(ValueError, match="must have a learning rate"):
        runs.rate("rloo", LADDER, "exact")

    def wrong(*given):
        raise ValueError("rewards must have shape [1, 25]")

    monkeypatch.setattr(runs, "first_kl", wrong)
    with pytest.raises(ValueError, match="rewards must have shape"):
        runs.rate("rloo", LADDER, "exact")


@pytest.mark.parametrize(
    ("name", "kind"), [("dpo", Pairs), ("sft", Demonstrations), ("kto", Labelled), ("una", Labelled)]
)
def test_an_offline_method_has_the_data_that_it_learns_from(name, kind):
    problem = PROBLEMS["lengths"]()
    data = runs.given(name, problem, problem.table(), seed=3)
    assert isinstance(data, kind) and float(data.weights.sum()) == pytest.approx(1)
    rewards = problem.task.score(data.prompt_ids, data.completions, data.mask)
    if name == "dpo":
        assert len(rewards) == runs.DATA // 2
        gap = (rewards[:, 0] - rewards[:, 1]).mean()
        assert gap > 0  # the judge prefers what is rewarded
    elif name == "sft":
        assert bool((rewards == 1).all())
    else:
        labels = data.labels.unique().tolist()
        assert labels == ([0.0, 1.0] if name == "kto" else [0.0, 0.5, 1.0])


@pytest.mark.parametrize("name", ["rl_plus", "calibrl"])
def test_a_method_with_solutions_has_the_first_right_completion_of_each_prompt(name):
    made = runs.trainer(name, LADDER, "exact", 0.5, seed=0)
    first = LADDER.task.tree.tokens[LADDER.right[0].nonzero()[0]]
    assert torch.equal(made.strategy.solutions.completions[0], first)
    assert made.rollouts()[0].group_size == runs.GROUP


@pytest.mark.parametrize("name", ["rloo", "dpo", "luffy"])
def test_a_run_is_that_of_its_seed(name):
    first, again, other = (runs.run(name, LADDER, "exact", 0.5, seed, steps=3) for seed in (1, 1, 2))
    assert first == again != other
