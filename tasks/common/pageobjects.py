"""What a PDF page is made of beside text: read from its file, and searched for figures."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.float64]

_NOTHING = np.empty((0, 4), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class PageObjects:
    """What a page of a PDF is made of, beside text.

    Attributes:
        pictures: (n, 4) boxes in fractions of the displayed page, within it.
        graphics: (m, 4) the same of paths and shadings that are painted.
    """

    pictures: Boxes = field(default_factory=_NOTHING.copy)
    graphics: Boxes = field(default_factory=_NOTHING.copy)
