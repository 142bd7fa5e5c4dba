"""verl's advantage estimators and policy losses as audited functions, where verl is installed."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from toykit._checks import one_of
from toykit.audit.objective import Objective
from toykit.audit.options import parsed

AGGREGATION = "token-mean"  # verl's default
CLIP = {"clip_ratio": 0.2, "clip_ratio_low": 0.2, "clip_ratio_high": 0.2}


def verl_loss(text: str) -> Objective:
    """A loss of verl's registry, alone or after an estimator: "vanilla", "rloo+gpg,loss_agg_mode=seq-mean-token-sum".

    Options: loss_agg_mode; kl_loss_type and kl_loss_coef, which add verl's KL loss; others go to the estimator's
    settings (AlgoConfig) where they have such a name, else to the loss's (ActorConfig). Raises ValueError where verl is
    not installed, and for names that it does not know.
    """
    try:
        from verl.trainer.config import AlgoConfig
        from verl.trainer.ppo import core_algos
        from verl.workers.config import ActorConfig
    except ImportError as error:
        raise ValueError(
            f"verl must be installed to audit verl:{text}, in an environment of its own (see docs/interop.md)"
        ) from error
    names, options = parsed(text)
    *estimators, name = names.split("+")
    one_of("verl policy loss", name, core_algos.POLICY_LOSS_REGISTRY)
    for estimator in estimators:
        one_of("verl advantage estimator", estimator, core_algos.ADV_ESTIMATOR_REGISTRY)
    mode = options.pop("loss_agg_mode", AGGREGATION)
    kl, beta = options.pop("kl_loss_type", "low_var_kl"), options.pop("kl_loss_coef", 0.0)
    of_algorithm = {k: options.pop(k) for k in list(options) if k in AlgoConfig.__dataclass_fields__}
    algorithm = AlgoConfig(**{"gamma": 1.0, "lam": 1.0, **of_algorithm})
    sizes = {"rollout_n": 2, "ppo_micro_batch_size_per_gpu": 1}
    actor = ActorConfig(strategy="fsdp", **sizes, **{**CLIP, **options})
    estimate = core_algos.get_adv_estimator_fn(estimators[0]) if estimators else None
    policy_loss = core_algos.get_policy_loss_fn(name)

    def loss(
        logp: Tensor,
        mask: Tensor,
        old_logp: Tensor | None = None,
        rewards: Tensor | None = None,
        advantages: Tensor | None = None,
        ref_logp: Tensor | None = None,
    ) -> Tensor:
        given = mask.flatten(0, 1).to(logp.dtype)
        if estimate is None:
            assert advantages is not None
            each = advantages.flatten()[:, None] * given
        else:
            assert rewards is not None
            each = _estimated(estimate, rewards, given, algorithm)
        flat = logp.flatten(0, 1)
        old = flat.detach() if old_logp is None else old_logp.flatten(0, 1)
        found = policy_loss(old, flat, each, given, loss_agg_mode=mode, config=actor)[0]
        if ref_logp is None:
            return found
        penalty = core_algos.kl_penalty(flat, ref_logp.flatten(0, 1), kl_penalty=kl)
        return found + beta * core_algos.agg_loss(penalty, given, loss_agg_mode=mode)

    source = "rewards" if estimators else "advantages"
    taken = ("logp", source, "mask", *(("ref_logp",) if beta else ()))
    if _reads_old(loss, source, text):
        taken = ("old_logp", *taken)
    return Objective(f"verl:{text}", loss, taken, notes=(f"loss_agg_mode={mode}",))


def _estimated(estimate: Any, rewards: Tensor, mask: Tensor, config: Any) -> Tensor:
    """verl's advantages [N, T] of rewards [B, G] on each completion's last token."""
    import numpy as np

    b, g = rewards.shape
    last = mask * (mask.cumsum(-1) == mask.sum(-1, keepdim=True))
    index = np.repeat(np.arange(b), g)
    given = {"token_level_rewards": rewards.flatten()[:, None] * last, "response_mask": mask, "index": index}
    asked = inspect.signature(estimate).parameters
    given = {k: v for k, v in {**given, "config": config}.items() if k in asked}
    return estimate(**given)[0].to(torch.promote_types(rewards.dtype, torch.float32))


def _reads_old(loss: Any, source: str, text: str) -> bool:
    """Whether the behaviour policy changes the loss; raises ValueError where verl asks for what is not here."""
    logp = torch.tensor([[[-0.5, -1.0], [-0.7, -0.3]]], dtype=torch.float64)
    given = {"logp": logp, source: torch.tensor([[1.0, -1.0]], dtype=torch.float64), "mask": torch.ones(1, 2, 2).bool()}
    try:
        found = [loss(old_logp=logp - moved, **given) for moved in (0.0, 0.1)]
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"verl:{text} cannot be audited: {error}") from error
    return not torch.equal(*found)
