"""Learning from logged transitions alone."""

from __future__ import annotations

from toykit.control.offline.data import TabularData
from toykit.control.offline.dual import DualSolution, PolicyDual, dual_q, dual_v, recoil, regularised_return
from toykit.control.offline.fitted_q import by_action, fitted_q_iteration

__all__ = [
    "DualSolution",
    "PolicyDual",
    "TabularData",
    "by_action",
    "dual_q",
    "dual_v",
    "fitted_q_iteration",
    "recoil",
    "regularised_return",
]
