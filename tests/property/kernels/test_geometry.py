"""Boxes, the patch grid and IoU."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchlight.tasks.common.errors import BoxError, KernelError, ShapeError
from patchlight.tasks.kernels import geometry
from tests import reference

GRIDS = st.one_of(
    st.sampled_from([(1, 1), (14, 10), (10, 14), (1, 7), (9, 1), (32, 32)]),
    st.tuples(st.integers(1, 20), st.integers(1, 20)),
)


def cell_boxes(rows: int, cols: int) -> NDArray[np.float64]:
    """(rows * cols, 4) boxes of all cells of a grid, in raster order."""
    return np.array(
        [
            (c / cols, r / rows, (c + 1) / cols, (r + 1) / rows)
            for r in range(rows)
            for c in range(cols)
        ]
    )


def cell_iou(boxes: geometry.Floats, rows: int, cols: int) -> geometry.Floats:
    """(R, rows * cols) IoU of every box with every cell, from those that it touches."""
    touched = geometry.touched_cells(boxes, rows, cols)
    dense = np.zeros((len(boxes), rows * cols), dtype=boxes.dtype)
    dense[touched.box, touched.cell] = touched.iou
    return dense


@st.composite
def intervals(draw: st.DrawFn, cells: int) -> tuple[float, float]:
    """A side of a box: on cell borders, at the page's edges, or anywhere."""
    place = st.one_of(
        st.integers(0, cells).map(lambda i: i / cells),
        st.integers(0, 5000).map(lambda i: i / 5000),
        st.sampled_from([0.0, 1.0]),
    )
    low, high = sorted(draw(st.tuples(place, place).filter(lambda pair: pair[0] != pair[1])))
    return low, high


@st.composite
def grids_and_boxes(draw: st.DrawFn, most: int = 6) -> tuple[int, int, NDArray[np.float64]]:
    """A grid, and boxes chosen with its borders in mind."""
    rows, cols = draw(GRIDS)
    box = st.tuples(intervals(cols), intervals(rows)).map(
        lambda b: (b[0][0], b[1][0], b[0][1], b[1][1])
    )
    boxes = draw(st.lists(st.one_of(box, st.just((0.0, 0.0, 1.0, 1.0))), min_size=1, max_size=most))
    return rows, cols, np.array(boxes)


@settings(deadline=None, max_examples=60)
@given(grids_and_boxes())
def test_iou_with_cells_equals_the_scalar_formula(
    case: tuple[int, int, NDArray[np.float64]],
) -> None:
    rows, cols, boxes = case
    ours = cell_iou(boxes, rows, cols)
    for r, box in enumerate(boxes.tolist()):
        for j, cell in enumerate(cell_boxes(rows, cols).tolist()):
            expected = reference.iou(box, cell) if reference.touches(box, cell) else 0.0
            assert ours[r, j] == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(grids_and_boxes())
def test_overlaps_add_up_to_the_box(case: tuple[int, int, NDArray[np.float64]]) -> None:
    rows, cols, boxes = case
    touched = geometry.touched_cells(boxes, rows, cols)
    total = np.add.reduceat(touched.area, touched.start)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    # Four sides can each lose one sliver.
    assert np.abs(total - area).max() <= 4 * geometry.SLIVER
    assert (touched.area > 0).all()
    assert (touched.count >= 1).all()


@settings(deadline=None)
@given(grids_and_boxes())
def test_iou_is_a_fraction_and_keeps_the_dtype(case: tuple[int, int, NDArray[np.float64]]) -> None:
    rows, cols, boxes = case
    double = cell_iou(boxes, rows, cols)
    single = cell_iou(boxes.astype(np.float32), rows, cols)
    assert double.dtype == np.float64
    assert single.dtype == np.float32
    for dense in (double, single):
        assert dense.shape == (len(boxes), rows * cols)
        assert (dense >= 0).all()
        assert (dense <= 1).all()
        assert (dense.max(axis=1) > 0).all()
    assert ((double > 0) == (single > 0)).all()


@settings(deadline=None)
@given(GRIDS)
def test_a_cell_touches_itself_only(grid: tuple[int, int]) -> None:
    rows, cols = grid
    boxes = cell_boxes(rows, cols)
    for dtype in (np.float64, np.float32):
        # float32 moves borders such as 1/3 into the neighbour; that is rounding, not overlap.
        dense = cell_iou(boxes.astype(dtype), rows, cols)
        assert np.allclose(dense, np.eye(rows * cols), atol=1e-4)
        assert dense.max() <= 1
        assert ((dense > 0) == np.eye(rows * cols, dtype=bool)).all()


@pytest.mark.parametrize("side", [1e-6, 1e-7, 1e-9, 1e-14])
def test_a_speck_across_a_border_still_touches_a_cell(side: float) -> None:
    near = np.array([[0.5 - side / 2, 0.5 - side / 2, 0.5 + side / 2, 0.5 + side / 2]])
    touched = geometry.touched_cells(near, 2, 2)
    assert touched.cell.tolist() == [0, 1, 2, 3]
    assert (touched.iou > 0).all()


def test_cells_are_in_raster_order() -> None:
    boxes = cell_boxes(rows=4, cols=2)
    assert boxes.shape == (8, 4)
    assert boxes[5].tolist() == [0.5, 0.5, 1.0, 0.75]  # row 2, col 1
    assert cell_iou(np.array([[0.5, 0.5, 1.0, 0.75]]), 4, 2)[0].tolist() == [
        0, 0, 0, 0, 0, 1, 0, 0,
    ]  # fmt: skip


@settings(deadline=None)
@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1), GRIDS)
def test_a_box_is_refused_or_touches_a_cell(
    x0: float, y0: float, x1: float, y1: float, grid: tuple[int, int]
) -> None:
    boxes = np.array([[min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)]])
    try:
        geometry.check_boxes(boxes)
    except BoxError:
        assert (x1 - x0) * (y1 - y0) == pytest.approx(0, abs=1e-29)
        return
    for dtype in (np.float64, np.float32):
        if np.prod(np.diff(boxes.astype(dtype).reshape(2, 2), axis=0)) >= geometry.MIN_AREA:
            dense = cell_iou(boxes.astype(dtype), *grid)
            assert np.isfinite(dense).all()
            assert dense.max() > 0


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((math.nan, 0.0, 1.0, 1.0), "not finite"),
        ((0.0, 0.0, math.inf, 1.0), "not finite"),
        ((0.6, 0.1, 0.4, 0.2), "inverted"),
        ((0.6, 0.2, 0.4, 0.1), "inverted"),
        ((0.1, 0.9, 0.2, 0.8), "inverted"),
        ((0.5, 0.1, 0.5, 0.2), "empty"),
        ((0.1, 0.2, 0.3, 0.2), "empty"),
        ((-1e-9, 0.0, 1.0, 1.0), "leaves the page"),
        ((0.0, 0.0, 1.0, 1.0000001), "leaves the page"),
        ((0.0, 0.0, 612.0, 792.0), "leaves the page"),
    ],
)
def test_bad_boxes_are_refused_with_their_row(
    box: tuple[float, float, float, float], reason: str
) -> None:
    boxes = np.array([(0.0, 0.0, 1.0, 1.0), box])
    with pytest.raises(BoxError, match=f"box 1 .*{reason}"):
        geometry.check_boxes(boxes)
    with pytest.raises(BoxError):
        cell_iou(boxes, 3, 3)


def test_shapes_are_checked_and_no_boxes_are_fine() -> None:
    for bad in (np.zeros(4), np.zeros((2, 3)), np.array([[0, 0, 1, 1]])):
        with pytest.raises(ShapeError):
            geometry.check_boxes(bad)
    with pytest.raises(KernelError):
        cell_iou(np.array([[0.0, 0.0, 1.0, 1.0]]), 3, 0)
    assert cell_iou(np.empty((0, 4)), 3, 2).shape == (0, 6)


@settings(deadline=None)
@given(grids_and_boxes(), grids_and_boxes())
def test_iou_of_boxes(
    first: tuple[int, int, NDArray[np.float64]], second: tuple[int, int, NDArray[np.float64]]
) -> None:
    a, b = first[2], second[2]
    ours = geometry.iou(a, b)
    expected = [[reference.iou(p, q) for q in b.tolist()] for p in a.tolist()]
    assert ours == pytest.approx(np.array(expected), abs=1e-12)
    assert ours.max() <= 1
    assert np.diag(geometry.iou(a, a)) == pytest.approx(np.ones(len(a)))


@settings(deadline=None)
@given(grids_and_boxes(), st.integers(1, 3000), st.integers(1, 3000))
def test_pixels_hold_the_box_and_stay_in_the_picture(
    case: tuple[int, int, NDArray[np.float64]], width: int, height: int
) -> None:
    boxes = case[2]
    px = geometry.box_pixels(boxes, width, height)
    exact = boxes * np.array([width, height, width, height])
    slack = geometry.SLIVER * max(width, height) + 1e-9
    assert (px[:, :2] <= exact[:, :2] + slack).all()
    assert (px[:, 2:] >= exact[:, 2:] - slack).all()
    assert (np.abs(px - exact) <= 1 + slack).all()
    assert (px >= 0).all()
    assert (px[:, 2:] > px[:, :2]).all()
    assert (px[:, 2] <= width).all()
    assert (px[:, 3] <= height).all()


def test_pixels_and_points_of_round_numbers() -> None:
    box = np.array([[0.1, 0.2, 0.3, 0.7]])
    assert geometry.box_pixels(box, 1000, 500).tolist() == [[100, 100, 300, 350]]
    assert geometry.box_points(box, 600, 800)[0] == pytest.approx([60, 160, 180, 560])
    with pytest.raises(ShapeError):
        geometry.box_points(box, 0, 800)
