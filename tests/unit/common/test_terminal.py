"""What is printed: text from documents must not be able to steer a terminal."""

from __future__ import annotations

import unicodedata

import numpy as np

from patchlight.tasks.admin.failures import NamedFailure, failure_listing
from patchlight.tasks.answers import wording
from patchlight.tasks.answers.queryfile import QueryRow
from patchlight.tasks.answers.results import Answer, PageAnswer
from patchlight.tasks.common import terminal
from patchlight.tasks.common.safetext import plain
from patchlight.tasks.grounding.records import PagePlaces, RegionHit, WordScore
from patchlight.tasks.retrieval.ranking import PageHit
from patchlight.tasks.retrieval.scope import Catalog
from tests.storage_examples import failure

EVIL = (
    "a\x1b[31mred\x1b]0;title\x07 \x9b2J \x85 \r\nnew\tline \x00 \u202edesrever\u2066 \ud800 "
    "\u2028end [bold]not bold[/bold] [link=x]y[/link] :smile:"
)
KEPT = ("red", "[bold]not bold[/bold]", "[link=x]y[/link]", ":smile:")


def check_harmless(text: str) -> None:
    assert not [c for c in text if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}]


def test_plain_keeps_what_can_be_read() -> None:
    assert plain("Quay dues — 船 ü €") == "Quay dues — 船 ü €"
    check_harmless(plain(EVIL))


def test_a_table_is_harmless_and_not_marked_up() -> None:
    lines = terminal.as_table([EVIL, "n"], [[EVIL, 1], [{"nested": [EVIL]}, None]]).split("\n")
    for line in lines:
        check_harmless(line)
    assert len(lines) == 4  # header, rule, and one line a row
    for part in KEPT:
        assert part in lines[0] and part in lines[2]


def test_values_of_a_table() -> None:
    rows = [[1.23456789, 12345678.0, True, None, [1, "ü"], "x" * 500]]
    cells = terminal.as_table(list("abcdef"), rows).splitlines()[2].split()
    assert cells[:5] == ["1.235", "12345678", "True", "[1,", '"ü"]']
    assert len(cells[5]) == 200 and cells[5].endswith("…")


def answer(text: str, name: str, words: tuple[str, ...] = ()) -> tuple[Answer, Catalog]:
    hit, heat = PageHit(0, "d:00001", 1.0), np.zeros(1, np.float32)
    carried = tuple(WordScore(i, word, 0.75) for i, word in enumerate(words))
    region = RegionHit("d:00001:00001", "line", (0.0, 0.25, 0.5, 1.0), text, 0.5, carried)
    catalog = Catalog(
        ["d:00001"],
        ["d"],
        [name],
        ["file:///d"],
        np.array([1]),
        np.array([612.0]),
        np.array([792.0]),
        np.array([1]),
        np.array([0]),
    )
    row = QueryRow(1, "q", "dues?", None, None)
    pages = (
        PageAnswer(hit, PagePlaces(1, 1, heat, (region,)), text),
        PageAnswer(hit, PagePlaces(1, 1, heat, ()), ""),
    )
    return Answer(row, pages), catalog


def test_an_answer_is_harmless() -> None:
    text = wording.answer_text(*answer(EVIL, EVIL, (EVIL,)))
    for line in text.split("\n"):
        check_harmless(line)
    assert len(text.split("\n")) == 5
    assert "1.1 line at x 0.00-0.50, y 0.25-1.00" in text
    assert "no region selected" in text
    assert all(part in text for part in KEPT)


def test_an_answer_names_the_words_of_a_region() -> None:
    text = wording.answer_text(*answer("Quay dues", "d.pdf", ("dues", "x" * 50)))
    assert f"(0.500: dues 0.75, {'x' * 29}… 0.75)" in text
    assert "(0.500)" in wording.answer_text(*answer("Quay dues", "d.pdf"))


def test_a_long_region_is_cut() -> None:
    assert "x" * 299 + "…" in wording.answer_text(*answer("x" * 5000, "d.pdf"))


def test_names_and_values_are_harmless() -> None:
    check_harmless(terminal.key_values({"a": EVIL}))
    assert terminal.key_values({}) == ""


def test_failures_are_laid_out_with_what_names_them() -> None:
    [row] = failure_listing([NamedFailure(EVIL.replace("\ud800", ""), failure())]).to_pylist()
    assert list(row) == [
        "source",
        "page",
        "stage",
        "category",
        "retryable",
        "attempts",
        "message",
        "uri",
        "doc_id",
    ]
    assert row["source"].startswith("a\x1b")  # printing makes it harmless
    assert (row["uri"], row["category"], row["attempts"]) == ("file:///a", "corrupt", 1)
    assert failure_listing([]).num_rows == 0
