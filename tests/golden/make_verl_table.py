"""Makes verl.json: inputs and verl's own outputs, the golden numbers of the group objectives.

verl is not needed to run the tests, only to make the table again, in an environment of its own (CPU, Python 3.11):

    python -m venv verl-venv
    verl-venv/bin/pip install torch==2.13.0
    verl-venv/bin/pip install numpy==2.4.6 transformers==5.23.0 requests jsonschema cloudpickle
    verl-venv/bin/pip install --no-deps verl==0.9.1 ray msgpack protobuf "tensordict<=0.10" pyvers orjson \
        omegaconf antlr4-python3-runtime==4.9.3 codetiming
    verl-venv/bin/python tests/golden/make_verl_table.py

Tensors are nested lists [B, G, T] (B prompts, G completions each, T tokens), rewards [B, G]; all float64, written so
that they read back exactly. `notes` in the table says what verl computes where formulas leave a choice.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo import core_algos as verl
from verl.workers.config import ActorConfig

SEED = 1
B, G, T = 4, 4, 6
NEVER = 1e9  # a clip range or a dual clip so wide that it never acts; written as null

TOKEN_MEAN, SEQUENCE_MEAN, CONSTANT_NORM = "token-mean", "seq-mean-token-mean", "seq-mean-token-sum-norm"
TOKEN_SUM = "seq-mean-token-sum"
MODES = (TOKEN_MEAN, TOKEN_SUM, SEQUENCE_MEAN, CONSTANT_NORM)
CLIPS = {"clip": (0.2, 0.2, None), "clip_higher": (0.2, 0.28, None), "dual_clip": (0.2, 0.28, 3.0)}

NOTES = {
    "masked": "Inputs and outputs are 0 where the mask is 0. verl leaves numbers outside the mask in the whitened GAE "
    "advantages and in the returns; the table sets them to 0.",
    "precision": "Everything is float64. verl adds 1e-8 to most denominators (see the notes below), so a formula "
    "without it agrees to about 1e-8 only, and to 1e-12 once it is added.",
    "grpo": "(r - mean_g) / (std_g + 1e-6), std with ddof 1. A group of equal rewards has std 0 and advantage exactly "
    "0. A group of one completion has mean 0 and std 1, so its advantage is r / (1 + 1e-6), the divisor in float32 "
    "(1.00000095).",
    "dr_grpo": "r - mean_g: grpo with norm_adv_by_std_in_grpo=False. A group of one: r.",
    "rloo": "G / (G - 1) * (r - mean_g). A group of one: r.",
    "reinforce_plus_plus": "Reward to go with gamma 1 (so r on every token), whitened over the tokens of the batch: "
    "(x - mean) / sqrt(var + 1e-8), mean = sum / (n + 1e-8), var with ddof 1 (sum / (n + 1e-8) * n / (n - 1)), n the "
    "number of tokens. Long completions therefore count more than in a mean and std over the B*G rewards; the two "
    "agree but for eps (to 5e-6 here) in the one-token cases.",
    "reinforce_plus_plus_baseline": "r - mean_g on every token, then whitened over tokens as above: the std is that of "
    "the centred rewards, not of the raw ones.",
    "absent": "verl has no group mean with the std of the raw batch rewards (lite), nor a mean and std over the B*G "
    "rewards (batch).",
    "gae": "gamma 1, lambda 0.95, reward on the last token, value 0 after it. `raw` is returns - values (verl returns "
    "only the whitened advantages), good to the last bit or two; returns are raw advantages + values.",
    "ratio": "exp of the log ratio clamped to [-20, 20]; for gspo only from above, at 10.",
    "clip": "A token's loss is max(-A w, -A clip(w, 1 - low, 1 + high)). verl's vanilla loss always has the dual clip "
    "with c = 3; where `dual` is null the table was made with c = 1e9. Dual: where A < 0, min(that, -A c).",
    "gspo": "Ratio s = exp(mean of the log ratio over the tokens); gradients go token by token through "
    "sg[s] * exp(logp - sg[logp]). With an advantage that is the same on all tokens, as here, value and gradient are "
    "those of -S(s, A) on every token, under any aggregation. No dual clip.",
    "gpg": "-A logp: no ratio, no clip.",
    "cispo": "-sg[clip(w)] A logp.",
    "token-mean": "sum over tokens / number of tokens; no eps.",
    "seq-mean-token-sum": "sum over tokens / number of completions with a token (an empty completion is not counted).",
    "seq-mean-token-mean": "mean over those completions of sum / (length + 1e-8): for a completion of one token "
    "relatively 1e-8 below the plain mean.",
    "seq-mean-token-sum-norm": "seq-mean-token-sum / divisor: divided by the number of completions AND by the divisor, "
    "which is T, the padded width of the batch, unless loss_scale_factor is given (`divisor`; null is T).",
    "metrics": "Means over tokens with n + 1e-8: pg_clipfrac (the clipped term is strictly larger), pg_clipfrac_lower "
    "(the dual clip acts and A < 0), ppo_kl (k1 of old to new: old_logp - logp).",
    "kl": "x = logp - ref_logp: k1 x, abs |x|, k2 x^2 / 2, k3 exp(-x) - 1 + x (x clamped to 20, the result to 10). "
    "With + the value is the same and the gradient is that of k2. `gradient` is of the plain sum over tokens.",
    "kl_in_reward": "Token reward = reward on the last token - coefficient * k1 of old to reference. `returns` are "
    "rewards to go; whitened they are `reinforce_plus_plus`.",
    "value": "0.5 * aggregate(max((v - R)^2, (clip(v, old - range, old + range) - R)^2)).",
}


def make_inputs() -> dict[str, Tensor]:
    """The batch: completions of 1 to 6 tokens, ratios on every side of every clip, the second group without signal."""
    generator = torch.Generator().manual_seed(SEED)

    def normal(scale: float) -> Tensor:
        return scale * torch.randn(B, G, T, generator=generator, dtype=torch.float64)

    lengths = torch.tensor([[6, 1, 3, 5], [2, 4, 6, 1], [4, 2, 5, 6], [3, 6, 1, 4]])
    mask = (torch.arange(T) < lengths[..., None]).double()
    steps = torch.tensor([-0.6, -0.3, -0.1, 0.08, 0.15, 0.215, 0.35, 1.3], dtype=torch.float64)
    steps = steps[torch.randint(len(steps), (B, G, T), generator=generator)]
    old_logp = -(1.5 + normal(0.8).abs())
    values = normal(0.4) + 0.4
    inputs = {
        "mask": mask,
        "old_logp": old_logp,
        "logp": old_logp + steps + normal(0.005),
        "logp_near": old_logp + 1e-3 * (steps + normal(0.3)),
        "ref_logp": old_logp + normal(0.4),
        "values": values,
        "value_predictions": values + normal(0.3),
        "terms": normal(1.0),
    }
    # Few decimals keep the table short; they are exact because everything below starts from the rounded numbers.
    inputs = {name: (x * mask).mul(1e6).round().div(1e6) for name, x in inputs.items()}
    inputs["binary"] = torch.tensor([[1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 0, 1], [1, 1, 0, 1]]).double()
    inputs["graded"] = torch.tensor(
        [[0.9, 0.1, 0.35, 0.6], [0.25, 0.25, 0.25, 0.25], [-0.5, 1.2, 0.0, 0.7], [0.45, 0.05, 1.0, 0.8]]
    ).double()
    return inputs


def flat(x: Tensor) -> Tensor:
    """[B, G, ...] as verl's rows [B * G, ...], a copy (verl writes into some of its arguments)."""
    return x.reshape(-1, *x.shape[2:]).clone()


def on_last(rewards: Tensor, mask: Tensor) -> Tensor:
    """Rewards [B, G] on the last token of each completion, [B, G, T]."""
    return torch.zeros_like(mask).scatter(-1, mask.sum(-1, keepdim=True).long() - 1, rewards[..., None])


def estimate(name: str, token_rewards: Tensor, mask: Tensor, **options: Any) -> tuple[Tensor, Tensor]:
    """verl's advantages and returns [B, G, T], 0 where masked."""
    index = np.arange(mask.shape[0]).repeat(mask.shape[1])
    if name == "gae":
        options |= {"gamma": 1.0, "lam": 0.95, "values": flat(options["values"])}
    elif name == "reinforce_plus_plus":
        options["config"] = AlgoConfig(gamma=1.0)
    else:
        options["index"] = index
    fn = verl.get_adv_estimator_fn(name)
    advantages, returns = fn(token_level_rewards=flat(token_rewards), response_mask=flat(mask), **options)
    return advantages.view_as(mask) * mask, returns.view_as(mask) * mask


def make_advantages(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Named "estimator/rewards" with rewards binary or graded; shape cases end in /single or /one_token."""
    mask, table = inputs["mask"], {}
    group = {"grpo": ("grpo", {}), "dr_grpo": ("grpo", {"norm_adv_by_std_in_grpo": False}), "rloo": ("rloo", {})}
    for kind in ("binary", "graded"):
        rewards = on_last(inputs[kind], mask)
        for name, (estimator, options) in group.items():
            table[f"{name}/{kind}"] = estimate(estimator, rewards, mask, **options)[0]
        for name in ("reinforce_plus_plus", "reinforce_plus_plus_baseline"):
            table[f"{name}/{kind}"] = estimate(name, rewards, mask)[0]
            short = torch.ones(B, G, 1, dtype=torch.float64)
            table[f"{name}/{kind}/one_token"] = estimate(name, on_last(inputs[kind], short), short)[0]
        whitened, returns = estimate("gae", rewards, mask, values=inputs["values"])
        table[f"gae/{kind}/raw"] = returns - inputs["values"]
        table[f"gae/{kind}/whitened"] = whitened
        table[f"gae/{kind}/returns"] = returns
    single = inputs["graded"].reshape(-1, 1), mask.reshape(-1, 1, T)
    for name, (estimator, options) in group.items():
        table[f"{name}/graded/single"] = estimate(estimator, on_last(*single), single[1], **options)[0]
    return table


def policy_loss(
    inputs: dict[str, Tensor],
    advantages: dict[str, Tensor],
    name: str,
    mode: str,
    clip: tuple[float | None, float | None, float | None] = (None, None, None),
    advantage: str = "grpo/graded",
    logp: str = "logp",
    divisor: float | None = None,
    kl: tuple[float, str] | None = None,
) -> dict[str, Any]:
    """One case: what went into verl's loss, its value, its gradient with respect to logp and its metrics."""
    low, high, dual = (NEVER if x is None else x for x in clip)
    ranges = {"clip_ratio": low, "clip_ratio_low": low, "clip_ratio_high": high, "clip_ratio_c": dual}
    config = ActorConfig(strategy="fsdp", rollout_n=G, ppo_micro_batch_size_per_gpu=1, **ranges)
    if divisor is not None:
        config.global_batch_info["loss_scale_factor"] = divisor
    x, mask = flat(inputs[logp]).requires_grad_(), flat(inputs["mask"])
    value, metrics = verl.get_policy_loss_fn(name)(
        flat(inputs["old_logp"]), x, flat(advantages[advantage]), mask, loss_agg_mode=mode, config=config
    )
    if kl is not None:
        value = value + kl[0] * verl.agg_loss(verl.kl_penalty(x, flat(inputs["ref_logp"]), kl[1]), mask, mode)
    value.backward()
    given = {"loss": name, "advantage": advantage, "logp": logp, "aggregate": mode, "divisor": divisor}
    return given | {
        "low": clip[0],
        "high": clip[1],
        "dual": clip[2],
        "kl": None if kl is None else {"coefficient": kl[0], "estimator": kl[1]},
        "value": value,
        "gradient": x.grad.view(B, G, T),
        "metrics": {key.removeprefix("actor/"): number for key, number in metrics.items()},
    }


def make_losses(inputs: dict[str, Tensor], advantages: dict[str, Tensor]) -> dict[str, dict[str, Any]]:
    """Cases of `policy_loss`, named "loss/variant/aggregation"."""

    def case(*args: Any, **options: Any) -> dict[str, Any]:
        return policy_loss(inputs, advantages, *args, **options)

    table = {f"vanilla/{k}/{mode}": case("vanilla", mode, clip) for k, clip in CLIPS.items() for mode in MODES}
    token_level = {"advantage": "gae/graded/whitened"}
    table[f"vanilla/no_clip/{TOKEN_MEAN}"] = case("vanilla", TOKEN_MEAN)
    table[f"vanilla/gae/{TOKEN_MEAN}"] = case("vanilla", TOKEN_MEAN, CLIPS["clip"], **token_level)
    table[f"vanilla/divisor/{CONSTANT_NORM}"] = case("vanilla", CONSTANT_NORM, CLIPS["clip"], divisor=10.0)
    table[f"vanilla/kl/{SEQUENCE_MEAN}"] = case("vanilla", SEQUENCE_MEAN, CLIPS["clip"], kl=(0.04, "k3"))
    table[f"vanilla/dr_grpo/{CONSTANT_NORM}"] = case(
        "vanilla", CONSTANT_NORM, CLIPS["clip"], advantage="dr_grpo/graded"
    )
    table[f"gpg/rloo/{TOKEN_SUM}"] = case("gpg", TOKEN_SUM, advantage="rloo/graded")
    for mode in (SEQUENCE_MEAN, TOKEN_MEAN):
        table[f"gspo/near/{mode}"] = case("gspo", mode, (3e-4, 4e-4, None), logp="logp_near")
        table[f"gspo/narrow/{mode}"] = case("gspo", mode, (3e-4, 4e-4, None))
        table[f"gspo/wide/{mode}"] = case("gspo", mode, (0.1, 0.15, None))
        table[f"gpg/{mode}"] = case("gpg", mode)
    table[f"cispo/{TOKEN_MEAN}"] = case("cispo", TOKEN_MEAN, CLIPS["clip_higher"])
    return table


def make_kl(inputs: dict[str, Tensor]) -> dict[str, Any]:
    """For each estimator the values and gradient of each token and the aggregated loss."""
    table, mask = {}, flat(inputs["mask"])
    for name in ("k1", "abs", "k2", "k3", "k1+", "abs+", "k3+"):
        x = flat(inputs["logp"]).requires_grad_()
        values = verl.kl_penalty(x, flat(inputs["ref_logp"]), name)
        (values * mask).sum().backward()
        table[name] = {
            "values": (values * mask).detach().view(B, G, T),
            "gradient": x.grad.view(B, G, T),
            "aggregated": {mode: verl.agg_loss(values, mask, mode) for mode in MODES},
        }
    return table


def make_kl_in_reward(inputs: dict[str, Tensor], coefficient: float = 0.1) -> dict[str, Any]:
    """The penalty inside the reward, and reward to go and REINFORCE++ advantages of it."""
    mask = inputs["mask"]
    scores = on_last(inputs["graded"], mask)
    token_rewards = verl.compute_rewards(scores, inputs["old_logp"], inputs["ref_logp"], coefficient) * mask
    advantages, returns = estimate("reinforce_plus_plus", token_rewards, mask)
    return {
        "coefficient": coefficient,
        "rewards": "graded",
        "token_rewards": token_rewards,
        "returns": returns,
        "reinforce_plus_plus": advantages,
    }


def make_value(inputs: dict[str, Tensor], returns: Tensor, clip: float = 0.2) -> dict[str, Any]:
    """The clipped value loss towards the GAE returns, by aggregation."""
    table: dict[str, Any] = {"clip": clip, "returns": "gae/graded/returns"}
    for mode in MODES:
        x = inputs["value_predictions"].clone().requires_grad_()
        rows = (v.reshape(-1, T) for v in (x, returns, inputs["values"], inputs["mask"]))
        value, clip_fraction = verl.compute_value_loss(*rows, cliprange_value=clip, loss_agg_mode=mode)
        value.backward()
        table[mode] = {"value": value, "gradient": x.grad, "clip_fraction": clip_fraction}
    return table


def make_aggregate(inputs: dict[str, Tensor]) -> dict[str, Any]:
    """Scalars from the loss terms alone; `with_empty` masks the first completion out altogether."""
    empty = inputs["mask"].clone()
    empty[0, 0] = 0
    table: dict[str, Any] = {}
    for name, mask in (("ragged", inputs["mask"]), ("with_empty", empty)):
        rows = flat(inputs["terms"]), flat(mask)
        table[name] = {mode: verl.agg_loss(*rows, mode) for mode in ("token-sum", *MODES)}
        table[name]["seq-mean-token-sum-norm, divisor 10"] = verl.agg_loss(*rows, CONSTANT_NORM, loss_scale_factor=10)
    return table


def check_coverage(inputs: dict[str, Tensor], advantages: dict[str, Tensor]) -> None:
    """Raises AssertionError unless the batch has tokens on every side of every clip, and none on an edge."""
    mask, a = inputs["mask"].bool(), advantages["grpo/graded"]
    w = (inputs["logp"] - inputs["old_logp"]).exp()
    for low, high in ((0, 0.8), (0.8, 1.2), (1.2, 1.28), (1.28, 3), (3, NEVER)):
        inside = mask & (w > low) & (w < high)
        assert bool((inside & (a > 0)).any()) and bool((inside & (a < 0)).any()), (low, high)
    for name, edges in (("logp", (0.9, 1.15, 1 - 3e-4, 1 + 4e-4)), ("logp_near", (1 - 3e-4, 1 + 4e-4))):
        s = (((inputs[name] - inputs["old_logp"]) * mask).sum(-1) / mask.sum(-1)).exp()
        assert bool((s < edges[0]).any()) and bool((s > edges[1]).any()), name
        assert all(bool(((s - edge).abs() > 1e-6).all()) for edge in edges), name


def plain(x: Any) -> Any:
    """Tensors as nested lists, for JSON."""
    if isinstance(x, dict):
        return {key: plain(value) for key, value in x.items()}
    return (x.detach() + 0.0).tolist() if isinstance(x, Tensor) else x  # + 0.0 makes -0.0 plain 0.0


def main() -> None:
    inputs = make_inputs()
    advantages = make_advantages(inputs)
    check_coverage(inputs, advantages)
    table = {
        "made": {
            "command": "python tests/golden/make_verl_table.py",
            "verl": version("verl"),
            "torch": torch.__version__.partition("+")[0],
            "seed": SEED,
        },
        "notes": NOTES,
        "inputs": inputs,
        "advantages": advantages,
        "losses": make_losses(inputs, advantages),
        "kl": make_kl(inputs),
        "kl_in_reward": make_kl_in_reward(inputs),
        "value": make_value(inputs, advantages["gae/graded/returns"]),
        "aggregate": make_aggregate(inputs),
    }
    text = json.dumps(plain(table), indent=1, allow_nan=False)
    text = re.sub(r"\[[^\[\]]*\]", lambda row: " ".join(row[0].split()), text)  # a row of numbers a line
    Path(__file__).with_name("verl.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
