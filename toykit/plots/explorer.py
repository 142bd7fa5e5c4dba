"""Explorers: a pure function of a few controls, live where there is a kernel and pictures where there is none."""

from __future__ import annotations

import base64
import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Mapping
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from toykit.plots.controls import Control, check_state, parse, starts
from toykit.plots.images import Panel, montage, pixels, png
from toykit.plots.style import alt_text, describe
from toykit.plots.tables import number

if TYPE_CHECKING:
    from toykit.plots.widgets import View

VIEW = "application/vnd.jupyter.widget-view+json"


class Explorer:
    """A function of controls with its presets; made by `explore`, shown as the last value of a cell."""

    def __init__(
        self,
        fn: Callable[..., Figure],
        controls: Mapping[str, Any],
        presets: Mapping[str, Mapping[str, Any]] | None = None,
        alt: str | Callable[..., str] = "",
        live: bool | None = None,
    ) -> None:
        self.fn, self.alt = fn, alt
        self.controls: dict[str, Control] = parse(controls)
        self.defaults = starts(self.controls)
        self.presets: dict[str, dict[str, Any]] = {}
        for name, changes in (presets or {}).items():
            check_state(f"preset {name!r}", changes, self.controls)
            self.presets[name] = {**self.defaults, **changes}
        _accepts(fn, self.defaults)
        self.live = has_live_front_end() if live is None else live
        self.picture = lru_cache(maxsize=128)(self._picture)

    def state(self, **changes: Any) -> dict[str, Any]:
        """The defaults with these changes; raises ValueError for an unknown control or a value that is not allowed."""
        check_state("the explorer's state", changes, self.controls)
        return {**self.defaults, **changes}

    def figure(self, **changes: Any) -> Figure:
        """The figure at the defaults with these changes, carrying its alternative text."""
        state = self.state(**changes)
        made = self.fn(**state)
        if not isinstance(made, Figure):
            raise TypeError(f"fn must return a matplotlib Figure, got {type(made).__name__}")
        words = self.alt(**state) if callable(self.alt) else self.alt
        return describe(made, words) if words else made

    def _picture(self, **changes: Any) -> tuple[bytes, str]:
        """(PNG, alternative text) at the defaults with these changes; `picture` remembers the latest 128."""
        made = self.figure(**changes)
        return png(made, small=False), alt_text(made)

    @cached_property
    def panels(self) -> Figure:
        """The presets' figures (without presets: the defaults') in one, for readers without a kernel."""
        panels, words = [], []
        for name, state in (self.presets or {"": self.defaults}).items():
            made = self.figure(**state)
            title, text = f"{name}   {_settings(state)}".strip(), alt_text(made)
            panels.append(Panel(title, pixels(made), text if self.alt else ""))
            words.append(f"{name}: {text}" if name else text)
        return describe(montage(panels, dpi=made.get_dpi()), "\n".join(words))

    @cached_property
    def view(self) -> View:
        """The widgets; needs ipywidgets."""
        from toykit.plots.widgets import View

        return View(self)

    def __str__(self) -> str:
        spans = ", ".join(f"{name} {control.span}" for name, control in self.controls.items())
        return f"Explorer: {spans}.\n{alt_text(self.panels)}"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """The panels as a picture, and the widget view beside it where it is live.

        A front end with widgets shows the widgets; one without (a saved notebook on the web) shows the picture.
        """
        picture = base64.b64encode(png(self.panels)).decode()
        bundle = {"image/png": picture, "text/plain": str(self)}
        if self.live:
            bundle[VIEW] = self.view.box._repr_mimebundle_()[VIEW]
        return bundle, {"image/png": {"alt": alt_text(self.panels)}}


def explore(
    fn: Callable[..., Figure],
    controls: Mapping[str, Any],
    presets: Mapping[str, Mapping[str, Any]] | None = None,
    alt: str | Callable[..., str] = "",
    live: bool | None = None,
) -> Explorer:
    """An explorer of `fn`, a pure function of the controls that returns a matplotlib Figure.

    `controls` are at most four by name: `Slider`, `Choice`, (low, high[, step]) or [options]. `presets` name
    settings that the text refers to; a control that a preset leaves out stands at its default. `alt` is the text for
    screen readers, shown under the figure: a string, or a function of the same controls; without it the figure's
    titles and labels are read.

    Leave it as the last value of a cell. With a live kernel it is a row of widgets over one picture; elsewhere (no
    ipywidgets, an executed or graded notebook, TOYKIT_STATIC=1) the presets' figures are drawn as one. `live`
    overrides that choice. Raises ValueError for controls or presets that do not fit each other or `fn`.
    """
    return Explorer(fn, controls, presets, alt, live)


def has_live_front_end() -> bool:
    """Whether someone is there to move a slider: an interactive notebook with ipywidgets, not a batch run.

    Jupyter's server, VS Code and Colab leave a mark in the kernel that nbconvert, nbval and graders do not.
    TOYKIT_STATIC=1 says no and TOYKIT_STATIC=0 says yes where ipywidgets is installed.
    """
    if importlib.util.find_spec("ipywidgets") is None:
        return False
    asked = os.environ.get("TOYKIT_STATIC", "")
    if asked:
        return asked == "0"
    if any(name in os.environ for name in ("NBGRADER_EXECUTION", "PYTEST_CURRENT_TEST")):
        return False
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return False
    return "JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in shell.user_ns or "google.colab" in sys.modules


def _accepts(fn: Callable[..., Figure], state: Mapping[str, Any]) -> None:
    try:
        inspect.signature(fn).bind(**state)
    except TypeError as error:
        raise ValueError(f"fn must take the controls {', '.join(state)}: {error}") from None


def _settings(state: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {number(value, 4)}" for name, value in state.items())
