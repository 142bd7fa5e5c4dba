"""The seams between estimator and loss: transforms of advantages, weights of a KL, bounds of a log-ratio."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from toykit.objectives import KL, Advantage, PolicyGradient, ratio
from toykit.rollouts import Enumerated
from toykit.training import Trainer

INDEX = torch.tensor([[[0, 1, 2, 4]]])  # a group of four different completions of one prompt


@dataclass(frozen=True)
class Plus:
    """Adds something, times the entropies of the next-token laws where it needs them."""

    amount: float
    needs_reference: bool = False
    needs_entropy: bool = False

    def __call__(self, advantages, rollouts):
        more = rollouts.extras["token_entropy"] if self.needs_entropy else 1.0
        return advantages + self.amount * more * rollouts.mask


@dataclass(frozen=True)
class Times:
    factor: float
    needs_reference = False
    needs_entropy = False

    def __call__(self, advantages, rollouts):
        return self.factor * advantages


def batch(tricks):
    policy = tricks.policy()
    return tricks.rollouts(INDEX, policy, policy, tricks.policy(0.5, seed=1)), policy


def test_transforms_are_applied_one_after_the_other_and_after_the_estimator(tricks):
    rollouts, _ = batch(tricks)
    plain = PolicyGradient(Advantage(mean="group"))
    base = plain.prepare(rollouts).advantages
    first, second = (
        plain.with_(transforms=order).prepare(rollouts).advantages
        for order in ((Plus(1.0), Times(3.0)), (Times(3.0), Plus(1.0)))
    )
    mask = rollouts.mask
    assert torch.equal(first, (base + mask) * 3) and torch.equal(second, base * 3 + mask)


def test_a_transform_says_what_the_objective_needs():
    objective = PolicyGradient(transforms=(Plus(1.0, needs_reference=True), Plus(1.0, needs_entropy=True)))
    assert objective.needs_reference and objective.needs_entropy
    assert not PolicyGradient(transforms=(Times(2.0),)).needs_reference and not PolicyGradient().needs_entropy


def test_the_trainer_supplies_the_entropies_of_the_next_token_laws(tricks):
    """Advantages that are the entropies alone: the loss is -sum of entropy x logp over the completion's own tokens."""
    entropies = PolicyGradient(Advantage(mean="none"), transforms=(Times(0.0), Plus(1.0, needs_entropy=True)))
    policy = tricks.policy()
    trainer = Trainer(policy, tricks.task, entropies, Enumerated())
    rollouts, _ = trainer.rollouts()
    found = entropies.prepare(trainer._with_others(rollouts)).advantages
    law = tricks.vocab_logp(policy).detach()  # [B, L, T, V]
    by_hand = -(law.exp() * law.clamp(min=-1e9)).sum(-1).masked_fill(~rollouts.mask, 0.0)
    assert torch.allclose(found, by_hand, atol=1e-12) and by_hand[rollouts.mask].min() > 0


def test_an_advantage_that_a_transform_makes_infinite_is_refused(tricks):
    rollouts, _ = batch(tricks)
    with pytest.raises(ValueError, match="advantages must be finite, got inf"):
        PolicyGradient(transforms=(Plus(float("inf")),)).prepare(rollouts)


@dataclass(frozen=True)
class OfTheRight:
    """1 for completions of positive advantage, 0 for the others."""

    def __call__(self, rollouts, advantages):
        return (advantages.amax(-1) > 0).to(advantages)


def test_a_weighted_kl_is_the_sum_of_the_weighted_completions_penalties(tricks):
    rollouts, _ = batch(tricks)
    logp = rollouts.old_logp
    reward, both, weighted = (
        PolicyGradient(Advantage(mean="group"), kl=kl)
        for kl in (None, KL(0.3, "k3", route="autodiff"), KL(0.3, "k3", route="autodiff", weight=OfTheRight()))
    )
    without, whole, some = (o.loss(logp, o.prepare(rollouts))[0] for o in (reward, both, weighted))
    delta = rollouts.ref_logp - logp
    by_completion = 0.3 * (delta.exp() - 1 - delta).masked_fill(~rollouts.mask, 0.0).sum(-1) / 4
    right = rollouts.rewards > rollouts.rewards.mean()
    assert whole - without == pytest.approx(by_completion.sum().item(), abs=1e-12)
    assert some - without == pytest.approx(by_completion[right].sum().item(), abs=1e-12)


def test_only_a_kl_that_is_differentiated_can_be_weighted():
    with pytest.raises(ValueError, match="weight must be None for route='reward'"):
        KL(0.1, weight=OfTheRight())


@pytest.mark.parametrize(("kind", "logs"), [("token", [2.0, -2.0, 1.0]), ("sequence", [2.0] * 3)])
def test_a_bounded_log_ratio_by_hand(kind, logs):
    """Log-ratios 9, -5 and 1 with bounds at 2; their mean 5/3 lies inside, times 3/2 it does not."""
    delta = torch.tensor([[9.0, -5.0, 1.0]], dtype=torch.float64) * (1.5 if kind == "sequence" else 1)
    mask = torch.ones(1, 3, dtype=torch.bool)
    found = ratio(kind, delta, torch.zeros(1, 3), mask, log_clip=2.0)
    assert torch.allclose(found.log(), torch.tensor([logs], dtype=torch.float64))


def test_beyond_its_bound_a_ratio_is_finite_and_has_no_gradient():
    logp = torch.tensor([[100.0, 0.3]], requires_grad=True)
    mask = torch.ones(1, 2, dtype=torch.bool)
    assert ratio("token", logp, torch.zeros(1, 2), mask).isinf().any()
    found = ratio("token", logp, torch.zeros(1, 2), mask, log_clip=6.9)
    found.sum().backward()
    assert found.isfinite().all() and logp.grad.tolist() == [[0.0, pytest.approx(torch.tensor(0.3).exp().item())]]


def test_a_bound_needs_a_ratio():
    with pytest.raises(ValueError, match="log_clip must be None for ratio='none'"):
        PolicyGradient(log_clip=1.0)
    with pytest.raises(ValueError, match="log_clip"):
        PolicyGradient(ratio="token", log_clip=0.0)
