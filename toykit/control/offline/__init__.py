"""Learning from logged transitions alone."""

from __future__ import annotations

from toykit.control.offline.data import TabularData
from toykit.control.offline.dual import DualSolution, PolicyDual, dual_q, dual_v, recoil, regularised_return

__all__ = ["DualSolution", "PolicyDual", "TabularData", "dual_q", "dual_v", "recoil", "regularised_return"]
