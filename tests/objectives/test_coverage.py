"""The forward KL by the policy's own completions, the reference that it covers, and the entropy bonus."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from toykit.exact import kl
from toykit.objectives import (
    Advantage,
    EntropyBonus,
    OnPolicyForwardKL,
    PolicyGradient,
    Tempering,
    covering,
    estimate,
    method,
)
from toykit.objectives.coverage import pull
from toykit.policies import TabularLM
from toykit.rollouts import Enumerated, Rollouts
from toykit.tasks import Bandit
from toykit.training import TrainConfig, Trainer

PI = torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)
REF = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
FLAT = Advantage("none")


def one_token(pi: torch.Tensor, ref: torch.Tensor, rewards: torch.Tensor | None = None) -> Rollouts:
    """Every answer of a bandit once, weighted by pi: all that an objective may ask for."""
    n = len(pi)
    tokens, one = torch.arange(n)[None, :, None], torch.ones(1, 1, dtype=torch.int64)
    return Rollouts(
        prompts=one,
        prompt_mask=one > 0,
        prompt_ids=torch.tensor([0]),
        completions=tokens,
        mask=torch.ones_like(tokens, dtype=torch.bool),
        old_logp=pi.log()[tokens],
        rewards=torch.zeros(1, n, dtype=torch.float64) if rewards is None else rewards[None],
        weights=pi[None],
        ref_logp=ref.log()[tokens],
        enumerated=True,
        extras={"ref_vocab_logp": ref.log().expand(1, n, 1, n)},
    )


def gradient(term, pi: torch.Tensor, ref: torch.Tensor) -> torch.Tensor:
    """Of the term's expected loss in the logits, at fixed samples."""
    logits = pi.log().requires_grad_()
    batch = one_token(pi, ref)
    batch = batch.with_(extras=term.prepare(batch, torch.zeros_like(batch.old_logp)))
    log_pi = logits.log_softmax(-1)
    loss, _ = term(log_pi[batch.completions], batch, log_pi.expand(1, len(pi), 1, -1))
    return torch.autograd.grad((batch.weights[..., None] * loss).sum(), logits)[0]


def test_the_gradient_audit_of_the_card():
    """The exact gradient of KL(ref || pi) is pi - ref; the score form has it, and so has GRPO's k3; autodiff not."""
    exact = torch.tensor([0.3, 0.1, -0.1, -0.3], dtype=torch.float64)
    assert torch.allclose(gradient(OnPolicyForwardKL(1.0), PI, REF), exact, rtol=0, atol=1e-15)
    other = torch.tensor([0.3212, 0.2180, -0.0304, -0.5089], dtype=torch.float64)
    assert torch.allclose(gradient(OnPolicyForwardKL(1.0, gradient="autodiff"), PI, REF), other, rtol=0, atol=6e-5)
    logits = PI.log().requires_grad_()
    k3 = (PI * estimate("k3", "reverse", REF.log() - logits.log_softmax(-1))).sum()
    assert torch.allclose(torch.autograd.grad(k3, logits)[0], exact, rtol=0, atol=1e-15)
    for how in ("score", "autodiff"):  # the same zero
        assert gradient(OnPolicyForwardKL(1.0, gradient=how), REF, REF).abs().max() < 1e-15


def test_the_value_is_unbiased_and_never_negative():
    batch = one_token(PI, REF)
    value = covering((REF / PI).log())
    assert (value >= 0).all() and value[2].item() == pytest.approx(1.5 * math.log(1.5) - 0.5, abs=1e-15)
    assert batch.mean(value).item() == pytest.approx(kl(REF.log(), PI.log()).item(), abs=1e-15)
    assert covering(torch.tensor([-torch.inf, 0.0])).tolist() == [1.0, 0.0]
    assert torch.allclose(value, estimate("k3", "forward", (REF / PI).log()), atol=1e-15)


def test_beyond_the_clip_the_pull_goes_on_as_a_line():
    """w = 8 with a clip of 2: 1 - log 2 to there, and then a slope of 1 in log w."""
    log_w = torch.tensor([math.log(8.0), math.log(2.0), 0.0, -1.0], dtype=torch.float64, requires_grad=True)
    found = pull(log_w, math.log(2.0))
    wanted = [1 - math.log(2) + math.log(4), 1 - math.log(2), 0.0, math.exp(-1)]
    assert found.tolist() == pytest.approx(wanted, abs=1e-15)
    slopes = torch.autograd.grad(found.sum(), log_w)[0]
    assert slopes.tolist() == pytest.approx([1.0, 1.0, 0.0, math.exp(-1) - 1], abs=1e-15)


def test_a_clipped_weight_pulls_with_the_clip_and_is_counted():
    """pi = .98, .02 and ref 1/2, 1/2: w = 25 counts as 10, so that the pull is .02 (10 - 1) on the rare answer's score
    and .98 (1/1.96 - 1) on the other's."""
    pi, ref = torch.tensor([0.98, 0.02], dtype=torch.float64), torch.tensor([0.5, 0.5], dtype=torch.float64)
    push = torch.tensor([0.98 * (0.5 / 0.98 - 1), 0.02 * 9], dtype=torch.float64)
    expected = -(push - pi * push.sum())
    assert torch.allclose(gradient(OnPolicyForwardKL(1.0), pi, ref), expected, rtol=0, atol=1e-15)
    batch = one_token(pi, ref)
    objective = PolicyGradient(FLAT, aggregate="sequence_mean", penalties=(OnPolicyForwardKL(1.0),))
    _, figures = objective.loss(batch.old_logp, objective.prepare(batch))
    assert figures["w_clipped"].item() == pytest.approx(0.02, abs=1e-15)
    clipped = 0.98 * covering(torch.tensor(0.5 / 0.98, dtype=torch.float64).log()) + 0.02 * (10 * math.log(10) - 9)
    assert figures["forward_kl"].item() == pytest.approx(clipped.item(), abs=1e-12)


def test_tempering_by_hand():
    """ref = .8, .2: phi 1/2 gives weights sqrt(.8) : sqrt(.2) = 2 : 1, phi 0 is uniform, phi 1 the reference."""
    ref = torch.tensor([0.8, 0.2, 0.0], dtype=torch.float64).log().clamp(min=-1e9).expand(3, 1, 3)
    found = Tempering()(ref, torch.tensor([0.5, 0.0, 1.0], dtype=torch.float64)).exp()[:, 0]
    wanted = torch.tensor([[2 / 3, 1 / 3, 0], [0.5, 0.5, 0], [0.8, 0.2, 0]], dtype=torch.float64)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-15)
    without = Tempering(exclude=(1,))(ref, torch.zeros(3, dtype=torch.float64)).exp()[:, 0]
    assert torch.equal(without, torch.tensor([[1.0, 0.0, 0.0]] * 3, dtype=torch.float64))


def test_phi_is_the_completions_reward_or_its_prompts_mean():
    batch = one_token(PI, REF, torch.tensor([1.0, 0.0, 0.5, 7.0], dtype=torch.float64))
    assert Tempering().phi(batch)[0].tolist() == [1.0, 0.0, 0.5, 1.0]
    assert Tempering(least=0.2).phi(batch)[0].tolist() == pytest.approx([1.0, 0.2, 0.6, 1.0], abs=1e-15)
    half = batch.with_(rewards=batch.rewards.clamp(max=1))
    assert Tempering("prompt").phi(half)[0].tolist() == pytest.approx([0.6] * 4, abs=1e-15)


def test_the_tempered_gradient_is_that_of_the_kl_to_the_tempered_reference():
    """By prompt one law is covered, by rollout each completion has its own: sum pi (1 - w_i) grad log pi."""
    rewards = torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    batch = one_token(PI, REF, rewards)
    flat = (0.3 * REF.log()).softmax(-1)
    term = OnPolicyForwardKL(1.0, clip=None, tempering=Tempering("prompt"))
    covered = term.prepare(batch, torch.zeros_like(batch.old_logp))["covered_logp"][0, :, 0].exp()
    assert torch.allclose(covered, flat, rtol=0, atol=1e-15)
    covered = (
        replace(term, tempering=Tempering())
        .prepare(batch, torch.zeros_like(batch.old_logp))["covered_logp"][0, :, 0]
        .exp()
    )
    assert covered.tolist() == pytest.approx([0.25, 0.2, 0.25, 0.25], abs=1e-15)


def test_a_token_that_the_reference_cannot_say_costs_no_infinity():
    ref = torch.tensor([1.0, 0.0], dtype=torch.float64)
    pi = torch.tensor([0.75, 0.25], dtype=torch.float64)
    found = gradient(OnPolicyForwardKL(1.0), pi, ref)
    assert torch.allclose(found, pi - ref, rtol=0, atol=1e-15)


def test_the_entropy_bonus_by_hand():
    """pi = 3/4, 1/4: H = log 4 - 3/4 log 3, and its gradient in the logits is -pi (log pi + H)."""
    pi = torch.tensor([0.75, 0.25], dtype=torch.float64)
    h = math.log(4) - 0.75 * math.log(3)
    found = gradient(EntropyBonus(0.5), pi, pi)
    assert torch.allclose(found, 0.5 * pi * (pi.log() + h), rtol=0, atol=1e-15)
    batch = one_token(pi, pi)
    objective = PolicyGradient(FLAT, penalties=(EntropyBonus(0.5),))
    vocab = pi.log().expand(1, 2, 1, 2)
    loss, figures = objective.loss(batch.old_logp, objective.prepare(batch), vocab)
    assert loss.item() == pytest.approx(-0.5 * h, abs=1e-15)
    assert figures["token_entropy"].item() == pytest.approx(h, abs=1e-15)


def test_rapo_is_its_pieces(tricks):
    """GRPO's surrogate, beta D and the entropy, each averaged over the completion's tokens, token by token."""
    policy, behaviour, reference = tricks.policy(), tricks.policy(0.3, seed=1), tricks.policy(0.8, seed=2)
    index = torch.tensor([[0, 3, 2, 1], [4, 2, 0, 3]])
    batch = tricks.rollouts(index, policy, behaviour, reference)
    objective = method("rapo").objective
    vocab = tricks.vocab_logp(policy).detach()[torch.arange(2)[:, None], index]
    logp = batch.extras["policy_logp"]
    loss, figures = objective.loss(logp, objective.prepare(batch), vocab)
    total = value = 0.0
    for b in range(2):
        rewards = batch.rewards[b]
        a = (rewards - rewards.mean()) / (rewards.std() + 1e-4)
        for i in range(4):
            length = int(batch.lengths[b, i])
            for t in range(length):
                token = int(batch.completions[b, i, t])
                ratio = (logp - batch.old_logp)[b, i, t].exp().item()
                surrogate = min(ratio * a[i].item(), min(max(ratio, 0.8), 1.2) * a[i].item())
                ref = batch.extras["ref_vocab_logp"][b, i, t]
                can = ref > -1e6
                hat = ref[can].mul(min(max(rewards[i].item(), 0), 1)).softmax(-1)[int(can[:token].sum())]
                w = hat.item() / logp[b, i, t].exp().item()
                own = vocab[b, i, t].exp()
                entropy = -(own[own > 0] * own[own > 0].log()).sum().item()
                bent = w - 1 - math.log(w) if w <= 10 else 9 - math.log(10) + 9 * math.log(w / 10)
                total += (-surrogate + 0.1 * bent - 0.01 * entropy) / length / 8
                value += (min(w, 10) * math.log(min(w, 10)) - min(w, 10) + 1) / length / 8
    assert loss.item() == pytest.approx(total, abs=1e-12)
    assert figures["forward_kl"].item() == pytest.approx(value, abs=1e-12)


def test_where_what_a_penalty_needs_is_missing_it_is_named():
    batch = one_token(PI, REF)
    bare = replace(batch, ref_logp=None, extras={})
    with pytest.raises(ValueError, match="ref_logp must be given for a forward KL"):
        PolicyGradient(FLAT, penalties=(OnPolicyForwardKL(0.1),)).prepare(bare)
    with pytest.raises(ValueError, match=r"extras\['ref_vocab_logp'\] must be given to temper, got \[\]"):
        method("rapo").objective.prepare(bare)
    with pytest.raises(ValueError, match="vocab_logp must be given for an entropy bonus"):
        EntropyBonus(0.1)(batch.old_logp, batch, None)
    plain = PolicyGradient(FLAT, penalties=(OnPolicyForwardKL(0.1),))
    assert plain.needs_reference and not plain.needs_vocab and method("rapo").objective.needs_vocab


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: OnPolicyForwardKL(0), "beta must be > 0 and finite, got 0"),
        (lambda: OnPolicyForwardKL(0.1, clip=0.5), "clip must be >= 1, got 0.5"),
        (lambda: OnPolicyForwardKL(0.1, gradient="value"), "gradient must be one of autodiff, score, got 'value'"),
        (lambda: Tempering("group"), "by must be one of prompt, rollout, got 'group'"),
        (lambda: Tempering(least=1.5), "least must be from 0 to 1, got 1.5"),
        (lambda: EntropyBonus(0), "weight must be > 0 and finite, got 0"),
    ],
)
def test_bad_arguments_are_named(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_the_trainer_supplies_what_they_need():
    """A bandit by enumeration: one step of the logits is that of the formula."""
    task = Bandit(torch.tensor([0.0, 0.0, 0.0, 1.0]))
    policy = TabularLM.of(task, logits=PI.log()[None])
    reference = TabularLM.of(task, logits=REF.log()[None])
    terms = (OnPolicyForwardKL(0.2, clip=None, tempering=Tempering("prompt")), EntropyBonus(0.3))
    objective = PolicyGradient(FLAT, penalties=terms)
    before = policy.table.detach().clone()
    config = TrainConfig(lr=1.0, optimizer="sgd")
    figures = Trainer(policy, task, objective, Enumerated(), config, reference=reference).step()
    hat = (0.1 * REF.log()).softmax(-1)  # E r = 0.1
    h = -(PI * PI.log()).sum()
    step = PI * (task.rewards[0] - 0.1) + 0.2 * (hat - PI) - 0.3 * PI * (PI.log() + h)
    assert torch.allclose(policy.table.detach() - before, step[None], rtol=0, atol=1e-14)
    assert figures["token_entropy"] == pytest.approx(h.item(), abs=1e-14)
    assert figures["forward_kl"] == pytest.approx(kl(hat.log(), PI.log()).item(), abs=1e-14)
