"""Pieces against verl's own functions (tests/golden/verl.json); the table's notes say where definitions differ."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from toykit.objectives import (
    GAE,
    KL,
    Advantage,
    Clip,
    PolicyGradient,
    Prepared,
    ValueLoss,
    estimate,
    method,
    token_weights,
)
from toykit.rollouts import Rollouts

TABLE = json.loads((Path(__file__).parents[1] / "golden" / "verl.json").read_text())
INPUTS = {name: torch.tensor(values, dtype=torch.float64) for name, values in TABLE["inputs"].items()}
MASK = INPUTS["mask"].bool()
B, G, T = MASK.shape

AGGREGATE = {
    "token-mean": "token_mean",
    "seq-mean-token-sum": "token_sum",
    "seq-mean-token-mean": "sequence_mean",
    "seq-mean-token-sum-norm": "constant_norm",
}
ADVANTAGES = {
    "grpo": Advantage(mean="group", std="group"),
    "dr_grpo": Advantage(mean="group"),
    "rloo": Advantage(mean="leave_one_out"),
}


def number(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def batch(logp: Tensor = INPUTS["old_logp"], horizon: int | None = None) -> Rollouts:
    prompts = torch.zeros(B, 1, dtype=torch.int64)
    return Rollouts(
        prompts=prompts,
        prompt_mask=prompts == 0,
        prompt_ids=torch.arange(B),
        completions=torch.zeros(B, G, T, dtype=torch.int64),
        mask=MASK,
        old_logp=logp,
        rewards=INPUTS["graded"],
        weights=torch.full((B, G), 1 / G, dtype=torch.float64),
        ref_logp=INPUTS["ref_logp"],
        horizon=T if horizon is None else horizon,
        extras={"values": INPUTS["values"]},
    ).check()


def weights(mode: str, divisor: float | None = None) -> Tensor:
    rollouts = batch(horizon=int(divisor or T))
    return token_weights(AGGREGATE[mode], rollouts.weights, MASK, rollouts.horizon)


def same(ours: Tensor, theirs, tolerance: float = 1e-12) -> bool:
    return torch.allclose(ours, number(theirs), rtol=0, atol=tolerance)


@pytest.mark.parametrize("rewards", ["binary", "graded"])
@pytest.mark.parametrize("name", ADVANTAGES)
def test_group_advantages(name, rewards):
    advantage = ADVANTAGES[name](INPUTS[rewards], batch().weights)
    assert same(advantage[..., None] * MASK, TABLE["advantages"][f"{name}/{rewards}"])


@pytest.mark.parametrize("rewards", ["binary", "graded"])
def test_batch_statistics_are_those_over_tokens_where_each_completion_has_one(rewards):
    """verl's REINFORCE++ has 1e-8 inside the root, we add 1e-6 to the root: they meet at eps 0 up to that 1e-8."""
    advantage = Advantage("batch", "batch", eps=0)(INPUTS[rewards], batch().weights)
    theirs = TABLE["advantages"][f"reinforce_plus_plus/{rewards}/one_token"]
    assert same(advantage[..., None], theirs, 1e-6)


@pytest.mark.parametrize("rewards", ["binary", "graded"])
def test_gae(rewards):
    theirs = {name: TABLE["advantages"][f"gae/{rewards}/{name}"] for name in ("raw", "returns", "whitened")}
    raw, returns = GAE(whiten=False)(INPUTS[rewards], INPUTS["values"], MASK, batch().weights)
    whitened, _ = GAE()(INPUTS[rewards], INPUTS["values"], MASK, batch().weights)
    assert same(raw, theirs["raw"]) and same(returns * MASK, theirs["returns"])
    assert same(whitened, theirs["whitened"], 1e-8)  # verl adds 1e-8 to the number of tokens


def objective_of(case) -> PolicyGradient:
    """The combination of pieces that a case of the table stands for; null bounds are as wide as the table's."""
    low, high = (1.0 if case["low"] is None else case["low"]), (1e9 if case["high"] is None else case["high"])
    kl = case["kl"] and KL(case["kl"]["coefficient"], case["kl"]["estimator"], route="autodiff")
    return PolicyGradient(
        ratio={"vanilla": "token", "gspo": "sequence", "gpg": "none"}[case["loss"]],
        clip=None if case["loss"] == "gpg" else Clip(low, high, case["dual"]),
        aggregate=AGGREGATE[case["aggregate"]],
        kl=kl,
    )


LOSSES = {name: case for name, case in TABLE["losses"].items() if case["loss"] != "cispo"}  # not a combination of ours


@pytest.mark.parametrize("name", LOSSES)
def test_losses_and_gradients(name):
    case = LOSSES[name]
    objective, rollouts = objective_of(case), batch(horizon=int(case["divisor"] or T))
    advantages = number(TABLE["advantages"][case["advantage"]])
    prepared = Prepared(rollouts, advantages, weights(case["aggregate"], case["divisor"]), objective.aggregate)
    logp = INPUTS[case["logp"]].clone().requires_grad_()
    loss, _ = objective.loss(logp, prepared)
    gradient = torch.autograd.grad(loss, logp)[0]
    # verl divides by a completion's length + 1e-8
    tolerance = 1e-8 if case["aggregate"] == "seq-mean-token-mean" else 1e-12
    assert loss.item() == pytest.approx(case["value"], abs=tolerance)
    assert same(gradient, case["gradient"], tolerance)


# The methods of the catalogue as verl puts them together, from the rewards to the gradient.
METHODS = {
    "rloo": "gpg/rloo/seq-mean-token-sum",
    "grpo": "vanilla/kl/seq-mean-token-mean",
    "dr_grpo": "vanilla/dr_grpo/seq-mean-token-sum-norm",
    "dapo": "vanilla/clip_higher/token-mean",
    "gspo": "gspo/narrow/seq-mean-token-mean",
    "ppo": "vanilla/gae/token-mean",
}


@pytest.mark.parametrize("name", METHODS)
def test_whole_methods(name):
    """verl's PPO loss is that of the policy alone; the critic's is its value loss times our coefficient."""
    case, objective = LOSSES[METHODS[name]], method(name).objective
    logp = INPUTS[case["logp"]].clone().requires_grad_()
    loss, _ = objective.loss(logp, objective.prepare(batch()), values=INPUTS["value_predictions"])
    gradient = torch.autograd.grad(loss, logp)[0]
    critic = 0.5 * TABLE["value"]["token-mean"]["value"] if objective.needs_critic else 0.0
    assert loss.item() == pytest.approx(case["value"] + critic, abs=1e-8)
    assert same(gradient, case["gradient"], 1e-8)
    assert gradient.abs().max() > 1e-3


def test_clip_fractions():
    """Ours are shares of the token weights, so under token_mean those of the tokens; the dual clip is not counted."""
    case = TABLE["losses"]["vanilla/clip_higher/token-mean"]
    objective = objective_of(case)
    prepared = Prepared(batch(), number(TABLE["advantages"][case["advantage"]]), weights("token-mean"), "token_mean")
    _, figures = objective.loss(INPUTS["logp"], prepared)
    both = figures["clip_low"] + figures["clip_high"]
    assert both.item() == pytest.approx(case["metrics"]["pg_clipfrac"], abs=1e-8)


@pytest.mark.parametrize("name", ["k1", "k2", "k3"])
def test_kl_estimates(name):
    case, logp = TABLE["kl"][name], INPUTS["logp"].clone().requires_grad_()
    values = KL(1.0, name, route="autodiff").per_token(logp, INPUTS["ref_logp"], MASK)
    assert same(values.detach(), case["values"])
    assert same(torch.autograd.grad(values.sum(), logp)[0], case["gradient"])
    for mode, total in case["aggregated"].items():
        assert (weights(mode) * values).sum().item() == pytest.approx(total, abs=1e-8)


def test_kl_in_the_reward_has_the_same_total():
    """verl takes the penalty off each token's reward and uses rewards to go, we take the sum off the completion's."""
    case = TABLE["kl_in_reward"]
    delta = INPUTS["ref_logp"] - INPUTS["old_logp"]
    ours = INPUTS[case["rewards"]] - case["coefficient"] * (estimate("k1", "reverse", delta) * MASK).sum(-1)
    assert same(ours, number(case["token_rewards"]).sum(-1).tolist())
    assert same(ours, number(case["returns"])[..., 0].tolist())


@pytest.mark.parametrize("mode", AGGREGATE)
def test_value_loss(mode):
    """verl's loss has the 1/2 and no coefficient."""
    case, returns = TABLE["value"][mode], number(TABLE["advantages"][TABLE["value"]["returns"]])
    values = INPUTS["value_predictions"].clone().requires_grad_()
    loss = (weights(mode) * ValueLoss(1.0, TABLE["value"]["clip"])(values, INPUTS["values"], returns)).sum()
    assert loss.item() == pytest.approx(case["value"], abs=1e-8)
    assert same(torch.autograd.grad(loss, values)[0], case["gradient"], 1e-8)


@pytest.mark.parametrize("mode", AGGREGATE)
def test_aggregation(mode):
    totals = TABLE["aggregate"]["ragged"]
    assert (weights(mode) * INPUTS["terms"]).sum().item() == pytest.approx(totals[mode], abs=1e-8)
    if mode == "seq-mean-token-sum-norm":
        assert (weights(mode, 10) * INPUTS["terms"]).sum().item() == pytest.approx(totals[mode + ", divisor 10"])


@pytest.mark.parametrize("mode", AGGREGATE)
def test_a_completion_without_tokens_counts_as_one_with_loss_0(mode):
    """verl leaves it out of the number of completions: its mean is 16 / 15 of ours, but for the mean over tokens."""
    mask = MASK.clone()
    mask[0, 0] = False
    ours = (token_weights(AGGREGATE[mode], batch().weights, mask, T) * INPUTS["terms"]).sum().item()
    share = 1 if mode == "token-mean" else 16 / 15
    assert share * ours == pytest.approx(TABLE["aggregate"]["with_empty"][mode], abs=1e-8)
