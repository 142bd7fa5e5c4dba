"""Positive and negative samples alone: by hand, and their expected steps over all groups."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toykit.exact import group_expectation, mean_score
from toykit.objectives import Advantage, OneSign, PolicyGradient, method
from toykit.rollouts import Rollouts

P = torch.tensor([0.40, 0.10, 0.05, 0.25, 0.20], dtype=torch.float64)
RIGHT = torch.tensor([1.0, 1.0, 0.0, 0.0, 0.0], dtype=torch.float64)


def batch(index: Tensor) -> Rollouts:
    """Groups int64 [M, G] of answers of one token that P drew, each a batch of its own."""
    lead = (len(index), 1)
    return Rollouts(
        prompts=torch.zeros(*lead, 1, dtype=torch.int64),
        prompt_mask=torch.ones(*lead, 1, dtype=torch.bool),
        prompt_ids=torch.zeros(lead, dtype=torch.int64),
        completions=index[:, None, :, None],
        mask=torch.ones(*lead, index.shape[1], 1, dtype=torch.bool),
        old_logp=P.log()[index][:, None, :, None],
        rewards=RIGHT[index][:, None],
        weights=torch.full((*lead, index.shape[1]), 1 / index.shape[1], dtype=torch.float64),
    )


def steps(objective: PolicyGradient, index: Tensor) -> Tensor:
    """Ascent directions [M, 5] of groups [M, G] in the logits."""
    logits = P.log().expand(len(index), -1).clone().requires_grad_()
    logp = logits.log_softmax(-1).gather(1, index)[:, None, :, None]
    loss, _ = objective.loss(logp, objective.prepare(batch(index)))
    return -torch.autograd.grad(loss.sum(), logits)[0]


def test_advantages_by_hand():
    """One right of four: 3/4 for it, -1/4 for the others."""
    group = batch(torch.tensor([[0, 2, 3, 3]]))
    found = {name: method(name).objective.prepare(group).advantages.flatten().tolist() for name in ("psr", "nsr")}
    assert found == {"psr": [0.75, 0.0, 0.0, 0.0], "nsr": [0.0, -0.25, -0.25, -0.25]}


@pytest.mark.parametrize("size", [2, 3, 4])
def test_both_expected_steps_have_the_direction_of_the_policy_gradient(size):
    p = float((P * RIGHT).sum())
    ascent = (1 - 1 / size) * mean_score(P, RIGHT)
    for name, share in (("psr", 1 - p), ("nsr", p)):
        made = group_expectation(lambda leaves, n=name: steps(method(n).objective, leaves), P.log(), size)
        assert torch.allclose(made, share * ascent, rtol=0, atol=1e-12)


def test_the_parts_add_up_to_the_whole():
    groups = torch.cartesian_prod(*[torch.arange(5)] * 3)
    whole = PolicyGradient(Advantage(mean="group"))
    parts = [steps(whole.with_(transforms=(OneSign(keep),)), groups) for keep in ("positive", "negative")]
    assert torch.allclose(sum(parts), steps(whole, groups), rtol=0, atol=1e-14)


def test_another_sign_is_refused():
    with pytest.raises(ValueError, match="keep must be one of negative, positive, got 'both'"):
        OneSign("both")
