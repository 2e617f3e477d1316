"""Guards what counts as left of, above and next to a place, on boxes by hand."""

from __future__ import annotations

import numpy as np
import pytest

from patchlight.tasks.grounding.surroundings import above, left_of, next_lines, row_of, words_above

PLACE = (0.4, 0.6, 0.6, 0.65)
"""0.05 high, 0.2 wide."""

NONE = [0.0] * 4
Box = tuple[float, float, float, float]


def array(*boxes: Box) -> np.ndarray:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def test_strips_reach_to_the_edges_of_the_page() -> None:
    places = array(PLACE, (0.0, 0.0, 0.5, 0.5))
    assert left_of(places).tolist() == [[0, 0.6, 0.4, 0.65], [0, 0, 0, 0.5]]
    assert above(places).tolist() == [[0.4, 0, 0.6, 0.6], [0, 0, 0.5, 0]]
    # 0.7 of 0.05 above and below.
    assert row_of(places[:1]) == pytest.approx(array((0, 0.565, 0.4, 0.685)))
    assert places.tolist() == array(PLACE, (0.0, 0.0, 0.5, 0.5)).tolist()


@pytest.mark.parametrize(
    ("line", "left"),
    [
        ((0.1, 0.6, 0.3, 0.65), True),
        ((0.1, 0.62, 0.3, 0.67), True),  # shares 0.03 of its and the place's 0.05
        ((0.1, 0.63, 0.3, 0.68), False),  # 0.02
        ((0.1, 0.64, 0.3, 0.655), True),  # 0.01 of 0.015
        ((0.1, 0.55, 0.3, 0.7), True),  # three times as high, all around
        ((0.1, 0.6, 0.409, 0.65), True),  # reaches into it by less than 0.2 of 0.05
        ((0.1, 0.6, 0.411, 0.65), False),
        ((0.7, 0.6, 0.9, 0.65), False),  # on the right
        (PLACE, False),
    ],
)
def test_a_line_on_the_left_is_beside_it(line: Box, left: bool) -> None:
    before, over = next_lines(array(PLACE), array(line))
    assert before.tolist() == [list(line) if left else NONE]
    assert over.tolist() == [NONE]


@pytest.mark.parametrize(
    ("line", "over"),
    [
        ((0.4, 0.55, 0.6, 0.6), True),
        ((0.4, 0.57, 0.6, 0.62), True),  # reaches into it by less than half of 0.05
        ((0.4, 0.58, 0.6, 0.63), False),
        ((0.4, 0.36, 0.6, 0.41), True),  # 3.8 heights above
        ((0.4, 0.34, 0.6, 0.39), False),  # 4.2
        ((0.26, 0.5, 0.47, 0.55), True),  # shares 0.07 of the place's 0.2
        ((0.25, 0.5, 0.45, 0.55), False),  # 0.05
        ((0.38, 0.5, 0.43, 0.55), True),  # a narrow one shares 0.03 of its 0.05
        ((0.36, 0.5, 0.41, 0.55), False),  # 0.01
        ((0.4, 0.65, 0.6, 0.7), False),  # below
        (PLACE, False),
    ],
)
def test_a_line_above_is_in_its_column_and_near(line: Box, over: bool) -> None:
    left, found = next_lines(array(PLACE), array(line))
    assert found.tolist() == [list(line) if over else NONE]
    assert left.tolist() == [NONE]


def test_of_several_lines_the_nearest_is_next() -> None:
    lines = array(
        (0.0, 0.6, 0.1, 0.65),
        (0.2, 0.6, 0.35, 0.65),
        (0.4, 0.45, 0.6, 0.5),
        (0.4, 0.55, 0.6, 0.6),
        (0.5, 0.55, 0.6, 0.6),  # as near, and later
        PLACE,
    )
    before, over = next_lines(array(PLACE, (0.0, 0.6, 0.1, 0.65)), lines)
    assert before.tolist() == [list(lines[1]), NONE]
    assert over.tolist() == [list(lines[3]), NONE]


def test_a_narrow_line_is_not_left_of_itself() -> None:
    """A bar or an I can be less wide than a line may reach into a place."""
    label, bar = (0.1, 0.6, 0.3, 0.65), (0.4, 0.6, 0.405, 0.65)
    before, over = next_lines(array(bar), array(label, bar))
    assert before.tolist() == [list(label)]
    assert over.tolist() == [NONE]


def test_without_lines_or_places_nothing_is_next() -> None:
    for places, lines in ((array(PLACE), array()), (array(), array(PLACE)), (array(), array())):
        for found in next_lines(places, lines):
            assert found.tolist() == [NONE] * len(places)


def test_words_above_are_in_the_column_however_far() -> None:
    words = array(
        (0.45, 0.0, 0.5, 0.02),
        (0.45, 0.55, 0.5, 0.6),
        (0.45, 0.57, 0.5, 0.62),  # its middle is above
        (0.45, 0.59, 0.5, 0.64),
        (0.3, 0.5, 0.41, 0.55),  # shares 0.01 of its 0.11
        (0.45, 0.7, 0.5, 0.75),
    )
    found = words_above(array(PLACE, (0.0, 0.0, 1.0, 0.1)), words)
    assert found.tolist() == [
        [True, True, True, False, False, False],
        [False] * 6,
    ]
    assert words_above(array(), words).shape == (0, 6)
    assert words_above(array(PLACE), array()).shape == (1, 0)
