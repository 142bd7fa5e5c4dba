"""The house style: colours that everyone can tell apart, looks that do without them, figures that speak."""

import itertools

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from toykit.plots import alt_text, context, describe, figure, method, panel_labels, role
from toykit.plots.style import CYCLE, METHODS, ROLES, STYLE, Role, _use_once, look

# Machado, Oliveira and Fernandes 2009: what linear RGB becomes without one kind of cone
SIGHT = {
    "full": np.eye(3),
    "no red cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]],
    "no blue cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.3039]],
}
TO_XYZ = np.array([[0.412456, 0.357576, 0.180438], [0.212673, 0.715152, 0.072175], [0.019334, 0.119192, 0.950304]])
MAIN = ("prior", "likelihood", "posterior", "policy")


def linear(color: str) -> np.ndarray:
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def lab(color: str, sight: str) -> np.ndarray:
    xyz = TO_XYZ @ np.clip(np.array(SIGHT[sight]) @ linear(color), 0, 1) / (TO_XYZ @ np.ones(3))
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("sight", SIGHT)
def test_main_roles_differ_in_colour_for_every_kind_of_sight(sight):
    for a, b in itertools.combinations(MAIN, 2):
        assert np.linalg.norm(lab(ROLES[a].color, sight) - lab(ROLES[b].color, sight)) > 15, (a, b)


@pytest.mark.parametrize("sight", SIGHT)
def test_neighbours_in_the_cycle_differ_in_colour_for_every_kind_of_sight(sight):
    for a, b in itertools.pairwise(CYCLE[:6]):
        assert np.linalg.norm(lab(a.color, sight) - lab(b.color, sight)) > 15, (a, b)


@pytest.mark.parametrize("attribute", ["color", "linestyle", "marker", "hatch"])
def test_main_roles_and_the_cycle_never_rely_on_colour_alone(attribute):
    for looks in ([ROLES[name] for name in MAIN], CYCLE):
        values = [str(getattr(one, attribute)) for one in looks]
        assert len(set(values)) == len(values)


def test_every_method_looks_different_from_every_other():
    assert len({(m.color, str(m.linestyle), m.marker) for m in map(method, METHODS)}) == len(METHODS)


def test_a_method_keeps_its_look_whatever_else_is_drawn():
    assert method(METHODS[0]) == CYCLE[0]
    assert method("something_new") == method("something_new")


def test_fonts_are_nine_points_or_more():
    sizes = {name: size for name, size in STYLE.items() if name.endswith(("size", ".fontsize")) and "major" not in name}
    text = {name: size for name, size in sizes.items() if "marker" not in name}
    assert text and min(text.values()) >= 9


def test_an_unknown_role_is_answered_with_the_nearest():
    with pytest.raises(ValueError, match="role must be one of .*did you mean 'posterior'?"):
        role("postrior")


def test_look_takes_a_role_a_name_or_a_method():
    own = Role("#123456")
    assert look(own) is own
    assert look("target") == ROLES["posterior"]
    assert look("dapo") == method("dapo")


def test_context_leaves_no_trace():
    with matplotlib.rc_context({"axes.spines.top": True}):
        with context():
            assert not matplotlib.rcParams["axes.spines.top"]
        assert matplotlib.rcParams["axes.spines.top"]


@pytest.mark.parametrize(("columns", "rows", "width"), [(1, 1, 7.0), (2, 1, 8.5), (3, 2, 8.5)])
def test_a_figure_has_notebook_width_and_the_axes_asked_for(columns, rows, width):
    made, axes = figure(columns, rows, height=2.0)
    assert made.get_size_inches().tolist() == [width, 2.0 * rows]
    assert np.size(axes) == columns * rows
    assert not made.axes[0].spines["top"].get_visible()


def test_a_figure_is_not_one_of_pyplots():
    import matplotlib.pyplot as plt

    figure()
    assert plt.get_fignums() == []


def test_figure_refuses_no_columns():
    with pytest.raises(ValueError, match="n_columns must be >= 1, got 0"):
        figure(0)


def test_alternative_text_is_the_one_given():
    made, _ = figure(alt="Two curves meet.")
    assert alt_text(made) == "Two curves meet."
    assert alt_text(describe(made, "They part.")) == "They part."


def test_alternative_text_is_else_read_from_titles_axes_and_labels():
    made, ax = figure()
    ax.plot([0, 1], [0, 1], label="prior")
    ax.set(title="Mass", xlabel="step", ylabel="probability")
    assert alt_text(made) == "Figure. Mass; probability against step; showing prior."


def test_panel_labels_come_before_titles():
    _, axes = figure(2)
    axes[0].set_title("Mass")
    panel_labels(axes)
    assert [ax.get_title(loc="left") for ax in axes] == ["(a) Mass", "(b)"]


def test_a_first_figure_inside_a_context_does_not_use_up_the_style():
    """The context gives back what was there before; the next figure brings the style again."""
    before = dict(matplotlib.rcParams)
    try:
        matplotlib.rcdefaults()
        _use_once.cache_clear()
        with context():
            figure()
        assert matplotlib.rcParams["axes.spines.top"]
        figure()
        assert not matplotlib.rcParams["axes.spines.top"]
        with context():
            pass
        matplotlib.rcParams["axes.spines.top"] = True
        figure()  # what the user changed afterwards stays
        assert matplotlib.rcParams["axes.spines.top"]
    finally:
        matplotlib.rcParams.update(before)
