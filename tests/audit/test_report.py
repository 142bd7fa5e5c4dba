"""The tables, the page and the figures."""

import re

import pytest

from toykit.audit import Audit, Property, audit, figures, problem
from toykit.audit.page import page


@pytest.fixture(scope="module")
def grpo():
    return audit("grpo")


def test_every_theme_has_its_properties_each_on_a_problem_that_can_be_rebuilt(grpo):
    themes = {p.name.partition(".")[0] for p in grpo.properties}
    expected = {"direction", "target", "groups", "difficulty", "lengths", "winner", "interference", "invariance"}
    assert themes == expected | {"offpolicy", "noise", "edges"}
    for one in grpo.properties:
        assert problem(one.problem).name == one.problem
        assert one.detail and len({p.name for p in grpo.properties}) == len(grpo.properties)


def test_the_sheet_as_text_and_html_says_the_same(grpo):
    text, html = str(grpo), grpo._repr_html_()
    assert text.startswith("grpo: ") and "no likely bug" in text
    for one in grpo.properties:
        assert one.name in text and one.name in html
    assert "offpolicy.clip" in text and "up to 1.2; of a wrong completion from 0.8" in text


def test_an_unknown_property_is_a_key_error(grpo):
    with pytest.raises(KeyError):
        grpo["direction"]


def test_the_figure_has_a_panel_for_each_range_and_its_words(grpo):
    made = figures(grpo)
    assert [ax.get_title(loc="left") for ax in made.axes][:2] == ["Weight of a prompt", "Push on a token, by length"]
    assert len(made.axes) == 6
    assert figures(audit(lambda logp, rewards: None, "f")) is None


def test_the_page_is_one_file_without_outside_requests(grpo):
    said = page(grpo)
    assert said.count("data:image/png;base64,") == 1
    assert not re.search(r"(src|href)=\"(?!data:)", said) and "<script" not in said
    assert "<title>Audit of grpo</title>" in said


def test_names_and_words_are_escaped():
    bad = Property("a.b", "fault", None, None, "binary", "<b>&</b>")
    said = page(Audit("<i>", (bad,)))
    assert "&lt;b&gt;&amp;&lt;/b&gt;" in said and "<b>" not in said and "<i>" not in said


def test_an_unknown_verdict_is_refused():
    with pytest.raises(ValueError, match="verdict must be one of"):
        Property("a.b", "good", None, None, "binary", "")
