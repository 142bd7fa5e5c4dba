"""TRL's GRPOTrainer losses as audited functions: its `_compute_loss` runs on a stand-in for the trainer.

TRL computes advantages while it generates; here they are computed from `scale_rewards` as it documents: rewards minus
the group's mean, over the standard deviation of the group or the batch plus 1e-4, or over nothing.
"""

from __future__ import annotations

import warnings
from collections import defaultdict
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor, nn

from toykit._checks import one_of
from toykit.audit.objective import Objective
from toykit.audit.options import parsed

HORIZON = 3  # max_completion_length: the longest completion of all problems
NEUTRAL = {"use_cpu": True, "bf16": False, "report_to": "none", "steps_per_generation": 1, "output_dir": "unused"}
SCALES = ("group", "batch", "none")


def trl_loss(text: str) -> Objective:
    """GRPOTrainer's loss of a name: a loss type, and options of GRPOConfig, as in "dapo,beta=0.04".

    Raises ValueError where TRL is not installed, and for an unknown loss type or a bad option.
    """
    try:
        from trl import GRPOConfig, GRPOTrainer
    except ImportError as error:
        raise ValueError(f"trl must be installed to audit trl:{text}: pip install 'toykit[bench]'") from error
    name, options = parsed(text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about settings that no loss reads
            config = GRPOConfig(**NEUTRAL, **{"max_completion_length": HORIZON, "loss_type": name, **options})
    except TypeError as error:
        raise ValueError(f"trl:{text} must name options of GRPOConfig: {error}") from error
    one_of("scale_rewards", config.scale_rewards, SCALES)
    level = "sequence" if name == "luspo" and "importance_sampling_level" not in options else None
    trainer = _StandIn(GRPOTrainer, config, level or config.importance_sampling_level)

    def loss(logp: Tensor, old_logp: Tensor, rewards: Tensor, mask: Tensor, ref_logp: Tensor | None = None) -> Tensor:
        n, t = mask.flatten(0, 1).shape
        flat = {k: v.flatten(0, 1) for k, v in {"logp": logp, "old": old_logp, "mask": mask}.items()}
        trainer.scored = flat["logp"]
        inputs = {
            "prompt_ids": torch.zeros(n, 1, dtype=torch.int64),
            "prompt_mask": torch.ones(n, 1, dtype=torch.int64),
            "completion_ids": torch.zeros(n, t, dtype=torch.int64),
            "completion_mask": flat["mask"].long(),
            "advantages": _advantages(rewards, config.scale_rewards).flatten(),
            "old_per_token_logps": flat["old"],
            "num_items_in_batch": mask.sum(),
        }
        if ref_logp is not None:
            inputs["ref_per_token_logps"] = ref_logp.flatten(0, 1)
        return GRPOTrainer._compute_loss(trainer, None, inputs)

    _try(loss, text)
    taken = ("logp", "old_logp", "rewards", "mask", *(("ref_logp",) if config.beta else ()))
    return Objective(f"trl:{text}", loss, taken, notes=(f"advantages as of scale_rewards={config.scale_rewards}",))


def _advantages(rewards: Tensor, scale: str) -> Tensor:
    centred = rewards - rewards.mean(-1, keepdim=True)
    if scale == "none":
        return centred
    spread = rewards.std(-1, keepdim=True) if scale == "group" else rewards.std()
    return centred / (spread + 1e-4)


class _StandIn:
    """What `_compute_loss` asks of its trainer: settings from the config, log-probabilities as they are given."""

    def __init__(self, trainer: Any, config: Any, level: str) -> None:
        self.args, self.config, self.kind = config, config, trainer
        self.model = nn.Module().train()
        self.importance_sampling_level = level
        self.epsilon_low = config.epsilon
        self.epsilon_high = config.epsilon if config.epsilon_high is None else config.epsilon_high
        self.aux_loss_enabled, self._entropy_bonus_enabled = False, False
        self.current_gradient_accumulation_steps = 1
        self._metrics: dict[str, Any] = {"train": defaultdict(list)}
        self.accelerator = SimpleNamespace(num_processes=1, reduce=lambda x, **_: x, gather=lambda x: x)
        self.scored: Tensor | None = None

    def __getattr__(self, name: str) -> Any:
        """A setting, or a helper of the trainer's that needs no trainer."""
        return getattr(self.__dict__["config"], name) if hasattr(self.config, name) else getattr(self.kind, name)

    def _get_per_token_logps_and_entropies(self, *_: Any, **__: Any) -> tuple[Tensor, Tensor, None]:
        assert self.scored is not None
        return self.scored, torch.zeros_like(self.scored.detach()), None


def _try(loss: Any, text: str) -> None:
    """Raises ValueError where TRL does not know the loss type."""
    x = torch.zeros(1, 2, 1)
    try:
        loss(logp=x, old_logp=x, rewards=x[..., 0], mask=torch.ones_like(x).bool(), ref_logp=x)
    except ValueError as error:
        raise ValueError(f"trl:{text} must be a loss of GRPOTrainer: {error}") from error
