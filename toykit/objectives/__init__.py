"""What is optimised? Pieces (advantages, ratios, clipping, aggregation, KL, targets) and their named combinations."""

from toykit.objectives.advantages import GAE, Advantage, GreedyBaseline
from toykit.objectives.aggregation import token_weights
from toykit.objectives.catalogue import CATALOGUE, Method, method
from toykit.objectives.clipping import Clip
from toykit.objectives.divergences import DIVERGENCES, Divergence, divergence
from toykit.objectives.dpg import PseudoReward
from toykit.objectives.forward_kl import ForwardKL
from toykit.objectives.kl import KL, estimate
from toykit.objectives.policy_gradient import PolicyGradient, Prepared, Signal, ValueLoss
from toykit.objectives.ratios import ratio
from toykit.objectives.targets import Filtered, MovingLogZ, Posterior, Target, Tilted, batch_log_z

__all__ = [
    "CATALOGUE",
    "DIVERGENCES",
    "GAE",
    "KL",
    "Advantage",
    "Clip",
    "Divergence",
    "Filtered",
    "ForwardKL",
    "GreedyBaseline",
    "Method",
    "MovingLogZ",
    "PolicyGradient",
    "Posterior",
    "Prepared",
    "PseudoReward",
    "Signal",
    "Target",
    "Tilted",
    "ValueLoss",
    "batch_log_z",
    "divergence",
    "estimate",
    "method",
    "ratio",
    "token_weights",
]
