"""Naive merging: the best box, grown by the next ones that lie beside it; pure."""

from __future__ import annotations

import numpy as np

from patchlight.tasks.common.errors import SelectionError
from patchlight.tasks.kernels.geometry import Doubles, check_boxes

AMONG = 3
GAP_PT = 60 / 300 * 72
"""60 pixels at 300 dpi, in points."""


def naive_merging(boxes: Doubles, gap: tuple[float, float], among: int = AMONG) -> Doubles:
    """Return one box: the hull of the first and of the next ones that are near it.

    The next boxes are taken in their order; each that is within ``gap`` of what there is so far,
    in both directions, is added to it.

    Args:
        boxes: (n, 4) best first, fractions of the page; n at least 1.
        gap: how far apart two boxes may be, across and down, in fractions of the page; a box
            that touches or overlaps is 0 away.
        among: how many boxes are looked at, at least 1.

    Returns:
        (4,) float64.

    Raises:
        BoxError: a box is not one of a page.
        ShapeError: ``boxes`` is not (n, 4).
        SelectionError: there is no box, or none to be looked at.
    """
    check_boxes(boxes)
    if not len(boxes) or among < 1:
        raise SelectionError(f"at least one box to look at, got {among} of {len(boxes)}")
    merged: Doubles = boxes[0].astype(np.float64)
    for box in boxes[1:among]:
        apart = np.maximum(merged[:2], box[:2]) - np.minimum(merged[2:], box[2:])
        if (apart <= gap).all():
            merged[:2] = np.minimum(merged[:2], box[:2])
            merged[2:] = np.maximum(merged[2:], box[2:])
    return merged
