from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product
from math import exp, log, prod
from statistics import mean, stdev

import pytest
import torch
from torch import Tensor

from toykit.objectives import (
    CATALOGUE,
    GAE,
    KL,
    Advantage,
    Clip,
    ForwardKL,
    PolicyGradient,
    Posterior,
    PseudoReward,
    RunningMean,
    Tracker,
    method,
)
from toykit.rollouts import Rollouts, chosen, sample

LOO, STD = Advantage(mean="leave_one_out"), Advantage(mean="group", std="group")
BETAS = torch.tensor([0.3, 0.7], dtype=torch.float64)

# What stands in the catalogue, and combinations of pieces that do not.
OBJECTIVES = {name: make().objective for name, make in CATALOGUE.items()} | {
    "batch_sum": PolicyGradient(Advantage("batch", "batch"), ratio="token", clip=Clip()),
    "dual_clip": PolicyGradient(STD, ratio="token", clip=Clip(0.1, 0.1, dual=1.2), aggregate="token_mean"),
    "importance": PolicyGradient(LOO, ratio="importance", aggregate="sequence_mean"),
    "score_kl": PolicyGradient(STD, kl=KL(BETAS, "k1", route="score")),
    "k2_sequence": PolicyGradient(LOO, kl=KL(0.3, "k2", route="autodiff", level="sequence")),
    "k1_forward": PolicyGradient(LOO, ratio="token", kl=KL(BETAS, "k1", "forward", route="autodiff")),
    "exact_autodiff": PolicyGradient(LOO, ratio="token", clip=Clip(), kl=KL(0.3, "exact", route="autodiff")),
    "exact_reward": PolicyGradient(LOO, kl=KL(0.3, "exact", "forward", route="reward")),
    "group_z": PolicyGradient(LOO, signal=PseudoReward(Posterior(BETAS), "chi2_reverse")),
    "whole_gae": PolicyGradient(GAE(gamma=0.9, whiten=False), ratio="token", value=method("ppo").objective.value),
}

# The losses that are a sum over completions, apart from a baseline that the other completions give.
LINEAR = (
    *("reinforce", "rloo", "remax", "kl_rl", "dpg", "gdc", "js_dpg", "importance", "k2_sequence", "k1_forward"),
    *("ob_rl", "cot_ro", "cot_ro_to_go"),
)


@dataclass(frozen=True)
class KnownLogZ:
    """Stands in for a moving average that has come to rest."""

    value: Tensor

    def __call__(self, prompt_ids: Tensor, batch: Tensor) -> Tensor:
        return self.value.expand_as(batch)


class Still:
    """Stands in for a running mean that has come to rest at 0.4."""

    def __call__(self, rewards: Tensor, weights: Tensor, enumerated: bool = False) -> Tensor:
        return rewards - 0.4


def at_rest(objective: PolicyGradient, tricks, reference) -> PolicyGradient:
    """The objective with the true log Z where it would estimate one from batch to batch, and a baseline that stays."""
    if not isinstance(objective, PolicyGradient):
        return objective
    if isinstance(objective.advantage, RunningMean | Tracker):
        return objective.with_(advantage=Still())
    signal = objective.signal
    if signal is None or signal.log_z is None:
        return objective
    whole = tricks.everything(reference, reference, reference)
    return objective.with_(signal=replace(signal, log_z=KnownLogZ(signal.target(whole).logsumexp(-1))))


def figures(tricks, objective: PolicyGradient, index: Tensor, policies) -> Tensor:
    """[..., 1 + D]: the loss and its gradient of each batch of groups."""
    loss, gradient = tricks.gradient(objective, index, policies)
    return torch.cat([loss[..., None], gradient], -1)


def group_expectation(tricks, objective: PolicyGradient, policies, size: int = 2) -> Tensor:
    """[1 + D]: the expected loss and gradient over all groups that the behaviour policy may draw."""
    every = tricks.groups(size)
    return tricks.probability(every, policies[1]) @ figures(tricks, objective, every, policies)


@pytest.fixture(scope="module", params=["on policy", "off policy"])
def policies(request, tricks):
    """(policy, behaviour, reference)."""
    shift = {"on policy": 0.0, "off policy": 0.6}[request.param]
    return tricks.policy(), tricks.policy(shift, seed=1), tricks.policy(0.8, seed=2)


@pytest.fixture(scope="module")
def drawn(tricks, policies):
    """20,000 batches of two prompts with two sampled completions each, as leaves [20000, 2, 2]."""
    task = tricks.task
    prompts = task.prompts()[torch.arange(2).repeat(20_000)]
    generator = torch.Generator().manual_seed(0)
    tokens, mask, *_ = sample(policies[1], prompts, 2, task.horizon, task.vocab.stop, generator)
    return task.tree.index(tokens, mask).view(20_000, 2, 2)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_mean_over_sampled_groups_is_the_enumerated_expectation(tricks, policies, drawn, name):
    objective = at_rest(OBJECTIVES[name], tricks, policies[2])
    exact = group_expectation(tricks, objective, policies)
    sampled = figures(tricks, objective, drawn, policies)
    error = 4 * sampled.std(0) / len(drawn) ** 0.5
    assert exact[1:].abs().max() > 1e-3
    assert ((sampled.mean(0) - exact).abs() <= error + 1e-12).all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_enumerated_gradient_agrees_with_finite_differences(tricks, policies, differences, name):
    objective = at_rest(OBJECTIVES[name], tricks, policies[2])
    policy, prepared = policies[0], objective.prepare(tricks.everything(*policies))
    held = tricks.vocab_logp(policy).detach() if objective.vocab_mean else None  # a target without a gradient

    def loss() -> Tensor:
        if held is not None:
            return objective.loss(tricks.logp(policy), prepared, held)[0]
        return tricks.loss(objective, tricks.vocab_logp(policy), prepared)

    exact = torch.autograd.grad(loss(), policy.table)[0]
    assert exact.abs().max() > 1e-3
    assert torch.allclose(exact, differences(loss, policy.table), rtol=0, atol=1e-7)


@pytest.mark.parametrize("name", LINEAR)
@pytest.mark.parametrize("size", [2, 3])
def test_enumeration_is_the_mean_over_groups_where_completions_do_not_mix(tricks, policies, name, size):
    objective = at_rest(OBJECTIVES[name], tricks, policies[2])
    whole = tricks.everything(*policies)
    loss = tricks.loss(objective, tricks.vocab_logp(policies[0]), objective.prepare(whole))
    gradient = torch.autograd.grad(loss, policies[0].table)[0].flatten()
    exact = torch.cat([loss.detach()[None], gradient])
    assert torch.allclose(group_expectation(tricks, objective, policies, size), exact, rtol=0, atol=1e-12)


def signals(name: str, batch: Rollouts, b: int, log_z: Tensor) -> list[float]:
    """What stands for the reward in group b: r, r - beta log(pi / ref), or a pseudo-reward of t = pi / p."""
    rewards = batch.rewards[b].tolist()
    log_pi, log_ref = (x[b].sum(-1).tolist() for x in (batch.extras["policy_logp"], batch.ref_logp))
    found = []
    for r, own, ref in zip(rewards, log_pi, log_ref, strict=True):
        filtered = exp(ref - log_z[b].item() - own) if r > 0.5 else 0.0  # p / pi
        t = exp(own - ref - r / 0.1 + log_z[b].item())
        penalised = {"kl_rl": r - 0.1 * (own - ref), "rloo_clip": r - 0.05 * (own - ref)}
        others = penalised | {"dpg": filtered, "gdc": filtered - 1, "js_dpg": -log(2 * t / (t + 1))}
        found.append(others.get(name, r))
    return found


def advantage(name: str, group: list[float], every: list[float], i: int, greedy: float) -> float:
    if name == "remax":
        return group[i] - greedy
    if name == "reinforce_plus_plus":
        return (group[i] - mean(every)) / (stdev(every) + 1e-6)
    if name == "ob_rl":
        return group[i] - 0.4
    if name in ("reinforce", "dpg", "gdc", "cot_ro", "cot_ro_to_go"):
        return group[i]
    if name in ("rloo", "kl_rl", "js_dpg", "rloo_clip"):
        return group[i] - mean(x for j, x in enumerate(group) if j != i)
    centred = group[i] - mean(group)
    return centred / {"dr_grpo": 1.0, "lite_ppo": stdev(every) + 1e-6}.get(
        name, stdev(group) + (1e-4 if name == "grpo_trl" else 1e-6)
    )


def clipped(ratios: list[float], a: float, low: float = 0.2, high: float = 0.2) -> float:
    return sum(min(w * a, min(max(w, 1 - low), 1 + high) * a) for w in ratios)


def by_formula(name: str, batch: Rollouts, logp: Tensor, log_z: Tensor) -> float:
    """The loss of a method, completion by completion and token by token, as cards 01 and 03 write it."""
    n_prompts, size = batch.rewards.shape
    lengths, total = batch.lengths.tolist(), 0.0
    per_sequence, per_token = 1 / (n_prompts * size), 1 / sum(map(sum, lengths))
    for b, i in product(range(n_prompts), range(size)):
        length = lengths[b][i]
        a = advantage(name, signals(name, batch, b, log_z), batch.rewards.flatten().tolist(), i, [0.3, 0.8][b])
        new, old, ref = (x[b, i, :length].tolist() for x in (logp, batch.old_logp, batch.ref_logp))
        w = [exp(x - y) for x, y in zip(new, old, strict=True)]
        k3 = sum(exp(y - x) - 1 - (y - x) for x, y in zip(new, ref, strict=True))
        total -= {
            "grpo": per_sequence * (clipped(w, a) - 0.04 * k3) / length,
            "dr_grpo": per_sequence * clipped(w, a) / batch.horizon,
            "dapo": per_token * clipped(w, a, 0.2, 0.28),
            **dict.fromkeys(("lite_ppo", "self", "grpo_trl"), per_token * clipped(w, a)),
            "rloo_clip": per_sequence * clipped([prod(w)], a),
            "cot_ro": per_sequence * a * new[-1],  # the reward comes with the last token
            "gspo": per_sequence * clipped([prod(w) ** (1 / length)], a, 3e-4, 4e-4),
            "luspo": per_sequence * length * clipped([prod(w) ** (1 / length)], a, 2e-3, 2.5e-3),
            **dict.fromkeys(
                ("reinforce", "rloo", "kl_rl", "remax", "ob_rl", "cot_ro_to_go"), per_sequence * a * sum(new)
            ),
            **dict.fromkeys(("dpg", "gdc", "js_dpg"), per_sequence * a * prod(w)),
        }[name]
    return total


GROUPS = ("grpo", "dr_grpo", "dapo", "lite_ppo", "gspo", "self", "grpo_trl", "rloo_clip", "luspo")
ALONE = ("reinforce", "ob_rl", "cot_ro", "cot_ro_to_go")


@pytest.mark.parametrize("name", [*ALONE, "rloo", "kl_rl", *GROUPS, "dpg", "gdc", "js_dpg"])
def test_losses_are_those_of_the_formulas(tricks, policies, name):
    index = torch.tensor([[0, 3, 2, 1], [4, 2, 0, 3]])
    batch = tricks.rollouts(index, *policies)
    objective = at_rest(OBJECTIVES[name], tricks, policies[2])
    log_z = objective.signal.log_z.value if objective.signal else torch.zeros(2)
    vocab = tricks.vocab_logp(policies[0])[torch.arange(2)[:, None], index].detach()
    logp = chosen(vocab, batch.completions, batch.mask)
    expected = by_formula(name, batch, logp, log_z)
    assert objective.loss(logp, objective.prepare(batch))[0].item() == pytest.approx(expected, abs=1e-12)


def test_ppo_is_its_pieces(tricks, policies):
    batch = tricks.rollouts(torch.tensor([[0, 3, 2, 1], [4, 2, 0, 3]]), *policies)
    logp, values, new = batch.extras["policy_logp"], batch.extras["values"], batch.extras["values"] + 0.3
    advantages, returns = GAE(1.0, 0.95, whiten=True)(batch.rewards, values, batch.mask, batch.weights)
    w = (logp - batch.old_logp).exp()
    surrogate = torch.minimum(w * advantages, w.clamp(0.8, 1.2) * advantages)
    error = torch.maximum((new - returns) ** 2, (values + 0.2 - returns) ** 2)
    expected = (-surrogate + error / 4)[batch.mask].mean()
    objective = OBJECTIVES["ppo"]
    loss, _ = objective.loss(logp, objective.prepare(batch), values=new)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_a2c_is_its_pieces(tricks, policies):
    """-A logp + (V - returns)^2 / 2 - 0.01 H, a mean over tokens, with advantages that are not whitened."""
    batch = tricks.rollouts(torch.tensor([[0, 3, 2, 1], [4, 2, 0, 3]]), *policies)
    vocab, values = batch.extras["vocab_logp"], batch.extras["values"]
    logp = chosen(vocab, batch.completions, batch.mask)
    advantages, returns = GAE(whiten=False)(batch.rewards, values, batch.mask, batch.weights)
    entropy = -(vocab.exp() * vocab).sum(-1)
    expected = (-advantages * logp + (values + 0.3 - returns) ** 2 / 2 - 0.01 * entropy)[batch.mask].mean()
    loss, _ = OBJECTIVES["a2c"].loss(logp, OBJECTIVES["a2c"].prepare(batch), vocab, values + 0.3)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_penalty_of_rlhf_s_ppo_is_charged_where_it_arises(tricks, policies):
    """GAE of r_t = -0.05 k1_t with the score at the last token, and 0.05 of the value loss."""
    batch = tricks.rollouts(torch.tensor([[0, 3, 2, 1], [4, 2, 0, 3]]), *policies)
    values, own = batch.extras["values"], batch.extras["policy_logp"]
    last = batch.mask & (batch.mask.cumsum(-1) == batch.lengths[..., None])
    by_token = batch.rewards[..., None] * last - 0.05 * (own - batch.ref_logp) * batch.mask
    advantages, returns = GAE()(by_token, values, batch.mask, batch.weights)
    w = (own - batch.old_logp).exp()
    surrogate = torch.minimum(w * advantages, w.clamp(0.8, 1.2) * advantages)
    error = torch.maximum((values + 0.3 - returns) ** 2, (values + 0.2 - returns) ** 2)
    expected = (-surrogate + 0.05 * error)[batch.mask].mean()
    objective = OBJECTIVES["ppo_rlhf"]
    loss, _ = objective.loss(own, objective.prepare(batch), values=values + 0.3)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-12)


def test_the_names_in_the_catalogue_make_fresh_objectives():
    assert method("gdc").objective.signal.log_z is not method("gdc").objective.signal.log_z
    with pytest.raises(ValueError, match="objective must be one of .* got 'dr_gpro'; did you mean 'dr_grpo'?"):
        method("dr_gpro")


@pytest.mark.parametrize("name", CATALOGUE)
def test_beta_is_replaced_wherever_a_method_has_one(name):
    made = method(name)
    here = made.objective
    with_kl = getattr(here, "kl", None) is not None
    if with_kl:
        assert made.with_beta(0.7).objective == here.with_(kl=replace(here.kl, beta=0.7))
    elif name == "js_dpg":
        changed = made.with_beta(0.7)
        assert changed.objective.signal.target == Posterior(0.7)
        assert changed.objective.with_(signal=None) == here.with_(signal=None)
    elif name == "pacs":
        assert made.with_beta(0.7).objective == here.with_(beta=0.7)
    elif name == "self":
        assert made.with_beta(0.7) == replace(made, forward_kl=ForwardKL(0.7))
    elif name == "rapo":
        first, *rest = here.penalties
        assert made.with_beta(0.7).objective == here.with_(penalties=(replace(first, beta=0.7), *rest))
    else:
        with pytest.raises(
            ValueError, match="beta must be given only for an objective with a KL penalty or a posterior"
        ):
            made.with_beta(0.7)
    if with_kl or name in ("js_dpg", "self", "rapo", "pacs"):
        for beta in (0.0, -1.0, float("nan")):
            with pytest.raises(ValueError, match="beta must be > 0 and finite, got"):
                made.with_beta(beta)
