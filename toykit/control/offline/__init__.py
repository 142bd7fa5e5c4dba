"""Learning from logged transitions alone."""

from __future__ import annotations

from toykit.control.offline.data import TabularData

__all__ = ["TabularData"]
