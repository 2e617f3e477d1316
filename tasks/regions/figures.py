"""Figures from what a page is made of: its pictures, its vector graphics, its ink; pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.common.pageobjects import PageObjects

Boxes = NDArray[np.float64]

_GRID = 200
"""Cells a side of the page: graphics that lie in cells that touch are one drawing."""

_REACH = 0.005
"""Fraction of the page by which each graphic is grown before that."""

_LEAST_PICTURE = 0.003
"""Share of the page's area; smaller pictures are marks, such as a logo's letters."""

_MOST_PICTURE = 0.97
"""Share of the page's area; a larger picture is the page itself: a scan, or its background."""

_LEAST_DRAWING, _LEAST_DRAWING_SIDE = 0.005, 0.03
"""Share of the page's area, and of each side, of a drawing."""

_MOST_GRAPHIC = 0.5
"""Share of the page's area; a larger graphic is a background or a frame, and joins all."""

_MOST_FIGURES = 40
"""Pictures, and drawings, of a page; the largest ones."""

_INK = 40
"""Gray levels, of 255, by which a pixel differs from the paper."""

_INK_GRID, _LEAST_INK = 150, 3
"""Cells a side of the page, and pixels in a cell that make it inked, but for so many."""

_LEAST_INKED, _LEAST_INKED_SIDE = 0.01, 0.05
"""Share of the page's area, and of each side, of a figure that is seen as ink."""


def pictures_of(objects: PageObjects) -> Boxes:
    """Return boxes of pictures that may be asked for; pieces that tile one are put together.

    Returns:
        (n, 4), largest first.
    """
    boxes = objects.pictures
    share = _areas(boxes)
    single = boxes[(share >= _LEAST_PICTURE) & (share <= _MOST_PICTURE)]
    tiled = _clusters(boxes[share <= _MOST_PICTURE], 0.0)
    joined = tiled[(_areas(tiled) >= _LEAST_PICTURE) & (_areas(tiled) <= _MOST_PICTURE)]
    return _largest(np.concatenate([single, joined]))


def drawings_of(objects: PageObjects) -> Boxes:
    """Return boxes around graphics, and pictures between them, that lie together.

    Returns:
        (n, 4), largest first.
    """
    graphics = objects.graphics[_areas(objects.graphics) < _MOST_GRAPHIC]
    pictures = objects.pictures[_areas(objects.pictures) < _MOST_GRAPHIC]
    found = _clusters(np.concatenate([graphics, pictures]), _REACH)
    large = _areas(found) >= _LEAST_DRAWING
    large &= (found[:, 2:] - found[:, :2] >= _LEAST_DRAWING_SIDE).all(axis=1)
    return _largest(found[large])


def inked_of(picture: NDArray[np.uint8], words: Boxes) -> Boxes:
    """Return boxes around ink that is in no word: figures of a page that is only a picture.

    Args:
        picture: (H, W) gray of the whole page, about 100 dots per inch.
        words: (n, 4) boxes of the words, fractions of the page.

    Returns:
        (n, 4), largest first.
    """
    from scipy import ndimage  # here: commands that read no page need not wait for it

    height, width = picture.shape
    paper = int(np.bincount(picture.ravel(), minlength=256).argmax())
    ink = np.abs(picture.astype(np.int16) - paper) > _INK  # (H, W)
    sides = np.array([width, height, width, height])
    for left, top, right, bottom in (words * sides).astype(np.intp).tolist():
        ink[max(top - 2, 0) : bottom + 3, max(left - 2, 0) : right + 3] = False
    rows, cols = np.nonzero(ink)  # each (k,)
    at = rows * _INK_GRID // height * _INK_GRID + cols * _INK_GRID // width  # (k,)
    counts = np.bincount(at, minlength=_INK_GRID**2).reshape(_INK_GRID, _INK_GRID)
    around = np.ones((3, 3), dtype=bool)
    parts, _ = ndimage.label(ndimage.binary_dilation(counts > _LEAST_INK, around), around)
    parts[counts <= _LEAST_INK] = 0  # joined over these, but not as large
    found = [
        (across.start, down.start, across.stop, down.stop)
        for down, across in filter(None, ndimage.find_objects(parts))
    ]
    boxes = np.array(found, dtype=np.float64).reshape(-1, 4) / _INK_GRID  # (n, 4)
    large = (_areas(boxes) >= _LEAST_INKED) & (_areas(boxes) <= _MOST_PICTURE)
    large &= (boxes[:, 2:] - boxes[:, :2] >= _LEAST_INKED_SIDE).all(axis=1)
    return _largest(boxes[large])


def _areas(boxes: Boxes) -> NDArray[np.float64]:
    areas: NDArray[np.float64] = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return areas


def _largest(boxes: Boxes) -> Boxes:
    """Distinct boxes, largest first; equal ones by their place."""
    boxes = np.unique(boxes, axis=0)
    kept: Boxes = boxes[np.argsort(-_areas(boxes), kind="stable")[:_MOST_FIGURES]]
    return kept


def _clusters(boxes: Boxes, reach: float) -> Boxes:
    """Hulls of boxes that touch on a coarse grid; a page of 100,000 takes milliseconds."""
    if not len(boxes):
        return np.empty((0, 4), dtype=np.float64)
    from scipy import ndimage  # here: commands that read no page need not wait for it

    low = np.clip(np.floor((boxes[:, :2] - reach) * _GRID), 0, _GRID - 1).astype(np.intp)
    high = np.clip(np.ceil((boxes[:, 2:] + reach) * _GRID), 1, _GRID).astype(np.intp)
    high = np.maximum(high, low + 1)  # (n, 2)
    # Each box adds 1 to its cells: its corners' steps are summed up along both sides.
    steps = np.zeros((_GRID + 1, _GRID + 1), dtype=np.int64)  # (_GRID + 1, _GRID + 1)
    for x, y, step in ((low, low, 1), (high, high, 1), (low, high, -1), (high, low, -1)):
        np.add.at(steps, (y[:, 1], x[:, 0]), step)
    covered = steps.cumsum(axis=0).cumsum(axis=1)[:_GRID, :_GRID] > 0
    parts, count = ndimage.label(covered, structure=np.ones((3, 3)))
    of_box = parts[low[:, 1], low[:, 0]] - 1  # (n,)
    hulls = np.concatenate([np.full((count, 2), 1.0), np.zeros((count, 2))], axis=1)
    for side, pick in ((0, np.minimum), (1, np.minimum), (2, np.maximum), (3, np.maximum)):
        pick.at(hulls[:, side], of_box, boxes[:, side])
    return hulls
