"""A kept figure shows what a new one would, and no trace of what was drawn before."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from toykit.plots import bars, figure, wipe
from toykit.plots.canvas import FrameCanvas
from toykit.plots.images import pixels


def draw(made, axes, height, title="Mass"):
    a, b = axes
    bars(a, {"prior": [0.2, 0.8], "policy": [height, 1 - height]})
    a.set(title=title, xlabel="completion", ylim=(0, 1))
    a.legend(loc="upper left")
    b.plot([0, 1, 2], [0, height, 1], marker="o", label="reward")
    b.text(1, 0.2, f"{height:.2f}")
    b.axhline(0.5)
    return made


@pytest.fixture
def kept():
    made, axes = figure(2)
    pixels(draw(made, axes, 0.3))
    draw(made, wipe(made), 0.4)
    pixels(made)  # keeps the frame
    return made


def plain(made):
    """The same figure drawn in full."""
    own = made.canvas
    canvas = FigureCanvasAgg(made)
    canvas.draw()
    made.set_canvas(own)
    return np.array(canvas.buffer_rgba())


def test_a_kept_frame_gives_the_picture_of_a_full_drawing(kept):
    assert isinstance(draw(kept, wipe(kept), 0.7).canvas, FrameCanvas)
    assert np.array_equal(pixels(kept), plain(kept))


def test_what_was_drawn_before_leaves_no_trace(kept):
    first = pixels(draw(kept, wipe(kept), 0.6))
    pixels(draw(kept, wipe(kept), 0.1))
    assert np.array_equal(pixels(draw(kept, wipe(kept), 0.6)), first)


def test_the_frame_is_not_drawn_again_while_it_stays_the_same(kept, monkeypatch):
    full = []
    drawing = FigureCanvasAgg.draw
    monkeypatch.setattr(FigureCanvasAgg, "draw", lambda self: (full.append(1), drawing(self)))
    pixels(draw(kept, wipe(kept), 0.7))
    assert not full


@pytest.mark.parametrize(
    "change",
    [
        lambda a: a.set_title("Another"),
        lambda a: a.set_xlabel("token"),
        lambda a: a.set_ylim(0, 2),
        lambda a: a.set_yscale("log"),
        lambda a: a.set_xticks([0, 1], ["left", "right"]),
    ],
)
def test_a_change_of_the_frame_is_drawn(kept, change):
    axes = wipe(kept)
    draw(kept, axes, 0.7)
    change(axes[0])
    assert np.array_equal(pixels(kept), plain(kept))


def test_panels_do_not_jump(kept):
    before = [ax.get_position().bounds for ax in kept.axes]
    pixels(draw(kept, wipe(kept), 0.2, title="A title\nof two lines"))
    assert [ax.get_position().bounds for ax in kept.axes] == before


def test_wiping_an_empty_figure_gives_its_axes():
    made, ax = figure()
    assert wipe(made) is ax
