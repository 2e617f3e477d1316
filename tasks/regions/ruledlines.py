"""Lines that are ruled on a page, found in its picture; pure.

Thin lines and the edges of shaded bands part a table's rows and columns alike, whether a PDF
draws them as paths or a scanner saw them, so both are looked for in pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
Gray = NDArray[np.uint8]

_STEP = 14
"""Gray levels, of 255, from one pixel to the next: an edge. Light bands of a table have them."""

_LEAST = 0.025
"""Fraction of the page's side: no stroke of a letter runs straight for so long."""

_THICK = 4
"""Pixels; what is thicker is an area, not a line. Both edges of a line are found."""

_CROSSED = 3
"""Pixels of half a line that crosses another, and parts its edge."""

_MOST = 4000
"""Runs of edge pixels that are looked at each way, the longest; a photograph has many."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Ruled lines of a page.

    Attributes:
        across: (n, 4) boxes of horizontal lines, fractions of the page.
        down: (m, 4) the same of vertical ones.
    """

    across: Boxes = field(default_factory=lambda: np.empty((0, 4)))
    down: Boxes = field(default_factory=lambda: np.empty((0, 4)))


def rules_of(picture: Gray) -> Rules:
    """Find ruled lines.

    Args:
        picture: (H, W) gray of the whole page, about 100 dots per inch.
    """
    down = _lines(np.ascontiguousarray(picture.T))
    return Rules(_lines(picture), down[:, [1, 0, 3, 2]])


def _lines(picture: Gray) -> Boxes:
    """Boxes of horizontal lines."""
    from scipy import ndimage  # here: commands that read no page need not wait for it

    height, width = picture.shape
    if height < 2 or width < 2:
        return np.empty((0, 4))
    values = picture.astype(np.int16)  # (H, W)
    edge = np.zeros((height - 1, width + 2), dtype=np.int8)  # an end on each side
    edge[:, 1:-1] = np.abs(values[1:] - values[:-1]) >= _STEP
    turns = np.diff(edge.ravel())
    starts, ends = np.flatnonzero(turns == 1), np.flatnonzero(turns == -1)
    long = ends - starts >= max(2, round(_LEAST * width))
    starts, ends = starts[long], ends[long]
    if len(starts) > _MOST:
        longest = np.sort(np.argsort(starts - ends, kind="stable")[:_MOST])
        starts, ends = starts[longest], ends[longest]
    rows, first = np.divmod(starts, width + 2)  # each (n,)
    last = first + ends - starts
    mask = np.zeros((height, width), dtype=bool)  # (H, W)
    for row, left, right in zip(rows.tolist(), first.tolist(), last.tolist(), strict=True):
        # Higher, so that both edges of a line meet, and longer, over what crosses it.
        mask[max(row - 1, 0) : row + 3, max(left - _CROSSED, 0) : right + _CROSSED] = True
    parts, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    found = [
        (
            min(across.start + _CROSSED, width - 1) / width,
            y.start / height,
            max(across.stop - _CROSSED, 1) / width,
            y.stop / height,
        )
        for y, across in ndimage.find_objects(parts)
        if y.stop - y.start <= _THICK + 3
    ]
    return np.array(found, dtype=np.float64).reshape(-1, 4)
