"""Fewer vectors a page: cells without ink are dropped, similar patches share one vector.

Both leave the grid as it is: only the map from cells to vectors changes, so that a place on the
page is found as exactly as before. Vectors that no cell points to, such as those of a view of
the whole page, are never touched.

Source of token pooling: Clavié, Chaffin and Adams 2024, "Reducing the Footprint of Multi-Vector
Retrieval with Minimal Performance Impact via Token Pooling", arXiv 2409.14683; for pages as
pictures the section on it in ColPali, arXiv 2407.01449, and the code that belongs to it,
``HierarchicalTokenPooler`` of colpali-engine.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import BoolArray, FloatArray, IntArray, PageEncoding
from patchlight.tasks.common.errors import ShapeError
from patchlight.tasks.kernels.geometry import Doubles, offsets

POOLING_VERSION = 1
"""Raise when the same vectors may be pooled otherwise."""

BLANK_VERSION = 1
"""Raise when other cells may be blank, or other vectors be dropped with them."""

BLANK_SPREAD = 24
"""A cell is blank if no colour channel spreads further, of 255, or is further from the paper's.

Measured: paper with scanner noise of standard deviation 3 after JPEG of quality 75 spreads by at
most 22; 14 pixels high print in grey 220 on white by 35, in grey 230 by 25. JPEG of quality 75
lifts 0.6 % of the empty cells beside ink above 24, and none further off."""

_LEAST_MEAN = 1e-4
"""Length of a mean below which its direction is rounding: its vectors cancel out."""


def pool(encoding: PageEncoding, factor: int) -> PageEncoding:
    """Replace groups of similar patch vectors by their means: hierarchical token pooling.

    The n vectors that cells point to become at most ``max(n // factor, 1)`` clusters. As
    published, vectors are alike when their similarities to all n vectors are: Ward linkage over
    the rows of ``1 - V V^T``. A cluster has the mean of its vectors, scaled to unit length. Each
    cell points to the cluster of its vector.

    Args:
        encoding: a page.
        factor: vectors for each one kept, at least 1; 1 changes nothing.

    Returns:
        The page with its clusters in the order of their first vectors, then the vectors that no
        cell points to, as they were. The same vectors give the same clusters.

    Raises:
        ShapeError: the factor is below 1.

    Of five cells one has no vector. The first two vectors are alike, and share one afterwards.

    >>> vectors = np.array([[0.8, 0.6], [0.6, 0.8], [-1.0, 0.0], [0.0, -1.0]], np.float32)
    >>> page = PageEncoding(1, 5, vectors, np.array([0, 1, -1, 2, 3], np.int32))
    >>> pooled = pool(page, 2)
    >>> pooled.cell_to_vector.tolist(), pooled.vectors.tolist()
    ([0, 0, -1, 1, 1], [[0.707, 0.707], [-0.707, -0.707]])
    """
    if factor < 1:
        raise ShapeError(f"token pooling takes at least 1 vector a cluster, got {factor}")
    used = _used(encoding)  # (N,)
    count = int(used.sum())
    if factor == 1 or count < 2:
        return encoding
    vectors = encoding.vectors[used]  # (n, D)
    cluster, clusters = _clusters(vectors, max(count // factor, 1))  # (n,), a number C
    means = _means(vectors, cluster, clusters)  # (C, D)
    pooled = np.concatenate([means, encoding.vectors[~used]])  # (C + N - n, D)
    new = np.empty(len(used), np.int32)  # (N,)
    new[used] = cluster
    new[~used] = np.arange(clusters, len(pooled))
    return PageEncoding(
        encoding.rows, encoding.cols, pooled, _renumbered(encoding.cell_to_vector, new)
    )


def drop_blank(encoding: PageEncoding, blank: BoolArray) -> PageEncoding:
    """Take the vectors from cells without ink.

    Args:
        encoding: a page.
        blank: (rows * cols,) bool, True for cells that are to have no vector.

    Returns:
        The page without the vectors that only such cells pointed to; the others in their order.

    Raises:
        ShapeError: `blank` is not of this grid.

    >>> page = PageEncoding(1, 3, np.eye(3, dtype=np.float32), np.array([0, 1, 2], np.int32))
    >>> kept = drop_blank(page, np.array([False, True, False]))
    >>> kept.cell_to_vector.tolist(), kept.vectors.tolist()
    ([0, -1, 1], [[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
    """
    if blank.shape != encoding.cell_to_vector.shape or blank.dtype != np.bool_:
        raise ShapeError(
            f"a {encoding.rows} x {encoding.cols} grid takes {encoding.rows * encoding.cols} "
            f"marks for blank cells, got {blank.shape} {blank.dtype}"
        )
    before = _used(encoding)  # (N,)
    cells = np.where(blank, np.int32(-1), encoding.cell_to_vector)  # (rows * cols,)
    kept = ~before  # (N,)
    kept[cells[cells >= 0]] = True
    if kept.all():
        return PageEncoding(encoding.rows, encoding.cols, encoding.vectors, cells)
    new = np.cumsum(kept, dtype=np.int32) - 1  # (N,)
    vectors = encoding.vectors[kept]  # (k, D)
    return PageEncoding(encoding.rows, encoding.cols, vectors, _renumbered(cells, new))


def blank_cells(image: NDArray[np.uint8], rows: int, cols: int) -> BoolArray:
    """Find the cells of a page without ink: those of one colour, which is the paper's.

    The paper's colour is the median of the cells of one colour, so that the cells inside a bar,
    or inside a picture's even parts, are not blank.

    Args:
        image: (H, W, 3) uint8 RGB of the displayed page, H and W at least 1.
        rows: cells down the page, at least 1; may be more than H.
        cols: cells across the page, at least 1; may be more than W.

    Returns:
        (rows * cols,) bool, True where in each channel the brightest and the darkest of the
        pixels that the cell covers, even in part, differ by at most `BLANK_SPREAD`, and their
        middle from the paper's colour, too.

    Raises:
        ShapeError: the image is no picture, or the grid has no cells.

    >>> white = np.full((4, 4, 3), 255, np.uint8)
    >>> white[0, 0] = 0
    >>> blank_cells(white, 2, 2).tolist()
    [False, True, True, True]
    """
    if image.ndim != 3 or image.shape[2] != 3 or not image.size or image.dtype != np.uint8:
        raise ShapeError(f"a picture (H, W, 3) uint8 expected, got {image.shape} {image.dtype}")
    if rows < 1 or cols < 1:
        raise ShapeError(f"a grid of {rows} x {cols} cells")
    height, width = image.shape[:2]
    down, across = _spans(height, rows), _spans(width, cols)
    # Down first: whole rows of pixels lie side by side, which makes this the fast direction.
    high = np.empty((rows, width, 3), np.uint8)  # (rows, W, 3)
    low = np.empty_like(high)  # (rows, W, 3)
    for row, (first, last) in enumerate(down):
        np.max(image[first:last], axis=0, out=high[row])
        np.min(image[first:last], axis=0, out=low[row])
    brightest, darkest = np.empty((2, rows, cols, 3), np.int16)  # each (rows, cols, 3)
    for col, (first, last) in enumerate(across):
        brightest[:, col] = high[:, first:last].max(axis=1)
        darkest[:, col] = low[:, first:last].min(axis=1)
    blank: BoolArray = np.asarray((brightest - darkest <= BLANK_SPREAD).all(axis=2))  # (rows, cols)
    if blank.any():
        middle = (brightest + darkest) / 2  # (rows, cols, 3)
        paper = np.median(middle[blank], axis=0)  # (3,)
        blank &= (np.abs(middle - paper) <= BLANK_SPREAD).all(axis=2)
    return blank.ravel()  # (rows * cols,)


def _used(encoding: PageEncoding) -> BoolArray:
    """Which vectors some cell points to."""
    used = np.zeros(len(encoding.vectors), np.bool_)  # (N,)
    used[encoding.cell_to_vector[encoding.cell_to_vector >= 0]] = True
    return used


def _renumbered(cells: IntArray, new: IntArray) -> IntArray:
    """The cell map when vector j becomes ``new[j]``; cells without a vector stay so."""
    renumbered: IntArray = np.append(new, np.int32(-1))[cells]  # (cells,)
    return renumbered


def _spans(pixels: int, cells: int) -> list[tuple[int, int]]:
    """First and last + 1 pixel that each cell covers, in whole numbers: exact for any size."""
    return [(k * pixels // cells, -(-(k + 1) * pixels // cells)) for k in range(cells)]


def _clusters(vectors: FloatArray, most: int) -> tuple[IntArray, int]:
    """Cluster of each vector, numbered by first vector, and how many there are, at most `most`."""
    # A quarter of a second to import.
    from scipy.cluster.hierarchy import fcluster, linkage
    from scipy.spatial.distance import pdist

    tree = linkage(pdist(_profiles(vectors.astype(np.float64))), method="ward")  # (n - 1, 4)
    labels = fcluster(tree, t=most, criterion="maxclust")  # (n,)
    _, first, cluster = np.unique(labels, return_index=True, return_inverse=True)  # _, (C,), (n,)
    number = np.empty(len(first), np.int32)  # (C,)
    number[np.argsort(first)] = np.arange(len(first), dtype=np.int32)
    return number[cluster], len(first)


def _profiles(vectors: Doubles) -> Doubles:
    """Points as far from each other as the rows of ``1 - V V^T``, in as few dimensions as (n, d).

    Rows i and j differ by ``V (v_i - v_j)``, of length ``|C (v_i - v_j)|`` for any C with
    ``C^T C = V^T V``. With (d, d) numbers in place of (n, n), 1,024 vectors of 128 numbers take
    32 ms instead of 177.
    """
    n, dim = vectors.shape
    if n <= dim:
        return vectors @ vectors.T  # (n, n)
    values, axes = np.linalg.eigh(vectors.T @ vectors)  # (d,), (d, d)
    points: Doubles = vectors @ (axes * np.sqrt(np.maximum(values, 0)))  # (n, d)
    return points


def _means(vectors: FloatArray, cluster: IntArray, clusters: int) -> FloatArray:
    """Mean of each cluster's vectors, unit length; the first vector where the mean is ~0."""
    size = np.bincount(cluster, minlength=clusters)  # (C,)
    start = offsets(size)[:-1]  # (C,)
    by_cluster = np.argsort(cluster, kind="stable")  # (n,)
    sums = np.add.reduceat(vectors[by_cluster], start, axis=0, dtype=np.float64)  # (C, D)
    means = sums / size[:, None]  # (C, D)
    length = np.linalg.norm(means, axis=1)  # (C,)
    void = length < _LEAST_MEAN  # (C,)
    length[void] = 1.0
    means[void] = vectors[by_cluster[start[void]]]
    unit: FloatArray = (means / length[:, None]).astype(np.float32)  # (C, D)
    return unit
