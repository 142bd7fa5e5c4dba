"""Tables: text and HTML of the same rows; claims by their verdict."""

import numpy as np
import pytest

from toykit.plots import Table, claims_table, table


def test_text_is_aligned_with_numbers_to_the_right():
    found = str(table([{"name": "a", "value": 1.0}, {"name": "long", "value": 12.25}], caption="Values"))
    assert found == "Values\nname  value\n----  -----\na         1\nlong  12.25"


def test_a_table_shows_itself_as_text_too():
    assert repr(table([{"a": 1}])) == "a\n-\n1"


def test_numbers_are_rounded_to_the_digits_asked_for():
    assert str(table([{"x": 0.123456789, "y": np.float64(2.0)}], digits=3)).endswith("0.123  2")


def test_html_has_headings_and_escapes_text():
    found = table([{"text": "<b>", "n": 1}], caption="A & B")._repr_html_()
    assert '<th scope="col" style="text-align: left">text</th>' in found
    assert '<td style="text-align: left">&lt;b&gt;</td><td style="text-align: right">1</td>' in found
    assert "A &amp; B</caption>" in found


def test_a_key_that_a_row_lacks_is_left_empty():
    assert table([{"a": 1, "b": 2}, {"a": 3}]).rows == ((1, 2), (3, ""))


def test_an_empty_table_is_empty_text():
    assert str(table([])).strip() == ""
    assert "<table>" in table([])._repr_html_()


def test_a_row_of_the_wrong_length_is_refused():
    with pytest.raises(ValueError, match="rows must have 2 entries, got 1 in row 0"):
        Table(("a", "b"), ((1,),))


def claim(**changes):
    name = {"lesson": "01", "claim": "C1", "kind": "theorem", "rung": "exact", "statement": "J <= beta log Z"}
    found = {"holds": True, "measured": 4.4e-16, "expected": 0.0, "tolerance": 1e-12}
    made = {"seeds": [0], "seconds": 0.1, "recorded": False, "command": "toykit run 01 --rung exact"}
    return {**name, **found, **made, **changes}


def test_a_theorem_shows_its_tolerance_and_that_it_holds():
    (row,) = claims_table([claim()]).rows
    assert row[0] == "01.C1"
    assert row[-2:] == ("tolerance 1e-12, 1 seed", "✓ holds")


def test_an_effect_shows_its_interval_and_that_it_was_recorded():
    effect = claim(kind="effect", holds=False, interval=[-0.1, 0.25], seeds=[0, 1, 2, 3, 4], recorded=True)
    (row,) = claims_table([effect]).rows
    assert row[-2:] == ("95% [-0.1, 0.25], 5 seeds", "✗ does not hold (recorded)")


def test_a_claim_that_was_not_run_says_so():
    empty = claim(holds=None, measured=None, expected=None, tolerance=None, interval=None, seeds=[])
    (row,) = claims_table([empty]).rows
    assert row[4:] == ("", "", "", "– not run")


def test_several_measured_values_are_listed():
    assert claims_table([claim(measured=[0.5, 1 / 3])]).rows[0][4] == "0.5, 0.3333"


def test_markdown_has_the_same_cells_with_its_signs_escaped():
    found = table([{"claim": "KL(pi || pi*)", "value": 0.5}, {"claim": "<a_b>", "value": 12}]).markdown()
    assert found.splitlines() == [
        "| claim | value |",
        "| :--- | ---: |",
        r"| KL(pi \|\| pi\*) | 0.5 |",
        r"| \<a\_b\> | 12 |",
    ]


def test_markdown_puts_a_line_break_in_a_cell_as_a_space():
    assert table([{"a": "one\ntwo"}]).markdown().splitlines()[-1] == "| one two |"


def test_a_table_for_a_narrow_terminal_wraps_its_longest_cells():
    made = table([{"name": "a", "text": "one two three four", "n": 1.5}, {"name": "bc", "text": "five", "n": 22}])
    assert made.text(24).splitlines() == [
        "name  text             n",
        "----  -------------  ---",
        "a     one two three  1.5",
        "      four",
        "",
        "bc    five            22",
    ]


def test_a_table_that_fits_is_not_wrapped_and_one_that_cannot_fit_keeps_a_few_letters_a_column():
    made = table([{"name": "abcdefghijkl", "other": "0123456789ab"}])
    assert made.text(100) == made.text(26) == str(made)
    assert max(map(len, made.text(5).splitlines())) == 18
    assert made.text(5).replace("\n", "").replace(" ", "").endswith("abcdefgh01234567ijkl89ab")
