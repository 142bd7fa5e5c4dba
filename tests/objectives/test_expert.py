"""The expert as a yardstick, held against the numbers of card 20."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from toykit.objectives import Advantage, ExpertGate, PolicyGradient, method
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, ExpertLevel, Rollouts, Solutions
from toykit.tasks.bandit import Bandit
from toykit.training import TrainConfig, Trainer

GROUP = Advantage(mean="group")


def gated(**options) -> PolicyGradient:
    return PolicyGradient(GROUP, penalties=(ExpertGate(**options),))


def batch(tricks) -> tuple[Rollouts, Tensor]:
    """Groups of four of two prompts, and the policy's log-probabilities, which are not the behaviour policy's."""
    policies = tricks.policy(), tricks.policy(0.5, seed=1), tricks.policy(0.8, seed=2)
    made = tricks.rollouts(torch.tensor([[0, 1, 4, 3], [2, 2, 3, 0]]), *policies)
    return made, made.extras["policy_logp"]


def either(where: Tensor, yes: float, no: float) -> Tensor:
    return torch.where(where, torch.tensor(yes, dtype=torch.float64), torch.tensor(no, dtype=torch.float64))


def signs(rollouts: Rollouts) -> Tensor:
    return either(rollouts.rewards > 0.5, 1.0, -1.0)


def added(objective: PolicyGradient, rollouts: Rollouts, logp: Tensor) -> Tensor:
    """What the gate adds to the loss."""
    bare = objective.with_(penalties=())
    return objective.loss(logp, objective.prepare(rollouts))[0] - bare.loss(logp, bare.prepare(rollouts))[0]


def test_token_by_token_it_is_the_released_code_s_formula(tricks):
    rollouts, logp = batch(tricks)
    a = (rollouts.rewards - rollouts.rewards.mean(-1, keepdim=True)).abs()[..., None]
    s = signs(rollouts)[..., None]
    term = 0.3 * a * F.leaky_relu(-s * (logp - rollouts.extras["expert_logp"]), 0.4)
    for aggregate, expected in (
        ("token_mean", term[rollouts.mask].mean()),
        ("token_sum", (term * rollouts.mask).sum() / 8),
    ):
        objective = gated(weight=0.3, slope=0.4).with_(aggregate=aggregate)
        assert added(objective, rollouts, logp).item() == pytest.approx(expected.item(), abs=1e-14)


@pytest.mark.parametrize(("level", "aggregate"), [("sequence_sum", "token_sum"), ("sequence_mean", "sequence_mean")])
def test_for_whole_sequences_it_is_the_paper_s_formula(tricks, level, aggregate):
    rollouts, logp = batch(tricks)
    own, expert = logp.sum(-1), rollouts.extras["expert_logp"].sum(-1)
    if level == "sequence_mean":
        own, expert = own / rollouts.lengths, expert / 3
    s = signs(rollouts)
    a = (rollouts.rewards - rollouts.rewards.mean(-1, keepdim=True)).abs()
    expected = (0.3 * a * F.leaky_relu(-s * (own - expert), 0.4)).mean()
    objective = gated(weight=0.3, slope=0.4, level=level).with_(aggregate=aggregate)
    assert added(objective, rollouts, logp).item() == pytest.approx(expected.item(), abs=1e-14)


@pytest.mark.parametrize("level", ["token", "sequence_sum", "sequence_mean"])
def test_each_token_s_gradient_is_weight_a_s_g(tricks, level):
    rollouts, logp = batch(tricks)
    logp = logp.clone().requires_grad_()
    found = -8 * torch.autograd.grad(added(gated(weight=0.3, slope=0.4, level=level), rollouts, logp), logp)[0]
    gap = logp.detach() - rollouts.extras["expert_logp"]
    if level == "sequence_sum":
        gap = gap.sum(-1, keepdim=True).expand_as(gap)
    elif level == "sequence_mean":
        means = logp.detach().sum(-1) / rollouts.lengths - rollouts.extras["expert_logp"].sum(-1) / 3
        gap = means[..., None].expand_as(gap)
    a = rollouts.rewards - rollouts.rewards.mean(-1, keepdim=True)
    s = signs(rollouts)
    g = either(-s[..., None] * gap > 0, 1.0, 0.4)
    assert torch.allclose(found, 0.3 * (a.abs() * s)[..., None] * g * rollouts.mask, rtol=0, atol=1e-14)
    assert {0.4, 1.0} <= set(g[rollouts.mask].tolist())


def test_at_the_level_itself_the_force_is_the_slope_s(tricks):
    rollouts, _ = batch(tricks)
    logp = (rollouts.extras["expert_logp"] * rollouts.mask).requires_grad_()
    found = -8 * torch.autograd.grad(added(gated(weight=1.0, slope=0.25), rollouts, logp), logp)[0]
    a = (rollouts.rewards - rollouts.rewards.mean(-1, keepdim=True)).abs()[..., None]
    assert torch.allclose(found.abs(), 0.25 * a * rollouts.mask, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("level", ["token", "sequence_sum", "sequence_mean"])
def test_the_expert_s_own_answer_has_the_slope_s_force_whatever_the_rounding(tricks, level, dtype):
    """Where the policy says what the expert said, its log-probability is the level but for the order of operations."""
    rollouts, _ = batch(tricks)
    own = torch.where(rollouts.mask, torch.linspace(-2.3, -0.7, 24, dtype=dtype).view(2, 4, 3), 0.0)
    shift = torch.finfo(dtype).eps * (-1) ** torch.arange(24).view(2, 4, 3)
    for off in (shift, -shift, 0 * shift):
        held = rollouts.with_(old_logp=own, extras={"expert_logp": own + off, "expert_mask": rollouts.mask})
        logp = own.clone().requires_grad_()
        found = -8 * torch.autograd.grad(added(gated(weight=1.0, slope=0.25, level=level), held, logp), logp)[0]
        a = (rollouts.rewards - rollouts.rewards.mean(-1, keepdim=True)).abs()[..., None]
        assert torch.allclose(found.abs().double(), 0.25 * a * rollouts.mask, rtol=0, atol=1e-6)


def test_beyond_the_expert_s_end_the_level_is_0_and_a_right_token_has_the_whole_force(tricks):
    rollouts, logp = batch(tricks)
    short = rollouts.extras["expert_mask"].clone()
    short[..., 1:] = False
    cut = rollouts.with_(
        extras={"expert_mask": short, "expert_logp": rollouts.extras["expert_logp"].masked_fill(~short, 0.0)}
    )
    prepared = gated().prepare(cut).rollouts
    assert not prepared.extras["expert_level"][..., 1:].any()
    logp = logp.clone().requires_grad_()
    found = -8 * torch.autograd.grad(added(gated(weight=1.0, slope=0.25), cut, logp), logp)[0]
    a = (rollouts.rewards - rollouts.rewards.mean(-1, keepdim=True)).abs()
    g = either(rollouts.rewards > 0.5, 1.0, -0.25)
    assert torch.allclose(found[..., 1:], ((a * g)[..., None] * rollouts.mask)[..., 1:], rtol=0, atol=1e-14)


def test_a_prompt_without_an_expert_and_a_group_of_equal_rewards_have_none_of_it(tricks):
    rollouts, logp = batch(tricks)
    none = rollouts.extras["expert_mask"].clone()
    none[1] = False
    half = rollouts.with_(extras={"expert_mask": none})
    logp = logp.clone().requires_grad_()
    whole, kept = (torch.autograd.grad(added(gated(), r, logp), logp)[0] for r in (rollouts, half))
    assert torch.equal(kept[0], whole[0]) and not kept[1].any() and whole[1].any()
    _, figures = gated().loss(logp, gated().prepare(half))
    assert 0 < float(figures["past_expert_right"] + figures["past_expert_wrong"]) <= 0.5 * 3
    same = rollouts.with_(rewards=torch.full_like(rollouts.rewards, 0.1))
    loss, _ = gated().loss(logp, gated().prepare(same))
    assert not torch.autograd.grad(loss, logp)[0].any()


def test_the_sign_is_that_of_the_task_s_reward_and_not_of_a_shaped_one(tricks):
    rollouts, logp = batch(tricks)
    shaped = rollouts.with_(rewards=rollouts.rewards - 2, extras={"task_rewards": rollouts.rewards})
    assert added(gated(), shaped, logp).item() == pytest.approx(added(gated(), rollouts, logp).item(), abs=1e-14)


def test_without_a_level_it_says_what_is_missing(tricks):
    rollouts, _ = batch(tricks)
    bare = Rollouts(**{**vars(rollouts), "extras": {}})
    with pytest.raises(ValueError, match=r"extras\['expert_logp'\] must be given for an expert's level, got \[\]"):
        gated().prepare(bare)
    for options in ({"weight": 0.0}, {"slope": 1.5}, {"slope": -0.1}, {"level": "sequence"}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} must be"):
            ExpertGate(**options)


def test_calibrl_is_its_pieces(tricks):
    """Ratio, clip and dual clip over the policy's own rows, and the gate, a mean over tokens."""
    rollouts, logp = batch(tricks)
    a = (rollouts.rewards - rollouts.rewards.mean(-1, keepdim=True))[..., None].expand_as(logp)
    w = (logp - rollouts.old_logp).exp()
    kept = torch.minimum(w * a, w.clamp(0.8, 1.2) * a)
    kept = torch.where(a < 0, torch.maximum(kept, 3 * a), kept)
    s = signs(rollouts)[..., None]
    gate = 0.1 * a.abs() * F.leaky_relu(-s * (logp - rollouts.extras["expert_logp"]), 0.5)
    objective = method("calibrl").objective
    loss, _ = objective.loss(logp, objective.prepare(rollouts))
    assert loss.item() == pytest.approx((gate - kept)[rollouts.mask].mean().item(), abs=1e-14)


def bandit(p: list[float], rewards: list[float]) -> tuple[Bandit, TabularLM]:
    task = Bandit(rewards)
    return task, TabularLM.of(task, logits=torch.tensor(p, dtype=torch.float64).log().view(1, 1, -1))


def test_c1_the_gradient_of_the_gate_is_a_policy_gradient_with_advantage_a_g(differences):
    """By central differences, with level, |A| and the sampling law held fixed."""
    p, rewards = [0.30, 0.25, 0.15, 0.12, 0.10, 0.08], [1.0, 0, 1, 0, 0, 1]
    task, policy = bandit(p, rewards)
    whole = Enumerated()(policy, task, task.prompts())
    level = torch.full_like(whole.old_logp, math.log(0.2))
    held = whole.with_(extras={"expert_logp": level, "expert_mask": whole.mask})
    objective = gated(weight=1.0, slope=0.5)
    prepared = objective.prepare(held)
    bare = objective.with_(penalties=())

    def term() -> Tensor:
        logp = policy.table.log_softmax(-1).view(1, 6, 1)
        return objective.loss(logp, prepared)[0] - bare.loss(logp, prepared)[0]

    slopes = -differences(term, policy.table, step=1e-6).flatten()
    law, r = torch.tensor(p, dtype=torch.float64), torch.tensor(rewards, dtype=torch.float64)
    a, s = r - (law * r).sum(), 2 * r - 1
    g = either(-s * (law.log() - math.log(0.2)) > 0, 1.0, 0.5)
    weight = law * a * g
    assert torch.allclose(slopes, weight - law * weight.sum(), rtol=0, atol=1e-9)


START, RIGHT, LEVEL = [0.22, 0.16, 0.12, 0.18, 0.26, 0.06], [1.0, 1, 1, 1, 0, 0], 3


def trained(objective: PolicyGradient, lr: float, most: int = 600) -> tuple[int, float, list[Tensor]]:
    """Steps to an accuracy of 0.95, the entropy of the right answers there, and the laws on the way (card 20)."""
    task, policy = bandit(START, RIGHT)
    strategy = ExpertLevel(Solutions.from_lists({0: [[LEVEL]]}, task), Enumerated())
    made = strategy(policy, task, task.prompts(), torch.Generator())
    logits, path = torch.tensor(START, dtype=torch.float64).log().requires_grad_(), []
    for step in range(most):
        logp = logits.log_softmax(-1)
        path.append(law := logp.detach().exp())
        if law[:4].sum() >= 0.95:
            inside = law[:4] / law[:4].sum()
            return step, float(-(inside * inside.log()).sum()), path
        old = logp.detach().view(1, 6, 1)
        batch = made.with_(
            old_logp=old, weights=old.exp()[..., 0], extras={"expert_logp": old[:, LEVEL, None].expand(-1, 6, -1)}
        )
        loss, _ = objective.loss(logp.view(1, 6, 1), objective.prepare(batch))
        with torch.no_grad():
            logits -= lr * torch.autograd.grad(loss, logits)[0]
    raise AssertionError(f"accuracy must reach 0.95 in {most} steps")


def test_a_trainer_s_step_is_the_step_of_the_card():
    objective = gated(weight=1.0, slope=0.5)
    task, policy = bandit(START, RIGHT)
    strategy = ExpertLevel(Solutions.from_lists({0: [[LEVEL]]}, task), Enumerated())
    trainer = Trainer(policy, task, objective, strategy, TrainConfig(lr=0.05, optimizer="sgd"))
    path = trained(objective, 0.05)[2]
    for law in path[:4]:
        assert torch.allclose(policy.table.detach().softmax(-1).flatten(), law, rtol=0, atol=1e-14)
        trainer.step()


def test_c2_and_the_bandit_of_the_card():
    """At slope 1 it is GRPO at twice the rate; at slope 1/2 the right answers stay more even."""
    plain, _, path = trained(PolicyGradient(GROUP), 0.1)
    twice, even, same = trained(gated(weight=1.0, slope=1.0), 0.05)
    assert plain == twice == 257 and round(even, 4) == 1.3090
    assert max(float((x - y).abs().max()) for x, y in zip(path, same, strict=True)) < 1e-12
    half, more, _ = trained(gated(weight=1.0, slope=0.5), 0.05)
    assert half == 342 and round(more, 4) == 1.3412
