"""The regions of a page as arrays, to find among them what answers; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from storage.records import RegionKind
from tasks.kernels.geometry import Doubles, Indices


@dataclass(frozen=True, slots=True)
class PageRegions:
    """The regions of a page, in the order of their index.

    Attributes:
        kinds: of R regions.
        boxes: (R, 4) float64, fractions of the page.
        order: (R,) place in reading order among its kind.
        confidence: (R,) 0..1.
        texts: what is written in them.
    """

    kinds: Sequence[RegionKind]
    boxes: Doubles
    order: Sequence[int]
    confidence: Doubles
    texts: Sequence[str]

    def rows(self, *kinds: RegionKind) -> Indices:
        """Return the rows of regions of some kinds."""
        return np.array([i for i, kind in enumerate(self.kinds) if kind in kinds], dtype=np.intp)
