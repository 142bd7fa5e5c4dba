from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toykit.objectives import (
    CATALOGUE,
    GAE,
    KL,
    Advantage,
    Clip,
    PolicyGradient,
    ValueLoss,
    divergence,
    method,
)
from toykit.objectives.dpg import PseudoReward
from toykit.objectives.targets import Posterior

MEAN, LOO, STD = Advantage(mean="group"), Advantage(mean="leave_one_out"), Advantage(mean="group", std="group")
BETAS = torch.tensor([0.3, 0.7], dtype=torch.float64)


def true_gradient(tricks, policy, value) -> Tensor:
    """Gradient [D] of a function of the leaves' log-probabilities [B, L], a mean over prompts."""
    return torch.autograd.grad(value(tricks.logp(policy).sum(-1)).mean(), policy.table)[0].flatten()


def expected_reward(tricks):
    return lambda log_pi: (log_pi.exp() * tricks.task.rewards).sum(-1)


def expected_gradient(tricks, objective, size: int, prompts: int = 1) -> Tensor:
    """-E[gradient of the loss] [D] over all groups, on policy."""
    policy = tricks.policy()
    index = tricks.groups(size, prompts)
    _, gradient = tricks.gradient(objective, index, (policy, policy, tricks.policy(0.5, seed=1)))
    return -tricks.probability(index, policy) @ gradient


@pytest.mark.parametrize("size", [2, 4])
def test_group_mean_gives_the_true_gradient_times_one_minus_one_over_g_and_leave_one_out_gives_it(tricks, size):
    true = true_gradient(tricks, tricks.policy(), lambda log_pi: expected_reward(tricks)(log_pi)[:1])
    group = expected_gradient(tricks, PolicyGradient(MEAN), size)
    assert torch.allclose(group, (1 - 1 / size) * true, rtol=0, atol=1e-12)
    assert torch.allclose(expected_gradient(tricks, PolicyGradient(LOO), size), true, rtol=0, atol=1e-12)


def test_averages_over_tokens_are_not_gradients_of_the_expected_reward_where_lengths_differ(tricks):
    true = true_gradient(tricks, tricks.policy(), lambda log_pi: expected_reward(tricks)(log_pi)[:1])

    def cosine(aggregate: str, size: int) -> float:
        gradient = expected_gradient(tricks, PolicyGradient(MEAN, aggregate=aggregate), size)
        return torch.cosine_similarity(gradient, true, dim=0).item()

    assert cosine("token_sum", 2) == pytest.approx(1, abs=1e-12)
    assert cosine("constant_norm", 4) == pytest.approx(1, abs=1e-12)
    assert cosine("sequence_mean", 2) == pytest.approx(0.99082, abs=5e-6)
    assert cosine("sequence_mean", 4) == pytest.approx(cosine("sequence_mean", 2), abs=1e-9)
    assert cosine("token_mean", 2) == pytest.approx(0.99539, abs=5e-6)
    assert cosine("token_mean", 4) == pytest.approx(0.99854, abs=5e-6)


@pytest.mark.parametrize("name", ["reinforce", "rloo", "kl_rl"])
def test_enumerated_gradient_is_that_of_what_the_method_maximises(tricks, differences, name):
    """E r, or E r - beta KL(pi || ref), by finite differences."""
    policy, reference = tricks.policy(), tricks.policy(0.5, seed=1)
    objective = method(name).objective
    prepared = objective.prepare(tricks.everything(policy, policy, reference))
    loss = tricks.loss(objective, tricks.vocab_logp(policy), prepared)
    ours = -torch.autograd.grad(loss, policy.table)[0]
    beta = objective.kl.beta if objective.kl else 0.0

    def value() -> Tensor:
        log_pi, log_ref = tricks.logp(policy).sum(-1), tricks.logp(reference).sum(-1)
        return (log_pi.exp() * (tricks.task.rewards - beta * (log_pi - log_ref))).sum(-1).mean()

    assert torch.allclose(ours, differences(value, policy.table), rtol=0, atol=1e-8)


def test_importance_weights_make_the_gradient_exact_off_policy(tricks):
    policy, behaviour = tricks.policy(), tricks.policy(0.6, seed=1)
    objective = PolicyGradient(Advantage(mean="none"), ratio="importance", aggregate="sequence_mean")
    prepared = objective.prepare(tricks.everything(policy, behaviour, policy))
    gradient = torch.autograd.grad(tricks.loss(objective, tricks.vocab_logp(policy), prepared), policy.table)[0]
    true = true_gradient(tricks, policy, expected_reward(tricks))
    assert torch.allclose(-gradient.flatten(), true, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", ["forward_kl", "reverse_kl", "tv", "js", "chi2_forward", "chi2_reverse"])
@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_pseudo_reward_gives_the_gradient_of_the_divergence_on_and_off_policy(tricks, name, shift):
    policy, behaviour, reference = tricks.policy(), tricks.policy(shift, seed=1), tricks.policy(0.5, seed=2)
    target = Posterior(BETAS)
    whole = tricks.everything(policy, behaviour, reference)
    log_p = target(whole).log_softmax(-1)
    true = true_gradient(tricks, policy, lambda log_pi: divergence(name).value(log_pi, log_p))
    for baseline in (0.0, 1.0):
        signal = PseudoReward(target, name, baseline)
        objective = PolicyGradient(Advantage("none"), ratio="importance", aggregate="sequence_mean", signal=signal)
        loss = tricks.loss(objective, tricks.vocab_logp(policy), objective.prepare(whole))
        gradient = torch.autograd.grad(loss, policy.table)[0].flatten()
        assert true.abs().max() > 1e-3
        assert torch.allclose(gradient, true, rtol=0, atol=1e-13)


PIECES = {name: make().objective for name, make in CATALOGUE.items()} | {
    "a beta for each prompt": PolicyGradient(STD, kl=KL(BETAS, "k3", route="autodiff"), aggregate="token_mean"),
    "exact": PolicyGradient(LOO, ratio="token", clip=Clip(dual=2.0), kl=KL(0.3, "exact", route="autodiff")),
}


@pytest.mark.parametrize("name", PIECES)
@pytest.mark.parametrize("enumerated", [False, True])
def test_cutting_the_batch_changes_nothing(tricks, name, enumerated):
    """Loss, figures and gradient of any micro-batches add up to the whole's."""
    policies = tricks.policy(), tricks.policy(0.5, seed=1), tricks.policy(0.8, seed=2)
    index = torch.tensor([[0, 1, 4, 3], [2, 2, 3, 0]])
    rollouts = tricks.everything(*policies) if enumerated else tricks.rollouts(index, *policies)
    if enumerated:
        index = torch.arange(5).expand(2, -1)
    numbered = rollouts.with_(extras={"row": torch.arange(index.numel()).view(index.shape)})
    prepared = PIECES[name].prepare(numbered)
    table = tricks.vocab_logp(policies[0])[torch.arange(2)[:, None], index].detach()

    def total(size: int | None) -> Tensor:
        vocab = table.clone().requires_grad_()
        pieces, figures, longest = list(prepared.micro(size)), [], []
        for piece in pieces:
            part = vocab.flatten(0, 1)[piece.rollouts.extras["row"]][:, :, : piece.rollouts.completions.shape[-1]]
            longest.append(part.shape[2])
            logp = part.gather(-1, piece.rollouts.completions[..., None])[..., 0] * piece.rollouts.mask
            values = piece.rollouts.extras["values"] + 0.3
            loss, found = PIECES[name].loss(logp, piece, part, values)
            loss.backward()
            figures.append(torch.stack([loss.detach(), *found.values()]))
        at_once = 1 if not PIECES[name].whole_groups else index.shape[1]
        assert len(pieces) == (math.ceil(index.numel() / at_once / max(size // at_once, 1)) if size else 1)
        assert longest == sorted(longest)
        return torch.cat([torch.stack(figures).sum(0), vocab.grad.flatten()])

    whole = total(None)
    assert whole.abs().max() > 1e-3
    for size in range(1, index.numel()):
        assert torch.allclose(total(size), whole, rtol=0, atol=1e-10), size


def test_a_minibatch_is_a_batch_of_its_own_with_the_advantages_of_the_whole(tricks):
    policies = tricks.policy(), tricks.policy(), tricks.policy(0.5)
    rollouts = tricks.rollouts(torch.tensor([[0, 1, 4, 3], [2, 2, 3, 0]]), *policies)
    objective = PolicyGradient(Advantage("batch", "batch"), ratio="token", aggregate="token_mean")
    prepared = objective.prepare(rollouts)
    part = prepared.minibatch(torch.tensor([1]))
    assert part.rollouts.prompt_ids.tolist() == [1]
    assert torch.equal(part.advantages, prepared.advantages[1:])
    assert part.token_weights.sum().item() == pytest.approx(1)
    assert torch.allclose(part.token_weights[part.rollouts.mask], torch.tensor(1 / (3 * 3 + 1), dtype=torch.float64))
    returns = method("ppo").objective.prepare(rollouts)
    assert torch.equal(returns.minibatch(torch.tensor([1])).returns, returns.returns[1:])


def test_the_clip_figures_are_the_shares_of_tokens_that_a_bound_has_stopped(tricks):
    objective = PolicyGradient(MEAN, ratio="token", clip=Clip(), aggregate="token_mean")
    policy = tricks.policy()
    index = torch.tensor([[0, 4]])  # one token each, rewards 1 and 0
    rollouts = tricks.rollouts(index, policy, policy, policy)
    shift = torch.tensor([0.5, -0.5]).log1p().double()[None, :, None]
    _, figures = objective.loss(rollouts.old_logp + shift * rollouts.mask, objective.prepare(rollouts))
    assert {k: v.item() for k, v in figures.items()} == pytest.approx({"clip_low": 0.5, "clip_high": 0.5})


def test_a_constant_reward_gives_exactly_no_gradient(tricks):
    """For REINFORCE without a baseline only in expectation."""
    policy = tricks.policy()
    for reward in (0.1, 1.0, 1 / 3):
        whole = tricks.everything(policy, policy, policy)
        whole = whole.with_(rewards=torch.full_like(whole.rewards, reward))
        groups = tricks.rollouts(torch.tensor([[0, 1, 4], [2, 2, 3]]), policy, policy, policy)
        groups = groups.with_(rewards=torch.full_like(groups.rewards, reward))
        for name in ("rloo", "kl_rl", "grpo", "dr_grpo", "dapo", "gspo", "lite_ppo"):
            objective = method(name).objective
            for rollouts in (whole, groups):
                logp = rollouts.old_logp.clone().requires_grad_()
                loss, _ = objective.loss(logp, objective.prepare(rollouts))
                assert not torch.autograd.grad(loss, logp)[0].any(), name
        objective = method("reinforce").objective
        loss = tricks.loss(objective, tricks.vocab_logp(policy), objective.prepare(whole))
        assert torch.autograd.grad(loss, policy.table)[0].abs().max() < 1e-15


def test_clip_higher_lets_a_rare_right_answer_grow_faster():
    """Card 03: six arms, the right one at 0.01; outer steps of 200 inner ones until it has probability 1/2."""

    def outer_steps(high: float) -> tuple[int, float]:
        objective = Clip(0.2, high)
        logits = torch.tensor([0.01, *[0.198] * 5], dtype=torch.float64).log()
        right = torch.eye(6, dtype=torch.float64)[0]
        steps, first = 0, 0.0
        while (old := logits.softmax(-1))[0] < 0.5:
            advantage = right - old[0]
            for _ in range(200):
                pi = logits.softmax(-1)
                low_stops, high_stops = objective.active(pi / old, advantage)
                push = pi * advantage * ~(low_stops | high_stops)  # old x advantage x ratio
                logits = logits + push - pi * push.sum()
            first = first or (logits.softmax(-1)[0] / old[0]).item()
            steps += 1
        return steps, first

    found = {high: outer_steps(high) for high in (0.1, 0.2, 0.28, 0.32, 0.5)}
    assert [steps for steps, _ in found.values()] == [11, 9, 8, 7, 6]
    assert found[0.2][1] == pytest.approx(1.245, abs=5e-4)  # the wrong arms' push carries it beyond the clip


def test_pieces_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match="clip must be None for ratio='none'"):
        PolicyGradient(clip=Clip())
    with pytest.raises(ValueError, match=r"value must be given with advantage=GAE\(...\) and only then"):
        PolicyGradient(GAE())
    with pytest.raises(ValueError, match="value must be given"):
        PolicyGradient(value=ValueLoss())
    with pytest.raises(ValueError, match="ratio must be one of .* got 'tokens'; did you mean 'token'?"):
        PolicyGradient(ratio="tokens")
    with pytest.raises(ValueError, match="aggregate must be one of .* got 'token-mean'; did you mean 'token_mean'?"):
        PolicyGradient(aggregate="token-mean")
    with pytest.raises(ValueError, match="coef must be > 0 and finite, got 0"):
        ValueLoss(coef=0)


def test_what_an_objective_needs_and_does_not_get_is_named(tricks):
    policy = tricks.policy()
    rollouts = tricks.rollouts(torch.tensor([[0, 1], [2, 3]]), policy, policy, policy)
    with pytest.raises(ValueError, match="ref_logp must be given for an objective with a KL penalty"):
        method("grpo").objective.prepare(rollouts.with_(ref_logp=None))
    with pytest.raises(ValueError, match="ref_logp must be given for a target"):
        method("gdc").objective.prepare(rollouts.with_(ref_logp=None))
    bare = rollouts.flat()
    bare.extras.clear()
    with pytest.raises(ValueError, match=r"extras\['values'\] must be given"):
        method("ppo").objective.prepare(bare)
    with pytest.raises(ValueError, match="vocab_logp and ref_vocab_logp must be given"):
        PolicyGradient(kl=KL(0.1, "exact")).prepare(bare)
    with pytest.raises(ValueError, match="group_size must be >= 2 for an advantage with group statistics, got 1"):
        method("dr_grpo").objective.prepare(bare)


def test_an_advantage_that_is_not_finite_names_its_prompt(tricks):
    policy = tricks.policy()
    rollouts = tricks.rollouts(torch.tensor([[0, 1], [2, 3]]), policy, policy, policy)
    rollouts = rollouts.with_(prompt_ids=torch.tensor([7, 9]))
    broken = rollouts.rewards.clone()
    broken[1, 0] = math.nan
    with pytest.raises(ValueError, match=r"advantages must be finite, got nan at index .* \(prompt 9\)"):
        method("rloo").objective.prepare(rollouts.with_(rewards=broken))
