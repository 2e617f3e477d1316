"""PDF files, by PDFium."""

from __future__ import annotations

import os
import stringprep
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from patchlight.tasks.common.errors import (
    CorruptSource,
    EmptyDocument,
    EncryptedDocument,
    MissingSource,
    Stage,
)
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.pageobjects import PageObjects
from patchlight.tasks.documents import imagebombs, pdfobjects, textlayer
from patchlight.tasks.documents.protocol import (
    POINTS_PER_INCH,
    OpenDocument,
    PageShape,
    Pixels,
    check_pixels,
)
from patchlight.tasks.documents.textlayer import TextLayer
from patchlight.tasks.sandbox import stagewatch

_WRITTEN = {raw.FPDF_ANNOT_FREETEXT, raw.FPDF_ANNOT_STAMP, raw.FPDF_ANNOT_WIDGET}
"""Kinds of annotations that may have words."""


class _Pdf:
    media_type = "application/pdf"

    def __init__(self, path: str, pdf: pdfium.PdfDocument, limits: Limits) -> None:
        self._path = path
        self._pdf = pdf
        self._limits = limits
        self._last: tuple[int, pdfium.PdfPage] | None = None
        self.page_count = len(pdf)

    def _page(self, page: int) -> pdfium.PdfPage:
        """Return an open page; the last one is kept, as it is asked for several times."""
        if self._last is None or self._last[0] != page:
            try:
                self._last = page, _with_annotations(self._pdf, page)
            except pdfium.PdfiumError as error:
                raise CorruptSource(
                    f"{self._path}, page {page}: cannot be opened ({error}); export it again"
                ) from error
        return self._last[1]

    def shape(self, page: int) -> PageShape:
        handle = self._page(page)
        width, height = handle.get_size()
        if not (width > 0 and height > 0):
            raise CorruptSource(f"{self._path}, page {page}: has no area ({width} x {height} pt)")
        return PageShape(float(width), float(height), int(handle.get_rotation()))

    def text_layer(self, page: int) -> TextLayer | None:
        handle = self._page(page)
        stagewatch.enter(Stage.WORDS)
        try:
            return textlayer.read(handle)
        except pdfium.PdfiumError as error:
            raise CorruptSource(
                f"{self._path}, page {page}: its text cannot be read ({error})", Stage.WORDS
            ) from error

    def objects(self, page: int) -> PageObjects:
        stagewatch.enter(Stage.WORDS)
        try:
            return pdfobjects.read(self._page(page))
        except pdfium.PdfiumError as error:
            raise CorruptSource(
                f"{self._path}, page {page}: its graphics cannot be read ({error})", Stage.WORDS
            ) from error

    def render(self, page: int, dpi: float, *, gray: bool) -> Pixels:
        shape, scale = self.shape(page), dpi / POINTS_PER_INCH
        stagewatch.enter(Stage.RENDER)
        place = f"{self._path}, page {page}"
        check_pixels(place, shape.width_pt * scale, shape.height_pt * scale, self._limits)
        imagebombs.check(self._page(page), self._limits, place)
        try:
            # Made a hair smaller, or 792 pt at 150 dpi are 1650.0000000000002 pixels and so 1651.
            exact = scale * (1 - 1e-9)
            bitmap = self._page(page).render(scale=exact, grayscale=gray, rev_byteorder=True)
        except pdfium.PdfiumError as error:
            raise CorruptSource(
                f"{self._path}, page {page}: cannot be drawn ({error})", Stage.RENDER
            ) from error
        pixels: Pixels = np.array(bitmap.to_numpy())
        bitmap.close()
        return pixels.reshape(pixels.shape[:2]) if gray else np.ascontiguousarray(pixels[..., :3])


def _with_annotations(pdf: pdfium.PdfDocument, page: int) -> pdfium.PdfPage:
    """A page whose notes, stamps and form fields are part of it, as they are when it is shown.

    PDFium draws them, and its text has none of them.
    """
    handle = pdf[page - 1]
    if not _kinds_of_annotations(handle) & _WRITTEN:
        return handle
    if raw.FPDFPage_Flatten(handle.raw, raw.FLAT_NORMALDISPLAY) != raw.FLATTEN_SUCCESS:
        return handle
    handle.close()  # it does not know of its new contents
    return pdf[page - 1]


def _kinds_of_annotations(page: pdfium.PdfPage) -> set[int]:
    found = set()
    for number in range(raw.FPDFPage_GetAnnotCount(page.raw)):
        annotation = raw.FPDFPage_GetAnnot(page.raw, number)
        if annotation:
            found.add(int(raw.FPDFAnnot_GetSubtype(annotation)))
            raw.FPDFPage_CloseAnnot(annotation)
    return found


@contextmanager
def open_pdf(path: str, password: str | None, limits: Limits) -> Iterator[OpenDocument]:
    """Open a PDF.

    Raises:
        MissingSource: the file may not be read.
        CorruptSource: the bytes are damaged.
        EncryptedDocument: a password is needed or wrong.
        EmptyDocument: there is no page in it.
    """
    try:
        pdf = _unlocked(path, password)
    except OSError as error:
        raise MissingSource(f"{path}: cannot be read ({error.strerror or error})") from error
    except pdfium.PdfiumError as error:
        if _is_without_pages(path, password):
            raise EmptyDocument(f"{path}: the PDF has no pages; export it again") from error
        if error.err_code == raw.FPDF_ERR_SECURITY:
            raise EncryptedDocument(
                f"{path}: the PDF is encrypted in a way that cannot be read; save it without"
            ) from error
        if error.err_code == raw.FPDF_ERR_PASSWORD:
            problem = "the password given is wrong" if password else "it needs a password"
            raise EncryptedDocument(
                f"{path}: the PDF is encrypted and {problem}; give it with --passwords FILE"
            ) from error
        raise CorruptSource(
            f"{path}: the PDF is damaged or cut off ({error}); fetch or export it again"
        ) from error
    try:
        pdf.init_forms()
        yield _Pdf(path, pdf, limits)
    finally:
        pdf.close()


def _unlocked(path: str, password: str | None) -> pdfium.PdfDocument:
    """Open a PDF with a password as it is given, or in the form that PDF 2.0 asks for."""
    try:
        return pdfium.PdfDocument(path, password=password)
    except pdfium.PdfiumError as error:
        prepared = _prepared(password or "")
        if error.err_code != raw.FPDF_ERR_PASSWORD or prepared == (password or ""):
            raise
        return pdfium.PdfDocument(path, password=prepared)


def _prepared(password: str) -> str:
    """Return a password as SASLprep (RFC 4013) maps it: one form of what looks the same."""
    mapped = "".join(
        " " if stringprep.in_table_c12(c) else c for c in password if not stringprep.in_table_b1(c)
    )
    return unicodedata.normalize("NFKC", mapped)


def _is_without_pages(path: str, password: str | None) -> bool:
    """Whether PDFium does open a PDF that pypdfium2 refuses.

    A PDF without pages is refused with the code of whatever went wrong before in this process,
    for example that another one is encrypted.
    """
    secret = None if password is None else password.encode()
    handle = raw.FPDF_LoadDocument(os.fsencode(path), secret)
    if not handle:
        return False
    raw.FPDF_CloseDocument(handle)
    return True
