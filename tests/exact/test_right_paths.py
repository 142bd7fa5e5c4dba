from __future__ import annotations

from functools import partial

import pytest
import torch

from toykit.exact import ascend, leaf_log_probs, likelihood_gradient
from toykit.exact.expected_groups import expected_group_update, linear_logits, shared
from toykit.exact.right_paths import RightPaths, even_push, group_push
from toykit.tasks import FeatureTree, Tree

TASKS = [FeatureTree(n_prompts=5, n_actions=3, horizon=2, n_features=4, n_correct=2, seed=seed) for seed in (0, 1)]
TREE = TASKS[0].tree
FEATURES = torch.stack([t.features for t in TASKS])
CORRECT = torch.stack([t.rewards > 0 for t in TASKS])
WEIGHTS = torch.stack([t.initial_weights for t in TASKS])
PATHS = RightPaths.of(TREE, torch.stack([t.correct for t in TASKS]), FEATURES)


def test_log_probs_are_those_of_the_leaves():
    every = leaf_log_probs(TREE, linear_logits(WEIGHTS, FEATURES))
    expected = every.gather(-1, torch.stack([t.correct for t in TASKS]))
    assert torch.allclose(PATHS.log_probs(WEIGHTS), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize("group_size", [2, 8])
@pytest.mark.parametrize(
    "estimator",
    [{"mean": "group", "std": "group", "ddof": 0}, {"mean": "leave_one_out"}, {"mean": "batch", "std": "batch"}],
    ids=["grpo", "rloo", "batch"],
)
def test_the_step_of_a_group_method_is_that_of_the_whole_enumeration(group_size, estimator):
    ours = PATHS.gradient(partial(group_push, group_size=group_size, **estimator))(WEIGHTS)
    whole = {"std": "none", **estimator}

    def update(logits: torch.Tensor) -> torch.Tensor:
        return expected_group_update(TREE, logits, CORRECT, group_size, **whole)

    theirs = shared(update, FEATURES)(WEIGHTS)
    assert theirs.abs().max() > 1e-3
    assert torch.allclose(ours, theirs, rtol=0, atol=1e-15)


def test_the_step_of_imitation_is_that_of_the_likelihood():
    target = CORRECT.double() / 2
    theirs = shared(lambda z: likelihood_gradient(TREE, z, target), FEATURES)(WEIGHTS)
    assert torch.allclose(PATHS.gradient(even_push)(WEIGHTS), theirs, rtol=0, atol=1e-15)


def test_settings_go_together_and_apart():
    path = ascend(PATHS.gradient(group_push), WEIGHTS, 1.0, [3])[0]
    for i, task in enumerate(TASKS):
        alone = RightPaths.of(TREE, task.correct, task.features)
        assert torch.allclose(ascend(alone.gradient(group_push), WEIGHTS[i], 1.0, [3])[0], path[i], atol=1e-15)


def test_pushes_by_hand():
    """p = 1/4 + 1/8 = 3/8. RLOO's weight is p (1 - p), so its pushes are the probabilities themselves."""
    log_pi = torch.tensor([[0.25, 0.125]], dtype=torch.float64).log()
    loo = group_push(log_pi, 4, mean="leave_one_out")
    assert loo.flatten().tolist() == pytest.approx([0.25, 0.125], abs=1e-15)
    grpo = group_push(log_pi, 2, mean="group", std="group", ddof=0)  # h_2 = 2 p (1 - p) / 2
    assert grpo.flatten().tolist() == pytest.approx([0.25, 0.125], abs=1e-15)
    assert even_push(log_pi).tolist() == [[0.5, 0.5]]


def test_a_prompt_that_is_always_or_never_solved_is_not_pushed():
    log_pi = torch.tensor([[0.5, 0.5], [0.0, 0.0], [0.5, 0.0]], dtype=torch.float64).log()
    pushes = group_push(log_pi, 8, mean="group", std="group", ddof=0)
    assert pushes[:2].tolist() == [[0, 0], [0, 0]]
    assert pushes[2, 0] > 0 and pushes[2, 1] == 0


def test_bad_input_is_named():
    uneven = Tree.of([(0,), (1, 0), (1, 1)])
    with pytest.raises(ValueError, match=r"tree must have completions of one length, got \[1, 2\]"):
        RightPaths.of(uneven, torch.zeros(1, 1, dtype=torch.int64), torch.ones(1, 2))
    with pytest.raises(ValueError, match=r"features must have shape \[5, 4\], got \[3, 4\]"):
        RightPaths.of(TREE, TASKS[0].correct, TASKS[0].features[:3])
