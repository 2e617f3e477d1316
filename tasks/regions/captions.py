"""Which caption is about which figure or table, and what stands under which heading; pure.

All boxes are in a unit that is the same both ways, such as points.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]
Floats = NDArray[np.float64]

_NUMBER = r"(?:\s*[A-Z]{0,2}[.-]?\d+(?:[.-]\d+)*[a-z]?|\s+(?:[IVX]+|[A-Z](?:-\d+)?))"
_TABLE = re.compile(rf"\s*(?i:table|tab\.|tableau|tabelle|tabla){_NUMBER}\b")
_FIGURE = re.compile(
    r"\s*(?i:figure|fig\.?|chart|exhibit|graph|diagram|illustration|plate|map|photo|scheme|image"
    rf"|abbildung|abb\.|figura){_NUMBER}\b"
)
_MOST_WORDS = 60
"""A longer paragraph that starts with "Figure 3" is text about the figure."""

_STACKED = 0.3
"""A caption is over or under what it is about by this share of the narrower one's width."""

_NEAR = 0.07
"""Share of the page's height between a caption and what it is about, at most."""

_OTHER_SORT = 0.05
"""Share of the page's height by which a table's caption would rather have a table."""


def starts_caption(text: str) -> str | None:
    """Return what a paragraph that starts like a caption is about: ``table`` or ``figure``.

    >>> starts_caption("Table 2. Catch by port"), starts_caption("Fig. 3a: Depth")
    ('table', 'figure')
    >>> starts_caption("Figures show that"), starts_caption("Tables 2 and 3")
    (None, None)
    """
    if len(text.split()) > _MOST_WORDS:
        return None
    if _TABLE.match(text):
        return "table"
    return "figure" if _FIGURE.match(text) else None


def targets(
    captions: Boxes,
    of_tables: Sequence[bool],
    figures: Boxes,
    are_tables: Sequence[bool],
    page_height: float,
) -> list[int]:
    """Tie captions to figures and tables: each to the nearest over or under it.

    Args:
        captions: (n, 4).
        of_tables: for each whether it says that it is about a table.
        figures: (m, 4) figures and tables.
        are_tables: for each whether it is a table.
        page_height: of the page.

    Returns:
        For each caption the position of its figure or table, -1 where none is near.
    """
    found = []
    for box, of_table in zip(captions, of_tables, strict=True):
        best, least = -1, _NEAR * page_height
        for i, figure in enumerate(figures):
            width = min(box[2] - box[0], figure[2] - figure[0])
            if min(box[2], figure[2]) - max(box[0], figure[0]) < _STACKED * width:
                continue
            gap = max(box[1] - figure[3], figure[1] - box[3], 0.0)
            gap += _OTHER_SORT * page_height * (of_table != are_tables[i])
            # Of figures that are as near, such as one in another, the larger.
            if gap < least - 1e-6 or (
                best >= 0 and gap <= least + 1e-6 and _area(figure) > _area(figures[best])
            ):
                best, least = i, gap
        found.append(best)
    return found


def under_headings(headings: Boxes, paragraphs: Boxes, order: Sequence[int]) -> list[list[int]]:
    """Find what stands under each heading, in its column, down to the next heading there.

    Args:
        headings: (n, 4).
        paragraphs: (m, 4) what may stand under them.
        order: their positions as they are read.

    Returns:
        For each heading positions of paragraphs, as they are read.
    """
    rank = {p: i for i, p in enumerate(order)}
    downwards = sorted(order, key=lambda p: (paragraphs[p, 1], rank[p]))
    found: list[list[int]] = []
    for heading in headings:
        column = heading
        members: list[int] = []
        start = heading[3] - _slack(heading)
        for p in downwards:
            if paragraphs[p, 1] >= start and _beside(paragraphs[p], column):
                wider = _spread(column, paragraphs[p])
                if paragraphs[p, 3] > _end(headings, start, wider) + _slack(heading):
                    continue
                members.append(p)
                column = wider
        end = _end(headings, start, column) + _slack(heading)
        members = [p for p in members if paragraphs[p, 3] <= end]
        found.append(sorted(members, key=rank.__getitem__))
    return found


def _end(headings: Boxes, start: float, column: Floats) -> float:
    """Where the next heading of a column begins; infinity if there is none."""
    below = [box[1] for box in headings if box[1] >= start and _beside(box, column)]
    return float(min(below, default=np.inf))


def _spread(column: Floats, box: Floats) -> Floats:
    """Widen a column by what stands in it."""
    return np.array([min(column[0], box[0]), column[1], max(column[2], box[2]), column[3]])


def _beside(box: Floats, column: Floats) -> bool:
    """Whether a box stands in a column, by most of the narrower one's width."""
    shared = min(box[2], column[2]) - max(box[0], column[0])
    return bool(shared > 0.5 * min(box[2] - box[0], column[2] - column[0]))


def _slack(heading: Floats) -> float:
    return float(0.5 * (heading[3] - heading[1]))


def _area(box: Floats) -> float:
    return float((box[2] - box[0]) * (box[3] - box[1]))
