"""One page from an open document: its words, regions, text, and picture if one is needed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from storage.records import PageInput, Region, RegionKind, Word, WordsSource
from tasks import layout, ocr
from tasks.documents import OpenDocument, PageShape

WORDS_VERSION = 1
"""Raise when the same page may give other words."""

_OCR_PIXELS = 40_000_000
"""Pixels of a picture given to Tesseract; a poster is drawn smaller to stay below."""

_POINTS_PER_INCH = 72.0


class OcrMode(StrEnum):
    """When pages go through OCR."""

    AUTO = "auto"
    """Pages without a usable text layer."""
    ALWAYS = "always"
    """Every page, whatever text layer it has."""
    NEVER = "never"
    """No page; one without a text layer has no words."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How pages are read.

    Attributes:
        ocr: when pages go through OCR.
        lang: Tesseract language, e.g. ``eng+deu``.
        dpi: resolution at which PDF pages are drawn for OCR and for encoders, dots per inch.
        tesseract: the Tesseract binary; not used with ``OcrMode.NEVER``.
        ocr_timeout_s: seconds a page may be in Tesseract.
        image_pixels: most pixels of the picture an encoder is given; a page that has more at
            ``dpi`` is drawn smaller. 0 for an encoder that is given none.
    """

    ocr: OcrMode
    lang: str
    dpi: int
    tesseract: str
    ocr_timeout_s: int
    image_pixels: int


@dataclass(frozen=True, slots=True)
class ReadPage:
    """What was read of a page.

    Attributes:
        doc_id: document it belongs to.
        page: 1-based number.
        label: file and page, for messages.
        shape: size of the displayed page.
        words_source: where the words came from.
        ocr_dpi: resolution of the picture that was OCRed; 0 when it was not.
        regions: words, lines, paragraphs and blocks.
    """

    doc_id: str
    page: int
    label: str
    shape: PageShape
    words_source: WordsSource
    ocr_dpi: int
    regions: tuple[Region, ...]

    def words(self) -> tuple[Word, ...]:
        """Return the words in reading order."""
        return tuple(
            Word(r.text, r.x0, r.y0, r.x1, r.y1, r.confidence)
            for r in self.regions
            if r.kind is RegionKind.WORD
        )


def fingerprints(options: ReadOptions, encoder_fingerprint: str) -> dict[str, str]:
    """Fingerprints of the stages that make a page, by stage.

    A stage's fingerprint changes when the same document would give other rows: it holds the
    version numbers in our code and the options that matter, never a library's version.
    """
    from tasks.documents import RENDER_VERSION

    words = f"words-{WORDS_VERSION}:{options.ocr}"
    if options.ocr is not OcrMode.NEVER:
        words += f":{options.lang}:{options.dpi}dpi"
    picture = f":{options.dpi}dpi:{options.image_pixels}px" if options.image_pixels else ""
    return {
        "render": f"render-{RENDER_VERSION}" + picture,
        "words": words,
        "regions": f"regions-{layout.REGIONS_VERSION}",
        "encoder": encoder_fingerprint,
    }


def read_page(
    document: OpenDocument, doc_id: str, page: int, options: ReadOptions, label: str
) -> ReadPage:
    """Read one page.

    Args:
        document: the open document.
        doc_id: its id.
        page: 1-based number.
        options: how.
        label: the file's name, for messages.

    Raises:
        SourceError: the page cannot be read; says where and what to do.
    """
    shape = document.shape(page)
    place = f"{label}, page {page}"
    source, dpi, words = _words(document, page, shape, options, place)
    return ReadPage(
        doc_id=doc_id,
        page=page,
        label=place,
        shape=shape,
        words_source=source,
        ocr_dpi=dpi,
        regions=layout.regions_of(words, shape.width_pt, shape.height_pt),
    )


def read_picture(document: OpenDocument, page: int, options: ReadOptions) -> PageInput:
    """Draw one page for an encoder.

    An image file keeps its own pixels, unless it has more than ``options.image_pixels``.

    Raises:
        SourceError: the page cannot be drawn; says where and what to do.
    """
    shape = document.shape(page)
    dpi = _within(options.image_pixels, shape, shape.native_dpi or float(options.dpi))
    return PageInput((), document.render(page, dpi, gray=False), shape.width_pt, shape.height_pt)


def _words(
    document: OpenDocument, page: int, shape: PageShape, options: ReadOptions, label: str
) -> tuple[WordsSource, int, tuple[Word, ...]]:
    layer = None if options.ocr is OcrMode.ALWAYS else document.text_layer(page)
    if layer is not None and (layer.usable or (options.ocr is OcrMode.NEVER and layer.words)):
        return WordsSource.TEXT_LAYER, 0, layer.words
    if options.ocr is OcrMode.NEVER:
        return WordsSource.NONE, 0, ()
    dpi = _ocr_dpi(shape, options.dpi)
    words = ocr.read_words(
        document.render(page, dpi, gray=True),
        dpi=dpi,
        lang=options.lang,
        binary=options.tesseract,
        timeout_s=options.ocr_timeout_s,
        label=label,
    )
    return WordsSource.OCR, round(dpi), words


def _ocr_dpi(shape: PageShape, wanted: int) -> float:
    """Resolution for OCR: an image keeps its own pixels unless they are coarse."""
    dpi = max(shape.native_dpi, 150.0) if shape.native_dpi >= 100.0 else float(wanted)
    return _within(_OCR_PIXELS, shape, dpi)


def _within(pixels: int, shape: PageShape, dpi: float) -> float:
    """The resolution, lowered where a page of this shape would have more pixels."""
    inches = shape.width_pt * shape.height_pt / _POINTS_PER_INCH**2
    return min(dpi, math.sqrt(pixels / inches))
