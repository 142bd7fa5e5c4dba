"""Card 31, C3, C4 and C6: what group statistics do to the expected gradient, and identities of GAE and of the KL."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from toykit.exact import enumerate_groups, group_weight
from toykit.objectives import GAE, KL, Advantage, PolicyGradient, ValueLoss, estimate, method

PI = torch.tensor([0.47667, 0.27104, 0.16164, 0.09065], dtype=torch.float64)
PI = PI / PI.sum()
R = torch.tensor([1.0, 0.0, 0.0, 0.5], dtype=torch.float64)
SCORE = torch.eye(4, dtype=torch.float64) - PI
TRUE = (PI * R) @ SCORE  # grad J in the logits
NAMED = {
    "reinforce": Advantage("none"),
    "rloo": Advantage("leave_one_out"),
    "centred": Advantage("group"),
    "group_std": Advantage("group", "group", ddof=1, eps=1e-4),
}


def moments(name: str, rewards: Tensor = R, size: int = 3) -> tuple[Tensor, float]:
    """(the mean [4], the trace of the covariance) of (1/G) sum_i A_i (e_i - pi) over all groups."""
    index, log_weight = enumerate_groups(PI.log(), size)
    drawn = rewards[index]
    advantages = NAMED[name](drawn[:, None], torch.full_like(drawn[:, None], 1 / size))[:, 0]
    estimates = (advantages[..., None] * SCORE[index]).mean(1)
    mean = log_weight.exp() @ estimates
    return mean, (log_weight.exp() @ (estimates - mean).square()).sum().item()


def test_c3_and_c4_over_all_64_groups():
    ratio = {name: (moments(name)[0].norm() / TRUE.norm()).item() for name in NAMED}
    expected = {"reinforce": 1.0, "rloo": 1.0, "centred": 0.6667, "group_std": 1.2354}
    assert ratio == pytest.approx(expected, abs=5e-5)
    for name in ("reinforce", "rloo", "centred"):
        assert torch.allclose(moments(name)[0] / ratio[name], TRUE, rtol=0, atol=1e-15)
    variance = [moments(name)[1] for name in NAMED]
    assert variance == pytest.approx([0.0430, 0.0602, 0.0268, 0.0999], abs=5e-5)
    cosine = torch.cosine_similarity(moments("group_std")[0], TRUE, dim=0).item()
    assert cosine == pytest.approx(0.99997, abs=5e-6) and cosine < 1 - 1e-6


def test_c3_a_baseline_pays_where_the_mean_reward_is_large():
    assert moments("reinforce", R + 5)[1] == pytest.approx(6.365, abs=5e-4)
    assert moments("rloo", R + 5)[1] == pytest.approx(moments("rloo")[1], abs=1e-13)


def test_c4_the_group_std_weighs_by_1_over_std_only_as_the_group_grows():
    std = ((PI * R.square()).sum() - (PI * R).sum() ** 2).sqrt()
    assert (1 / std).item() == pytest.approx(2.0996, abs=5e-5)
    found = [(moments("group_std", size=size)[0].norm() / TRUE.norm()).item() for size in (2, 3, 4, 8)]
    assert found == pytest.approx([0.772, 1.235, 1.482, 1.821], abs=6e-4)


def by_counts(size: int) -> tuple[float, float]:
    """(ratio, cosine) of the group-std method, over the multinomial law of how often each completion is drawn."""
    from math import lgamma

    every = torch.cartesian_prod(*[torch.arange(size + 1)] * 3)
    every = every[every.sum(-1) <= size]
    counts = torch.cat([every, size - every.sum(-1, keepdim=True)], -1).double()
    ways = lgamma(size + 1) - torch.lgamma(counts + 1).sum(-1)
    probability = (ways + (counts * PI.log()).sum(-1)).exp()
    share = counts / size
    advantages = NAMED["group_std"](R.expand_as(share)[:, None], share[:, None], enumerated=True)[:, 0]
    spread = ((share * R.square()).sum(-1) - (share * R).sum(-1).square()).clamp(min=0).sqrt()
    sample = spread * (size / (size - 1)) ** 0.5  # ddof 1
    advantages = advantages * ((spread + 1e-4) / (sample + 1e-4))[:, None]
    mean = probability @ ((share * advantages) @ SCORE)
    return (mean.norm() / TRUE.norm()).item(), torch.cosine_similarity(mean, TRUE, dim=0).item()


def test_c4_the_ratio_and_the_cosine_for_larger_groups():
    assert by_counts(3)[0] == pytest.approx((moments("group_std")[0].norm() / TRUE.norm()).item(), abs=1e-12)
    assert by_counts(16)[0] == pytest.approx(1.964, abs=5e-4)
    ratio, cosine = by_counts(64)
    assert ratio == pytest.approx(2.066, abs=5e-4)
    assert 1 - cosine < 1 - by_counts(16)[1] < 1 - by_counts(8)[1]


def test_c4_binary_rewards_keep_the_direction():
    binary = torch.tensor([1.0, 0.0, 1.0, 0.0], dtype=torch.float64)
    true = (PI * binary) @ SCORE
    mean, _ = moments("group_std", binary)
    assert torch.cosine_similarity(mean, true, dim=0).item() == pytest.approx(1, abs=1e-14)
    p = (PI * binary).sum()
    weight = group_weight(p, 3, std="group", ddof=1, eps=1e-4) / (p * (1 - p))
    assert torch.allclose(mean, weight * true, rtol=0, atol=1e-14)


def test_the_exercise_of_the_card():
    rewards, even = torch.tensor([[1.0, 0.0, 0.0]]).double(), torch.full((1, 3), 1 / 3).double()
    found = {name: advantage(rewards, even)[0].tolist() for name, advantage in NAMED.items()}
    assert found["rloo"] == pytest.approx([1, -0.5, -0.5])
    assert found["centred"] == pytest.approx([2 / 3, -1 / 3, -1 / 3])
    assert found["group_std"] == pytest.approx([1.1545, -0.5773, -0.5773], abs=5e-5)
    without = Advantage("group", "group", eps=0)(rewards, even)[0].tolist()
    assert without == pytest.approx([1.1547, -0.5774, -0.5774], abs=5e-5)


def test_c6_gae_without_values_and_at_lambda_1_is_the_reward_to_go(tricks):
    policy = tricks.policy()
    batch = tricks.everything(policy, policy, policy)
    nothing = torch.zeros_like(batch.old_logp)
    advantages, _ = GAE(lam=1.0, whiten=False)(batch.rewards, nothing, batch.mask, batch.weights)
    assert torch.equal(advantages, batch.rewards[..., None] * batch.mask)
    by_token = (
        torch.randn(batch.mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * batch.mask
    )
    advantages, _ = GAE(lam=1.0, whiten=False)(by_token, nothing, batch.mask, batch.weights)
    assert torch.allclose(advantages, by_token.flip(-1).cumsum(-1).flip(-1) * batch.mask, rtol=0, atol=1e-15)


def test_c6_ppo_at_ratio_1_has_the_gradient_of_a2c(tricks):
    policy = tricks.policy()
    batch = tricks.everything(policy, policy, policy)
    ppo = method("ppo").objective.with_(advantage=GAE(whiten=False), value=ValueLoss(1.0, None))
    a2c = method("a2c").objective.with_(penalties=())

    def gradient(objective: PolicyGradient) -> Tensor:
        loss = tricks.loss(objective, tricks.vocab_logp(policy), objective.prepare(batch))
        return torch.autograd.grad(loss, policy.table)[0]

    assert gradient(a2c).abs().max() > 1e-2
    assert torch.allclose(gradient(ppo), gradient(a2c), rtol=0, atol=1e-15)


def test_c6_k1_and_k3_have_the_mean_of_the_kl_and_k2_has_not(tricks):
    log_pi, log_ref = (tricks.logp(tricks.policy(shift)).sum(-1).detach() for shift in (0.0, 0.8))
    true = (log_pi.exp() * (log_pi - log_ref)).sum(-1)
    mean = {k: (log_pi.exp() * estimate(k, "reverse", log_ref - log_pi)).sum(-1) for k in ("k1", "k2", "k3")}
    assert torch.allclose(mean["k1"], true, rtol=0, atol=1e-14)
    assert torch.allclose(mean["k3"], true, rtol=0, atol=1e-14)
    assert (mean["k2"] - true).abs().min() > 1e-3
    assert KL(0.1, "k3", route="autodiff").per_token(log_pi, log_ref, log_pi < 1).min() >= 0
