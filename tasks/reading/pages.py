"""One page from an open document: its words, its regions, and its picture if one is needed."""

from __future__ import annotations

from dataclasses import dataclass, field

from patchlight.storage.pages import PageInput
from patchlight.storage.records import Word, WordsSource
from patchlight.storage.regions import NO_REGIONS, Regions
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.documents import ocr, opening
from patchlight.tasks.documents.protocol import OpenDocument, PageShape
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.reading import looking
from patchlight.tasks.reading.fingerprints import Stages
from patchlight.tasks.regions import hierarchy
from patchlight.tasks.regions.proposals import propose

WORDS_VERSION = 2
"""Raise when the same page may give other words."""

_BY_LAYER = "layer"
_AS_IT_IS = "as it is"
"""Words of a layer that cannot stand for the page, or none, because OCR was not wanted."""

_OCR_PIXELS = 40_000_000
"""Pixels of a picture given to Tesseract; a poster is drawn smaller to stay below."""


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
        layout: whether the layout model looks at pages.
        limits: what a file and a page may take.
    """

    ocr: OcrMode
    lang: str
    dpi: int
    tesseract: str
    ocr_timeout_s: int
    image_pixels: int
    layout: LayoutMode = LayoutMode.AUTO
    limits: Limits = field(default_factory=Limits)


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
        regions: words, lines, paragraphs, blocks and proposals; words alone where
            ``regions_made`` is empty.
        words_made: fingerprint of the words.
        regions_made: fingerprint of the regions; empty to keep those that are stored.
        scale: 1.0, or below it the part of the resolution asked for at which the page was drawn
            for OCR, because it would have had too many pixels.
        words_ms, regions_ms: what reading took, milliseconds; None for what was not read now.
    """

    doc_id: str
    page: int
    label: str
    shape: PageShape
    words_source: WordsSource
    ocr_dpi: int
    regions: Regions
    words_made: str
    regions_made: str = ""
    scale: float = 1.0
    words_ms: float | None = None
    regions_ms: float | None = None


def words_by_options(options: ReadOptions) -> str:
    """Fingerprint of the words of a document: what they may depend on, page by page or not."""
    if options.ocr is OcrMode.NEVER:
        return _words_made("never")
    return _by_ocr(options, options.ocr)


def words_as_read(options: ReadOptions) -> frozenset[str]:
    """Fingerprints of the words that reading a page by these options may give.

    A fingerprint holds the version numbers in our code and the options that mattered to the
    page, never a library's version. Stored words with one of these are what would be read now.
    """
    if options.ocr is OcrMode.AUTO:
        return frozenset({_words_made(_BY_LAYER), _by_ocr(options, OcrMode.AUTO)})
    if options.ocr is OcrMode.ALWAYS:
        return frozenset(_by_ocr(options, mode) for mode in (OcrMode.AUTO, OcrMode.ALWAYS))
    return frozenset({_words_made(_BY_LAYER), _words_made(_AS_IT_IS)})


def stages_of(options: ReadOptions, encoder: EncoderInfo, encoder_stage: str) -> Stages:
    """The stages that make a page by these options.

    Args:
        options: how pages are read.
        encoder: what encodes them.
        encoder_stage: fingerprint of the encoder and of the form of its vectors.
    """
    seen = f":{options.dpi}dpi:{options.image_pixels}px" if encoder.needs_image else ""
    return Stages(
        render=f"render-{opening.RENDER_VERSION}{seen}",
        words=words_as_read(options),
        regions=looking.regions_as_made(options.layout),
        encoder=encoder_stage,
        encodes_words=encoder.needs_words,
        encodes_pictures=encoder.needs_image,
    )


def fingerprints_of(options: ReadOptions, stages: Stages) -> dict[str, str]:
    """Return the fingerprints of a document by these options, stage by stage."""
    return stages.made(words_by_options(options), looking.regions_made(options.layout))


def read_page(
    document: OpenDocument, doc_id: str, page: int, options: ReadOptions, label: str
) -> ReadPage:
    """Read the words of one page.

    Args:
        document: the open document.
        doc_id: its id.
        page: 1-based number.
        options: how.
        label: the file's name, for messages.

    Returns:
        The page with its words as regions.

    Raises:
        SourceError: the page cannot be read; says where and what to do.
    """
    shape = document.shape(page)
    place = f"{label}, page {page}"
    found = _words(document, page, shape, options, place)
    return ReadPage(
        doc_id=doc_id,
        page=page,
        label=place,
        shape=shape,
        words_source=found.source,
        ocr_dpi=found.ocr_dpi,
        regions=Regions.of_words(found.words),
        words_made=found.made,
        scale=found.scale,
    )


def read_regions(
    document: OpenDocument,
    page: int,
    words: Regions,
    options: ReadOptions,
    *,
    draw: bool = True,
) -> Regions:
    """Make the regions of one page.

    Args:
        document: the open document.
        page: 1-based number.
        words: what is written on it, in reading order; see `ReadPage.regions`.
        options: how.
        draw: False for a page that cannot be drawn; see ``looking.look``.

    Raises:
        SourceError: the page cannot be read; says where and what to do.
        LayoutUnavailable: the layout model is not installed.
    """
    shape = document.shape(page)
    grouped = hierarchy.regions_of(words, shape.width_pt, shape.height_pt)
    at, mode, limits = words.boxes, options.layout, options.limits
    seen = looking.look(document, page, shape, at, mode, limits, draw=draw)
    return propose(grouped, seen, shape.width_pt, shape.height_pt)


def read_picture(document: OpenDocument, page: int, options: ReadOptions) -> PageInput:
    """Draw one page for an encoder.

    An image file keeps its own pixels, unless it has more than ``options.image_pixels``.

    Raises:
        SourceError: the page cannot be drawn; says where and what to do.
    """
    shape = document.shape(page)
    pixels = min(options.image_pixels, options.limits.max_pixels)
    dpi = shape.dpi_within(pixels, shape.native_dpi or float(options.dpi))
    image = document.render(page, dpi, gray=False)
    return PageInput(NO_REGIONS, image, shape.width_pt, shape.height_pt)


@dataclass(frozen=True, slots=True)
class _Found:
    """Words of a page, and how they were come by."""

    source: WordsSource
    words: tuple[Word, ...]
    made: str
    ocr_dpi: int = 0
    scale: float = 1.0


def _words(
    document: OpenDocument, page: int, shape: PageShape, options: ReadOptions, label: str
) -> _Found:
    layer = None if options.ocr is OcrMode.ALWAYS else document.text_layer(page)
    if layer is not None and (layer.usable or (options.ocr is OcrMode.NEVER and layer.words)):
        made = _words_made(_BY_LAYER if layer.usable else _AS_IT_IS)
        return _Found(WordsSource.TEXT_LAYER, layer.words, made)
    if options.ocr is OcrMode.NEVER:
        return _Found(WordsSource.NONE, (), _words_made(_AS_IT_IS))
    asked = _ocr_dpi(shape, options.dpi)
    dpi = shape.dpi_within(min(_OCR_PIXELS, options.limits.max_pixels), asked)
    words = ocr.read_words(
        document.render(page, dpi, gray=True),
        dpi=dpi,
        lang=options.lang,
        binary=options.tesseract,
        timeout_s=options.ocr_timeout_s,
        label=label,
    )
    made = _by_ocr(options, options.ocr)
    return _Found(WordsSource.OCR, words, made, round(dpi), dpi / asked)


def _words_made(how: str) -> str:
    """Fingerprint of words. The version is read here, not at import: a test raises it."""
    return f"words-{WORDS_VERSION}:{how}"


def _by_ocr(options: ReadOptions, mode: OcrMode) -> str:
    """Fingerprint of words from OCR; under ``always`` the page may have a layer as good."""
    drawn = f"{options.dpi}dpi:render-{opening.RENDER_VERSION}"
    return _words_made(f"{mode} ocr:{options.lang}:{drawn}")


def _ocr_dpi(shape: PageShape, wanted: int) -> float:
    """Resolution for OCR: an image keeps its own pixels unless they are coarse."""
    return max(shape.native_dpi, 150.0) if shape.native_dpi >= 100.0 else float(wanted)
