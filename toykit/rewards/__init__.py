"""How is a completion scored beyond right and wrong? Named terms with weights, judges, and models of the reward."""

from toykit.rewards.learned import LearnedReward, lower_confidence, reward_model, scores
from toykit.rewards.preferences import Judge, demonstrations, drawn_pairs, every_pair, in_steps, labelled
from toykit.rewards.process import ProcessRewards
from toykit.rewards.terms import Gated, Shaping, SoftOverlong, Term, length

__all__ = [
    "Gated",
    "Judge",
    "LearnedReward",
    "ProcessRewards",
    "Shaping",
    "SoftOverlong",
    "Term",
    "demonstrations",
    "drawn_pairs",
    "every_pair",
    "in_steps",
    "labelled",
    "length",
    "lower_confidence",
    "reward_model",
    "scores",
]
