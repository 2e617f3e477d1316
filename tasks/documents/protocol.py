"""What an open document can be asked, whatever its format."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.common.errors import (
    Stage,
    TooLarge,
)
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.pageobjects import PageObjects
from patchlight.tasks.documents.textlayer import TextLayer

POINTS_PER_INCH = 72.0

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PageShape:
    """A displayed page's size.

    Attributes:
        width_pt, height_pt: points, rotation and crop applied.
        rotation: degrees clockwise that the file asks for, already applied.
        native_dpi: resolution of an image's own pixels; 0 for a PDF page.
        size_px: width and height of an image in its own pixels; None for a PDF page.
    """

    width_pt: float
    height_pt: float
    rotation: int
    native_dpi: float = 0.0
    size_px: tuple[int, int] | None = None

    def dpi_within(self, pixels: int, dpi: float) -> float:
        """Return a resolution, lowered where a page of this shape would have more pixels."""
        inches = self.width_pt * self.height_pt / POINTS_PER_INCH**2
        return min(dpi, math.sqrt(pixels / inches))


class OpenDocument(Protocol):
    """A document that is open. ``page`` is 1-based throughout."""

    media_type: str
    page_count: int

    def shape(self, page: int) -> PageShape:
        """Return the size of the displayed page."""
        ...

    def text_layer(self, page: int) -> TextLayer | None:
        """Return the page's own words, or None where the format has none."""
        ...

    def objects(self, page: int) -> PageObjects:
        """Locate the page's own pictures and graphics; none where the format has none."""
        ...

    def render(self, page: int, dpi: float, *, gray: bool) -> Pixels:
        """Draw the displayed page: (H, W) uint8 if gray, else (H, W, 3) uint8 RGB."""
        ...


def check_pixels(place: str, width: float, height: float, limits: Limits) -> None:
    """Refuse to draw a page with more pixels than the limit.

    Raises:
        TooLarge: it has.
    """
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"{place}: {width:,.0f} x {height:,.0f} pixels are more than the limit of "
            f"{limits.max_pixels:,}; lower --dpi, scale the page down, or raise "
            "PATCHLIGHT_MAX_PIXELS",
            Stage.RENDER,
        )
