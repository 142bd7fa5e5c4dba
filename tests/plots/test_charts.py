"""Curves with intervals, bars and labels: numbers by hand, and what stands in the axes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from toykit.plots import bars, curve_with_interval, figure, label_lines, legend_below, mean_interval, role
from toykit.plots.charts import spread


def test_interval_of_five_seeds_by_hand():
    # mean 3, standard deviation sqrt(10 / 4), half width 2.7764 * sqrt(2.5) / sqrt(5)
    mean, half = mean_interval([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == pytest.approx(3.0)
    assert half == pytest.approx(2.7764 * np.sqrt(0.5), abs=1e-4)


def test_a_single_seed_has_no_interval():
    mean, half = mean_interval([[1.0, 2.0]])
    assert mean.tolist() == [1.0, 2.0]
    assert half.tolist() == [0.0, 0.0]


def test_no_seed_is_refused():
    with pytest.raises(ValueError, match="runs must have shape .* got \\[0, 3\\]"):
        mean_interval(np.zeros((0, 3)))


def test_a_curve_is_the_mean_within_its_band():
    _, ax = figure()
    runs = np.array([[0.0, 2.0], [2.0, 4.0]])
    line = curve_with_interval(ax, [0, 1], runs, "policy")
    assert line.get_ydata().tolist() == [1.0, 3.0]
    assert line.get_color() == role("policy").color
    low, high = (
        ax.collections[0].get_paths()[0].vertices[:, 1].min(),
        ax.collections[0].get_paths()[0].vertices[:, 1].max(),
    )
    assert (low, high) == pytest.approx((1 - 12.7062, 3 + 12.7062))


def test_a_curve_of_one_seed_has_no_band():
    _, ax = figure()
    curve_with_interval(ax, [0, 1], [[1.0, 2.0]], "grpo")
    assert not ax.collections


def test_a_curve_refuses_steps_that_do_not_match():
    _, ax = figure()
    with pytest.raises(ValueError, match="x must have one entry a step, got \\[3\\] for runs with \\[2\\]"):
        curve_with_interval(ax, [0, 1, 2], [[1.0, 2.0]])


def test_grouped_bars_stand_side_by_side_and_differ_without_colour():
    _, ax = figure()
    bars(ax, {"prior": [0.2, 0.8], "policy": [0.5, 0.5]}, labels=["a", "b"])
    boxes = [[(b.get_x(), b.get_x() + b.get_width(), b.get_height()) for b in group] for group in ax.containers]
    assert [[h for *_, h in group] for group in boxes] == [[0.2, 0.8], [0.5, 0.5]]
    assert all(first[1] <= second[0] for first, second in zip(*boxes, strict=True))
    assert ax.containers[0][0].get_hatch() != ax.containers[1][0].get_hatch()
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b"]


def test_stacked_bars_pile_positive_parts_up_and_negative_ones_down():
    _, ax = figure()
    bars(ax, {"prior": [1.0, -1.0], "policy": [2.0, 3.0], "target": [4.0, -2.0]}, layout="stacked")
    spans = [[(b.get_y(), b.get_y() + b.get_height()) for b in group] for group in ax.containers]
    assert spans == [[(0, 1), (0, -1)], [(1, 3), (0, 3)], [(3, 7), (-1, -3)]]


def test_overlaid_bars_are_one_outline_a_series():
    _, ax = figure()
    bars(ax, {"prior": np.ones(64), "posterior": np.arange(64.0)}, layout="overlay")
    assert [p.get_data().values.tolist() for p in ax.patches] == [[1.0] * 64, list(range(64))]
    assert [p.get_fill() for p in ax.patches] == [True, False]


def test_bars_refuse_series_of_different_lengths():
    _, ax = figure()
    with pytest.raises(ValueError, match="series must have the same number of values, got \\[1, 2\\]"):
        bars(ax, {"prior": [1.0], "policy": [1.0, 2.0]})


def test_bars_refuse_an_unknown_layout():
    _, ax = figure()
    with pytest.raises(ValueError, match="did you mean 'stacked'"):
        bars(ax, {"prior": [1.0]}, layout="stack")


def test_labels_stand_at_the_ends_of_their_lines_and_apart():
    made, ax = figure()
    for name, end in (("grpo", 1.0), ("dapo", 1.001), ("rloo", 0.0)):
        ax.plot([0, 1], [0.5, end], label=name)
    ax.plot([0, 1], [0, 0])  # no label, no text
    label_lines(ax)
    made.draw_without_rendering()
    boxes = {t.get_text(): t.get_window_extent() for t in ax.texts}
    assert set(boxes) == {"grpo", "dapo", "rloo"}
    assert boxes["rloo"].y1 < boxes["grpo"].y0 < boxes["dapo"].y0
    assert not boxes["grpo"].overlaps(boxes["dapo"])


def test_a_label_of_a_line_that_ends_in_nan_stands_at_its_last_value():
    _, ax = figure()
    ax.plot([0, 1, 2], [0.0, 1.0, np.nan], label="grpo")
    label_lines(ax)
    assert ax.texts[0].xy == (1.0, 1.0)


def test_a_line_of_any_colour_can_be_labelled():
    _, ax = figure()
    ax.plot([0, 1], [0, 1], color=(0.1, 0.2, 0.3), label="grpo")
    label_lines(ax)
    assert ax.texts[0].get_color() == pytest.approx((0.07, 0.14, 0.21))


def test_spread_moves_two_equal_places_apart_evenly():
    assert spread([5.0, 5.0, 20.0], 2.0).tolist() == [4.0, 6.0, 20.0]


@given(st.lists(st.floats(-100, 100), max_size=8), st.floats(0.1, 10))
def test_spread_keeps_the_order_the_gap_and_the_mean(places, gap):
    moved = spread(places, gap)
    in_order = moved[np.argsort(places, kind="stable")]
    assert (np.diff(in_order) >= gap - 1e-9).all()
    assert moved.sum() == pytest.approx(sum(places), abs=1e-6)


def test_plain_bars_are_one_shape_a_series_side_by_side():
    _, ax = figure()
    bars(ax, {"prior": [1.0, 2.0], "posterior": [3.0, -1.0]}, ["a", "b"], layout="plain")
    first, second = (patch.get_data() for patch in ax.patches)
    assert first.values.tolist() == [1.0, 0.0, 2.0] and second.values.tolist() == [3.0, 0.0, -1.0]
    assert first.edges.tolist() == pytest.approx([-0.4, 0.0, 0.6, 1.0])
    assert second.edges.tolist() == pytest.approx([0.0, 0.4, 1.0, 1.4])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]


def test_a_legend_below_has_each_label_once_with_its_last_line():
    made, (left, right) = figure(2)
    left.plot([0, 1], color="red", label="a")
    right.plot([0, 1], color="blue", label="a")
    right.plot([1, 0], color="green", label="b")
    legend_below(made, (left, right), ncols=2)
    legend_below(made, left)
    both, one = made.legends
    assert [text.get_text() for text in both.get_texts()] == ["a", "b"]
    assert [line.get_color() for line in both.get_lines()] == ["blue", "green"]
    assert [text.get_text() for text in one.get_texts()] == ["a"]
