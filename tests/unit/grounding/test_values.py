"""Guards the benchmark of values: what counts as a hit, and that what is left out is not learnt."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.values import ValueRow, hits_of, left_out

BOXES = np.array([(0.1, y, 0.9, y + 0.1) for y in (0.1, 0.3, 0.5, 0.7)])
ONE = np.ones(1)


def row(signals: list[float], hit: list[int], data: str = "some") -> ValueRow:
    """Candidates under each other, with one signal."""
    n = len(hit)
    its = np.array(hit, np.float64)
    return ValueRow(
        f"{data}/doc",
        np.array(signals).reshape(n, 1),
        its,
        data=data,
        category="any",
        boxes=BOXES[:n],
        hit=its,
    )


@pytest.mark.parametrize(
    ("signals", "hit", "found"),
    [
        ([1, 3, 2, 0], [0, 1, 0, 0], (1, 1)),
        ([1, 3, 2, 0], [0, 0, 1, 0], (0, 1)),
        ([1, 3, 2, 0], [1, 0, 0, 0], (0, 1)),  # the third best
        ([1, 3, 2, 0], [0, 0, 0, 1], (0, 0)),  # the fourth
        ([0, 0, 0, 0], [1, 0, 0, 0], (1, 1)),  # ties by row
        ([0, 0, 0, 0], [0, 0, 0, 1], (0, 0)),
        ([9000, 0, -9000, 1], [0, 0, 0, 1], (0, 1)),  # far behind, and still second
        ([5], [1], (1, 1)),
        ([], [], (0, 0)),
    ],
)
def test_the_first_hits_or_one_of_three(
    signals: list[float], hit: list[int], found: tuple[float, float]
) -> None:
    assert hits_of(row(signals, hit), ONE) == found


def test_candidates_at_the_same_place_count_once() -> None:
    crowded = row([4, 3, 2, 1], [0, 0, 0, 1])
    crowded.boxes[1:3] = crowded.boxes[0]
    assert hits_of(crowded, ONE) == (0, 1)
    assert hits_of(crowded, -ONE) == (1, 1)


def test_weights_are_those_of_what_is_left_in() -> None:
    """Two kinds of rows of which the one teaches the contrary of the other."""
    high = [row([0, 1, 0, 0], [0, 1, 0, 0], "high") for _ in range(4)]
    low = [row([1, 0, 1, 1], [0, 1, 0, 0], "low") for _ in range(2)]
    rows = [*high, *low, row([], [], "high")]
    found = left_out(rows, [its.data for its in rows], np.array([0]))
    assert found[:, 0].tolist() == [0] * 7
    # With others of its kind among the rest each is learnt.
    for some in (high, low):
        every_other = [str(at % 2) for at in range(len(some))]
        assert (left_out(some, every_other, np.array([0])) == 1).all()
