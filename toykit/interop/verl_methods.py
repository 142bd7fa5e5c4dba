"""toykit's methods as the two functions that verl asks for: an advantage estimator and a policy loss.

verl calls the estimator where the whole batch is, and the loss on micro-batches in its workers, and aggregates with its
own `agg_loss`, which knows the sizes of the whole batch. What of a method lives in verl's own settings (aggregation, KL
penalties, the reference) is checked there: a job that would train something else than the method's name says stops.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from toykit.interop.needs import as_method, check_supplied
from toykit.objectives import CATALOGUE, KL, Advantage, Method, Objective, method, ratio

SUPPLIED = ("penalty", "reference")  # kinds of `toykit.interop.needs`
AGGREGATIONS = {
    "token_sum": "seq-mean-token-sum",
    "sequence_mean": "seq-mean-token-mean",
    "token_mean": "token-mean",
    "constant_norm": "seq-mean-token-sum-norm",
}
ESTIMATORS = {"k1": "kl", "k2": "mse", "k3": "low_var_kl"}
PREFIX = "toykit_"
ACTOR = "actor_rollout_ref.actor"


def expressible() -> dict[str, Method]:
    """The methods of the catalogue that verl can run, by name; `refusals` says why not the others."""
    return {name: method(name) for name in CATALOGUE if name not in refusals()}


def refusals() -> dict[str, str]:
    """Why verl cannot run the other methods of the catalogue, by name."""
    found = {}
    for name in CATALOGUE:
        try:
            check(method(name))
        except ValueError as error:
            found[name] = str(error)
    return found


def check(given: Method) -> None:
    """Raises ValueError naming what the method needs and verl cannot supply."""
    check_supplied(given, SUPPLIED, "verl")
    objective = given.pieces
    if objective.ratio == "importance":
        raise ValueError("ratio must be none, token or sequence in verl, got 'importance'")
    kl = objective.kl
    if kl is None:
        return
    if kl.route == "score" or kl.direction != "reverse" or not isinstance(kl.beta, int | float):
        raise ValueError(f"kl must be reverse, by route reward or autodiff and with one beta in verl, got {kl}")
    if kl.level != "token" or (kl.route == "reward" and kl.estimator != "k1"):
        raise ValueError(f"kl must be token by token, and k1 where it is taken off the reward, in verl, got {kl}")


def register(core_algos: Any, name: str, objective: str | Method | Objective) -> None:
    """Puts an objective into verl's registries, both under `name`; see the functions it makes for what they check.

    `core_algos` is the module verl.trainer.ppo.core_algos. Registering the same name again is an error of verl's.
    """
    given = as_method(objective)
    check(given)
    core_algos.register_adv_est(name)(advantage_estimator(given, name))
    core_algos.register_policy_loss(name)(policy_loss(given, name, core_algos.agg_loss))


def advantage_estimator(given: Method, name: str) -> Callable[..., tuple[Tensor, Tensor]]:
    """verl's (advantages, returns) [N, T] of the method, returns being the advantages.

    Raises ValueError where verl's algorithm settings take another KL penalty off the reward than the method's, where
    there are no group ids, or groups of several sizes.
    """
    advantage, kl = given.pieces.advantage, given.pieces.kl
    assert isinstance(advantage, Advantage), "the others need a critic or greedy decoding"
    wanted = kl if kl is not None and kl.route == "reward" else None

    def estimate(
        token_level_rewards: Tensor,
        response_mask: Tensor,
        index: Sequence[Any] | None = None,
        config: Any = None,
        **_: Any,
    ) -> tuple[Tensor, Tensor]:
        _check_reward_penalty(wanted, config, name)
        if index is None:
            raise ValueError(f"index must hold the group of each completion for {name}, got None")
        order = groups(index).to(token_level_rewards.device)
        with torch.no_grad():
            rewards = token_level_rewards.sum(-1)[order]
            whole = torch.zeros_like(token_level_rewards[:, 0])
            whole[order] = advantage(rewards, torch.full_like(rewards, 1 / order.shape[1]))
            advantages = whole[:, None] * response_mask
        return advantages, advantages

    return estimate


def groups(index: Sequence[Any]) -> Tensor:
    """int64 [B, G]: the rows of each group, in the order in which they come, of group ids [N].

    Raises ValueError where the groups have several sizes.
    """
    rows: dict[Any, list[int]] = {}
    for row, group in enumerate(index):
        rows.setdefault(group, []).append(row)
    if len(sizes := sorted({len(r) for r in rows.values()})) != 1:
        raise ValueError(f"index must hold groups of one size, got sizes {sizes}")
    return torch.tensor(list(rows.values()))


def policy_loss(given: Method, name: str, agg_loss: Callable[..., Tensor]) -> Callable[..., tuple[Tensor, dict]]:
    """verl's (loss, figures) of the method on a micro-batch; its KL loss is added by verl itself.

    Raises ValueError where the actor's settings aggregate otherwise or penalise another KL than the method's, or where
    a method that divides by the horizon is not told it (loss_scale_factor).
    """
    objective = given.pieces
    wanted = objective.kl if objective.kl is not None and objective.kl.route == "autodiff" else None

    def loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, Any]]:
        _check_actor(objective.aggregate, wanted, loss_agg_mode, config, name)
        mask = response_mask.bool()
        figures: dict[str, Any] = {}
        if objective.ratio == "none":
            surrogate = advantages * log_prob
        else:
            w = ratio(objective.ratio, log_prob, old_log_prob, mask)
            surrogate = w * advantages if objective.clip is None else objective.clip(w, advantages)
            if objective.clip is not None:
                clipped = torch.stack(objective.clip.active(w.detach(), advantages)).any(0)
                figures["actor/pg_clipfrac"] = (clipped & mask).sum().item() / max(int(mask.sum()), 1)
        per_token = (-surrogate).masked_fill(~mask, 0.0)
        if rollout_is_weights is not None:
            per_token = per_token * rollout_is_weights
        return agg_loss(per_token, response_mask, loss_agg_mode, **config.global_batch_info), figures

    return loss


def settings(name: str, horizon: int | None = None) -> dict[str, str | float | bool]:
    """The settings of a verl job that runs a method of the catalogue, by their dotted names.

    `horizon` is the most tokens of a response, for methods that divide by it. Raises ValueError for a method that verl
    cannot run.
    """
    given = method(name)
    check(given)
    full, objective = PREFIX + name, given.pieces
    found: dict[str, str | float | bool] = {
        "algorithm.adv_estimator": full,
        "algorithm.use_kl_in_reward": False,
        f"{ACTOR}.policy_loss.loss_mode": full,
        f"{ACTOR}.loss_agg_mode": AGGREGATIONS[objective.aggregate],
        f"{ACTOR}.use_kl_loss": False,
    }
    if objective.aggregate == "constant_norm":
        if horizon is None:
            raise ValueError(f"horizon must be given for {name}, got None")
        found[f"{ACTOR}.loss_scale_factor"] = horizon
    kl = objective.kl
    if kl is not None and kl.route == "reward":
        found |= {
            "algorithm.use_kl_in_reward": True,
            "algorithm.kl_penalty": ESTIMATORS[kl.estimator],
            "algorithm.kl_ctrl.type": "fixed",
            "algorithm.kl_ctrl.kl_coef": float(kl.beta),
        }
    elif kl is not None:
        found |= {
            f"{ACTOR}.use_kl_loss": True,
            f"{ACTOR}.kl_loss_type": ESTIMATORS[kl.estimator],
            f"{ACTOR}.kl_loss_coef": float(kl.beta),
        }
    return found


def _must(setting: str, wanted: Any, got: Any, name: str) -> None:
    if got != wanted:
        raise ValueError(f"{setting} must be {wanted!r} for {name}, got {got!r}")


def _check_reward_penalty(wanted: KL | None, config: Any, name: str) -> None:
    """Holds verl's algorithm settings, where it hands them over, against a penalty that is taken off the reward."""
    if config is None and wanted is None:
        return
    if config is None:
        raise ValueError(f"config must be verl's algorithm settings for {name}, which has a KL penalty, got None")
    _must("algorithm.use_kl_in_reward", wanted is not None, config.use_kl_in_reward, name)
    if wanted is not None:
        _must("algorithm.kl_penalty", ESTIMATORS[wanted.estimator], config.kl_penalty, name)
        _must("algorithm.kl_ctrl.type", "fixed", config.kl_ctrl.type, name)
        _must("algorithm.kl_ctrl.kl_coef", wanted.beta, config.kl_ctrl.kl_coef, name)


def _check_actor(aggregate: str, wanted: KL | None, mode: str, config: Any, name: str) -> None:
    if config is None:
        raise ValueError(f"config must be verl's actor settings for {name}, got None")
    _must(f"{ACTOR}.loss_agg_mode", AGGREGATIONS[aggregate], mode, name)
    if aggregate == "constant_norm" and config.global_batch_info.get("loss_scale_factor") is None:
        raise ValueError(f"{ACTOR}.loss_scale_factor must be the most tokens of a response for {name}, got None")
    _must(f"{ACTOR}.use_kl_loss", wanted is not None, config.use_kl_loss, name)
    if wanted is not None:
        _must(f"{ACTOR}.kl_loss_type", ESTIMATORS[wanted.estimator], config.kl_loss_type, name)
        _must(f"{ACTOR}.kl_loss_coef", wanted.beta, config.kl_loss_coef, name)
