"""Regions one by one, which is how tests say what they expect; the code has them as columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import KINDS, Regions


@dataclass(frozen=True)
class Region:
    """One row of `Regions`."""

    index: int
    kind: RegionKind
    parent: int
    order: int
    x0: float
    y0: float
    x1: float
    y1: float
    text: str
    confidence: float


def rows_of(regions: Regions) -> tuple[Region, ...]:
    """Take a record apart."""
    return tuple(
        Region(index, regions.kind(row), parent, order, x0, y0, x1, y1, text, confidence)
        for row, (index, parent, order, (x0, y0, x1, y1), text, confidence) in enumerate(
            zip(
                regions.index.tolist(),
                regions.parent.tolist(),
                regions.order.tolist(),
                regions.boxes.tolist(),
                regions.texts,
                regions.confidence.tolist(),
                strict=True,
            )
        )
    )


def record_of(rows: Iterable[Region]) -> Regions:
    """Put a record together."""
    rows = list(rows)
    return Regions(
        codes=np.array([KINDS.index(r.kind) for r in rows], np.uint8),
        index=np.array([r.index for r in rows], np.int32),
        parent=np.array([r.parent for r in rows], np.int32),
        order=np.array([r.order for r in rows], np.int32),
        boxes=np.array([(r.x0, r.y0, r.x1, r.y1) for r in rows], np.float64).reshape(-1, 4),
        texts=tuple(r.text for r in rows),
        confidence=np.array([r.confidence for r in rows], np.float64),
    )


def page_of(
    kinds: Sequence[RegionKind],
    boxes: NDArray[np.float64],
    order: Sequence[int] | None = None,
    confidence: Sequence[float] | None = None,
    texts: Sequence[str] | None = None,
) -> Regions:
    """Regions that belong to nothing, in the order of their index."""
    n = len(kinds)
    return Regions(
        codes=np.array([KINDS.index(kind) for kind in kinds], np.uint8),
        index=np.arange(n, dtype=np.int32),
        parent=np.full(n, -1, np.int32),
        order=np.array(range(n) if order is None else order, np.int32),
        boxes=np.asarray(boxes, np.float64).reshape(-1, 4),
        texts=("",) * n if texts is None else tuple(texts),
        confidence=np.ones(n) if confidence is None else np.array(confidence, np.float64),
    )
