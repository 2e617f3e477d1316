"""What is written on a page, and regions to be: what proposals are put together from.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.kernels import geometry
from patchlight.tasks.regions import hierarchy

Boxes = NDArray[np.float64]


@dataclass(eq=False, slots=True)
class Draft:
    """A region to be.

    Attributes:
        kind: what it is.
        box: (4,) fractions of the page.
        confidence: 0..1.
        text: what is written in it.
        parent: what it belongs to.
        rank: place among its kind, where reading order is known; else empty.
        about: of a caption, whether it is about a table.
    """

    kind: RegionKind
    box: Boxes
    confidence: float
    text: str = ""
    parent: Draft | None = None
    rank: tuple[int, ...] = ()
    about: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """What is written on a page, kind by kind.

    Attributes:
        words, lines, paragraphs, blocks: of the page.
        points: (4,) what fractions are multiplied by to be points.
    """

    words: Regions
    lines: Regions
    paragraphs: Regions
    blocks: Regions
    points: Boxes

    @classmethod
    def of(cls, regions: Regions, width_pt: float, height_pt: float) -> Written:
        """Sort regions of ``hierarchy.regions_of``, of a page of this size in points."""
        return cls(
            words=regions.only(RegionKind.WORD),
            lines=regions.only(RegionKind.LINE),
            paragraphs=regions.only(RegionKind.PARAGRAPH),
            blocks=regions.only(RegionKind.BLOCK),
            points=np.array([width_pt, height_pt, width_pt, height_pt]),
        )

    def text_in(self, box: Boxes) -> str:
        """Text of the lines in a box, one a row."""
        inside = np.flatnonzero(within(self.lines.boxes, box)).tolist()
        return "\n".join(self.lines.texts[row] for row in inside)


def stacked(proposals: Sequence[Draft]) -> Boxes:
    """Return the boxes of drafts: (n, 4) fractions of the page."""
    return np.array([p.box for p in proposals], dtype=np.float64).reshape(-1, 4)


def within(boxes: Boxes, box: Boxes) -> NDArray[np.bool_]:
    """Which boxes have their centre in a box."""
    inside: NDArray[np.bool_] = geometry.centres_in(boxes, box[None], strict=False)[0]
    return inside


def area_of(box: Boxes) -> float:
    """Return the area of a box, (4,)."""
    return float((box[2:] - box[:2]).prod())


def is_any(box: Boxes, proposals: Sequence[Draft], least: float) -> bool:
    """Whether a box is nearly that of one of the proposals."""
    if not proposals:
        return False
    boxes = hierarchy.with_area(np.stack([box, *(p.box for p in proposals)]))  # (n + 1, 4)
    return bool((geometry.iou(boxes[:1], boxes[1:]) > least).any())
