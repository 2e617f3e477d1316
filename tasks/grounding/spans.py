"""Spans: what may be returned of a page as one place; pure.

A span is a stored region of a kind that answers, or a run of paragraphs or blocks that follow
each other in a column. Nearly equal ones are one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.kernels import geometry
from patchlight.tasks.kernels.geometry import Doubles

GRAPHIC = (RegionKind.FIGURE, RegionKind.PICTURE, RegionKind.DRAWING)
COMPETING = (
    *GRAPHIC,
    RegionKind.TABLE,
    RegionKind.EXHIBIT,
    RegionKind.PARAGRAPH,
    RegionKind.BLOCK,
    RegionKind.PASSAGE,
    RegionKind.SECTION,
    RegionKind.HEADING,
    RegionKind.CAPTION,
    RegionKind.EQUATION,
    RegionKind.HEADER,
    RegionKind.FOOTER,
)
"""Kinds of regions that answer by themselves, by rank: of nearly equal ones the first stays."""

VALUES = (RegionKind.LINE, RegionKind.CELL)
"""Kinds of regions that hold a single value, such as an amount, a date or a name."""

_MOST_VALUES = 2000
"""Of a page; later ones are left out."""

_RUNS_OF = (RegionKind.PARAGRAPH, RegionKind.BLOCK)
_LONGEST_RUN = 6
"""Members of a run."""

_RUN_GAP = 0.06
"""Share of the page's height: a run does not go on over a wider gap."""

_RUN_OVERLAP = 0.3
"""Share of the narrower one's width: members of a run overlap by as much."""

SAME = 0.92
"""IoU from which on two spans are one."""

MOST = 300
"""Spans of a page. Of a page that has more the longest runs are left out, then the last regions."""

_MOST_COMPARED = 2 * MOST
"""Spans that are looked at; work and memory grow with the square."""


@dataclass(frozen=True, slots=True)
class Spans:
    """The spans of a page.

    Attributes:
        kinds: kind of each; that of its members for a run.
        boxes: (S, 4) float64, fractions of the page.
        members: of each span the rows of the regions that it is made of, in reading order.
    """

    kinds: tuple[RegionKind, ...]
    boxes: Doubles
    members: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.kinds)

    @property
    def runs(self) -> NDArray[np.bool_]:
        """(S,) which are made of several regions."""
        return np.array([len(rows) > 1 for rows in self.members], dtype=bool)


def spans_of(
    regions: Regions,
    wanted: Collection[RegionKind] = COMPETING,
) -> Spans:
    """Find the spans of a page.

    Args:
        regions: of the page.
        wanted: kinds that spans may be of; others than `COMPETING` never are.

    Returns:
        Regions first, by the rank of their kinds and then by row; then runs, by their length and
        first member.
    """
    found: list[tuple[RegionKind, tuple[int, ...]]] = [
        (kind, (row,))
        for kind in COMPETING
        if kind in wanted
        for row in regions.rows(kind).tolist()
    ]
    runs: list[tuple[RegionKind, tuple[int, ...]]] = []
    for kind in _RUNS_OF:
        if kind not in wanted:
            continue
        rows = sorted(regions.rows(kind).tolist(), key=regions.order.__getitem__)
        runs += [(kind, run) for run in _runs(rows, regions.boxes)]
    found = (found + sorted(runs, key=lambda run: len(run[1])))[:_MOST_COMPARED]
    if not found:
        return Spans((), np.empty((0, 4)), ())
    hulls = np.stack([geometry.hull(regions.boxes[list(rows)]) for _, rows in found])  # (n, 4)
    kept = geometry.distinct(hulls, SAME, strict=False)[:MOST]
    return Spans(tuple(found[i][0] for i in kept), hulls[kept], tuple(found[i][1] for i in kept))


def values_of(regions: Regions, wanted: Collection[RegionKind]) -> Spans:
    """Find the places of a page that hold a value: its lines, its cells, or both.

    Args:
        regions: of the page.
        wanted: kinds that count; others than `VALUES` never do.

    Returns:
        Regions by their row, of nearly equal ones the first.
    """
    rows = regions.rows(*(kind for kind in VALUES if kind in wanted))[:_MOST_VALUES]
    rows = rows[geometry.distinct(regions.boxes[rows], SAME, strict=False)]
    kinds = tuple(regions.kind(row) for row in rows)
    return Spans(kinds, regions.boxes[rows], tuple((row,) for row in rows.tolist()))


def _runs(rows: Sequence[int], boxes: Doubles) -> list[tuple[int, ...]]:
    """Runs of regions that follow each other and stand under each other."""
    found = []
    for first in range(len(rows)):
        hull = boxes[rows[first]]
        for last in range(first + 1, min(first + _LONGEST_RUN, len(rows))):
            box = boxes[rows[last]]
            overlap = min(hull[2], box[2]) - max(hull[0], box[0])
            narrower = min(hull[2] - hull[0], box[2] - box[0])
            if overlap < _RUN_OVERLAP * narrower or box[1] - hull[3] > _RUN_GAP:
                break
            hull = geometry.hull(np.stack([hull, box]))
            found.append(tuple(rows[first : last + 1]))
    return found
