"""Fewer vectors: the grid stays exact, and each cell keeps the vector that stands for it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings
from numpy.typing import NDArray
from scipy.cluster.hierarchy import fcluster, linkage

from patchlight.storage.records import BoolArray, PageEncoding
from patchlight.tasks.common.errors import ShapeError
from patchlight.tasks.kernels import maxsim
from patchlight.tasks.kernels.pooling import BLANK_SPREAD, blank_cells, drop_blank, pool
from patchlight.tasks.kernels.propagation import RegionAggregation, region_scores
from tests import reference
from tests.property.kernels.test_maxsim import unit

FACTORS = st.integers(1, 6)


@st.composite
def encodings(draw: st.DrawFn) -> PageEncoding:
    """Pages with shared vectors, cells without one, and vectors that no cell points to."""
    rows, cols = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    count, dim = draw(st.integers(0, 30)), draw(st.sampled_from([2, 8, 40]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    vectors = unit(rng, count, dim)
    if count and draw(st.booleans()):  # some of them the same
        vectors = vectors[rng.integers(0, count, count)]
    return PageEncoding(rows, cols, vectors, rng.integers(-1, count, rows * cols).astype(np.int32))


def rows_of(vectors: NDArray[Any]) -> list[tuple[float, ...]]:
    return [tuple(row) for row in vectors.tolist()]


def used(encoding: PageEncoding) -> BoolArray:
    return np.isin(np.arange(len(encoding.vectors)), encoding.cell_to_vector)


@given(encodings(), FACTORS)
def test_pooling_keeps_the_grid_and_all_it_says(encoding: PageEncoding, factor: int) -> None:
    pooled = pool(encoding, factor)
    assert (pooled.rows, pooled.cols) == (encoding.rows, encoding.cols)
    before, after = encoding.cell_to_vector, pooled.cell_to_vector
    assert after.dtype == np.int32
    assert ((before >= 0) == (after >= 0)).all()
    # Cells that shared a vector still do.
    assert all(len(set(after[before == vector])) <= 1 for vector in range(len(encoding.vectors)))
    own = int(used(encoding).sum())
    clusters = int(used(pooled).sum())
    assert clusters <= (own if factor == 1 else max(own // factor, 1))
    assert clusters >= (own > 0)
    # What no cell pointed to is there bit for bit, in its order, and no cell points to it now.
    assert rows_of(pooled.vectors[~used(pooled)]) == rows_of(encoding.vectors[~used(encoding)])


@given(encodings(), FACTORS)
def test_a_cell_points_to_the_mean_of_its_cluster(encoding: PageEncoding, factor: int) -> None:
    pooled = pool(encoding, factor)
    assert pooled.vectors.dtype == np.float32
    lengths = np.linalg.norm(pooled.vectors, axis=1)
    assert lengths == pytest.approx(np.ones(len(lengths)), abs=1e-6)
    for vector in np.unique(pooled.cell_to_vector[pooled.cell_to_vector >= 0]):
        members = np.unique(encoding.cell_to_vector[pooled.cell_to_vector == vector])
        mean = encoding.vectors[members].astype(np.float64).mean(axis=0)
        if (length := np.linalg.norm(mean)) > 1e-3:
            assert pooled.vectors[vector] == pytest.approx(mean / length, abs=1e-4)


def test_factor_1_and_too_few_vectors_change_nothing() -> None:
    vectors = unit(np.random.default_rng(0), 4, 8)
    many = PageEncoding(2, 2, vectors, np.arange(4, dtype=np.int32))
    assert pool(many, 1) is many
    for cells in ([-1, -1], [2, 2]):  # no vector of a cell, one
        few = PageEncoding(1, 2, vectors, np.array(cells, np.int32))
        assert pool(few, 3) is few
    empty = PageEncoding(1, 1, vectors[:0], np.array([-1], np.int32))
    assert pool(empty, 2) is empty
    with pytest.raises(ShapeError, match="at least 1"):
        pool(many, 0)


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 60), st.sampled_from([4, 16, 64]), st.integers(2, 5), st.integers(0, 2**32))
def test_clusters_are_those_of_the_published_procedure(
    count: int, dim: int, factor: int, seed: int
) -> None:
    # As in colpali-engine: Ward linkage that takes the rows of 1 - V V^T for observations.
    rng = np.random.default_rng(seed)
    vectors = unit(rng, count, dim)
    exact = vectors.astype(np.float64)
    tree = linkage(1 - exact @ exact.T, metric="euclidean", method="ward")
    published = fcluster(tree, t=max(count // factor, 1), criterion="maxclust")
    encoding = PageEncoding(1, count, vectors, np.arange(count, dtype=np.int32))
    ours = pool(encoding, factor)
    pairs = set(zip(published.tolist(), ours.cell_to_vector.tolist(), strict=True))
    assert len(pairs) == len(set(published)) == len(ours.vectors)


def test_clusters_come_in_the_order_of_their_first_vectors_and_are_repeatable() -> None:
    encoding = PageEncoding(
        5, 8, unit(np.random.default_rng(3), 40, 16), np.arange(40, dtype=np.int32)
    )
    first = pool(encoding, 3)
    _, position = np.unique(first.cell_to_vector, return_index=True)
    assert (np.diff(position) > 0).all()
    again = pool(encoding, 3)
    assert (first.vectors == again.vectors).all()
    assert (first.cell_to_vector == again.cell_to_vector).all()


def test_the_same_vector_many_times_becomes_one() -> None:
    vector = unit(np.random.default_rng(4), 1, 16)
    encoding = PageEncoding(2, 4, np.repeat(vector, 8, axis=0), np.arange(8, dtype=np.int32))
    for factor in (2, 8, 100):
        pooled = pool(encoding, factor)
        assert pooled.vectors == pytest.approx(np.repeat(vector, len(pooled.vectors), axis=0))


def test_vectors_that_cancel_out_leave_a_unit_vector() -> None:
    # Their mean has no direction; dividing by its length would give NaN, or noise.
    vector = unit(np.random.default_rng(5), 1, 16)[0]
    for pair in (np.stack([vector, -vector]), np.stack([vector, -vector * (1 - 1e-7)])):
        encoding = PageEncoding(1, 2, pair.astype(np.float32), np.array([0, 1], np.int32))
        pooled = pool(encoding, 2)
        assert (pooled.vectors == vector).all()
    zeros = PageEncoding(1, 2, np.zeros((2, 4), np.float32), np.array([0, 1], np.int32))
    assert not pool(zeros, 2).vectors.any()


@pytest.mark.parametrize("aggregate", RegionAggregation)
@settings(deadline=None, max_examples=30)
@given(encoding=encodings(), factor=FACTORS, seed=st.integers(0, 2**32))
def test_a_region_of_a_pooled_page_has_the_score_of_its_cells_clusters(
    aggregate: RegionAggregation, encoding: PageEncoding, factor: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    query = unit(rng, 3, encoding.vectors.shape[1])
    pooled = pool(encoding, factor)
    patches = maxsim.similarities(pooled.vectors, query).mean(axis=1)
    cells = maxsim.cell_scores(patches, pooled.cell_to_vector)
    boxes = np.array([[0.0, 0.0, 1.0, 1.0], [0.1, 0.2, 0.35, 0.9], [0.5, 0.5, 0.51, 0.52]])
    ours = region_scores(cells, boxes, pooled.rows, pooled.cols, aggregate)
    grid = np.zeros(encoding.rows * encoding.cols)
    for cell in range(len(grid)):
        # Its cluster, from the map alone; its score, from the mean of the vectors in it.
        of = pooled.cell_to_vector[cell]
        if of < 0:
            continue
        members = np.unique(encoding.cell_to_vector[pooled.cell_to_vector == of])
        mean = encoding.vectors[members].mean(axis=0)
        if np.linalg.norm(mean) < 1e-2:
            mean = pooled.vectors[of]
        direction = mean / np.linalg.norm(mean)
        grid[cell] = np.mean([reference.dot(token, direction) for token in query.tolist()])
    expected = reference.region_scores(
        grid.reshape(encoding.rows, encoding.cols).tolist(),
        boxes.tolist(), encoding.rows, encoding.cols, aggregate.value,
    )  # fmt: skip
    assert ours == pytest.approx(np.array(expected), abs=1e-4)


@given(encodings(), st.integers(0, 2**32))
def test_dropping_takes_blank_cells_and_what_only_they_used(
    encoding: PageEncoding, seed: int
) -> None:
    blank = np.random.default_rng(seed).random(encoding.rows * encoding.cols) < 0.5
    dropped = drop_blank(encoding, blank)
    assert (dropped.rows, dropped.cols) == (encoding.rows, encoding.cols)
    assert dropped.cell_to_vector.dtype == np.int32
    assert (dropped.cell_to_vector[blank] == -1).all()
    # Every other cell has the vector it had, bit for bit.
    before, after = encoding.cell_to_vector[~blank], dropped.cell_to_vector[~blank]
    assert ((before < 0) == (after < 0)).all()
    assert (encoding.vectors[before[before >= 0]] == dropped.vectors[after[after >= 0]]).all()
    # What is left: the vectors of other cells, and those that no cell had before.
    kept = np.isin(np.arange(len(encoding.vectors)), before) | ~used(encoding)
    assert rows_of(dropped.vectors) == rows_of(encoding.vectors[kept])


def test_a_page_all_blank_keeps_what_no_cell_points_to() -> None:
    vectors = unit(np.random.default_rng(6), 3, 8)
    encoding = PageEncoding(1, 2, vectors, np.array([0, 2], np.int32))
    dropped = drop_blank(encoding, np.ones(2, bool))
    assert (dropped.vectors == vectors[1:2]).all()
    assert dropped.cell_to_vector.tolist() == [-1, -1]
    none = drop_blank(PageEncoding(1, 1, vectors[:1], np.zeros(1, np.int32)), np.ones(1, bool))
    assert none.vectors.shape == (0, 8)


@pytest.mark.parametrize("wrong", [np.ones(3, bool), np.ones((1, 2), bool), np.ones(2, np.int8)])
def test_marks_of_another_grid_are_refused(wrong: NDArray[Any]) -> None:
    encoding = PageEncoding(1, 2, unit(np.random.default_rng(7), 1, 4), np.zeros(2, np.int32))
    with pytest.raises(ShapeError, match="1 x 2 grid takes 2 marks"):
        drop_blank(encoding, wrong)


@settings(deadline=None)
@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9),
    st.integers(0, 2**32),
)  # fmt: skip
def test_a_cell_is_blank_if_the_pixels_it_touches_are_alike(
    height: int, width: int, rows: int, cols: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 250, np.uint8)
    image -= rng.integers(0, 5, image.shape, np.uint8)
    for _ in range(3):  # dots of ink, some too pale to see
        image[rng.integers(height), rng.integers(width), rng.integers(3)] -= rng.integers(0, 200)
    found = blank_cells(image, rows, cols).reshape(rows, cols)
    plain = {}
    for row in range(rows):
        for col in range(cols):
            # A pixel (y, x) covers [y, y + 1] x [x, x + 1]; in units of 1 / rows and 1 / cols.
            inside = image[
                [y for y in range(height) if y * rows < (row + 1) * height
                 and (y + 1) * rows > row * height]
            ][:, [x for x in range(width) if x * cols < (col + 1) * width
                  and (x + 1) * cols > col * width]]  # fmt: skip
            high = inside.reshape(-1, 3).max(axis=0).astype(int)
            low = inside.reshape(-1, 3).min(axis=0).astype(int)
            if (high - low).max() <= BLANK_SPREAD:
                plain[row, col] = (high + low) / 2
    paper = np.median(list(plain.values()), axis=0) if plain else np.zeros(3)
    blank = {cell for cell, middle in plain.items() if np.abs(middle - paper).max() <= BLANK_SPREAD}
    assert {(int(r), int(c)) for r, c in np.argwhere(found)} == blank


def test_cells_inside_a_bar_are_not_blank() -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    image[:20] = (20, 60, 120)
    assert blank_cells(image, 10, 1).tolist() == [False, False] + [True] * 8


def test_one_dark_pixel_marks_only_the_cells_that_it_touches() -> None:
    image = np.full((10, 10, 3), 255, np.uint8)
    image[5, 2] = 0
    assert blank_cells(image, 2, 2).tolist() == [True, True, False, True]
    # 10 pixels in 4 rows of 2.5: pixel row 2 lies in cell rows 0 and 1.
    image = np.full((10, 10, 3), 255, np.uint8)
    image[2, :] = 0
    assert blank_cells(image, 4, 1).tolist() == [False, False, True, True]


def test_a_dark_page_of_one_colour_is_blank_and_one_channel_is_enough_for_ink() -> None:
    page = np.zeros((4, 4, 3), np.uint8)
    assert blank_cells(page, 1, 1).all()
    page[0, 0, 2] = BLANK_SPREAD
    assert blank_cells(page, 1, 1).all()
    page[0, 0, 2] = BLANK_SPREAD + 1
    assert not blank_cells(page, 1, 1).any()


@pytest.mark.parametrize(
    ("image", "rows"),
    [
        (np.zeros((4, 4), np.uint8), 1),
        (np.zeros((4, 4, 4), np.uint8), 1),
        (np.zeros((0, 4, 3), np.uint8), 1),
        (np.zeros((4, 4, 3), np.float32), 1),
        (np.zeros((4, 4, 3), np.uint8), 0),
    ],
)
def test_what_is_no_picture_or_no_grid_is_refused(image: Any, rows: int) -> None:
    with pytest.raises(ShapeError):
        blank_cells(image, rows, 1)


def test_importing_it_does_not_import_scipy() -> None:
    # A quarter of a second that the answer to one question does not have.
    script = "import sys, tasks.kernels.pooling; print('scipy' in sys.modules)"
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
