"""What is the true answer? Targets, bounds, group expectations and gradients by full enumeration."""

from __future__ import annotations

from toykit.exact.best_of_n import BestOfN, best_of_n, best_of_n_to_kl
from toykit.exact.elbo import Elbo, elbo, entropy, js, kl, total_variation
from toykit.exact.expected_groups import (
    expected_group_update,
    greedy_leaf,
    group_values,
    linear_logits,
    pull_back,
    shared,
    success_rate,
)
from toykit.exact.flow import ascend, ascend_until
from toykit.exact.gradients import (
    fisher,
    leaf_log_probs,
    likelihood_gradient,
    mean_score,
    natural_gradient,
    node_log_probs,
    policy_gradient,
    reverse_kl_gradient,
    scores,
)
from toykit.exact.groups import (
    ESTIMATORS,
    enumerate_groups,
    expected_advantage,
    group_expectation,
    group_weight,
    informative,
    squared_group_weight,
)
from toykit.exact.kl_optima import forward_kl_optimum, product_log, reverse_kl_optimum
from toykit.exact.markov import MarkovSource
from toykit.exact.mass_balance import (
    MassBalance,
    enumerate_draws,
    exact_step,
    mass_balance,
    probability_change,
    subset_law,
    subsets,
    surrogate_step,
    unsampled_second_moment,
)
from toykit.exact.moments import MomentTarget, moment_target
from toykit.exact.right_paths import Push, RightPaths, even_push, group_push
from toykit.exact.targets import Tilt, filtered, log_evidence, posterior, tempered, tilt_to_kl

__all__ = [
    "ESTIMATORS",
    "BestOfN",
    "Elbo",
    "MarkovSource",
    "MassBalance",
    "MomentTarget",
    "Push",
    "RightPaths",
    "Tilt",
    "ascend",
    "ascend_until",
    "best_of_n",
    "best_of_n_to_kl",
    "elbo",
    "entropy",
    "enumerate_draws",
    "enumerate_groups",
    "even_push",
    "exact_step",
    "expected_advantage",
    "expected_group_update",
    "filtered",
    "fisher",
    "forward_kl_optimum",
    "greedy_leaf",
    "group_expectation",
    "group_push",
    "group_values",
    "group_weight",
    "informative",
    "js",
    "kl",
    "leaf_log_probs",
    "likelihood_gradient",
    "linear_logits",
    "log_evidence",
    "mass_balance",
    "mean_score",
    "moment_target",
    "natural_gradient",
    "node_log_probs",
    "policy_gradient",
    "posterior",
    "probability_change",
    "product_log",
    "pull_back",
    "reverse_kl_gradient",
    "reverse_kl_optimum",
    "scores",
    "shared",
    "squared_group_weight",
    "subset_law",
    "subsets",
    "success_rate",
    "surrogate_step",
    "tempered",
    "tilt_to_kl",
    "total_variation",
    "unsampled_second_moment",
]
