"""A page on its way: to an encoder, and into the tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import PageEncoding, StoredPage, WordsSource
from patchlight.storage.regions import Arrangement, Regions


@dataclass(frozen=True, slots=True)
class PageInput:
    """What an encoder sees of a page.

    Attributes:
        words: the page's words in reading order; empty if there are none.
        image: (H, W, 3) uint8 RGB of the displayed page, or None when the encoder needs none.
        width_pt, height_pt: size of the displayed page in points (1/72 inch).
    """

    words: Regions
    image: NDArray[np.uint8] | None
    width_pt: float
    height_pt: float


@dataclass(frozen=True, slots=True)
class Page:
    """One displayed page with all that is to be stored of it.

    Attributes:
        doc_id: document it belongs to.
        page: 1-based number.
        width_pt, height_pt: size of the displayed page in points.
        rotation: degrees clockwise that the file asks for, already applied: 0, 90, 180, 270.
        words_source: text layer, OCR, or none.
        ocr_dpi: resolution of the picture that was OCRed; 0 when it was not.
        text: all words of the page in reading order, lines separated by newlines.
        fingerprints: stage (render, words, regions, encoder) -> fingerprint of what made it.
        regions: all of them; None to keep those that are stored.
        encoding: its patch vectors; None to keep those that are stored.
        scale: 1.0; less where the page was drawn smaller than asked, because it is beyond a
            limit.
        kept: its row as it is stored; needed where something is to be kept.
        arrangement: where its regions have their places; None if only their own order is known.
        words_ms, regions_ms, encoder_ms: what the stages took, milliseconds; None if they were
            not done now, or not timed.
    """

    doc_id: str
    page: int
    width_pt: float
    height_pt: float
    rotation: int
    words_source: WordsSource
    ocr_dpi: int
    text: str
    fingerprints: Mapping[str, str]
    regions: Regions | None
    encoding: PageEncoding | None
    scale: float = 1.0
    kept: StoredPage | None = None
    arrangement: Arrangement | None = None
    words_ms: float | None = None
    regions_ms: float | None = None
    encoder_ms: float | None = None
