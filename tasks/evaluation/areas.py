"""Areas of unions of boxes, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from patchlight.storage.records import BoolArray
from patchlight.tasks.kernels.geometry import Doubles, Floats, check_boxes


@dataclass(frozen=True, slots=True)
class Mosaic:
    """A page cut into parts, each wholly inside or wholly outside of every box.

    Attributes:
        cover: (n, a) whether a box covers a part.
        area: (a,) float64 >= 0, of each part, a share of the page. What no box covers may be
            missing.
    """

    cover: BoolArray
    area: Doubles


def mosaic(boxes: Floats) -> Mosaic:
    """Cut a page along the edges of boxes.

    There are as few parts as can be: what the same boxes cover is one part, however many pieces
    it is in.

    Args:
        boxes: (n, 4) fractions of the page; n may be 0.

    Raises:
        BoxError: a box is not one of a page.
        ShapeError: `boxes` is not (n, 4).
    """
    check_boxes(boxes)
    edges = np.asarray(boxes, np.float64)
    x, y = np.unique(edges[:, [0, 2]]), np.unique(edges[:, [1, 3]])
    columns, rows = np.searchsorted(x, edges[:, [0, 2]]), np.searchsorted(y, edges[:, [1, 3]])
    # The part that each cell between two edges belongs to, and the boxes of each part.
    part = np.zeros((max(len(y) - 1, 0), max(len(x) - 1, 0)), np.intp)
    members: list[tuple[int, ...]] = [()]
    for box, ((left, right), (top, bottom)) in enumerate(zip(columns, rows, strict=True)):
        own = part[top:bottom, left:right]
        split = np.flatnonzero(np.bincount(own.ravel(), minlength=len(members)))
        becomes = np.zeros(len(members), np.intp)
        becomes[split] = len(members) + np.arange(len(split))
        own[...] = becomes[own]
        members += [(*members[before], box) for before in split]
    cells = np.outer(np.diff(y), np.diff(x))
    weighed = np.bincount(part.ravel(), cells.ravel(), minlength=len(members))
    area = np.asarray(weighed, np.float64)
    kept = np.flatnonzero(area > 0)
    cover = np.zeros((len(edges), len(kept)), np.bool_)
    for column, own_part in enumerate(kept):
        cover[list(members[own_part]), column] = True
    return Mosaic(cover, area[kept])
