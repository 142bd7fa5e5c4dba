"""How are completions made? Sampled or enumerated, always as `Rollouts` with weights."""

from toykit.rollouts.batch import Rollouts
from toykit.rollouts.examples import Demonstrations, Examples, Labelled, Pairs, Steps
from toykit.rollouts.given import Given, of_leaves
from toykit.rollouts.logprobs import (
    chosen,
    leaf_logps,
    log_softmax,
    node_logps,
    outputs,
    token_logps,
    token_scores,
    vocab_logps,
)
from toykit.rollouts.make import Enumerated, Sampled, Strategy, greedy
from toykit.rollouts.sampling import Drawn, Sampling, Share, sample

__all__ = [
    "Demonstrations",
    "Drawn",
    "Enumerated",
    "Examples",
    "Given",
    "Labelled",
    "Pairs",
    "Rollouts",
    "Sampled",
    "Sampling",
    "Share",
    "Steps",
    "Strategy",
    "chosen",
    "greedy",
    "leaf_logps",
    "log_softmax",
    "node_logps",
    "of_leaves",
    "outputs",
    "sample",
    "token_logps",
    "token_scores",
    "vocab_logps",
]
