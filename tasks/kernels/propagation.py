"""Patch-to-region relevance propagation: from scores of patches to scores of boxes.

Source: arXiv 2512.02660, section 3. With ``w_j = IoU(box, cell_j)`` and ``p_j`` the score of
cell j, a region's score is ``sum_j w_j p_j / sum_j w_j`` (version 1 of the paper left out the
denominator), or the largest or mean ``p_j`` over the cells with ``w_j > 0``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from patchlight.tasks.common.errors import NotFiniteError, ShapeError, unknown_aggregation
from patchlight.tasks.kernels.geometry import (
    Doubles,
    Floats,
    Indices,
    TouchedCells,
    offsets,
    touched_cells,
)

SLAB = 1 << 22
"""Gathered cell scores held at once, in numbers; bounds memory for many maps of one page."""


class RegionAggregation(StrEnum):
    """How the scores of the cells a region touches become the region's score."""

    IOU_WEIGHTED = "iou-weighted"
    """Mean of the cells weighted by their IoU with the region, ``sum w p / sum w``."""
    MAX = "max"
    """The best touched cell; the paper's strongest setting, but blind to size."""
    MEAN = "mean"
    """Plain mean of the touched cells, a cell touched at its edge counting in full."""

    @classmethod
    def _missing_(cls, value: object) -> RegionAggregation:
        raise unknown_aggregation(cls, value)


@dataclass(frozen=True, slots=True)
class CellShares:
    """The cells that a region's score is made of, region after region.

    A region's score is ``sum share * cell score`` over its cells; its shares add up to 1.

    Attributes:
        start: (R,) position of a region's first cell in the lists below; each has at least one.
        cell: (n,) index of the cell in the grid, raster order.
        share: (n,) float64 in (0, 1], what the cell counts in the region.
    """

    start: Indices
    cell: Indices
    share: Doubles


def region_scores(
    cell_scores: Floats, boxes: Floats, rows: int, cols: int, aggregate: RegionAggregation
) -> Floats:
    """Propagate one map of cell scores to regions.

    Args:
        cell_scores: (rows * cols,) or (rows, cols) float32 or float64, score of each cell,
            raster order; a cell without a vector holds 0.
        boxes: (R, 4) fractions of the displayed page, x0 y0 x1 y1, top-left origin.
        rows: patches down the page, at least 1.
        cols: patches across the page, at least 1.
        aggregate: how cells become a region.

    Returns:
        (R,) of the dtype of `cell_scores`, in the range of the touched cells up to rounding;
        never NaN, because a valid box always touches a cell.

    Raises:
        BoxError: a box is not finite, inverted, empty, or off the page.
        ShapeError: `cell_scores` is not of this grid, or `boxes` not (R, 4).
        NotFiniteError: a cell score is NaN or infinite.
        AggregationError: there is no such aggregation.

    A 3 x 3 grid whose last cell has no vector. One box lies over cell 4 and half of cell 5,
    another over cells 7 and 8.

    >>> cells = np.array([[0.1, 0.2, 0.0], [0.0, 0.9, -0.6], [0.3, -0.4, 0.0]])
    >>> boxes = np.array([[2.0, 2.0, 5.0, 4.0], [2.0, 4.0, 6.0, 6.0]]) / 6
    >>> region_scores(cells, boxes, 3, 3, RegionAggregation.IOU_WEIGHTED).tolist()
    [0.491, -0.2]
    >>> region_scores(cells, boxes, 3, 3, RegionAggregation.MAX).tolist()
    [0.9, 0.0]
    >>> region_scores(cells, boxes, 3, 3, RegionAggregation.MEAN).tolist()
    [0.15, -0.2]
    """
    if cell_scores.shape not in ((rows * cols,), (rows, cols)):
        raise ShapeError(
            f"a {rows} x {cols} grid has {rows * cols} cell scores, got {cell_scores.shape}"
        )
    maps = cell_scores.reshape(1, -1)  # (1, rows * cols)
    scores: Floats = region_scores_many(maps, boxes, rows, cols, aggregate)[0]  # (R,)
    return scores


def region_scores_many(
    cell_scores: Floats, boxes: Floats, rows: int, cols: int, aggregate: RegionAggregation
) -> Floats:
    """Propagate many maps of cell scores (one per query) to the regions of one page.

    The boxes are laid on the grid once. A map's scores do not depend on the maps beside it:
    they equal those of `region_scores` bit for bit.

    Args:
        cell_scores: (B, rows * cols) float32 or float64, score of each cell in each map,
            raster order.
        boxes: (R, 4) fractions of the displayed page, x0 y0 x1 y1, top-left origin.
        rows: patches down the page, at least 1.
        cols: patches across the page, at least 1.
        aggregate: how cells become a region.

    Returns:
        (B, R) of the dtype of `cell_scores`, in the range of the touched cells up to rounding;
        never NaN.

    Raises:
        BoxError: a box is not finite, inverted, empty, or off the page.
        ShapeError: `cell_scores` is not (B, rows * cols), or `boxes` not (R, 4).
        NotFiniteError: a cell score is NaN or infinite.
        AggregationError: there is no such aggregation.

    >>> maps = np.array([[0.8, -0.2], [-0.6, 0.0]])
    >>> boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.5, 0.0, 1.0, 1.0]])
    >>> region_scores_many(maps, boxes, 1, 2, RegionAggregation.MEAN).tolist()
    [[0.3, -0.2], [-0.3, 0.0]]
    """
    if cell_scores.ndim != 2 or cell_scores.shape[1] != rows * cols:
        raise ShapeError(
            f"a {rows} x {cols} grid has (B, {rows * cols}) cell scores, got {cell_scores.shape}"
        )
    return region_scores_from(cell_scores, touched_cells(boxes, rows, cols), aggregate)


def region_scores_from(
    cell_scores: Floats, touched: TouchedCells, aggregate: RegionAggregation
) -> Floats:
    """Propagate as `region_scores_many`, to boxes that lie on the grid already.

    Args:
        cell_scores: (B, cells) float32 or float64, score of each cell in each map, raster order.
        touched: cells of R boxes on that grid.
        aggregate: how cells become a region.

    Returns:
        (B, R) of the dtype of `cell_scores`.

    Raises:
        ShapeError: `cell_scores` is not (B, cells), or of another grid.
        NotFiniteError: a cell score is NaN or infinite.
        AggregationError: there is no such aggregation.

    >>> touched = touched_cells(np.array([[0.0, 0.0, 1.0, 1.0]]), 1, 2)
    >>> region_scores_from(np.array([[0.8, -0.2]]), touched, RegionAggregation.MAX).tolist()
    [[0.8]]
    """
    aggregate = RegionAggregation(aggregate)
    if cell_scores.ndim != 2 or touched.cell.max(initial=-1) >= cell_scores.shape[1]:
        raise ShapeError(f"cell scores (B, cells) of this grid expected, got {cell_scores.shape}")
    if cell_scores.dtype not in (np.float32, np.float64):
        raise ShapeError(f"cell scores must be float32 or float64, got {cell_scores.dtype}")
    if not np.isfinite(cell_scores).all():
        raise NotFiniteError("a cell score is not finite; fix the vectors it came from")
    scores = np.empty((len(cell_scores), len(touched.start)), dtype=cell_scores.dtype)  # (B, R)
    if scores.size == 0:
        return scores
    step = max(1, SLAB // len(touched.cell))
    for first in range(0, len(cell_scores), step):
        slab = slice(first, first + step)
        scores[slab] = _reduce(cell_scores[slab], touched, aggregate)
    return scores


def cell_shares(
    cell_scores: Floats, touched: TouchedCells, regions: Indices, aggregate: RegionAggregation
) -> CellShares:
    """Say which cells the scores of `region_scores_from` come from, and how much of each.

    Args:
        cell_scores: (cells,) float32 or float64, score of each cell, raster order; decides which
            cell is the best.
        touched: cells of boxes on that grid.
        regions: (R,) the boxes that are asked about.
        aggregate: how cells become a region.

    Returns:
        For ``max`` the best touched cell of each region, of equal ones the first in raster
        order; else all touched cells.

    Raises:
        ShapeError: `cell_scores` is not (cells,), or of another grid.
        NotFiniteError: a cell score is NaN or infinite.
        AggregationError: there is no such aggregation.

    >>> touched = touched_cells(np.array([[0.0, 0.0, 0.75, 1.0]]), 1, 2)
    >>> cells = np.array([-0.2, 0.6])
    >>> weighted = cell_shares(cells, touched, np.array([0]), RegionAggregation.IOU_WEIGHTED)
    >>> weighted.cell.tolist(), weighted.share.tolist()
    ([0, 1], [0.727, 0.273])
    >>> best = cell_shares(cells, touched, np.array([0]), RegionAggregation.MAX)
    >>> best.cell.tolist(), best.share.tolist()
    ([1], [1.0])
    """
    aggregate = RegionAggregation(aggregate)
    if cell_scores.ndim != 1 or touched.cell.max(initial=-1) >= len(cell_scores):
        raise ShapeError(f"cell scores (cells,) of this grid expected, got {cell_scores.shape}")
    if not np.isfinite(cell_scores).all():
        raise NotFiniteError("a cell score is not finite; fix the vectors it came from")
    count = touched.count[regions]  # (R,)
    start = offsets(count)[:-1]  # (R,)
    region = np.repeat(np.arange(len(regions)), count)  # (n,)
    at = np.arange(len(region)) + (touched.start[regions] - start)[region]  # (n,)
    cell = touched.cell[at]  # (n,)
    if not len(regions):
        return CellShares(start, cell, np.empty(0))
    if aggregate is RegionAggregation.MAX:
        scores = cell_scores[cell]  # (n,)
        best = np.flatnonzero(scores == np.maximum.reduceat(scores, start)[region])
        # The first of each region: its cells stand together.
        first = best[np.searchsorted(best, start)]  # (R,)
        return CellShares(np.arange(len(regions)), cell[first], np.ones(len(regions)))
    if aggregate is RegionAggregation.MEAN:
        return CellShares(start, cell, 1 / count[region])
    total = np.add.reduceat(touched.iou[at], start)  # (R,)
    return CellShares(start, cell, touched.iou[at] / total[region])


def region_parts(cell_parts: Floats, shares: CellShares) -> Doubles:
    """Propagate what makes up the scores of cells to regions, in the same shares.

    Args:
        cell_parts: (n, t) parts of the scores of the cells of `shares`, in their order.
        shares: of R regions.

    Returns:
        (R, t) float64: where the parts of each cell add up to its score, those of a region add
        up to the region's.

    Raises:
        ShapeError: there is not one row a cell.

    >>> shares = CellShares(np.array([0]), np.array([4, 5]), np.array([0.75, 0.25]))
    >>> region_parts(np.array([[0.4, 0.0], [-0.8, 0.2]]), shares).tolist()
    [[0.1, 0.05]]
    """
    if cell_parts.ndim != 2 or len(cell_parts) != len(shares.cell):
        raise ShapeError(
            f"parts of {len(shares.cell)} cells (n, t) expected, got {cell_parts.shape}"
        )
    if not len(shares.start):
        return np.empty((0, cell_parts.shape[1]))
    shared = cell_parts * shares.share[:, None]  # (n, t)
    parts: Doubles = np.add.reduceat(shared, shares.start, axis=0)  # (R, t)
    return parts


def _reduce(cell_scores: Floats, touched: TouchedCells, aggregate: RegionAggregation) -> Floats:
    """(B, cells) -> (B, R); sums in float64, because a page-wide box has thousands of terms."""
    gathered: Floats = cell_scores.take(touched.cell, axis=1)  # (B, n)
    if aggregate is RegionAggregation.MAX:
        return np.maximum.reduceat(gathered, touched.start, axis=1)  # (B, R)
    if aggregate is RegionAggregation.MEAN:
        sums = np.add.reduceat(gathered, touched.start, axis=1, dtype=np.float64)  # (B, R)
        return sums / touched.count  # (B, R)
    total = np.add.reduceat(touched.iou, touched.start)  # (R,)
    return np.add.reduceat(gathered * touched.iou, touched.start, axis=1) / total  # (B, R)
