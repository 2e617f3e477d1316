"""Guards that a report shows what it is given, and that nothing in it can act in Markdown."""

from __future__ import annotations

import re

import pytest

from patchlight.tasks.common.safetext import markdown
from patchlight.tasks.evaluation.markdown import (
    number,
    percent,
    percent_with_interval,
    table,
    with_interval,
)


@pytest.mark.parametrize(
    "text",
    [
        "![picture](http://example.org/a.png)",
        "[link](javascript:alert(1))",
        "<img src=x onerror=alert(1)> <!-- note",
        "`code` **bold** _slanted_ ~~gone~~ $x$",
        "https://example.org and www.example.org and a@example.org",
        "a | b | c",
        "# heading\n- item\n> quote",
        "back\\slash \x1b[31mred \u202eturned",
    ],
)
def test_texts_show_as_they_are(text: str) -> None:
    """What Markdown acts on is escaped, and escapes removed the text is the one that was given."""
    shown = markdown(text)
    assert "\n" not in shown and "<" not in shown and "\x1b" not in shown
    bare = re.sub(r"\\.", "", shown)
    assert not re.search(r"[`*_\[\]|~$@#\\]|://|www\.", bare)
    plain = shown.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    kept = re.sub(r"[^\w|*`$~@]", "", text.replace("\u202e", ""))
    assert re.sub(r"[^\w|*`$~@]", "", plain) == kept


def test_numbers_are_short_and_signs_are_kept() -> None:
    assert (number(0.0423), number(-0.5), number(1.0), number(None)) == (
        ".042",
        "-.500",
        "1.000",
        "",
    )
    assert (percent(0.235), percent(None)) == ("23.5", "")
    assert with_interval((0.042, 0.01, 0.07)) == ".042 [.010, .070]"
    assert with_interval((0.042, 0.01, 0.07), signed=True) == "+.042 [.010, .070]"
    assert with_interval((-0.042, -0.1, 0.07), signed=True) == "-.042 [-.100, .070]"
    assert with_interval((0.042, None, None)) == ".042"
    assert with_interval((None, None, None)) == ""
    assert percent_with_interval((0.5, 0.25, 0.75)) == "50.0 [25.0, 75.0]"


def test_a_table_aligns_numbers() -> None:
    assert table(["what", "n"], [["a", "1"]]) == ["| what | n |", "| --- | --: |", "| a | 1 |"]
    assert table(["what", "why"], [], numbers=False)[1] == "| --- | --- |"
