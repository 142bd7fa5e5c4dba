"""The problems of the atlas: what they claim to be, on both rungs."""

from __future__ import annotations

import pytest
import torch

from toykit.atlas import problems
from toykit.atlas.problems import PROBLEMS
from toykit.exact import kl
from toykit.rollouts import greedy

every_problem = pytest.mark.parametrize("problem", [build() for build in PROBLEMS.values()], ids=lambda p: p.name)


@every_problem
def test_right_completions_have_unequal_probability_and_the_reference_is_mostly_wrong(problem):
    law = problem.law(problem.table())
    assert torch.allclose(law.exp().sum(-1), torch.ones(len(law), dtype=torch.float64))
    for row, right in zip(law.exp(), problem.right, strict=True):
        found = row[right]
        assert len(found) >= 2 and found.max() > 1.5 * found.min()
        assert 0.05 < found.sum() < 0.25 and found.min() > 3 / 1024  # which 1024 samples show
    likeliest = greedy(problem.table(), problem.task, problem.task.prompts()).rewards
    assert likeliest.mean() < 0.5


@every_problem
def test_the_task_scores_by_its_table_and_a_prompt_holds_two_different_tokens(problem):
    task = problem.task
    n = len(task.asked)
    found = task.score(torch.arange(n), *(x.expand(n, *x.shape) for x in (task.tree.tokens, task.tree.mask)))
    assert torch.equal(found, task.rewards)
    assert all(a != b and max(a, b) < task.vocab.size for a, b in task.asked)


def test_the_lengths_differ_and_the_rewards_are_graded():
    problem = PROBLEMS["lengths"]()
    length = problem.task.tree.mask.sum(-1)
    assert set(length.tolist()) == {1, 2, 3}
    assert sorted(length[problem.right[0]].tolist()) == [2, 3, 3]
    assert problem.task.rewards.unique().tolist() == [0.0, 0.5, 1.0]


def test_a_step_on_one_prompt_of_shared_moves_the_others():
    problem = PROBLEMS["shared"]()
    policy = problem.table()
    before = problem.law(policy)
    tokens = torch.tensor([problem.task.asked[0]])
    policy(input_ids=tokens).logits[0, -1].log_softmax(-1)[0].backward()
    with torch.no_grad():
        policy.table += policy.table.grad
    moved = kl(problem.law(policy), before)
    assert (moved > 1e-4).all()


def test_a_network_is_fitted_to_the_law_of_the_table(monkeypatch):
    monkeypatch.setattr(problems, "FIT_STEPS", 150)
    problems._fitted.cache_clear()
    problem = PROBLEMS["ladder"]()
    apart = kl(problem.law(problem.table()), problem.law(problem.reference("gpt")))
    problems._fitted.cache_clear()
    assert 0 <= float(apart) < 1e-3


def test_an_unknown_rung_is_refused():
    with pytest.raises(ValueError, match="rung"):
        PROBLEMS["ladder"]().reference("llm")
