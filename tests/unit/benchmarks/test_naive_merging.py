"""Guards naive merging on boxes by hand, and on any boxes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.naive import naive_merging
from patchlight.tasks.common.errors import BoxError, SelectionError
from patchlight.tasks.kernels.geometry import Doubles

TOP = (0.1, 0.1, 0.4, 0.2)
BELOW = (0.1, 0.25, 0.5, 0.3)  # 0.05 below TOP
FARTHER = (0.2, 0.35, 0.4, 0.4)  # 0.05 below BELOW, 0.15 below TOP
BESIDE = (0.6, 0.1, 0.9, 0.2)  # 0.2 right of TOP, 0.1 right of BELOW


def merged(
    *boxes: tuple[float, ...], gap: tuple[float, float] = (0.05, 0.06), **among: int
) -> Doubles:
    return naive_merging(np.array(boxes, dtype=np.float64).reshape(-1, 4), gap, **among)


def test_near_boxes_among_the_first_three_join_the_best() -> None:
    assert merged(TOP).tolist() == list(TOP)
    assert merged(TOP, BELOW).tolist() == [0.1, 0.1, 0.5, 0.3]
    assert merged(TOP, BESIDE, BELOW).tolist() == [0.1, 0.1, 0.5, 0.3]
    assert merged(TOP, BESIDE, FARTHER, BELOW).tolist() == list(TOP)  # the fourth is not looked at


def test_a_box_may_be_near_one_that_has_joined_before_it_and_not_after() -> None:
    assert merged(TOP, BELOW, FARTHER).tolist() == [0.1, 0.1, 0.5, 0.4]
    assert merged(TOP, FARTHER, BELOW).tolist() == [0.1, 0.1, 0.5, 0.3]


def test_both_directions_must_be_near_and_have_gaps_of_their_own() -> None:
    assert merged(TOP, BESIDE, gap=(0.19, 0.5)).tolist() == list(TOP)
    assert merged(TOP, BESIDE, gap=(0.21, 0.0)).tolist() == [0.1, 0.1, 0.9, 0.2]


def test_how_many_are_looked_at() -> None:
    assert merged(TOP, BELOW, FARTHER, among=1).tolist() == list(TOP)
    assert merged(TOP, BELOW, FARTHER, among=2).tolist() == [0.1, 0.1, 0.5, 0.3]


def test_refuses_no_boxes_and_boxes_of_no_page() -> None:
    with pytest.raises(SelectionError, match="at least one box"):
        merged()
    with pytest.raises(SelectionError, match="at least one box"):
        merged(TOP, among=0)
    with pytest.raises(BoxError, match="leaves the page"):
        merged((60.0, 60.0, 120.0, 90.0))  # pixels


side = st.floats(0, 0.9).map(lambda x: round(x, 3))
box = st.tuples(side, side, st.floats(0.01, 0.1), st.floats(0.01, 0.1)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


@given(st.lists(box, min_size=1, max_size=6), st.floats(0, 1), st.integers(1, 6))
def test_holds_the_best_box_and_lies_in_the_hull_of_those_looked_at(
    boxes: list[tuple[float, ...]], gap: float, among: int
) -> None:
    found = merged(*boxes, gap=(gap, gap), among=among)
    seen = np.array(boxes[:among])
    assert (found[:2] <= seen[0, :2]).all() and (found[2:] >= seen[0, 2:]).all()
    assert (found[:2] >= seen[:, :2].min(axis=0)).all()
    assert (found[2:] <= seen[:, 2:].max(axis=0)).all()
    everything = merged(*boxes, gap=(1.0, 1.0), among=among)
    assert everything.tolist() == [*seen[:, :2].min(axis=0), *seen[:, 2:].max(axis=0)]
