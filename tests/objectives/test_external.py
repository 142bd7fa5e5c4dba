"""Tokens that another policy wrote, held against the numbers of card 38."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from toykit.objectives import (
    MIS,
    Advantage,
    Clip,
    Exploring,
    Likelihood,
    OwnMean,
    PolicyGradient,
    Probability,
    Reshaped,
    method,
)
from toykit.rollouts import Rollouts

V = 152_000
KINDS = {"mis": MIS(), "mis_1/v": MIS(1 / V), "reshaped": Reshaped(), "probability": Probability(), "sft": Likelihood()}


def coefficient(kind, p: Tensor, gamma: float = 0.0) -> Tensor:
    """What multiplies A grad log p on a token at p = p_old."""
    logp = p.log().requires_grad_()
    slope = torch.autograd.grad(kind(logp, p.log()).sum(), logp)[0]
    return slope * (1 - p) ** gamma


def by_hand(name: str, p: float) -> float:
    return {
        "mis": 4 * p / (3 * p + 1),
        "mis_1/v": 4 * p / (3 * p + 1 / V),
        "reshaped": 0.1 * p / (p + 0.1) ** 2,
        "probability": p,
        "sft": 1.0,
    }[name]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("p", [1e-8, 1e-4, 0.02, 0.457, 1.0])
def test_the_coefficient_of_a_token_is_that_of_the_card(name, p):
    found = coefficient(KINDS[name], torch.tensor([p], dtype=torch.float64)).item()
    assert found == pytest.approx(by_hand(name, p), rel=1e-12)


def test_the_released_code_s_coefficient_is_largest_at_p_0_457():
    p = torch.linspace(0.001, 0.999, 999, dtype=torch.float64)
    found = coefficient(MIS(), p, gamma=0.5)
    assert p[found.argmax()].item() == pytest.approx(0.457) and round(found.max().item(), 3) == 0.568


def test_on_rare_tokens_the_two_uniform_laws_are_worlds_apart():
    p = torch.tensor([1e-4], dtype=torch.float64)
    assert round(coefficient(MIS(1 / V), p, 0.5).item(), 3) == 1.305
    assert coefficient(MIS(), p, 0.5).item() == pytest.approx(4e-4, rel=1e-3)


def group(p: float = 0.3, external_reward: float = 1.0, wrong: float = 0.0, tokens: int = 2) -> Rollouts:
    """Seven rows of the policy's own, then one from elsewhere whose tokens have probability p; horizon 5."""
    shape = (1, 8, tokens)
    old = torch.full(shape, math.log(0.6), dtype=torch.float64)
    old[:, 7] = math.log(p)
    external = torch.zeros(shape, dtype=torch.bool)
    external[:, 7] = True
    rewards = torch.tensor([[wrong] * 7 + [external_reward]], dtype=torch.float64)
    one = torch.zeros(1, 1, dtype=torch.int64)
    return Rollouts(
        prompts=one,
        prompt_mask=one == 0,
        prompt_ids=one[0],
        completions=torch.zeros(shape, dtype=torch.int64),
        mask=torch.ones(shape, dtype=torch.bool),
        old_logp=old,
        rewards=rewards,
        weights=torch.full((1, 8), 1 / 8, dtype=torch.float64),
        horizon=5,
        extras={"external": external},
    ).check()


def pulls(objective: PolicyGradient, batch: Rollouts, shift: float = 0.0) -> Tensor:
    """-d loss / d logp [G, T], times rows and horizon: what multiplies grad log p on each token."""
    logp = (batch.old_logp + shift).requires_grad_()
    loss, _ = objective.loss(logp, objective.prepare(batch))
    return -8 * 5 * torch.autograd.grad(loss, logp)[0][0]


def plain(name: str) -> PolicyGradient:
    """A method of the catalogue without its entropy bonus, which is not on the tokens that were written."""
    return method(name).objective.with_(penalties=())


def test_seven_wrong_rows_and_one_external_have_the_advantages_of_the_card():
    found = plain("rl_plus").with_(transforms=()).prepare(group()).advantages[0, :, 0]
    assert found.tolist() == pytest.approx([-1 / 8] * 7 + [7 / 8], abs=1e-15)


@pytest.mark.parametrize("p", [0.05, 0.3, 0.9])
def test_the_gradient_of_rl_plus_and_luffy_is_the_formula(p):
    for name, weight in (("rl_plus", 4 * p / (3 * p + 1) * math.sqrt(1 - p)), ("luffy", 0.1 * p / (p + 0.1) ** 2)):
        found = pulls(plain(name), group(p))
        assert torch.allclose(found[:7], torch.full((7, 2), -1 / 8, dtype=torch.float64), rtol=0, atol=1e-14)
        assert torch.allclose(found[7], torch.full((2,), 7 / 8 * weight, dtype=torch.float64), rtol=0, atol=1e-14)


def test_after_an_update_only_the_numerator_has_moved():
    """p = 0.3 e^0.2 where p_old = 0.3: 2 p / (p_old + (p_old + 1) / 2), and no bound on any ratio."""
    found = pulls(plain("rl_plus"), group(0.3), shift=0.2)
    weight = 4 * 0.3 * math.exp(0.2) / (3 * 0.3 + 1) * math.sqrt(0.7)
    assert torch.allclose(found[7], torch.full((2,), 7 / 8 * weight, dtype=torch.float64), rtol=0, atol=1e-14)
    assert torch.allclose(found[:7], torch.full((7, 2), -math.exp(0.2) / 8, dtype=torch.float64), rtol=0, atol=1e-14)


def test_the_exercise_of_the_card():
    """p_t = 0.05: the external token's coefficient in a group of 8, .0185, is 1,100 times the on-policy one."""
    external = pulls(plain("rl_plus"), group(0.05, tokens=4))[7, 0].item() / 8
    assert round(external, 4) == 0.0185
    assert external / (math.sqrt(7) * 0.05**4) == pytest.approx(1100, rel=0.03)


def test_a_rejected_row_has_a_negative_advantage_and_equal_rewards_have_no_gradient():
    right = pulls(plain("rl_plus"), group(external_reward=0.0, wrong=1.0))
    assert right[7].max() < 0 < right[0, 0]
    for reward in (0.1, 1.0):
        assert not pulls(plain("rl_plus"), group(external_reward=reward, wrong=reward)).any()
        assert not pulls(plain("luffy"), group(external_reward=reward, wrong=reward)).any()


def test_external_rows_can_be_left_out_of_the_statistics():
    own = plain("rl_plus").with_(advantage=OwnMean(), transforms=())
    assert own.prepare(group(wrong=0.1)).advantages[0, :, 0].tolist() == [0.0] * 7 + [0.9]
    batch = group()
    mixed = batch.with_(rewards=torch.tensor([[1.0, 0, 0, 0, 0, 1, 1, 1]]).double())
    found = own.prepare(mixed).advantages[0, :, 0]
    assert torch.allclose(found, mixed.rewards[0] - 3 / 7, rtol=0, atol=1e-15)
    alone = batch.with_(rewards=mixed.rewards, extras={"external": torch.zeros_like(batch.mask)})
    group_mean = own.with_(advantage=Advantage(mean="group"))
    assert torch.allclose(own.prepare(alone).advantages, group_mean.prepare(alone).advantages, rtol=0, atol=1e-15)


def test_the_law_of_another_policy_is_read_where_it_is_known():
    """p = p_old = 0.3 and p_omega = 0.9: 2 p / (p_omega + p_old) = 1/2."""
    objective = plain("rl_plus").with_(transforms=(), external=MIS(None))
    batch = group()
    known = batch.with_(extras={"external_logp": torch.full_like(batch.old_logp, math.log(0.9))})
    assert torch.allclose(pulls(objective, known)[7], torch.full((2,), 7 / 16, dtype=torch.float64), rtol=0, atol=1e-14)
    with pytest.raises(ValueError, match=r"extras\['external_logp'\] must be given for u=None"):
        pulls(objective, batch)


@pytest.mark.parametrize("name", ["rl_plus", "luffy", "grpo", "gspo", "calibrl"])
def test_without_external_rows_nothing_changes_by_a_bit(tricks, name):
    policies = tricks.policy(), tricks.policy(0.5, seed=1), tricks.policy(0.8, seed=2)
    batch = tricks.rollouts(torch.tensor([[0, 1, 4, 3], [2, 2, 3, 0]]), *policies)
    without = Rollouts(**{**vars(batch), "extras": {k: v for k, v in batch.extras.items() if k != "external"}})
    none = batch.with_(extras={"external": torch.zeros_like(batch.mask)})
    objective = method(name).objective.with_(external=MIS(), transforms=(Exploring(),))
    bare = objective.with_(external=None, transforms=())
    vocab = batch.extras["vocab_logp"]
    found = []
    for one, given in ((bare, without), (objective, without), (objective, none)):
        logp = batch.extras["policy_logp"].clone().requires_grad_()
        loss, figures = one.loss(logp, one.prepare(given), vocab)
        found.append((loss, *figures.values(), torch.autograd.grad(loss, logp)[0]))
    for others in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], others, strict=True))


def test_the_figures_of_a_clip_are_those_of_the_policy_s_own_rows():
    objective = PolicyGradient(Advantage(), ratio="token", clip=Clip(), aggregate="token_mean", external=MIS())
    batch = group()
    _, figures = objective.loss(batch.old_logp - 1, objective.prepare(batch))
    assert figures["clip_low"].item() == pytest.approx(7 / 8) and figures["clip_high"] == 0


def test_an_external_token_that_was_next_to_impossible_stays_finite_in_float32():
    """Its ratio to the behaviour policy overflows; its weight does not."""
    batch = group()
    old = batch.old_logp.float()
    old[0, 7] = -200.0
    batch = batch.with_(old_logp=old, rewards=batch.rewards.float(), weights=batch.weights.float())
    for kind in KINDS.values():
        objective = plain("rl_plus").with_(external=kind)
        logp = old.clone()
        logp[0, 7] = -1.0
        logp.requires_grad_()
        loss, _ = objective.loss(logp, objective.prepare(batch))
        loss.backward()
        assert loss.isfinite() and logp.grad.isfinite().all() and bool((logp.grad[0, 7] < 0).all())


@pytest.mark.parametrize("bad", [lambda: MIS(0.0), lambda: MIS(1.5), lambda: Reshaped(0.0), lambda: Exploring(-1.0)])
def test_bad_settings_are_refused(bad):
    with pytest.raises(ValueError, match=r"(u|c|gamma) must be"):
        bad()


def laws(kappa: float) -> tuple[Tensor, Tensor, Tensor]:
    """(log pi, log pi_old, log pi_omega) of card 38, rung 0 (a)."""
    z, n1, n2 = (torch.tensor(x) for x in np.random.default_rng(0).normal(size=(3, 16)))
    return z.log_softmax(-1), (z + 0.1 * n1).log_softmax(-1), (z + kappa * n2).log_softmax(-1)


TABLE = {  # kappa: E_omega[w^2] of IS, of MIS, of the proxy pi / old; largest weight of IS
    0: ("1.0", "1.00", "1.015", "1"),
    1: ("1.66", ".889", "1.033", "7.9"),
    2: ("7.03", ".676", "1.030", "91"),
    4: ("835", ".349", "1.022", "23970"),
}


def as_printed(value: float, printed: str) -> bool:
    digits = len(printed.partition(".")[2])
    return float(printed) == (round(value, digits) if printed != "23970" else round(value, -1))


@pytest.mark.parametrize("kappa", TABLE)
def test_the_weights_of_the_card_s_table(kappa):
    pi, old, omega = laws(kappa)
    mis, plain, proxy = MIS(None)(pi, old, omega), (pi - omega).exp(), (pi - old).exp()
    second = [(omega.exp() * w**2).sum().item() for w in (plain, mis, proxy)]
    assert all(as_printed(*pair) for pair in zip(second, TABLE[kappa], strict=False)), second
    assert as_printed(plain.max().item(), TABLE[kappa][3])
    assert round(proxy.max().item(), 4) == 1.1105 and round(mis.max().item(), 2) <= 2.11
    assert mis.max() < 2 * proxy.max()
    assert second[1] <= 4 * proxy.max() ** 2


def test_multiple_importance_sampling_is_unbiased_with_both_samples_and_biased_with_one():
    pi, old, omega = laws(4)
    f = (torch.arange(16) % 3 == 0).double()
    truth, mis = (pi.exp() * f).sum(), MIS(None)(pi, old, omega)
    of_omega, of_old = ((law.exp() * mis * f).sum() for law in (omega, old))
    assert abs((of_omega + of_old) / 2 - truth) < 1e-15
    assert round((of_omega - truth).item(), 3) == -0.254
    assert round(((omega.exp() * (pi - old).exp() * f).sum() - truth).item(), 3) == 0.153


def steps_until_found(kind, p_t: float, length: int, gamma: float, v: int = 8) -> int:
    """Card 38, rung 0 (b): exact expected steps of 7 rows of the policy's own and one external, without std."""
    z = torch.full((length, v), ((1 - p_t) / (v - 1)), dtype=torch.float64)
    z[:, 0] = p_t
    z = z.log()
    m = torch.arange(8, dtype=torch.float64)
    ways = torch.tensor([math.comb(7, i) for i in range(8)], dtype=torch.float64)
    mean = (m + 1) / 8
    for step in range(1000):
        law = z.softmax(-1)
        p = law[:, 0].prod()
        if p > 0.5:
            return step
        chance = ways * p**m * (1 - p) ** (7 - m)
        own = (chance * (m * (1 - mean) + (7 - m) * mean * p / (1 - p))).sum() / 8
        beside = (chance * (1 - mean)).sum() / 8 * coefficient(kind, law[:, 0].clone(), gamma)
        z = z + (own + beside)[:, None] * (torch.eye(v, dtype=torch.float64)[0] - law)
    raise AssertionError("not found in 1000 steps")


@pytest.mark.parametrize(
    ("p_t", "length", "row"), [(0.3, 2, (15, 17, 14, 13, 12, 12)), (0.1, 3, (94, 84, 56, 51, 35, 33))]
)
def test_the_rare_path_of_the_card_is_found_in_its_steps(p_t, length, row):
    arms = ((Probability(), 0), (Reshaped(), 0), (MIS(), 0.5), (MIS(), 0), (MIS(1 / 8), 0.5), (Likelihood(), 0))
    assert tuple(steps_until_found(kind, p_t, length, gamma) for kind, gamma in arms) == row
