"""What is done of documents in a process that can be killed: one file or one page a call.

The last document stays open, so that a shard's pages do not each open it anew. Nothing else in
patchlight opens documents; ``tasks.sandbox.calling`` is how these functions are called.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field

from patchlight.storage.pages import PageInput
from patchlight.storage.regions import Regions
from patchlight.tasks.common.errors import Stage, TooLarge, UnsupportedSource
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.documents.protocol import OpenDocument, Pixels
from patchlight.tasks.documents.sources import stamp_of
from patchlight.tasks.reading import pages
from patchlight.tasks.reading.pages import ReadOptions, ReadPage
from patchlight.tasks.sandbox import stagewatch

_POINTS_PER_INCH = 72.0


@dataclass(frozen=True, slots=True)
class Where:
    """A document to open.

    Attributes:
        path: the file.
        password: for an encrypted PDF; never shown.
        limits: what it may take.
    """

    path: str
    password: str | None = field(default=None, repr=False)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, slots=True)
class Inspected:
    """What is known of a file that could be opened.

    Attributes:
        media_type: what the bytes are.
        page_count: pages it has.
    """

    media_type: str
    page_count: int


def inspect(where: Where) -> Inspected:
    """Open a file and count its pages.

    Raises:
        SourceError: it cannot be opened, or has too many pages.
    """
    document = _last.document(where)
    most = where.limits.max_pages
    if document.page_count > most:
        raise TooLarge(
            f"{where.path}: {document.page_count:,} pages are more than the limit of {most:,}; cut "
            "it into parts, or raise PATCHLIGHT_MAX_PAGES"
        )
    return Inspected(document.media_type, document.page_count)


def read_page(where: Where, doc_id: str, page: int, options: ReadOptions, label: str) -> ReadPage:
    """Read one page's words; see ``pages.read_page``."""
    return pages.read_page(_last.document(where), doc_id, page, options, label)


def read_regions(
    where: Where, page: int, words: Regions, options: ReadOptions, draw: bool
) -> Regions:
    """Make one page's regions, its words being known; see ``pages.read_regions``."""
    return pages.read_regions(_last.document(where), page, words, options, draw=draw)


def read_picture(where: Where, page: int, options: ReadOptions) -> PageInput:
    """Draw one page for an encoder; see ``pages.read_picture``."""
    return pages.read_picture(_last.document(where), page, options)


def size_px(where: Where) -> tuple[int, int]:
    """Return width and height of an image in its own pixels, as it is displayed.

    Raises:
        SourceError: it cannot be opened, or is no image.
    """
    size = _last.document(where).shape(1).size_px
    if size is None:
        raise UnsupportedSource(f"{where.path}: is no image")
    return size


def draw_page(where: Where, page: int, dpi: float, most_pixels_a_side: int) -> Pixels:
    """Draw one page for people.

    Args:
        where: the document.
        page: 1-based number.
        dpi: resolution, lowered where a side would have too many pixels.
        most_pixels_a_side: how many are too many.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        SourceError: the page cannot be drawn.
    """
    document = _last.document(where)
    shape = document.shape(page)
    longest = max(shape.width_pt, shape.height_pt) / _POINTS_PER_INCH
    return document.render(page, min(dpi, most_pixels_a_side / longest), gray=False)


class _Last:
    """The document that was opened last."""

    def __init__(self) -> None:
        self._key: tuple[Where, tuple[int, int]] | None = None
        self._document: OpenDocument | None = None
        self._open = ExitStack()

    def document(self, where: Where) -> OpenDocument:
        """Return a document, open; it is opened anew when the file has changed.

        Raises:
            SourceError: it cannot be opened.
        """
        stagewatch.enter(Stage.OPEN)
        key = where, stamp_of(where.path)
        if self._document is None or self._key != key:
            self.close()
            opened = open_document(where.path, where.password, where.limits)
            self._document, self._key = self._open.enter_context(opened), key
        return self._document

    def close(self) -> None:
        """Close it."""
        self._document = self._key = None
        self._open.close()


_last = _Last()


def close() -> None:
    """Close the document that was opened last, for instance so that its memory is given back."""
    _last.close()
