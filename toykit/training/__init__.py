"""The loop: a resumable trainer, supervised pretraining, evaluation and checkpoints."""

from toykit.objectives import Plateau, Reference
from toykit.training.config import TrainConfig
from toykit.training.curriculum import Curriculum, Phase, hardest
from toykit.training.evaluate import evaluate
from toykit.training.offline import OfflineConfig, OfflineTrainer, fresh
from toykit.training.pretrain import PretrainConfig, Pretrainer
from toykit.training.processes import Processes, joined
from toykit.training.restarts import AtSteps, Restarting
from toykit.training.store import load_policy, save_policy
from toykit.training.trainer import Trainer

__all__ = [
    "AtSteps",
    "Curriculum",
    "OfflineConfig",
    "OfflineTrainer",
    "Phase",
    "Plateau",
    "PretrainConfig",
    "Pretrainer",
    "Processes",
    "Reference",
    "Restarting",
    "TrainConfig",
    "Trainer",
    "evaluate",
    "fresh",
    "hardest",
    "joined",
    "load_policy",
    "save_policy",
]
