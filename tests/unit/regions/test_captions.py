"""Captions find their figure, headings what stands under them."""

from __future__ import annotations

import numpy as np
import pytest

from patchlight.tasks.regions.captions import starts_caption, targets, under_headings


@pytest.mark.parametrize(
    ("text", "about"),
    [
        ("Figure 3: The berth", "figure"),
        ("FIG. 12a Depth by year", "figure"),
        ("Exhibit B-2. Rates", "figure"),
        ("Table IV. Catch", "table"),
        ("Tabelle 2 Tiefen", "table"),
        ("Figures for the year were lower", None),
        ("The table 3 shows", None),
        ("Table of contents", None),
        ("Map of the harbour", None),
        ("Figure 3 " + "word " * 80, None),
    ],
)
def test_what_a_paragraph_that_starts_so_is_about(text: str, about: str | None) -> None:
    assert starts_caption(text) == about


CHART, TABLE, SIDE = [100.0, 100, 300, 250], [100.0, 300, 300, 400], [350.0, 100, 500, 250]
FIGURES = np.array([CHART, TABLE, SIDE])
ARE_TABLES = [False, True, False]


@pytest.mark.parametrize(
    ("caption", "of_table", "found"),
    [
        ([100.0, 255, 300, 265], False, 0),
        ([100.0, 285, 300, 295], True, 1),
        ([100.0, 270, 300, 280], True, 1),  # as far from the chart
        ([100.0, 270, 300, 280], False, 0),
        ([360.0, 255, 420, 265], False, 2),
        ([100.0, 470, 300, 480], True, -1),  # too far
        ([520.0, 255, 580, 265], False, -1),  # beside all
    ],
)
def test_a_caption_is_tied_to_the_nearest(caption: list[float], of_table: bool, found: int) -> None:
    assert targets(np.array([caption]), [of_table], FIGURES, ARE_TABLES, 800.0) == [found]


def test_a_caption_of_figures_within_each_other_is_the_larger_ones() -> None:
    inner = [120.0, 150, 280, 250]
    for figures in ([CHART, inner], [inner, CHART]):
        [found] = targets(
            np.array([[100.0, 252, 300, 262]]), [False], np.array(figures), [False] * 2, 800.0
        )
        assert figures[found] == CHART


def test_a_section_is_its_column_down_to_the_next_heading() -> None:
    headings = np.array([[50.0, 50, 150, 62], [50.0, 300, 150, 312], [320.0, 50, 420, 62]])
    paragraphs = np.array(
        [
            [50.0, 70, 290, 150],
            [50.0, 160, 290, 290],
            [50.0, 320, 290, 500],
            [320.0, 70, 560, 500],
            [50.0, 20, 290, 40],
        ]
    )
    order = [4, 0, 1, 2, 3]
    assert under_headings(headings, paragraphs, order) == [[0, 1], [2], [3]]


def test_a_heading_over_nothing_has_nothing() -> None:
    headings = np.array([[50.0, 700, 150, 712]])
    assert under_headings(headings, np.array([[50.0, 70, 290, 150]]), [0]) == [[]]
    assert under_headings(headings, np.empty((0, 4)), []) == [[]]
