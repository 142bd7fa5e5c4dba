"""The widget layer of an explorer: it holds no logic, only controls that redraw one picture."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import ipywidgets

from toykit.plots.controls import Choice, Control, Slider
from toykit.plots.tables import number

if TYPE_CHECKING:
    from toykit.plots.explorer import Explorer

# Read by screen readers, not seen.
HIDDEN = "position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%)"
SEEN = "color: #444; line-height: 1.4"
LONGEST_RADIO = 44  # characters of options that still fit in a row


class View:
    """The widgets of an explorer: `controls` and `buttons` by name, `image`, `words` (its text), all in `box`."""

    def __init__(self, explorer: Explorer) -> None:
        self.explorer = explorer
        self.controls = {name: _widget(name, c, explorer) for name, c in explorer.controls.items()}
        self.buttons = {
            name: ipywidgets.Button(description=name, layout=ipywidgets.Layout(width="auto"))
            for name in (*explorer.presets, "reset")
        }
        self.image = ipywidgets.Image(format="png", layout=ipywidgets.Layout(max_width="100%", object_fit="contain"))
        self.words = ipywidgets.HTML()
        self._held = False
        for widget in self.controls.values():
            widget.observe(self._moved, names="value")
        states = {**explorer.presets, "reset": explorer.defaults}
        for name, button in self.buttons.items():
            button.on_click(lambda _, state=states[name]: self.show(state))
        wrap = ipywidgets.Layout(flex_flow="row wrap", grid_gap="0 1.5em")
        self.box = ipywidgets.VBox(
            [
                ipywidgets.HBox(list(self.controls.values()), layout=wrap),
                ipywidgets.HBox(list(self.buttons.values())),
                self.image,
                self.words,
            ]
        )
        self.redraw()

    def show(self, state: Mapping[str, Any]) -> None:
        """Sets every control, then redraws once."""
        self._held = True
        try:
            for name, value in state.items():
                self.controls[name].value = value
        finally:
            self._held = False
        self.redraw()

    def _moved(self, _: Any) -> None:
        if not self._held:
            self.redraw()

    def redraw(self) -> None:
        """Draws the picture of the controls as they stand; an error is shown in its place, as a text."""
        try:
            picture, words = self.explorer.picture(**{name: w.value for name, w in self.controls.items()})
        except Exception as error:  # an exception in a widget's callback would go unseen
            self.words.value = _paragraph(f"{type(error).__name__}: {error}", SEEN)
            return
        self.image.value = picture
        self.words.value = _paragraph(words, SEEN if self.explorer.alt else HIDDEN)


def _widget(name: str, control: Control, explorer: Explorer) -> Any:
    label = control.label or name.replace("_", " ")
    common = {"description": label, "value": control.start, "style": {"description_width": "initial"}}
    if isinstance(control, Slider):
        extra = {state[name] for state in explorer.presets.values()}
        options = [(number(v, 4), v) for v in sorted({*control.values, *extra})]
        return ipywidgets.SelectionSlider(options=options, layout=ipywidgets.Layout(width="25em"), **common)
    options = [(str(v), v) for v in control.values]
    if _fits_a_row(control):
        return ipywidgets.RadioButtons(
            options=options, orientation="horizontal", layout=ipywidgets.Layout(width="auto"), **common
        )
    return ipywidgets.Dropdown(options=options, **common)


def _fits_a_row(choice: Choice) -> bool:
    return sum(len(str(v)) + 3 for v in choice.options) <= LONGEST_RADIO


def _paragraph(text: str, style: str) -> str:
    return f'<p role="status" aria-live="polite" style="{style}">{html.escape(text)}</p>'
