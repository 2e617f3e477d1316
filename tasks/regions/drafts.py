"""A page's words and lines as arrays, and regions to be; what proposals are put together from.

Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from storage.records import Region, RegionKind
from tasks.kernels import geometry
from tasks.regions import hierarchy

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


class TextPage:
    """A page's words and lines, as arrays.

    Args:
        regions: of ``hierarchy.regions_of``.
        width_pt, height_pt: of the page.
    """

    def __init__(self, regions: Sequence[Region], width_pt: float, height_pt: float) -> None:
        self.regions = tuple(regions)
        self.points = np.array([width_pt, height_pt, width_pt, height_pt])
        by_kind: dict[RegionKind, list[Region]] = {kind: [] for kind in RegionKind}
        for region in regions:
            by_kind[region.kind].append(region)
        self.words, self.lines = by_kind[RegionKind.WORD], by_kind[RegionKind.LINE]
        self.paragraphs = by_kind[RegionKind.PARAGRAPH]
        self.blocks = by_kind[RegionKind.BLOCK]
        self.word_boxes, self.line_boxes = boxes_of(self.words), boxes_of(self.lines)
        self.counted = len(self.paragraphs) + len(self.blocks)

    def text_in(self, box: Boxes) -> str:
        """Text of the lines in a box, one a row."""
        inside = np.flatnonzero(within(self.line_boxes, box))
        return "\n".join(self.lines[i].text for i in inside)


def boxes_of(regions: Sequence[Region]) -> Boxes:
    """Return the boxes of regions: (n, 4) fractions of the page."""
    boxes = [(r.x0, r.y0, r.x1, r.y1) for r in regions]
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def stacked(proposals: Sequence[Draft]) -> Boxes:
    """Return the boxes of drafts: (n, 4) fractions of the page."""
    return np.array([p.box for p in proposals], dtype=np.float64).reshape(-1, 4)


def within(boxes: Boxes, box: Boxes) -> NDArray[np.bool_]:
    """Which boxes have their centre in a box."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    sides: NDArray[np.bool_] = (centres >= box[:2]) & (centres <= box[2:])
    return sides[:, 0] & sides[:, 1]


def hull_of(boxes: Boxes) -> Boxes:
    """Return the box around boxes, (n, 4) with n at least 1."""
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def area_of(box: Boxes) -> float:
    """Return the area of a box, (4,)."""
    return float((box[2:] - box[:2]).prod())


def is_any(box: Boxes, proposals: Sequence[Draft], least: float) -> bool:
    """Whether a box is nearly that of one of the proposals."""
    if not proposals:
        return False
    boxes = hierarchy.with_area(np.stack([box, *(p.box for p in proposals)]))
    return bool((geometry.iou(boxes[:1], boxes[1:]) > least).any())
