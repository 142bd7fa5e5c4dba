"""What is optimised? Pieces (advantages, ratios, clipping, aggregation, KL, targets) and their named combinations."""

from toykit.objectives.advantages import GAE, Advantage, GreedyBaseline
from toykit.objectives.aggregation import token_weights
from toykit.objectives.asymmetric import DADS, STCR
from toykit.objectives.baselines import Moving, RunningMean, TokenReturns
from toykit.objectives.catalogue import CATALOGUE, Method, method
from toykit.objectives.clipping import Clip
from toykit.objectives.conjugates import CONJUGATES, Conjugate, conjugate
from toykit.objectives.coverage import OnPolicyForwardKL, Tempering, covering
from toykit.objectives.divergences import DIVERGENCES, Divergence, divergence
from toykit.objectives.dpg import PseudoReward
from toykit.objectives.dual_values import Asymmetric, ChiSquare, DualRL, Gumbel, TotalVariation
from toykit.objectives.entries import PIPELINES, Entry, entry
from toykit.objectives.entropy_shaping import EntropyShaping
from toykit.objectives.expert import ExpertGate
from toykit.objectives.external import MIS, Exploring, External, Likelihood, OwnMean, Probability, Reshaped
from toykit.objectives.filters import SigmaFilter
from toykit.objectives.forward_kl import ForwardKL
from toykit.objectives.kl import KL, estimate
from toykit.objectives.objective import Batch, Objective
from toykit.objectives.offline import OFFLINE, OfflineMethod, offline_method
from toykit.objectives.offline_values import CQL, ILQL, decoding_logits, expectile
from toykit.objectives.one_sign import OneSign
from toykit.objectives.overconfidence import Overconfidence, log_ratio
from toykit.objectives.pacs import PACS, LabelledGroups
from toykit.objectives.penalties import EntropyBonus, Penalty
from toykit.objectives.policy_gradient import PolicyGradient, Prepared, Signal, ValueLoss
from toykit.objectives.preference import CPO, DPO, IPO, ORPO, Hinge, Scored, SimPO
from toykit.objectives.ratios import ratio
from toykit.objectives.reference import Plateau, Reference
from toykit.objectives.reward_models import BradleyTerry, ProcessReward, process_score
from toykit.objectives.rover import OLD_MEAN, Rover
from toykit.objectives.targets import Filtered, MovingLogZ, Posterior, Target, Tilted, batch_log_z
from toykit.objectives.tracker import Tracker, forgetting
from toykit.objectives.transforms import Transform
from toykit.objectives.unpaired import KTO, SFT, UNA

__all__ = [
    "CATALOGUE",
    "CONJUGATES",
    "CPO",
    "CQL",
    "DADS",
    "DIVERGENCES",
    "DPO",
    "GAE",
    "ILQL",
    "IPO",
    "KL",
    "KTO",
    "MIS",
    "OFFLINE",
    "OLD_MEAN",
    "ORPO",
    "PACS",
    "PIPELINES",
    "SFT",
    "STCR",
    "UNA",
    "Advantage",
    "Asymmetric",
    "Batch",
    "BradleyTerry",
    "ChiSquare",
    "Clip",
    "Conjugate",
    "Divergence",
    "DualRL",
    "EntropyBonus",
    "EntropyShaping",
    "Entry",
    "ExpertGate",
    "Exploring",
    "External",
    "Filtered",
    "ForwardKL",
    "GreedyBaseline",
    "Gumbel",
    "Hinge",
    "LabelledGroups",
    "Likelihood",
    "Method",
    "Moving",
    "MovingLogZ",
    "Objective",
    "OfflineMethod",
    "OnPolicyForwardKL",
    "OneSign",
    "Overconfidence",
    "OwnMean",
    "Penalty",
    "Plateau",
    "PolicyGradient",
    "Posterior",
    "Prepared",
    "Probability",
    "ProcessReward",
    "PseudoReward",
    "Reference",
    "Reshaped",
    "Rover",
    "RunningMean",
    "Scored",
    "SigmaFilter",
    "Signal",
    "SimPO",
    "Target",
    "Tempering",
    "Tilted",
    "TokenReturns",
    "TotalVariation",
    "Tracker",
    "Transform",
    "ValueLoss",
    "batch_log_z",
    "conjugate",
    "covering",
    "decoding_logits",
    "divergence",
    "entry",
    "estimate",
    "expectile",
    "forgetting",
    "log_ratio",
    "method",
    "offline_method",
    "process_score",
    "ratio",
    "token_weights",
]
