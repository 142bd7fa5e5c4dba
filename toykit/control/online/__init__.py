"""Learning by acting: what is tried next depends on what was seen."""

from __future__ import annotations

from toykit.control.online.sqirl import Sqirl, of_estimator, sqirl, table_means

__all__ = ["Sqirl", "of_estimator", "sqirl", "table_means"]
