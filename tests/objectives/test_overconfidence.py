"""ACE: wrong completions that the policy prefers to its reference count more."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from toykit.exact import enumerate_groups, group_values
from toykit.objectives import Advantage, Overconfidence, PolicyGradient, log_ratio, method
from toykit.rollouts import Rollouts, of_lengths


def batch(ratios, rewards, lengths=None, **further) -> Rollouts:
    """One prompt whose completions have log-ratios `ratios`, all of it on the first of their tokens."""
    made = of_lengths(torch.tensor([lengths or [1] * len(ratios)]), torch.tensor([rewards]))
    first = torch.arange(made.horizon) == 0
    old = torch.where(first, torch.tensor([ratios], dtype=torch.float64)[..., None] - 9.0, -9.0)
    ref = torch.full(made.mask.shape, -9.0, dtype=torch.float64)  # where masked too, which must not count
    return made.with_(old_logp=old.masked_fill(~made.mask, 0.0), ref_logp=ref, **further)


def transformed(rule: Overconfidence, rollouts: Rollouts, advantages: tuple[float, ...]) -> list[float]:
    given = torch.tensor([advantages], dtype=torch.float64)[..., None] * rollouts.mask
    return rule(given, rollouts)[0, :, 0].tolist()


LN2 = math.log(2)
C = (0.0, math.log(3), -math.log(3), 5.0)  # ln(1 + e^c) = ln 2, ln 4, ln 4/3, ...


@pytest.mark.parametrize(
    ("rule", "factors"),
    [
        (Overconfidence(), (1 + LN2, 1 + 2 * LN2, 1 + math.log(4 / 3), 1 + math.log1p(math.exp(5)))),
        (Overconfidence(2.0, "relu"), (1, 1 + 2 * math.log(3), 1, 11)),
        (Overconfidence(0.5, "uniform"), (1.5, 1.5, 1.5, 1.5)),
        (Overconfidence(cap=math.log(3)), (1 + LN2, 1 + 2 * LN2, 1 + math.log(4 / 3), 1 + 2 * LN2)),
        (Overconfidence(0.0), (1, 1, 1, 1)),
    ],
)
def test_wrong_completions_by_hand(rule, factors):
    found = transformed(rule, batch(C, (0.0,) * 4), (-1.0, -1.0, -1.0, -1.0))
    assert found == pytest.approx([-f for f in factors], abs=1e-12)


def test_what_counts_is_what_the_task_calls_wrong_and_not_the_sign_of_the_advantage():
    """A right completion below the mean of a batch keeps its advantage; a wrong one above it does not."""
    found = transformed(Overconfidence(), batch((0.0, 0.0, 0.0), (1.0, 0.0, 0.0)), (-1.0, 1.0, 0.0))
    assert found == pytest.approx([-1.0, 1 + LN2, 0.0], abs=1e-12)
    shaped = batch((0.0, 0.0), (0.2, 0.9), extras={"task_rewards": torch.tensor([[1.0, 0.0]])})
    assert transformed(Overconfidence(), shaped, (-1.0, 1.0)) == pytest.approx([-1.0, 1 + LN2], abs=1e-12)


def test_the_log_ratio_is_the_completions_and_may_be_divided_by_its_length():
    rollouts = batch((3.0, 3.0), (0.0, 0.0), lengths=[1, 3])
    assert log_ratio(rollouts)[0].tolist() == pytest.approx([3.0, 3.0])
    found = transformed(Overconfidence(kind="relu", per_length=True), rollouts, (-1.0, -1.0))
    assert found == pytest.approx([-4.0, -2.0])


def test_a_completion_without_tokens_has_ratio_0():
    rollouts = batch((3.0, 3.0), (0.0, 0.0), lengths=[1, 0])
    assert log_ratio(rollouts)[0].tolist() == pytest.approx([3.0, 0.0])
    found = Overconfidence(per_length=True)(torch.ones_like(rollouts.old_logp), rollouts)
    assert found.isfinite().all()


def test_the_policy_that_is_trained_is_compared_and_not_the_one_that_drew():
    own = torch.full((1, 1, 1), -7.0, dtype=torch.float64)
    assert log_ratio(batch((3.0,), (0.0,), extras={"policy_logp": own})).item() == pytest.approx(2.0)


def test_equal_rewards_leave_nothing_to_multiply():
    for reward in (0.0, 1.0):
        prepared = method("ace").objective.prepare(batch((4.0, -4.0), (reward, reward)))
        assert not prepared.advantages.any()


def test_the_expected_step_over_all_groups_is_that_of_the_values_times_the_factor():
    """Groups of 3 of 4 answers, every one written out, through the objective itself."""
    log_pi, log_ref = torch.randn(2, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).log_softmax(-1)
    right = torch.tensor([True, False, False, False])
    rule, estimator = Overconfidence(1.7), Advantage("group", "group", ddof=0, eps=0.0)
    index, log_weight = enumerate_groups(log_pi, 3)
    groups = batch((0.0,) * 3, (0.0,) * 3)
    values = torch.zeros(4, dtype=torch.float64)
    for group, weight in zip(index, log_weight.exp(), strict=True):
        rewards, own, ref = right[group].double()[None], log_pi[group][None, :, None], log_ref[group][None, :, None]
        given = groups.with_(rewards=rewards, old_logp=own, ref_logp=ref)
        made = PolicyGradient(estimator, transforms=(rule,)).prepare(given).advantages[0, :, 0]
        values.index_add_(0, group, weight * made / 3)
    expected = log_pi.exp() * group_values(log_pi, right, 3) * torch.where(right, 1.0, rule.factor(log_pi - log_ref))
    assert torch.allclose(values, expected, rtol=0, atol=1e-15)


def test_ace_is_grpo_without_its_kl_and_with_the_factor(tricks):
    policies = tricks.policy(), tricks.policy(0.3, seed=1), tricks.policy(0.8, seed=2)
    rollouts = tricks.rollouts(torch.tensor([[0, 3, 2, 1], [4, 2, 0, 3]]), *policies)
    ace, grpo = (method(name).objective for name in ("ace", "grpo"))
    assert ace.with_(transforms=()) == grpo.with_(kl=None)
    c = (rollouts.extras["policy_logp"] - rollouts.ref_logp).sum(-1)
    factor = torch.where(rollouts.rewards > 0.5, 1.0, 1 + (1 + c.exp()).log())
    expected = grpo.with_(kl=None).prepare(rollouts).advantages * factor[..., None]
    assert torch.allclose(ace.prepare(rollouts).advantages, expected, rtol=0, atol=1e-12)
    assert (factor[:, :, None] > 1.05).any()


def test_only_what_compares_needs_a_reference():
    bare = replace(batch((1.0, 1.0), (0.0, 1.0)), ref_logp=None)
    assert method("ace").objective.needs_reference
    uniform = PolicyGradient(transforms=(Overconfidence(kind="uniform"),))
    assert not uniform.needs_reference and uniform.prepare(bare).advantages[0, 0].item() == pytest.approx(-1.0)
    with pytest.raises(ValueError, match="ref_logp must be given for an objective that compares with a reference"):
        method("ace").objective.prepare(bare)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"alpha": -1.0}, "alpha must be >= 0, got -1.0"),
        ({"kind": "softpluss"}, "kind must be one of relu, softplus, uniform, got 'softpluss'; did you mean"),
        ({"cap": 0.0}, "cap must be > 0 and finite, got 0.0"),
    ],
)
def test_bad_arguments_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        Overconfidence(**given)
