"""What a reader may turn in an explorer: sliders over a grid, and choices."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from toykit._checks import at_least, positive

MOST_CONTROLS = 4
MOST_VALUES = 2001


@dataclass(frozen=True)
class Slider:
    """A number on a grid from `low` to `high`: `step` apart, or `log` points at equal ratios, else 50 equal steps.

    The grid holds `low`, `high` and `default` (by default `low`) exactly; it is of integers when `low`, `high` and
    `step` are (a step of 1 is then the default). Points of a log grid are rounded to 3 significant digits.
    """

    low: float
    high: float
    default: float | None = None
    step: float | None = None
    log: int = 0
    label: str = ""
    points: tuple[float, ...] = ()

    @staticmethod
    def at(points: Sequence[float], default: float | None = None, label: str = "") -> Slider:
        """A slider over just these numbers, in increasing order."""
        grid = tuple(sorted(set(points)))
        if len(grid) < 2:
            raise ValueError(f"points must hold at least two numbers, got {list(points)}")
        return Slider(grid[0], grid[-1], default, label=label, points=grid)

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be < high, got low {self.low} and high {self.high}")
        if self.step is not None:
            positive("step", self.step)
            if self.log:
                raise ValueError(f"step and log exclude each other, got step {self.step} and log {self.log}")
        if self.log:
            positive("low of a log slider", self.low)
            at_least("log", self.log, 2)
        count = len(self.points) or self.log or (self.high - self.low) / self._step()
        if count > MOST_VALUES:
            raise ValueError(
                f"step must leave at most {MOST_VALUES} values, got {count:.0f} from {self.low} to {self.high}"
            )
        if self.default is not None:
            self.check(self.default)

    @property
    def start(self) -> float:
        return self.low if self.default is None else self.default

    @property
    def values(self) -> tuple[float, ...]:
        """The grid, in increasing order."""
        return tuple(sorted({*self._grid(), self.low, self.high, self.start}))

    @property
    def span(self) -> str:
        return f"from {self.low:g} to {self.high:g}"

    def _grid(self) -> Sequence[float]:
        if self.points:
            return self.points
        if self.log:
            return [float(f"{v:.3g}") for v in np.geomspace(self.low, self.high, self.log)[1:-1]]
        step = self._step()
        if isinstance(step, int):
            return list(range(int(self.low), int(self.high) + 1, step))
        count = int((self.high - self.low) / step * (1 + 1e-12))
        decimals = 3 - math.floor(math.log10(step))  # 0.1 + 0.2 is shown as 0.3
        return [min(round(self.low + step * i, decimals), self.high) for i in range(1, count + 1)]

    def _step(self) -> float:
        """An int where the grid is of integers."""
        if all(isinstance(v, int) for v in (self.low, self.high, self.step or 1)):
            return self.step or 1
        return self.step or (self.high - self.low) / 50

    def check(self, value: Any) -> None:
        """Raises ValueError unless `value` lies on the slider's range."""
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not (number and self.low <= value <= self.high):
            raise ValueError(f"must be from {self.low} to {self.high}, got {value!r}")
        if self.points and value not in self.points:
            raise ValueError(f"must be one of {', '.join(f'{p:g}' for p in self.points)}, got {value!r}")


@dataclass(frozen=True)
class Choice:
    """One of a few options; the first where no default is given."""

    options: tuple[Any, ...]
    default: Any = None
    label: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "options", tuple(self.options))
        if len(self.options) < 2:
            raise ValueError(f"options must hold at least two, got {list(self.options)}")
        if self.default is not None:
            self.check(self.default)

    @property
    def start(self) -> Any:
        return self.options[0] if self.default is None else self.default

    @property
    def values(self) -> tuple[Any, ...]:
        return self.options

    @property
    def span(self) -> str:
        return f"({', '.join(map(str, self.options))})"

    def check(self, value: Any) -> None:
        """Raises ValueError unless `value` is one of the options."""
        if value not in self.options:
            raise ValueError(
                f"must be one of {', '.join(map(str, self.options))}, got {value!r}{_near(value, self.options)}"
            )


Control = Slider | Choice


def parse(controls: Mapping[str, Any]) -> dict[str, Control]:
    """Controls by name from `Slider`, `Choice`, (low, high[, step]) for a slider or [options] for a choice.

    Raises ValueError for none, for more than four, and for a control that is none of these.
    """
    if not 1 <= len(controls) <= MOST_CONTROLS:
        raise ValueError(f"controls must be 1 to {MOST_CONTROLS}, got {len(controls)}: {', '.join(controls) or 'none'}")
    return {name: _control(name, spec) for name, spec in controls.items()}


def _control(name: str, spec: Any) -> Control:
    if isinstance(spec, Slider | Choice):
        return spec
    try:
        if isinstance(spec, tuple) and len(spec) in (2, 3):
            return Slider(spec[0], spec[1], step=spec[2] if len(spec) == 3 else None)
        if isinstance(spec, list):
            return Choice(tuple(spec))
    except ValueError as error:
        raise ValueError(f"control {name!r}: {error}") from None
    raise ValueError(f"control {name!r} must be a Slider, a Choice, (low, high[, step]) or [options], got {spec!r}")


def starts(controls: Mapping[str, Control]) -> dict[str, Any]:
    """Each control's default."""
    return {name: control.start for name, control in controls.items()}


def check_state(what: str, state: Mapping[str, Any], controls: Mapping[str, Control]) -> None:
    """Raises ValueError, its text starting with `what`, for an unknown control or a value that it does not allow."""
    for name, value in state.items():
        if name not in controls:
            raise ValueError(f"{what} sets {name!r}, but the controls are {', '.join(controls)}{_near(name, controls)}")
        try:
            controls[name].check(value)
        except ValueError as error:
            raise ValueError(f"{what}: {name} {error}") from None


def _near(value: Any, options: Sequence[Any] | Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(str(value), [str(o) for o in options], n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
