"""Learning from logged transitions alone."""

from __future__ import annotations

from toykit.control.offline.data import TabularData
from toykit.control.offline.dual import DualSolution, PolicyDual, dual_q, dual_v, recoil, regularised_return
from toykit.control.offline.dual_policy import LinearDual, learn_policy, likelihood, log_ratio, recoil_dual
from toykit.control.offline.fitted_q import by_action, fitted_q_iteration
from toykit.control.offline.return_conditioned import Imagined, ReturnConditioned, mbrcsl

__all__ = [
    "DualSolution",
    "Imagined",
    "LinearDual",
    "PolicyDual",
    "ReturnConditioned",
    "TabularData",
    "by_action",
    "dual_q",
    "dual_v",
    "fitted_q_iteration",
    "learn_policy",
    "likelihood",
    "log_ratio",
    "mbrcsl",
    "recoil",
    "recoil_dual",
    "regularised_return",
]
