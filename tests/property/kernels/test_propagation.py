"""Propagation against the plain loop of the reference."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchlight.tasks.common.errors import AggregationError, BoxError, NotFiniteError, ShapeError
from patchlight.tasks.kernels import propagation
from patchlight.tasks.kernels.geometry import touched_cells
from patchlight.tasks.kernels.propagation import (
    RegionAggregation,
    cell_shares,
    region_parts,
    region_scores,
    region_scores_from,
    region_scores_many,
)
from tests import reference
from tests.property.kernels.test_geometry import grids_and_boxes

Case = tuple[int, int, NDArray[np.float64]]
FULL_PAGE = (0.0, 0.0, 1.0, 1.0)


def random_map(seed: int, cells: int) -> NDArray[np.float64]:
    """Cell scores in [-1, 1], a third of them 0 as for cells without a vector."""
    rng = np.random.default_rng(seed)
    scores: NDArray[np.float64] = np.where(rng.random(cells) < 1 / 3, 0, rng.uniform(-1, 1, cells))
    return scores


def loop(
    scores: NDArray[Any], boxes: NDArray[Any], rows: int, cols: int, how: str
) -> NDArray[np.float64]:
    return np.array(
        reference.region_scores(
            scores.reshape(rows, cols).tolist(), boxes.tolist(), rows, cols, how
        )
    )


@pytest.mark.parametrize("aggregate", RegionAggregation)
@settings(deadline=None, max_examples=60)
@given(case=grids_and_boxes(), seed=st.integers(0, 2**32))
def test_equals_the_loop(aggregate: RegionAggregation, case: Case, seed: int) -> None:
    rows, cols, boxes = case
    scores = random_map(seed, rows * cols)
    double = region_scores(scores, boxes, rows, cols, aggregate)
    assert double.dtype == np.float64
    assert np.abs(double - loop(scores, boxes, rows, cols, aggregate.value)).max() <= 1e-9

    small, small_boxes = scores.astype(np.float32), boxes.astype(np.float32)
    single = region_scores(small, small_boxes, rows, cols, aggregate)
    assert single.dtype == np.float32
    assert np.abs(single - loop(small, small_boxes, rows, cols, aggregate.value)).max() <= 1e-5
    if aggregate is RegionAggregation.MAX:
        # Boxes stored as float32 touch the same cells, even on cell borders.
        assert (single == double.astype(np.float32)).all()


@pytest.mark.parametrize("aggregate", RegionAggregation)
@settings(deadline=None, max_examples=40)
@given(case=grids_and_boxes(), seed=st.integers(0, 2**32))
def test_scores_stay_between_the_lowest_and_highest_cell(
    aggregate: RegionAggregation, case: Case, seed: int
) -> None:
    rows, cols, boxes = case
    scores = random_map(seed, rows * cols)
    ours = region_scores(scores, boxes, rows, cols, aggregate)
    assert (ours >= scores.min() - 1e-12).all()
    assert (ours <= scores.max() + 1e-12).all()


@pytest.mark.parametrize("aggregate", RegionAggregation)
@settings(deadline=None, max_examples=30)
@given(
    case=grids_and_boxes(),
    seeds=st.lists(st.integers(0, 2**32), max_size=5),
    slab=st.integers(1, 500),
)
def test_many_maps_equal_one_at_a_time(
    aggregate: RegionAggregation, case: Case, seeds: list[int], slab: int
) -> None:
    rows, cols, boxes = case
    maps = np.array([random_map(seed, rows * cols) for seed in seeds]).reshape(-1, rows * cols)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(propagation, "SLAB", slab)
        many = region_scores_many(maps, boxes, rows, cols, aggregate)
    assert many.shape == (len(maps), len(boxes))
    for one, scores in zip(many, maps, strict=True):
        assert (one == region_scores(scores, boxes, rows, cols, aggregate)).all()


@pytest.mark.parametrize("aggregate", RegionAggregation)
@settings(deadline=None, max_examples=40)
@given(case=grids_and_boxes(), seed=st.integers(0, 2**32), tokens=st.integers(1, 6))
def test_parts_equal_the_loop_and_add_up_to_the_region(
    aggregate: RegionAggregation, case: Case, seed: int, tokens: int
) -> None:
    rows, cols, boxes = case
    rng = np.random.default_rng(seed)
    parts = rng.uniform(-1, 1, (rows * cols, tokens))
    parts[rng.random(rows * cols) < 1 / 3] = 0  # cells without a vector, and ties with them
    scores = parts.sum(axis=1)
    regions = rng.permutation(len(boxes))[: rng.integers(1, len(boxes) + 1)]
    shares = cell_shares(scores, touched_cells(boxes, rows, cols), regions, aggregate)
    assert np.add.reduceat(shares.share, shares.start) == pytest.approx(np.ones(len(regions)))
    ours = region_parts(parts[shares.cell], shares)
    assert ours.shape == (len(regions), tokens)
    whole = region_scores(scores, boxes, rows, cols, aggregate)[regions]
    assert np.abs(ours.sum(axis=1) - whole).max() < 1e-12
    grid = parts.reshape(rows, cols, tokens).tolist()
    for box, row in zip(boxes[regions].tolist(), ours, strict=True):
        expected = reference.region_parts(
            scores.reshape(rows, cols).tolist(), grid, box, rows, cols, aggregate.value
        )
        assert np.abs(row - expected).max() <= 1e-9


def test_of_equal_cells_the_first_makes_the_region() -> None:
    scores = np.array([0.1, 0.7, 0.7, 0.7])
    touched = touched_cells(np.array([FULL_PAGE, (0.5, 0.0, 1.0, 1.0)]), 2, 2)
    shares = cell_shares(scores, touched, np.arange(2), RegionAggregation.MAX)
    assert (shares.cell.tolist(), shares.share.tolist()) == ([1, 1], [1, 1])
    assert shares.start.tolist() == [0, 1]


@pytest.mark.parametrize("aggregate", RegionAggregation)
@pytest.mark.parametrize(("rows", "cols"), [(14, 10), (10, 14), (9, 1), (1, 7)])
def test_the_region_around_a_hot_cell_wins(
    aggregate: RegionAggregation, rows: int, cols: int
) -> None:
    # Fails when rows and columns are swapped anywhere: Snappy reads its map transposed, which
    # shows on every page that is not square.
    boxes = np.array(
        [
            (c / cols, r / rows, (c + 1) / cols, (r + 1) / rows)
            for r in range(rows)
            for c in range(cols)
        ]
    )
    for r in range(rows):
        for c in range(cols):
            grid = np.zeros((rows, cols))
            grid[r, c] = 1.0
            scores = region_scores(grid, boxes, rows, cols, aggregate)
            assert scores.tolist() == pytest.approx(grid.ravel().tolist())


def test_a_known_case() -> None:
    # Portrait, 3 rows x 2 cols. The box covers cell 3 (row 1, col 1) and half of cell 5 below.
    grid = np.array([[0.1, 0.2], [0.3, 0.8], [0.5, 0.4]])
    box = np.array([[0.5, 1 / 3, 1.0, 5 / 6]])
    # Areas: box 1/4, cell 1/6; shared 1/6 and 1/12, so IoU 2/3 and 1/4.
    expected = {
        "iou-weighted": (2 / 3 * 0.8 + 1 / 4 * 0.4) / (2 / 3 + 1 / 4),
        "max": 0.8,
        "mean": 0.6,
    }
    for name, value in expected.items():
        assert region_scores(grid, box, 3, 2, RegionAggregation(name)) == pytest.approx(value)


@pytest.mark.parametrize("aggregate", RegionAggregation)
def test_full_page_and_negative_scores(aggregate: RegionAggregation) -> None:
    scores = np.array([-0.5, -0.25, -0.75, -0.5, -0.25, -0.75])
    full = region_scores(scores, np.array([FULL_PAGE]), 3, 2, aggregate)
    assert full[0] == pytest.approx(-0.25 if aggregate is RegionAggregation.MAX else -0.5)


@pytest.mark.parametrize("aggregate", RegionAggregation)
def test_a_page_without_regions_or_maps(aggregate: RegionAggregation) -> None:
    assert region_scores(np.zeros(6), np.empty((0, 4)), 3, 2, aggregate).shape == (0,)
    nothing = np.arange(0)
    for boxes in (np.empty((0, 4)), np.array([FULL_PAGE])):
        shares = cell_shares(np.zeros(6), touched_cells(boxes, 3, 2), nothing, aggregate)
        assert region_parts(np.empty((0, 5)), shares).shape == (0, 5)
    no_maps = region_scores_many(np.empty((0, 6)), np.array([FULL_PAGE]), 3, 2, aggregate)
    assert no_maps.shape == (0, 1)


def test_what_is_wrong_is_refused_not_scored_zero() -> None:
    boxes = np.array([FULL_PAGE])
    touched, one = touched_cells(boxes, 3, 2), np.arange(1)
    best = RegionAggregation.MAX
    with pytest.raises(ShapeError):
        region_scores(np.zeros((2, 3)), boxes, 3, 2, best)  # transposed
    with pytest.raises(ShapeError):
        region_scores(np.zeros(5), boxes, 3, 2, best)
    with pytest.raises(ShapeError):
        region_scores(np.zeros(6, dtype=int), boxes, 3, 2, best)
    with pytest.raises(ShapeError):
        region_scores_many(np.zeros(6), boxes, 3, 2, best)
    for bad in (math.nan, math.inf):
        with pytest.raises(NotFiniteError):
            region_scores(np.array([0, 0, bad, 0, 0, 0]), boxes, 3, 2, best)
        with pytest.raises(NotFiniteError):
            cell_shares(np.array([0, 0, bad, 0, 0, 0]), touched, one, best)
    with pytest.raises(ShapeError):
        region_scores_from(np.zeros((1, 5)), touched, best)
    for wrong in (np.zeros((3, 2)), np.zeros(5)):
        with pytest.raises(ShapeError):
            cell_shares(wrong, touched, one, best)
    with pytest.raises(AggregationError):
        cell_shares(np.zeros(6), touched, one, "median")  # type: ignore[arg-type]
    with pytest.raises(ShapeError):
        region_parts(np.zeros((2, 4)), cell_shares(np.zeros(6), touched, one, best))
    with pytest.raises(BoxError):
        region_scores(np.zeros(6), np.array([[0.5, 0.5, 0.5, 0.5]]), 3, 2, best)
    with pytest.raises(AggregationError, match="iou-weighted, max, mean"):
        region_scores(np.zeros(6), boxes, 3, 2, "median")  # type: ignore[arg-type]
