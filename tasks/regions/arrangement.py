"""Where regions have their places: in one reading order, and in the grids of tables; pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import IntArray, RegionKind
from patchlight.storage.regions import KINDS, Arrangement, Regions
from patchlight.tasks.kernels import geometry

_LARGEST_FIRST = (
    RegionKind.SECTION,
    RegionKind.EXHIBIT,
    RegionKind.BLOCK,
    RegionKind.PASSAGE,
    RegionKind.TABLE,
    RegionKind.FIGURE,
    RegionKind.PICTURE,
    RegionKind.DRAWING,
    RegionKind.COLUMN,
    RegionKind.ROW,
    RegionKind.CELL,
    RegionKind.HEADER,
    RegionKind.FOOTER,
    RegionKind.HEADING,
    RegionKind.CAPTION,
    RegionKind.EQUATION,
    RegionKind.PARAGRAPH,
    RegionKind.LINE,
    RegionKind.WORD,
)
"""What begins at one word comes in this order: what holds before what is held."""

_RANKS = np.array([_LARGEST_FIRST.index(kind) for kind in KINDS])


def arrangement_of(regions: Regions) -> Arrangement:
    """Find the place of each region of a page among all of them.

    A region comes where its first word does, the larger before what is in it, and regions of one
    kind in their own order. One without words comes before the first word that is read below its
    upper edge.

    Args:
        regions: all of a page, by index.
    """
    order = _reading_order(regions)
    return Arrangement(order, *_in_tables(regions))


def _reading_order(regions: Regions) -> IntArray:
    first = _first_words(regions)  # (R,)
    for kind in KINDS:
        rows = regions.rows(kind)
        rows = rows[np.argsort(regions.order[rows], kind="stable")]
        first[rows] = np.maximum.accumulate(first[rows])
    by_place = np.lexsort((regions.order, _RANKS[regions.codes], first))  # (R,)
    order = np.empty(len(regions), np.int32)
    order[by_place] = np.arange(len(regions), dtype=np.int32)
    return order


def _first_words(regions: Regions) -> NDArray[np.int64]:
    """For each region the place of its first word in reading order."""
    words = regions.rows(RegionKind.WORD)
    words = words[np.argsort(regions.order[words], kind="stable")]
    count = len(words)
    first = np.full(len(regions), count, np.int64)
    first[words] = np.arange(count)
    # Upwards from words to blocks: words come before lines, and these before what holds them.
    for kind in (RegionKind.WORD, RegionKind.LINE, RegionKind.PARAGRAPH):
        rows = regions.rows(kind)
        rows = rows[regions.parent[rows] >= 0]
        np.minimum.at(first, regions.parent[rows], first[rows])
    others = np.flatnonzero(
        ~np.isin(regions.codes, [KINDS.index(kind) for kind in _LARGEST_FIRST[-2:]])
        & ~np.isin(
            regions.codes, [KINDS.index(RegionKind.PARAGRAPH), KINDS.index(RegionKind.BLOCK)]
        )
    )
    if count and len(others):
        boxes, holders = regions.boxes[words], regions.boxes[others]
        inside = geometry.centres_in(boxes, holders, strict=False)  # (n, W)
        below = (boxes[:, 1] + boxes[:, 3]) / 2 >= holders[:, 1, None]  # (n, W)
        beside = (boxes[:, 0] < holders[:, 2, None]) & (boxes[:, 2] > holders[:, 0, None])
        holds = np.asarray(inside.any(axis=1))
        found = np.where(holds[:, None], inside, below & beside)
        first[others] = np.where(found.any(axis=1), found.argmax(axis=1), count)
    return first


def _in_tables(regions: Regions) -> tuple[IntArray, IntArray, IntArray, IntArray, IntArray]:
    """Table, row, column and their spans, each (R,), -1 where there is none."""
    table, row, col, row_span, col_span = (np.full(len(regions), -1, np.int32) for _ in range(5))
    parts = [regions.rows(kind) for kind in (RegionKind.ROW, RegionKind.COLUMN)]
    for rows in parts:
        table[rows] = regions.parent[rows]
    cells = regions.rows(RegionKind.CELL)
    of_row = np.isin(regions.parent[cells], parts[0])
    # A row that was left out is a parent no more; its table takes its place.
    table[cells] = np.where(of_row, regions.parent[regions.parent[cells]], regions.parent[cells])
    tables = regions.rows(RegionKind.TABLE)
    table[~np.isin(table, tables)] = -1
    for own in tables:
        for axis, rows, at, span in ((1, parts[0], row, row_span), (0, parts[1], col, col_span)):
            mine = rows[table[rows] == own]
            mine = mine[np.argsort(regions.order[mine], kind="stable")]
            at[mine], span[mine] = np.arange(len(mine)), 1
            inside = cells[table[cells] == own]
            if len(mine) and len(inside):
                at[inside], span[inside] = _crossed(
                    regions.boxes[inside][:, [axis, axis + 2]],
                    regions.boxes[mine][:, [axis, axis + 2]],
                )
    return table, row, col, row_span, col_span


def _crossed(
    cells: geometry.Doubles, bands: geometry.Doubles
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Which of some bands each cell begins in, and how many it takes; -1 for a cell in none.

    Args:
        cells: (n, 2) from and to.
        bands: (m, 2) from and to, of rows or columns.

    Returns:
        Each (n,). A cell takes a band if it covers half of it, or if the middle of the cell is
        in it.
    """
    low = np.maximum(cells[:, None, 0], bands[None, :, 0])
    high = np.minimum(cells[:, None, 1], bands[None, :, 1])
    covered = (high - low) >= 0.5 * (bands[:, 1] - bands[:, 0])  # (n, m)
    middle = cells.mean(axis=1)[:, None]
    taken = covered | ((bands[:, 0] <= middle) & (middle <= bands[:, 1]))
    some = taken.any(axis=1)
    first = taken.argmax(axis=1)
    last = taken.shape[1] - 1 - taken[:, ::-1].argmax(axis=1)
    begins = np.where(some, first, -1).astype(np.int32)
    return begins, np.where(some, last - first + 1, -1).astype(np.int32)
