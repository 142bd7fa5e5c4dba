"""The loop: a resumable trainer, supervised pretraining, evaluation and checkpoints."""

from toykit.training.evaluate import evaluate
from toykit.training.pretrain import PretrainConfig, Pretrainer
from toykit.training.reference import Reference
from toykit.training.store import load_policy, save_policy
from toykit.training.trainer import TrainConfig, Trainer

__all__ = [
    "PretrainConfig",
    "Pretrainer",
    "Reference",
    "TrainConfig",
    "Trainer",
    "evaluate",
    "load_policy",
    "save_policy",
]
