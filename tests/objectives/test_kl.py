from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from toykit.exact import kl as divergence
from toykit.objectives import KL, Advantage, PolicyGradient, estimate

LOG2 = math.log(2)
BETA = 0.3


def float64(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("estimator", "direction", "expected"),
    [
        ("k1", "reverse", -LOG2),
        ("k2", "reverse", LOG2**2 / 2),
        ("k3", "reverse", 1 - LOG2),
        ("k1", "forward", 2 * LOG2),
        ("k2", "forward", LOG2**2 / 2),
        ("k3", "forward", 2 * LOG2 - 1),
    ],
)
def test_estimates_where_the_reference_is_twice_as_likely(estimator, direction, expected):
    assert estimate(estimator, direction, float64(LOG2)).item() == pytest.approx(expected, abs=1e-15)
    assert estimate(estimator, direction, float64(0.0)).item() == 0


def test_k1_and_k3_are_unbiased_and_k3_is_never_negative():
    pi, ref = float64(0.4, 0.3, 0.2, 0.1), float64(0.1, 0.2, 0.3, 0.4)
    delta = ref.log() - pi.log()
    for direction, (a, b) in {"reverse": (pi, ref), "forward": (ref, pi)}.items():
        true = divergence(a.log(), b.log()).item()
        for estimator in ("k1", "k3"):
            assert (pi * estimate(estimator, direction, delta)).sum().item() == pytest.approx(true, abs=1e-15)
        assert (estimate("k3", direction, torch.linspace(-5, 5, 101)) >= 0).all()
    assert (pi * estimate("k2", "reverse", delta)).sum().item() != pytest.approx(true, rel=0.05)


def test_autodiff_of_k3_on_one_token():
    """The in-loss k3 follows the forward KL, pi - ref; differentiating the forward k3 does not (card 10)."""
    pi, ref = float64(0.4, 0.3, 0.2, 0.1), float64(0.1, 0.2, 0.3, 0.4)

    def gradient(direction: str) -> Tensor:
        logits = pi.log().requires_grad_()
        logp = logits.log_softmax(-1)[:, None]
        kl = KL(1.0, "k3", direction, route="autodiff")
        penalty = (pi[:, None] * kl.per_token(logp, ref.log()[:, None], torch.ones(4, 1, dtype=torch.bool))).sum()
        return torch.autograd.grad(penalty, logits)[0]

    assert torch.allclose(gradient("reverse"), pi - ref, rtol=0, atol=1e-15)
    assert torch.allclose(gradient("forward"), float64(0.3212, 0.2180, -0.0304, -0.5089), rtol=0, atol=5e-5)


@pytest.fixture(scope="module")
def pair(tricks):
    """(policy, reference)."""
    return tricks.policy(), tricks.policy(0.7, seed=3)


def penalty_gradient(tricks, pair, *pieces: str, level: str = "token") -> Tensor:
    """What the loss follows on policy, exactly, when there is nothing but the penalty."""
    policy, reference = pair
    estimator, direction, route = pieces
    objective = PolicyGradient(Advantage("none"), kl=KL(BETA, estimator, direction, route, level))
    whole = tricks.everything(policy, policy, reference)
    prepared = objective.prepare(whole.with_(rewards=torch.zeros_like(whole.rewards)))
    loss = tricks.loss(objective, tricks.vocab_logp(policy), prepared)
    return torch.autograd.grad(loss, policy.table)[0] / BETA


def whole_gradient(tricks, pair, direction: str) -> Tensor:
    """grad KL between the laws of whole completions."""
    policy, reference = pair
    pi, ref = tricks.logp(policy).sum(-1), tricks.logp(reference).sum(-1).detach()
    value = divergence(pi, ref) if direction == "reverse" else divergence(ref, pi)
    return torch.autograd.grad(value.mean(), policy.table)[0]


def next_token_gradient(tricks, pair, direction: str) -> Tensor:
    """grad of the sum over prefixes of KL between the laws of the next token, the policy's visits held fixed."""
    policy, reference = pair
    visits = tricks.logp(policy).sum(-1).exp().detach()[..., None] * tricks.task.tree.mask
    pi, ref = tricks.vocab_logp(policy), tricks.vocab_logp(reference).detach()
    value = divergence(pi, ref) if direction == "reverse" else divergence(ref, pi)
    return torch.autograd.grad((visits * value).sum((-2, -1)).mean(), policy.table)[0]


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("level", ["token", "sequence"])
def test_autodiff_of_k1_has_no_mean_gradient(tricks, pair, level):
    assert penalty_gradient(tricks, pair, "k1", "reverse", "autodiff", level=level).abs().max() < 1e-15


def test_autodiff_at_sequence_level_gives_the_reverse_kl_for_k2_and_the_forward_kl_for_k3(tricks, pair):
    k2 = penalty_gradient(tricks, pair, "k2", "reverse", "autodiff", level="sequence")
    k3 = penalty_gradient(tricks, pair, "k3", "reverse", "autodiff", level="sequence")
    assert close(k2, whole_gradient(tricks, pair, "reverse"))
    assert close(k3, whole_gradient(tricks, pair, "forward"))
    assert (k2 - k3).abs().max() > 1e-2


def test_autodiff_at_token_level_leaves_out_the_effect_on_which_prefixes_are_visited(tricks, pair):
    k2 = penalty_gradient(tricks, pair, "k2", "reverse", "autodiff")
    k3 = penalty_gradient(tricks, pair, "k3", "reverse", "autodiff")
    assert close(k2, next_token_gradient(tricks, pair, "reverse"))
    assert close(k3, next_token_gradient(tricks, pair, "forward"))
    for direction in ("reverse", "forward"):
        exact = penalty_gradient(tricks, pair, "exact", direction, "autodiff")
        assert close(exact, next_token_gradient(tricks, pair, direction))
    assert (k2 - whole_gradient(tricks, pair, "reverse")).abs().max() > 1e-3


@pytest.mark.parametrize("route", ["reward", "score"])
@pytest.mark.parametrize("level", ["token", "sequence"])
def test_k1_in_the_reward_gives_the_gradient_of_the_kl_of_whole_completions(tricks, pair, route, level):
    ours = penalty_gradient(tricks, pair, "k1", "reverse", route, level=level)
    assert close(ours, whole_gradient(tricks, pair, "reverse"))


def test_the_exact_kl_is_split_between_the_routes(tricks, pair):
    direct = penalty_gradient(tricks, pair, "exact", "reverse", "autodiff")
    visits = penalty_gradient(tricks, pair, "exact", "reverse", "reward")
    assert close(direct + visits, whole_gradient(tricks, pair, "reverse"))
    assert visits.abs().max() > 1e-3


@pytest.mark.parametrize("estimator", ["k1", "k3"])
def test_the_forward_estimates_are_split_between_the_routes_too(tricks, pair, estimator):
    direct = penalty_gradient(tricks, pair, estimator, "forward", "autodiff", level="sequence")
    score = penalty_gradient(tricks, pair, estimator, "forward", "reward", level="sequence")
    whole = whole_gradient(tricks, pair, "forward")
    assert close(direct + score, whole)
    assert min((part - whole).abs().max() for part in (direct, score)) > 1e-2


def test_sequence_level_spreads_one_estimate_over_the_tokens():
    mask = torch.tensor([[True, True, False]])
    values = KL(1.0, "k3", level="sequence").per_token(float64(-1, -1, -9)[None], float64(-1, -2, -3)[None], mask)
    assert values.tolist() == [pytest.approx([math.exp(-1) / 2, math.exp(-1) / 2, 0])]


def test_what_is_masked_counts_nothing_whatever_stands_there():
    mask = torch.tensor([[True, False]])
    for estimator in ("k1", "k2", "k3"):
        logp = float64(-1, math.nan)[None].requires_grad_()
        values = KL(1.0, estimator).per_token(logp, float64(-2, -math.inf)[None], mask)
        assert values[0, 1] == 0 and values[0, 0] != 0
        assert torch.autograd.grad(values.sum(), logp)[0][0, 1] == 0


@pytest.mark.parametrize("route", ["reward", "score", "autodiff"])
def test_a_beta_for_each_prompt_goes_by_the_prompts_id(tricks, pair, route):
    policy, reference = pair
    rollouts = tricks.rollouts(torch.tensor([[0, 1], [2, 3]]), policy, policy, reference).take(torch.tensor([1, 0]))
    betas = float64(0.3, 0.7)

    def loss(beta, batch) -> float:
        objective = PolicyGradient(Advantage("none"), kl=KL(beta, "k3", route=route))
        return objective.loss(batch.old_logp, objective.prepare(batch))[0].item()

    first, second = rollouts.take(slice(0, 1)), rollouts.take(slice(1, 2))
    apart = (loss(0.7, first) + loss(0.3, second)) / 2
    assert loss(betas, rollouts) == pytest.approx(apart, abs=1e-14)


@pytest.mark.parametrize("beta", [0.0, -1.0, math.nan, math.inf, float64(0.1, -0.2)])
def test_beta_must_be_positive_and_finite(beta):
    with pytest.raises(ValueError, match="beta must be > 0 and finite, got"):
        KL(beta)


def test_unknown_choices_are_refused_with_the_nearest():
    with pytest.raises(ValueError, match="estimator must be one of .*, got 'exakt'; did you mean 'exact'?"):
        KL(0.1, "exakt")
    with pytest.raises(ValueError, match="direction must be one of forward, reverse"):
        KL(0.1, direction="backward")
    with pytest.raises(ValueError, match="route must be one of"):
        KL(0.1, route="loss")
    with pytest.raises(ValueError, match="level must be one of"):
        KL(0.1, level="batch")
    with pytest.raises(ValueError, match="level must be 'token' for estimator='exact', got 'sequence'"):
        KL(0.1, "exact", level="sequence")
