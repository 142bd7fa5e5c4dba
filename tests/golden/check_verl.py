r"""Makes verl_interop.json: toykit's methods run by verl itself, beside toykit alone and beside verl's own methods.

verl is not needed to run the tests, only to make the record again, in an environment of its own (CPU, Python 3.11):

    python -m venv verl-venv
    verl-venv/bin/pip install torch==2.13.0
    verl-venv/bin/pip install -e ".[bench,dev,lora]" fastapi uvicorn
    verl-venv/bin/pip install --no-deps verl==0.9.1 ray msgpack protobuf "tensordict<=0.10" pyvers orjson omegaconf \
        antlr4-python3-runtime==4.9.3 codetiming hydra-core==1.3.2 torchdata==0.11.0 cachetools
    verl-venv/bin/python tests/golden/check_verl.py

The batch is that of verl.json, its rows shuffled. Each method goes the way of a verl job on the CPU: its settings are
composed with verl's own configuration; advantages come from verl's `compute_advantage` (after `apply_kl_penalty`, where
the settings ask for it), the loss from `ppo_loss`, which workers call, in two micro-batches. The record holds the
settings, the loss and the largest differences: to toykit alone (`toykit`), and to verl's own estimator and loss of
the same method (`verl`; without an estimator of verl's for the method, its loss alone).
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import verl
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tensordict import TensorDict
from torch import Tensor
from verl import DataProto
from verl.trainer.ppo.core_algos import get_adv_estimator_fn, get_kl_controller
from verl.trainer.ppo.ray_trainer import apply_kl_penalty, compute_advantage
from verl.utils import tensordict_utils as tu
from verl.utils.config import omega_conf_to_dataclass
from verl.workers.utils.losses import ppo_loss

import toykit.interop.verl as interop  # the one line of a job
from toykit.objectives import method
from toykit.rollouts import Rollouts

HERE = Path(__file__).parent
INPUTS = {
    k: torch.tensor(v, dtype=torch.float64) for k, v in json.loads((HERE / "verl.json").read_text())["inputs"].items()
}
MASK, REWARDS = INPUTS["mask"].bool(), INPUTS["graded"]
B, G, T = MASK.shape
ORDER = torch.randperm(B * G, generator=torch.Generator().manual_seed(3))  # of the rows in verl's batch
NEVER = 1e9  # a dual clip that never acts

# verl's estimator with its options, and verl's loss with the clip range that the catalogue has
GROUP_MEAN, CLIP = {"norm_adv_by_std_in_grpo": False}, (0.2, 0.2)
PEERS: dict[str, tuple[str | None, dict[str, Any], str, tuple[float, float]]] = {
    "reinforce": (None, {}, "gpg", CLIP),
    "rloo": ("rloo", {}, "gpg", CLIP),
    "kl_rl": ("rloo", {}, "gpg", CLIP),
    "grpo": ("grpo", {}, "vanilla", CLIP),
    "grpo_trl": ("grpo", {"epsilon": 1e-4}, "vanilla", CLIP),
    "dr_grpo": ("grpo", GROUP_MEAN, "vanilla", CLIP),
    "gspo": ("grpo", {}, "gspo", (3e-4, 4e-4)),
    "luspo": ("grpo", {}, "gspo", (2e-3, 2.5e-3)),
    "lite_ppo": (None, {}, "vanilla", CLIP),
    "reinforce_plus_plus": (None, {}, "vanilla", CLIP),
}


def rows(x: Tensor) -> Tensor:
    """[B, G, ...] as the rows of verl's batch."""
    return x.flatten(0, 1)[ORDER].clone()


def configured(settings: dict[str, Any]) -> Any:
    """verl's whole configuration with a method's settings, as the command line of a job would compose it."""
    lines = [f"{name}={value}" for name, value in settings.items()]
    lines += ["actor_rollout_ref.actor.ppo_micro_batch_size_per_gpu=8", "actor_rollout_ref.actor.use_dynamic_bsz=false"]
    with initialize_config_dir(str(Path(verl.__file__).parent / "trainer" / "config"), version_base=None):
        config = compose("ppo_trainer", lines)
    OmegaConf.set_struct(config, False)
    config.actor_rollout_ref.actor.rollout_n = G
    return config


def batch_with_rewards(config: Any) -> DataProto:
    """The batch as verl has it when advantages are computed."""
    scores = torch.zeros(B, G, T, dtype=torch.float64).scatter(-1, MASK.sum(-1, keepdim=True) - 1, REWARDS[..., None])
    tensors = {
        "token_level_scores": rows(scores),
        "token_level_rewards": rows(scores),
        "response_mask": rows(MASK.long()),
        "old_log_probs": rows(INPUTS["old_logp"]),
        "ref_log_prob": rows(INPUTS["ref_logp"]),
    }
    groups = np.array([f"prompt {i}" for i in (ORDER // G).tolist()], dtype=object)
    data = DataProto(batch=TensorDict(tensors, [B * G]), non_tensor_batch={"uid": groups})
    if config.algorithm.use_kl_in_reward:
        data, _ = apply_kl_penalty(data, get_kl_controller(config.algorithm.kl_ctrl), config.algorithm.kl_penalty)
    return data


def loss_and_gradient(actor: Any, data: DataProto, advantages: Tensor) -> tuple[float, Tensor]:
    """verl's loss in two micro-batches and its gradient with respect to logp [N, T]."""
    logp, mask = rows(INPUTS["logp"]).requires_grad_(), data.batch["response_mask"]
    total = torch.zeros((), dtype=torch.float64)
    for part in torch.arange(B * G).split(B * G // 2):
        # What the model gave at each token of "one prompt token and the response" without padding: the next token's.
        flat = [torch.cat([logp[i][mask[i].bool()], logp.new_zeros(1)]) for i in part.tolist()]
        prompts = torch.zeros(len(part), 1, dtype=torch.int64)
        micro = TensorDict(
            {
                "prompts": prompts,
                "responses": torch.zeros_like(mask[part]),
                "attention_mask": torch.cat([torch.ones_like(prompts), mask[part]], 1),
                "response_mask": mask[part],
                "advantages": advantages[part],
                **{name: data.batch[name][part] for name in ("old_log_probs", "ref_log_prob")},
            },
            [len(part)],
        )
        sizes = {"dp_size": 1, "batch_num_tokens": int(mask.sum()), "global_batch_size": B * G}
        tu.assign_non_tensor(micro, **sizes)
        total = (
            total + ppo_loss(actor, {"log_probs": torch.nested.as_nested_tensor(flat, layout=torch.jagged)}, micro)[0]
        )
    total.backward()
    return total.item(), logp.grad


def alone(name: str) -> tuple[Tensor, float, Tensor]:
    """(advantages, loss, gradient) by toykit alone, in the rows of verl's batch."""
    prompts = torch.zeros(B, 1, dtype=torch.int64)
    weights = torch.full((B, G), 1 / G, dtype=torch.float64)
    tokens = torch.zeros(B, G, T, dtype=torch.int64)
    rollouts = Rollouts(
        prompts,
        prompts == 0,
        torch.arange(B),
        tokens,
        MASK,
        INPUTS["old_logp"],
        REWARDS,
        weights,
        INPUTS["ref_logp"],
        T,
    )
    objective, logp = method(name).objective, INPUTS["logp"].clone().requires_grad_()
    prepared = objective.prepare(rollouts)
    loss, _ = objective.loss(logp, prepared)
    loss.backward()
    return rows(prepared.advantages), loss.item(), rows(logp.grad)


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference, rounded to one digit."""
    return float(f"{(a - b).abs().max().item():.0e}")


def compare(name: str) -> dict[str, Any]:
    settings = interop.settings(name, horizon=T)
    config = configured(settings)
    data = batch_with_rewards(config)
    data = compute_advantage(data, config.algorithm.adv_estimator, config=config.algorithm)
    advantages, mask = data.batch["advantages"], data.batch["response_mask"]
    loss, gradient = loss_and_gradient(omega_conf_to_dataclass(config.actor_rollout_ref.actor), data, advantages)
    by_toykit, value, slope = alone(name)
    estimator, options, mode, (low, high) = PEERS[name]
    theirs: dict[str, Any] = {"estimator": estimator, "loss": mode}
    other = advantages
    if estimator is not None:
        given = {"token_level_rewards": data.batch["token_level_rewards"].clone(), "response_mask": mask}
        other, _ = get_adv_estimator_fn(estimator)(**given, index=data.non_tensor_batch["uid"], **options)
        theirs["advantages"] = apart(advantages, other)
    clip = {"clip_ratio": low, "clip_ratio_low": low, "clip_ratio_high": high, "clip_ratio_c": NEVER}
    config = configured({**settings, **{f"actor_rollout_ref.actor.{key}": x for key, x in clip.items()}})
    config.actor_rollout_ref.actor.policy_loss.loss_mode = mode
    peer, direction = loss_and_gradient(omega_conf_to_dataclass(config.actor_rollout_ref.actor), data, other)
    theirs["value"], theirs["gradient"] = float(f"{abs(loss - peer):.0e}"), apart(gradient, direction)
    return {
        "settings": settings,
        "loss": loss,
        "largest_gradient": gradient.abs().max().item(),
        "toykit": {
            "advantages": apart(advantages, by_toykit),
            "value": float(f"{abs(loss - value):.0e}"),
            "gradient": apart(gradient, slope),
        },
        "verl": theirs,
    }


def main() -> None:
    names = [name.removeprefix("toykit_") for name in interop.registered]
    versions = {name: version(name) for name in ("verl", "tensordict", "hydra-core")}
    record = {
        "made": {
            "command": "python tests/golden/check_verl.py",
            "torch": torch.__version__.partition("+")[0],
            **versions,
        },
        "methods": {name: compare(name) for name in names},
        "refused": interop.refused,
    }
    (HERE / "verl_interop.json").write_text(json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
