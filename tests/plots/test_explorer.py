"""Explorers: drawing, presets, the pictures without a kernel, and widgets that change the picture."""

import base64
import importlib.util
import io
from functools import cache

import numpy as np
import pytest
from PIL import Image

from toykit.plots import Choice, Slider, bars, explore, figure, wipe
from toykit.plots.explorer import VIEW, has_live_front_end
from toykit.plots.images import pixels

CONTROLS = {"beta": Slider(0.1, 5.0, default=1.0, log=9), "shape": Choice(("flat", "steep"))}
PRESETS = {"near the prior": {"beta": 5.0}, "near the best": {"beta": 0.123, "shape": "steep"}}


def draw(beta, shape):
    made, ax = figure(height=1.5, width=4.0)
    weights = np.exp(np.arange(4) * (2 if shape == "steep" else 1) / beta)
    bars(ax, {"posterior": weights / weights.sum()})
    ax.set(title="Posterior", ylim=(0, 1))
    return made


def said(beta, shape):
    return f"beta {beta}, {shape}"


@pytest.fixture
def live():
    return explore(draw, CONTROLS, PRESETS, alt=said, live=True)


def test_a_figure_is_that_of_the_defaults_with_changes():
    explorer = explore(draw, CONTROLS, live=False)
    assert explorer.defaults == {"beta": 1.0, "shape": "flat"}
    assert np.array_equal(pixels(explorer.figure(beta=2.0)), pixels(draw(2.0, "flat")))


def test_presets_are_completed_with_the_defaults():
    explorer = explore(draw, CONTROLS, PRESETS, live=False)
    assert explorer.presets["near the prior"] == {"beta": 5.0, "shape": "flat"}


@pytest.mark.parametrize(
    ("presets", "message"),
    [
        ({"p": {"bta": 1.0}}, "preset 'p' sets 'bta', but the controls are beta, shape; did you mean 'beta'"),
        ({"p": {"beta": 9.0}}, "preset 'p': beta must be from 0.1 to 5.0, got 9.0"),
    ],
)
def test_presets_that_do_not_fit_are_refused(presets, message):
    with pytest.raises(ValueError, match=message):
        explore(draw, CONTROLS, presets)


def test_a_function_that_does_not_take_the_controls_is_refused():
    with pytest.raises(ValueError, match="fn must take the controls beta, shape, gamma"):
        explore(draw, {**CONTROLS, "gamma": (0, 1)})


def test_a_function_that_returns_no_figure_is_refused():
    with pytest.raises(TypeError, match="fn must return a matplotlib Figure, got int"):
        explore(lambda beta: 1, {"beta": (0, 1)}, live=False).figure()


def test_the_panels_hold_every_preset_under_its_name():
    panels = explore(draw, CONTROLS, PRESETS, live=False).panels
    assert [t.get_text() for t in panels.texts if t.get_text()] == [
        "near the prior   beta = 5, shape = flat",
        "near the best   beta = 0.123, shape = steep",
    ]
    whole = pixels(panels)
    for state in ((5.0, "flat"), (0.123, "steep")):
        one = pixels(draw(*state))
        assert any(
            np.array_equal(whole[-one.shape[0] :, left : left + one.shape[1]], one)
            for left in (0, whole.shape[1] - one.shape[1])
        )


def test_a_function_that_keeps_its_figure_gives_every_preset_its_own_panel():
    canvas = cache(lambda: figure(height=1.5, width=4.0)[0])

    def kept(beta):
        ax = wipe(canvas())
        bars(ax, {"posterior": [beta, 1 - beta]})
        ax.set_ylim(0, 1)
        return canvas()

    whole = pixels(explore(kept, {"beta": (0.0, 1.0)}, {"a": {"beta": 0.2}, "b": {"beta": 0.9}}, live=False).panels)
    half = whole.shape[1] // 2
    assert not np.array_equal(whole[:, :half], whole[:, half:])


def test_without_a_front_end_it_is_a_picture_with_its_text():
    data, metadata = explore(draw, CONTROLS, PRESETS, alt=said, live=False)._repr_mimebundle_()
    assert set(data) == {"image/png", "text/plain"}
    assert Image.open(io.BytesIO(base64.b64decode(data["image/png"]))).size[0] == 880
    words = "near the prior: beta 5.0, flat\nnear the best: beta 0.123, steep"
    assert metadata == {"image/png": {"alt": words}}
    assert data["text/plain"] == f"Explorer: beta from 0.1 to 5, shape (flat, steep).\n{words}"


def test_live_it_is_the_widgets_with_the_same_picture_for_those_who_have_none(live):
    data, _ = live._repr_mimebundle_()
    still, _ = explore(draw, CONTROLS, PRESETS, alt=said, live=False)._repr_mimebundle_()
    assert data[VIEW]["model_id"] == live.view.box.model_id
    assert data["image/png"] == still["image/png"]


def test_moving_a_slider_changes_the_picture_and_its_text(live):
    before = live.view.image.value
    live.view.controls["beta"].value = 5.0
    after = live.view.image.value
    assert after != before
    assert np.array_equal(np.array(Image.open(io.BytesIO(after))), pixels(draw(5.0, "flat")))
    assert "beta 5.0, flat" in live.view.words.value
    live.view.controls["beta"].value = 1.0
    assert live.view.image.value == before


def test_a_choice_changes_the_picture(live):
    before = live.view.image.value
    live.view.controls["shape"].value = "steep"
    assert live.view.image.value != before


def test_a_preset_button_sets_every_control_and_draws_once(live, monkeypatch):
    view, drawn, picture = live.view, [], live.picture
    monkeypatch.setattr(live, "picture", lambda **state: drawn.append(state) or picture(**state))
    view.buttons["near the best"].click()
    assert {name: w.value for name, w in view.controls.items()} == {"beta": 0.123, "shape": "steep"}
    assert drawn == [{"beta": 0.123, "shape": "steep"}]


def test_reset_brings_the_defaults_back(live):
    before = live.view.image.value
    live.view.buttons["near the best"].click()
    live.view.buttons["reset"].click()
    assert live.view.image.value == before


def test_an_error_is_shown_in_place_and_the_next_move_draws_again():
    def fails_below_half(beta):
        if beta < 0.5:
            raise ValueError("beta <too> small")
        return draw(beta + 0.1, "flat")

    view = explore(fails_below_half, {"beta": Slider(0.0, 1.0, default=1.0, step=0.25)}, live=True).view
    view.controls["beta"].value = 0.0
    assert "ValueError: beta &lt;too&gt; small" in view.words.value
    view.controls["beta"].value = 0.5
    assert "ValueError" not in view.words.value


def test_a_state_seen_before_is_not_drawn_again():
    seen = []

    def watched(beta):
        seen.append(beta)
        return draw(beta, "flat")

    view = explore(watched, {"beta": Slider(0.5, 2.5, step=1.0)}, live=True).view
    for value in (1.5, 0.5, 1.5):
        view.controls["beta"].value = value
    assert seen == [0.5, 1.5]


def test_the_text_is_hidden_from_sight_only_where_none_was_written(live):
    assert "clip-path" not in live.view.words.value
    assert "clip-path" in explore(draw, CONTROLS, live=True).view.words.value


class Shell:
    def __init__(self, kernel=True, names=()):
        self.user_ns = dict.fromkeys(names)
        if kernel:
            self.kernel = object()


@pytest.mark.parametrize(
    ("environment", "shell", "expected"),
    [
        ({"JPY_SESSION_NAME": "a.ipynb"}, Shell(), True),
        ({}, Shell(names=["__vsc_ipynb_file__"]), True),
        ({}, Shell(), False),  # a kernel of nbconvert or nbval
        ({"JPY_SESSION_NAME": "a.ipynb"}, Shell(kernel=False), False),  # a plain IPython prompt
        ({"JPY_SESSION_NAME": "a.ipynb"}, None, False),
        ({"JPY_SESSION_NAME": "a.ipynb", "TOYKIT_STATIC": "1"}, Shell(), False),
        ({"JPY_SESSION_NAME": "a.ipynb", "NBGRADER_EXECUTION": "autograde"}, Shell(), False),
        ({"TOYKIT_STATIC": "0"}, Shell(), True),
    ],
)
def test_it_is_live_only_where_someone_can_move_a_slider(monkeypatch, environment, shell, expected):
    import IPython

    for name in ("JPY_SESSION_NAME", "TOYKIT_STATIC", "NBGRADER_EXECUTION", "PYTEST_CURRENT_TEST"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(IPython, "get_ipython", lambda: shell)
    assert has_live_front_end() is expected


def test_without_ipywidgets_it_is_never_live(monkeypatch):
    monkeypatch.setenv("TOYKIT_STATIC", "0")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ipywidgets" else find(name))
    assert has_live_front_end() is False
