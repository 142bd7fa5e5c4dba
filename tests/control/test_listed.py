"""The page of effective horizons is what the code says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from toykit.cli.horizons import COLUMNS, horizons_table
from toykit.control import lookahead
from toykit.control.listed import LISTED, available, entry
from toykit.control.worlds import GRID_DESIGNS

PAGE = (Path(__file__).parents[2] / "docs" / "effective_horizons.md").read_text()
ROWS = [line.replace("\\", "") for line in PAGE.splitlines() if line.startswith("| ")][2:]
LONG = ("Taxi-v4", "MiniGrid-DoorKey-5x5-v0")  # seconds each


def test_the_page_lists_every_environment():
    assert [row.split(" | ")[0][2:] for row in ROWS] == list(LISTED), "run: make horizons"


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] * (n in LONG)) for n in LISTED])
def test_a_row_of_the_page_is_what_is_computed(name):
    if name not in available():
        pytest.skip("its package is not installed")
    made = horizons_table([entry(name)]).markdown().splitlines()
    head = PAGE.splitlines().index(made[0])
    assert PAGE.splitlines()[head + 1] == made[1] and made[2].replace("\\", "") in ROWS, "run: make horizons"


@pytest.mark.parametrize(
    ("length", "decoy", "least", "horizon"),
    [(4, 0.05, 2, 7.454), (5, 0.05, 3, 8.454), (6, 0.05, 4, 9.454), (5, 0.2, 4, 7.668), (5, 0.005, 1, 10.645)],
)
def test_corridors_are_those_of_card_14(length, decoy, least, horizon):
    found = entry(f"decoy_corridor({length}, {decoy})")
    assert (found.states, found.actions, found.horizon, found.optimum) == (length + 2, 3, length, 1.0)
    assert found.least == found.near == least and found.gap == pytest.approx(min(decoy, 2 / 15), abs=1e-12)
    assert found.first == pytest.approx(1.0 if least == 1 else decoy, abs=1e-12)
    assert found.effective_horizon == pytest.approx(horizon, abs=5e-4)


def test_the_dice_tree_by_hand():
    """Looking one step ahead takes the coin, for 1/2 in the place of 1; the gap is 1/2 at Q^2, and A is 4."""
    assert tuple(vars(entry("dice_tree()")).values())[1:] == (4, 4, 2, 1.0, 0.5, 2, 2, 0.5, 3.0)


def cells(name):
    """The cells of a row of the page, by column."""
    row = ROWS[list(LISTED).index(name)]
    return dict(zip(COLUMNS, row.strip("| ").split(" | "), strict=True))


def test_rooms_need_the_looks_ahead_that_are_said_beside_their_designs():
    near = [int(cells(f"grid_world({name})")["within 1 %"]) for name in GRID_DESIGNS]
    assert near == [1, 1, 1, 10, 1, 4, 5, 7, 9, 1, 3, 4, 6, 14]


def test_what_the_page_says_of_its_rows():
    certain = ("graded=False, slip=0.0", "is_slippery=False", "MiniGrid", "Taxi")
    assert {cells(name)["min_k"] for name in LISTED if any(part in name for part in certain)} == {"1"}
    sparse = LISTED["grid_world(sparse)"]()
    coarse, fine = lookahead(sparse, tie=1e-6), lookahead(sparse)
    assert (coarse.least, fine.least) == (26, 32) and coarse.near() == fine.near() == 1
    again = lookahead(LISTED["completion_tree(195, graded=True, slip=0.25)"]())
    assert again.solvable.tolist() == [False, True, False, True]


def test_what_is_not_there_is_left_out_or_refused(monkeypatch):
    assert set(LISTED) - set(available()) in (set(), {n for n in LISTED if n.startswith("MiniGrid")})
    monkeypatch.setitem(sys.modules, "minigrid", None)
    assert available() == [name for name in LISTED if not name.startswith("MiniGrid")]
    with pytest.raises(ValueError, match="name must be one of .*got 'Taxi-v3'; did you mean 'Taxi-v4'?"):
        entry("Taxi-v3")
