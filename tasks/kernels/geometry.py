"""Boxes on a page, the patch grid, and where they meet.

A box is ``x0, y0, x1, y1`` in fractions of the displayed page, origin top left. A grid of
``rows x cols`` patches has its cells in raster order: cell ``(r, c)`` has index
``r * cols + c`` and covers ``[c/cols, (c+1)/cols] x [r/rows, (r+1)/rows]``. The paper
(arXiv 2512.02660, section 3) writes the square case only; rows and cols differ here.

Places are computed in float64 whatever the boxes are stored in, so that float32 and float64
agree about which cells a box touches.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.common.errors import BoxError, ShapeError

Floats = NDArray[np.floating[Any]]
Doubles = NDArray[np.float64]
Indices = NDArray[np.intp]

SLIVER = 1e-7
"""Fraction of the page's side. A box that reaches into a cell by no more than this does not
touch it: boxes made of whole pixels often end on a cell border, and float32 moves them by up
to 6e-8 across it."""

MIN_AREA = 1e-30
"""Fraction of the page's area; a smaller box is empty. Keeps an IoU above zero in float32."""


@dataclass(frozen=True, slots=True)
class TouchedCells:
    """The cells each box touches, box after box, each box's cells in raster order.

    Every box touches at least one cell, so ``ufunc.reduceat(..., start)`` reduces per box.

    Attributes:
        start: (R,) position of a box's first cell in the lists below.
        count: (R,) number of cells of each box, at least 1.
        box: (n,) row of the box.
        cell: (n,) index of the cell in the grid.
        iou: (n,) float64 in (0, 1], intersection over union of that box and that cell.
        area: (n,) float64 > 0, their intersection as a fraction of the page's area.
    """

    start: Indices
    count: Indices
    box: Indices
    cell: Indices
    iou: Doubles
    area: Doubles


def check_boxes(boxes: Floats) -> None:
    """Refuse boxes that no page can have.

    Args:
        boxes: (R, 4) float32 or float64 fractions of the displayed page; R may be 0.

    Raises:
        ShapeError: `boxes` is not (R, 4), or of another type.
        BoxError: a box holds NaN or infinity, is inverted or empty, or leaves [0, 1]; the
            message names the first one.

    >>> check_boxes(np.array([[0.0, 0.0, 1.0, 0.5]]))
    >>> check_boxes(np.array([[0.6, 0.0, 0.4, 0.5]]))
    Traceback (most recent call last):
    patchlight...BoxError: box 0 is inverted: x0 y0 x1 y1 = [0.6, 0.0, 0.4, 0.5], ...
    """
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ShapeError(f"boxes must be (R, 4), got {boxes.shape}")
    # Whole numbers or float16 would turn an IoU into 0 further on.
    if boxes.dtype not in (np.float32, np.float64):
        raise ShapeError(f"boxes must be float32 or float64, got {boxes.dtype}")
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).T  # each (R,)
    # Written so that NaN fails every test: `not (good)` instead of `bad`.
    on_page = (x0 >= 0) & (y0 >= 0) & (x1 <= 1) & (y1 <= 1)  # (R,)
    upright = (x0 <= x1) & (y0 <= y1)  # (R,)
    with np.errstate(invalid="ignore", over="ignore"):
        filled = (x1 - x0) * (y1 - y0) >= MIN_AREA  # (R,)
    good = on_page & upright & filled  # (R,)
    if good.all():
        return
    row = int(np.argmin(good))
    box = boxes[row].tolist()
    if not np.isfinite(boxes[row]).all():
        reason = "is not finite"
    elif not upright[row]:
        reason = "is inverted"
    elif not on_page[row]:
        reason = "leaves the page"
    else:
        reason = "is empty"
    raise BoxError(f"box {row} {reason}: x0 y0 x1 y1 = {box}, fractions of the page expected")


def check_grid(rows: int, cols: int) -> None:
    """Refuse a grid without cells.

    Raises:
        ShapeError: `rows` or `cols` is below 1.

    >>> check_grid(3, 0)
    Traceback (most recent call last):
    patchlight...ShapeError: a patch grid needs at least 1 x 1 cells, got 3 x 0
    """
    if rows < 1 or cols < 1:
        raise ShapeError(f"a patch grid needs at least 1 x 1 cells, got {rows} x {cols}")


def touched_cells(boxes: Floats, rows: int, cols: int) -> TouchedCells:
    """Find the cells each box touches, and how much.

    A box touches a rectangle of cells; only those are looked at, which for the boxes of a real
    page is a small part of the grid.

    Args:
        boxes: (R, 4) fractions of the displayed page, x0 y0 x1 y1, top-left origin.
        rows: patches down the page, at least 1.
        cols: patches across the page, at least 1.

    Returns:
        The touched cells; a cell reached by no more than `SLIVER` is not touched.

    Raises:
        BoxError: a box is not finite, inverted, empty, or off the page.
        ShapeError: `boxes` is not (R, 4), or the grid has no cell.

    A box over cell 0 and half of cell 1 of a 2 x 2 grid; cell 2 only shares its edge.

    >>> touched = touched_cells(np.array([[0.0, 0.0, 0.75, 0.5]]), 2, 2)
    >>> touched.cell.tolist(), touched.iou.tolist(), touched.area.tolist()
    ([0, 1], [0.667, 0.25], [0.25, 0.125])
    """
    check_boxes(boxes)
    check_grid(rows, cols)
    x0, y0, x1, y1 = np.asarray(boxes, np.float64).T  # each (R,)
    x, y = _edges(cols), _edges(rows)  # (cols + 1,), (rows + 1,)
    c0, width = _window(x0, x1, x)  # each (R,)
    r0, height = _window(y0, y1, y)  # each (R,)
    count = width * height  # (R,)
    start = offsets(count)[:-1]  # (R,)
    box = np.repeat(np.arange(len(boxes)), count)  # (n,)
    down, across = np.divmod(np.arange(len(box)) - start[box], width[box])  # each (n,)
    r, c = r0[box] + down, c0[box] + across  # each (n,)
    area = np.minimum(x1[box], x[c + 1]) - np.maximum(x0[box], x[c])  # (n,)
    area *= np.minimum(y1[box], y[r + 1]) - np.maximum(y0[box], y[r])
    union = ((x1 - x0) * (y1 - y0) + 1 / (rows * cols))[box] - area  # (n,)
    # Rounding can put a box that equals its cell a hair above 1.
    iou = np.minimum(area / union, 1.0)  # (n,)
    return TouchedCells(start=start, count=count, box=box, cell=r * cols + c, iou=iou, area=area)


def iou(a: Floats, b: Floats) -> Doubles:
    """Intersection over union of every box of `a` with every box of `b`.

    Args:
        a: (A, 4) boxes.
        b: (B, 4) boxes in the same unit.

    Returns:
        (A, B) float64 in [0, 1]; 0 where two boxes only share an edge.

    Raises:
        BoxError: a box is not finite, inverted, empty, or off the page.
        ShapeError: `a` or `b` is not (n, 4).

    >>> halves = np.array([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])
    >>> iou(halves, np.array([[0.25, 0.0, 0.75, 1.0], [0.0, 0.0, 0.5, 1.0]])).tolist()
    [[0.333, 1.0], [0.333, 0.0]]
    """
    check_boxes(a)
    check_boxes(b)
    p = np.asarray(a, np.float64)[:, None, :]  # (A, 1, 4)
    q = np.asarray(b, np.float64)[None, :, :]  # (1, B, 4)
    sides = np.minimum(p[..., 2:], q[..., 2:]) - np.maximum(p[..., :2], q[..., :2])  # (A, B, 2)
    shared = np.maximum(sides, 0.0).prod(axis=-1)  # (A, B)
    area_p = (p[..., 2:] - p[..., :2]).prod(axis=-1)  # (A, 1)
    area_q = (q[..., 2:] - q[..., :2]).prod(axis=-1)  # (1, B)
    ratio: Doubles = np.minimum(shared / (area_p + area_q - shared), 1.0)  # (A, B)
    return ratio


def hull(boxes: Doubles) -> Doubles:
    """Return the box around boxes.

    Args:
        boxes: (n, 4), n at least 1, in any unit.

    Returns:
        (4,).

    >>> hull(np.array([[0.1, 0.2, 0.3, 0.4], [0.2, 0.1, 0.6, 0.3]])).tolist()
    [0.1, 0.1, 0.6, 0.4]
    """
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])  # (4,)


def hulls(boxes: Doubles, starts: NDArray[np.integer[Any]]) -> Doubles:
    """Return the box around each of some runs of boxes.

    Args:
        boxes: (n, 4), n at least 1, in any unit; those of a run follow each other.
        starts: (m,) row of the first box of each run, rising, the first 0.

    Returns:
        (m, 4).

    >>> hulls(np.array([[0, 2, 1, 4], [3, 1, 6, 3], [5, 5, 6, 6]]), np.array([0, 2])).tolist()
    [[0, 1, 6, 4], [5, 5, 6, 6]]
    """
    low = np.minimum.reduceat(boxes[:, :2], starts)  # (m, 2)
    return np.concatenate([low, np.maximum.reduceat(boxes[:, 2:], starts)], axis=1)  # (m, 4)


def offsets(lengths: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
    """Return where each of things of these lengths begins, and where the last one ends: (n + 1,).

    >>> offsets([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])  # (n + 1,)


def centres_in(boxes: Floats, holders: Floats, *, strict: bool) -> NDArray[np.bool_]:
    """Return which boxes have their centre in which others.

    Args:
        boxes: (n, 4).
        holders: (m, 4) in the same unit; may be without an area.
        strict: whether a centre on an edge is outside.

    Returns:
        (m, n).

    >>> box, holder = np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([[0.5, 0.0, 1.0, 1.0]])
    >>> centres_in(box, holder, strict=False).item(), centres_in(box, holder, strict=True).item()
    (True, False)
    """
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2  # (n, 2)
    low, high = holders[:, None, :2], holders[:, None, 2:]  # each (m, 1, 2)
    above, below = (np.greater, np.less) if strict else (np.greater_equal, np.less_equal)
    return np.asarray((above(centres, low) & below(centres, high)).all(axis=2))  # (m, n)


def distinct(boxes: Floats, same: float, *, strict: bool) -> list[int]:
    """Return rows of which no one before that is returned is nearly equal.

    Args:
        boxes: (n, 4), the ones that matter most first.
        same: IoU of boxes that are one.
        strict: whether their IoU must be larger.

    Raises:
        BoxError, ShapeError: as `iou`.

    >>> boxes = np.array([[0.0, 0.0, 0.5, 1.0], [0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 1.0]])
    >>> distinct(boxes, 0.5, strict=False), distinct(boxes, 0.5, strict=True)
    ([0, 2], [0, 1, 2])
    """
    shared = iou(boxes, boxes)  # (n, n)
    near = shared > same if strict else shared >= same  # (n, n)
    kept: list[int] = []
    for row in range(len(boxes)):
        if not near[row, kept].any():
            kept.append(row)
    return kept


def box_points(boxes: Floats, width_pt: float, height_pt: float) -> Doubles:
    """Boxes in points of the displayed page, origin still top left.

    Args:
        boxes: (R, 4) fractions of the displayed page.
        width_pt: width of the displayed page in points (1/72 inch), above 0.
        height_pt: its height in points, above 0.

    Returns:
        (R, 4) float64 points.

    Raises:
        BoxError: a box is not finite, inverted, empty, or off the page.
        ShapeError: `boxes` is not (R, 4), or the page has no area.

    >>> box_points(np.array([[0.0, 0.5, 1.0, 1.0]]), 595.0, 842.0).tolist()
    [[0.0, 421.0, 595.0, 842.0]]
    """
    return _scaled(boxes, width_pt, height_pt)


def box_pixels(boxes: Floats, width_px: int, height_px: int) -> NDArray[np.int32]:
    """Boxes in whole pixels of a picture of the page, grown to the pixels they touch.

    Args:
        boxes: (R, 4) fractions of the displayed page.
        width_px: width of the picture in pixels, at least 1.
        height_px: its height in pixels, at least 1.

    Returns:
        (R, 4) int32 x0 y0 x1 y1, x1 and y1 exclusive: ``picture[y0:y1, x0:x1]`` is the box, at
        least one pixel wide and high, inside the picture.

    Raises:
        BoxError: a box is not finite, inverted, empty, or off the page.
        ShapeError: `boxes` is not (R, 4), or the picture has no pixel.

    >>> box_pixels(np.array([[0.12, 0.0, 0.5, 0.31]]), 10, 10).tolist()
    [[1, 0, 5, 4]]
    """
    px = _scaled(boxes, width_px, height_px)  # (R, 4)
    size = np.array([width_px, height_px])  # (2,)
    # The margin undoes rounding: 0.1 * 1000 must not reach into pixel 100 from either side.
    margin = SLIVER * size  # (2,)
    low = np.minimum(np.floor(px[:, :2] + margin), size - 1)  # (R, 2)
    high = np.maximum(np.ceil(px[:, 2:] - margin), low + 1)  # (R, 2)
    return np.concatenate([low, high], axis=1).astype(np.int32)  # (R, 4)


def _scaled(boxes: Floats, width: float, height: float) -> Doubles:
    check_boxes(boxes)
    if not (width > 0 and height > 0):
        raise ShapeError(f"a page has width and height above 0, got {width} x {height}")
    return np.asarray(boxes, np.float64) * np.array([width, height, width, height], np.float64)


def _edges(n: int) -> Doubles:
    """Borders of n equal cells on [0, 1]: (n + 1,), the last exactly 1."""
    return np.arange(n + 1) / n  # (n + 1,)


def _window(low: Doubles, high: Doubles, edges: Doubles) -> tuple[Indices, Indices]:
    """First cell and number of cells that the intervals [low, high] reach into, each (R,)."""
    cells = len(edges) - 1
    # Never more than an eighth of the box or cell, so that no box ends without a cell.
    sliver = np.minimum(np.minimum((high - low) / 8, SLIVER), 1 / (8 * cells))  # (R,)
    first = np.searchsorted(edges, low + sliver, side="right") - 1  # (R,)
    return first, np.searchsorted(edges, high - sliver, side="left") - first
