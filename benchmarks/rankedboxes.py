"""What may be returned of boxes that a model ranked, and what is known of each; pure.

There is no page to look at: signals are those of the boxes' places, and one of their ranks.
"""

from __future__ import annotations

import numpy as np

from patchlight.storage.records import BoolArray, RegionKind
from patchlight.storage.regions import KINDS, Regions
from patchlight.tasks.grounding.evidence import evidence
from patchlight.tasks.grounding.spans import spans_of
from patchlight.tasks.kernels.geometry import Doubles
from patchlight.tasks.regions.hierarchy import reading_order

LAYOUT = ("size", "size_squared", "width", "top", "one", "gap_inside", "gap_outside")
"""Signals that do not know the ranks, see `signals`."""

SIGNALS = (*LAYOUT, "rank_density")

_INSIDE = 0.5
"""Share of a box; a candidate that holds more is made of it, too."""

_IN_COLUMN = 0.3
"""Share of the narrower one's width: a box that overlaps by more is above or below."""

_LINE_PT = 12.0
"""Height of a line of text: gaps are told apart on its scale."""

_FARTHEST = 0.2
"""Share of the page's height: a box that is farther away, or not there, counts as that far."""

_LEAST_AREA = 0.002
"""Added to a share of the page, so that specks do not run away."""

_BACKGROUND = 0.1
"""See ``tasks.grounding.evidence``."""


def candidates(ranked: Doubles, page_pt: tuple[float, float]) -> Doubles:
    """Return what may be returned: boxes, runs of them, and hulls of any two.

    Nearly equal ones are one (``tasks.grounding.spans``).

    Args:
        ranked: (n, 4) fractions of the page; n may be 0. Their order does not matter.
        page_pt: width and height of the page in points.

    Returns:
        (S, 4).
    """
    # Of nearly equal ones the first stays: ranks must not decide which that is.
    placed = ranked[np.lexsort(ranked.T)]
    first, second = (placed[rows] for rows in np.triu_indices(len(placed), 1))
    low, high = np.minimum(first[:, :2], second[:, :2]), np.maximum(first[:, 2:], second[:, 2:])
    hulls = np.concatenate([low, high], axis=1)
    place = np.argsort(reading_order(placed * np.tile(page_pt, 2))).tolist()
    # A passage answers by itself, and is not part of a run.
    kinds = [RegionKind.BLOCK] * len(placed) + [RegionKind.PASSAGE] * len(hulls)
    boxes = np.concatenate([placed, hulls])
    count = len(boxes)
    regions = Regions(
        codes=np.array([KINDS.index(kind) for kind in kinds], np.uint8),
        index=np.arange(count, dtype=np.int32),
        parent=np.full(count, -1, np.int32),
        order=np.array([*place, *range(len(hulls))], np.int32),
        boxes=boxes,
        texts=("",) * count,
        confidence=np.ones(count),
    )
    return spans_of(regions).boxes


def signals(ranked: Doubles, spans: Doubles, height_pt: float) -> Doubles:
    """Return what is known of each candidate.

    ``size`` is the log of its area, ``size_squared`` the square of that; ``width`` and ``top`` are
    its own; ``one`` is 1 where it is made of one ranked box; ``gap_inside`` is the log of the
    widest vertical gap between those that it is made of, and ``gap_outside`` of that to the nearest
    other one above or below, both in lines of text, plus 1. ``rank_density`` is the evidence
    (``tasks.grounding.evidence``) of a token whose mass lies on the ranked boxes as 1 / rank, where
    what is on the page is the boxes alone: above 0 where its boxes rank higher than the page's do
    on the whole.

    Args:
        ranked: (n, 4) fractions of the page, best first; n at least 1.
        spans: (S, 4) the candidates.
        height_pt: of the page, in points.

    Returns:
        (S, len(SIGNALS)) float64.
    """
    held = _held(spans, ranked)
    inside = held > _INSIDE
    line = _LINE_PT / height_pt
    size = np.log((spans[:, 2:] - spans[:, :2]).prod(axis=1) + _LEAST_AREA)
    mass = 1 / np.arange(1, len(ranked) + 1)
    rank = evidence((held @ mass / mass.sum())[:, None], held.mean(axis=1), np.ones(1), _BACKGROUND)
    columns = {
        "size": size,
        "size_squared": size**2,
        "width": spans[:, 2] - spans[:, 0],
        "top": spans[:, 1],
        "one": (inside.sum(axis=1) == 1).astype(np.float64),
        "gap_inside": np.log1p(np.array([_widest_gap(ranked[some]) for some in inside]) / line),
        "gap_outside": np.log1p(_nearest(spans, ranked, inside) / line),
        "rank_density": rank.density,
    }
    return np.column_stack([columns[name] for name in SIGNALS])


def _held(spans: Doubles, boxes: Doubles) -> Doubles:
    """Return (S, n) what share of each box each span holds."""
    low = np.maximum(spans[:, None, :2], boxes[:, :2])
    high = np.minimum(spans[:, None, 2:], boxes[:, 2:])
    area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    share: Doubles = np.clip(high - low, 0.0, None).prod(axis=2) / area
    return np.minimum(share, 1.0)


def _widest_gap(boxes: Doubles) -> float:
    """Return the height of the widest white band between boxes, 0 for none."""
    boxes = boxes[np.argsort(boxes[:, 1])]
    reach = np.maximum.accumulate(boxes[:, 3])
    return float((boxes[1:, 1] - reach[:-1]).max(initial=0.0))


def _nearest(spans: Doubles, boxes: Doubles, inside: BoolArray) -> Doubles:
    """Return (S,) how far above or below the nearest box is that is not inside."""
    across = np.minimum(spans[:, None, 2], boxes[:, 2]) - np.maximum(spans[:, None, 0], boxes[:, 0])
    widths = spans[:, None, 2] - spans[:, None, 0], boxes[:, 2] - boxes[:, 0]
    beside = ~inside & (across > _IN_COLUMN * np.minimum(*widths))
    apart = np.maximum(spans[:, None, 1], boxes[:, 1]) - np.minimum(spans[:, None, 3], boxes[:, 3])
    far = np.where(beside, np.maximum(apart, 0.0), _FARTHEST)
    nearest: Doubles = np.minimum(far, _FARTHEST).min(axis=1)
    return nearest
