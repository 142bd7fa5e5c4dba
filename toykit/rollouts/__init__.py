"""How are completions made? Sampled or enumerated, always as `Rollouts` with weights."""

from toykit.rollouts.batch import Rollouts
from toykit.rollouts.examples import Demonstrations, Examples, Labelled, Pairs, Steps
from toykit.rollouts.given import Given, of_leaves, of_lengths
from toykit.rollouts.logprobs import (
    chosen,
    leaf_logps,
    log_softmax,
    node_logps,
    outputs,
    token_logps,
    token_means,
    token_scores,
    vocab_logps,
)
from toykit.rollouts.make import Enumerated, Sampled, Strategy, greedy
from toykit.rollouts.mixed import DATA, ExpertLevel, Mixed, check_supplied, own_weights, supplying
from toykit.rollouts.sampling import Drawn, Sampling, Share, sample
from toykit.rollouts.solutions import Solutions

__all__ = [
    "DATA",
    "Demonstrations",
    "Drawn",
    "Enumerated",
    "Examples",
    "ExpertLevel",
    "Given",
    "Labelled",
    "Mixed",
    "Pairs",
    "Rollouts",
    "Sampled",
    "Sampling",
    "Share",
    "Solutions",
    "Steps",
    "Strategy",
    "check_supplied",
    "chosen",
    "greedy",
    "leaf_logps",
    "log_softmax",
    "node_logps",
    "of_leaves",
    "of_lengths",
    "outputs",
    "own_weights",
    "sample",
    "supplying",
    "token_logps",
    "token_means",
    "token_scores",
    "vocab_logps",
]
