"""What happened to the distribution? pass@k, entropies, support, interference and distances, with intervals."""

from __future__ import annotations

from toykit.diagnostics.coverage import accuracy_histogram, efficiency_gap, sampled_efficiency_gap
from toykit.diagnostics.entropy import (
    answer_entropy,
    answer_log_probs,
    chained_entropy,
    mean_token_entropy,
    sampled_answer_entropy,
    sequence_entropy,
    token_entropy,
)
from toykit.diagnostics.frontier import SampledBestOfN, frontier, sampled_best_of_n, shortfall
from toykit.diagnostics.importance import Distance, distance_to_target, effective_sample_size, log_normaliser
from toykit.diagnostics.interference import (
    delta_norm,
    delta_plus,
    first_order_change,
    gradient_rows,
    interference_matrix,
    linear_interference,
    negative_share,
    success_gradient,
)
from toykit.diagnostics.passk import exact_pass_at_k, pass_at_k, solved
from toykit.diagnostics.perplexity import completion_perplexity, perplexity
from toykit.diagnostics.stats import Interval, interval, median_interval, paired_interval, rank_correlation, t_quantile
from toykit.diagnostics.support import SupportTable, detectable, distinct_n, in_support, support_table
from toykit.diagnostics.temperature import match_temperature
from toykit.diagnostics.wrong_answers import WrongAnswers, wrong_answers

__all__ = [
    "Distance",
    "Interval",
    "SampledBestOfN",
    "SupportTable",
    "WrongAnswers",
    "accuracy_histogram",
    "answer_entropy",
    "answer_log_probs",
    "chained_entropy",
    "completion_perplexity",
    "delta_norm",
    "delta_plus",
    "detectable",
    "distance_to_target",
    "distinct_n",
    "effective_sample_size",
    "efficiency_gap",
    "exact_pass_at_k",
    "first_order_change",
    "frontier",
    "gradient_rows",
    "in_support",
    "interference_matrix",
    "interval",
    "linear_interference",
    "log_normaliser",
    "match_temperature",
    "mean_token_entropy",
    "median_interval",
    "negative_share",
    "paired_interval",
    "pass_at_k",
    "perplexity",
    "rank_correlation",
    "sampled_answer_entropy",
    "sampled_best_of_n",
    "sampled_efficiency_gap",
    "sequence_entropy",
    "shortfall",
    "solved",
    "success_gradient",
    "support_table",
    "t_quantile",
    "token_entropy",
    "wrong_answers",
]
