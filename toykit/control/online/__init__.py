"""Learning by acting: what is tried next depends on what was seen."""

from __future__ import annotations

from toykit.control.online.asking import (
    answer,
    disagreement,
    finite_disagreement,
    least_square,
    most_queries,
    norm_under,
)
from toykit.control.online.change_points import ChangePoints, detect, forecasters, log_marginal, theorem_prior
from toykit.control.online.compared import ComparedReward, pooled_states
from toykit.control.online.episodes import (
    best_policies,
    layered,
    one_hot_features,
    policy_values,
    returns,
    trajectories,
)
from toykit.control.online.logistic import LogisticFit, fit_logistic, gaussian_draw
from toykit.control.online.lsvi import Moves, noisy_lsvi, truncated
from toykit.control.online.optimism import confidence, extended_value_iteration
from toykit.control.online.pbts import ThompsonRun, pbts
from toykit.control.online.posterior import FinitePosterior
from toykit.control.online.pr_lsvi import PRLSVI, Learning, pr_lsvi
from toykit.control.online.q_learning import QLearning
from toykit.control.online.regret import Regret, regret_curves
from toykit.control.online.sqirl import Sqirl, of_estimator, of_network, pooled_sqirl, sqirl, table_means
from toykit.control.online.ucrl2 import UCRL2
from toykit.control.online.watch import Watch

__all__ = [
    "PRLSVI",
    "UCRL2",
    "ChangePoints",
    "ComparedReward",
    "FinitePosterior",
    "Learning",
    "LogisticFit",
    "Moves",
    "QLearning",
    "Regret",
    "Sqirl",
    "ThompsonRun",
    "Watch",
    "answer",
    "best_policies",
    "confidence",
    "detect",
    "disagreement",
    "extended_value_iteration",
    "finite_disagreement",
    "fit_logistic",
    "forecasters",
    "gaussian_draw",
    "layered",
    "least_square",
    "log_marginal",
    "most_queries",
    "noisy_lsvi",
    "norm_under",
    "of_estimator",
    "of_network",
    "one_hot_features",
    "pbts",
    "policy_values",
    "pooled_sqirl",
    "pooled_states",
    "pr_lsvi",
    "regret_curves",
    "returns",
    "sqirl",
    "table_means",
    "theorem_prior",
    "trajectories",
    "truncated",
]
