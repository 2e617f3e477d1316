"""What stands around a place on a page: to its left, above it, next to it; pure.

A value is named by words beside it: by the label before or over it, or in a table by the headings
of its row and of its column.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.kernels.geometry import Doubles

Booleans = NDArray[np.bool_]

_SAME_ROW = 0.5
"""Share of the lower one's height by which a line beside a place overlaps it."""

_SAME_COLUMN = 0.3
"""Share of the narrower one's width by which what is above a place overlaps it."""

_TOUCHING = 0.2
"""Heights of a place that a line to its left may reach into it."""

_FARTHEST_ABOVE = 4.0
"""Heights of a place: a line over it is not next to it from further away."""

_ROW_MARGIN = 0.7
"""Heights of a place, which may be beside the middle of a heading of several lines."""


def left_of(boxes: Doubles) -> Doubles:
    """Return the strips, (S, 4), from the page's left edge to each box."""
    strips = boxes.copy()
    strips[:, 0], strips[:, 2] = 0.0, boxes[:, 0]
    return strips


def row_of(boxes: Doubles) -> Doubles:
    """Return the same strips with a margin above and below."""
    strips = left_of(boxes)
    margin = _ROW_MARGIN * (boxes[:, 3] - boxes[:, 1])  # (S,)
    strips[:, 1] -= margin
    strips[:, 3] += margin
    return strips


def above(boxes: Doubles) -> Doubles:
    """Return the strips, (S, 4), from the page's top to each box."""
    strips = boxes.copy()
    strips[:, 1], strips[:, 3] = 0.0, boxes[:, 1]
    return strips


def words_above(boxes: Doubles, words: Doubles) -> Booleans:
    """Return which of (W, 4) words stand over which boxes, in the same column: (S, W)."""
    middle = (words[:, 1] + words[:, 3]) / 2  # (W,)
    return np.asarray(_in_column(boxes, words) & (middle < boxes[:, 1:2]))


def next_lines(boxes: Doubles, lines: Doubles) -> tuple[Doubles, Doubles]:
    """Find the lines next to boxes.

    Args:
        boxes: (S, 4).
        lines: (L, 4) of the page.

    Returns:
        (S, 4) the nearest line to the left, and (S, 4) the nearest above; boxes without any area
        where there is none.

    A value with its label on the left, under a heading.

    >>> value = np.array([[0.5, 0.20, 0.7, 0.24]])
    >>> label, heading = [0.1, 0.20, 0.3, 0.24], [0.5, 0.14, 0.8, 0.18]
    >>> before, over = next_lines(value, np.array([label, heading]))
    >>> before.tolist() == [label], over.tolist() == [heading]
    (True, True)
    """
    heights = (boxes[:, 3] - boxes[:, 1])[:, None]  # (S, 1)
    down = np.minimum(boxes[:, 3:], lines[:, 3]) - np.maximum(boxes[:, 1:2], lines[:, 1])
    beside = down > _SAME_ROW * np.minimum(heights, lines[:, 3] - lines[:, 1])  # (S, L)
    before = (
        beside
        & (lines[:, 2] <= boxes[:, :1] + _TOUCHING * heights)
        & (lines[:, 0] < boxes[:, :1])  # a narrow line is not left of itself
    )
    over = (
        _in_column(boxes, lines)
        & (lines[:, 3] <= boxes[:, 1:2] + _SAME_ROW * heights)
        & (lines[:, 1] < boxes[:, 1:2])
        & (lines[:, 3] > boxes[:, 1:2] - _FARTHEST_ABOVE * heights)
    )
    return _nearest(lines, before, lines[:, 2]), _nearest(lines, over, lines[:, 3])


def _in_column(boxes: Doubles, others: Doubles) -> Booleans:
    across = np.minimum(boxes[:, 2:3], others[:, 2]) - np.maximum(boxes[:, :1], others[:, 0])
    widths = (boxes[:, 2] - boxes[:, 0])[:, None]  # (S, 1)
    return np.asarray(across > _SAME_COLUMN * np.minimum(widths, others[:, 2] - others[:, 0]))


def _nearest(lines: Doubles, there: Booleans, edge: Doubles) -> Doubles:
    """Return of each box the line with the largest edge among those there."""
    found = np.zeros((len(there), 4))  # (S, 4)
    if len(lines):
        best = np.where(there, edge, -np.inf).argmax(axis=1)  # (S,)
        some = there.any(axis=1)  # (S,)
        found[some] = lines[best[some]]
    return found
