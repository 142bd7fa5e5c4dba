"""What is the true answer? Targets, bounds, group expectations and gradients by full enumeration."""

from __future__ import annotations

from toykit.exact.best_of_n import BestOfN, best_of_n
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
from toykit.exact.flow import ascend
from toykit.exact.gradients import (
    fisher,
    leaf_log_probs,
    likelihood_gradient,
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
from toykit.exact.mass_balance import (
    MassBalance,
    exact_step,
    mass_balance,
    probability_change,
    surrogate_step,
    unsampled_second_moment,
)
from toykit.exact.moments import MomentTarget, moment_target
from toykit.exact.targets import Tilt, filtered, log_evidence, posterior, tempered, tilt_to_kl

__all__ = [
    "ESTIMATORS",
    "BestOfN",
    "Elbo",
    "MassBalance",
    "MomentTarget",
    "Tilt",
    "ascend",
    "best_of_n",
    "elbo",
    "entropy",
    "enumerate_groups",
    "exact_step",
    "expected_advantage",
    "expected_group_update",
    "filtered",
    "fisher",
    "greedy_leaf",
    "group_expectation",
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
    "moment_target",
    "natural_gradient",
    "node_log_probs",
    "policy_gradient",
    "posterior",
    "probability_change",
    "pull_back",
    "reverse_kl_gradient",
    "scores",
    "shared",
    "squared_group_weight",
    "success_rate",
    "surrogate_step",
    "tempered",
    "tilt_to_kl",
    "total_variation",
    "unsampled_second_moment",
]
