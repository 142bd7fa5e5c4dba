"""Pictures: the same bytes each time, none rescaled in a montage, alternative text in the file."""

import io

import numpy as np
import pytest
from PIL import Image

from toykit.plots import figure, png
from toykit.plots.images import TITLE_INCHES, Panel, montage, pixels


def line(alt=""):
    made, ax = figure(height=2.0, alt=alt)
    ax.plot([0, 1], [0, 1])
    return made


@pytest.mark.parametrize("small", [True, False])
def test_the_same_figure_gives_the_same_bytes(small):
    assert png(line(), small) == png(line(), small)


def test_small_packs_harder_and_shows_the_same():
    made = line()
    packed, quick = png(made), png(made, small=False)
    assert len(packed) < len(quick)
    assert np.array_equal(np.array(Image.open(io.BytesIO(packed))), np.array(Image.open(io.BytesIO(quick))))


def test_the_file_carries_the_alternative_text_and_no_version():
    picture = Image.open(io.BytesIO(png(line("A line rises."))))
    assert picture.text == {"Description": "A line rises."}


def test_a_montage_holds_each_picture_pixel_by_pixel_under_its_name():
    low, top = pixels(line()), pixels(line())
    sheet = montage([Panel("low", low), Panel("high", top)], dpi=110)
    high, wide = low.shape[:2]
    bar = round(TITLE_INCHES * 110)
    whole = pixels(sheet)
    assert whole.shape[:2] == (2 * (high + bar), wide)  # 7 inches wide: below each other
    assert np.array_equal(whole[bar : bar + high], low)
    assert np.array_equal(whole[2 * bar + high :], top)
    assert [t.get_text() for t in sheet.texts if t.get_text()] == ["low", "high"]


def test_small_pictures_stand_side_by_side():
    picture = np.full((100, 330, 4), 200, dtype=np.uint8)
    whole = pixels(montage([Panel(name, picture) for name in "abcd"], dpi=110))
    assert whole.shape[:2] == (2 * (100 + round(TITLE_INCHES * 110)), 3 * 330)


def test_long_words_are_broken_and_get_the_room_they_need():
    picture = np.full((100, 330, 4), 200, dtype=np.uint8)
    sheet = montage([Panel("a", picture, "word " * 20)], dpi=110)
    assert sheet.texts[1].get_text().count("\n") == 2
    sheet.draw_without_rendering()
    box = sheet.texts[1].get_window_extent()
    assert box.y0 >= 0 and box.x1 <= 330
