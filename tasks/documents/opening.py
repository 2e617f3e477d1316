"""Opening documents: PDF through PDFium, images through Pillow, behind one interface."""

from __future__ import annotations

import math
import os
import stringprep
import struct
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from tasks.common.errors import (
    CorruptSource,
    EmptyDocument,
    EncryptedDocument,
    MissingSource,
    Stage,
    TooLarge,
    UnsupportedSource,
)
from tasks.common.limits import Limits
from tasks.documents import imagebombs, pdfobjects, textlayer
from tasks.documents.textlayer import TextLayer
from tasks.regions.figures import PageObjects
from tasks.sandbox import stagewatch

RENDER_VERSION = 1
"""Raise when the same page may render to other pixels."""

_POINTS_PER_INCH = 72.0
_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00", "image/tiff"),
    (0, b"MM\x00+", "image/tiff"),
    (8, b"WEBP", "image/webp"),
)
_PILLOW_FORMATS = {
    "image/png": "PNG",
    "image/jpeg": "JPEG",
    "image/tiff": "TIFF",
    "image/webp": "WEBP",
}
_DAMAGED_IMAGE = (
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    struct.error,
    zlib.error,
)
"""What Pillow raises for damaged bytes, by format and place of the damage."""

_BITS = {"1": 1, "L": 8, "P": 8, "LA": 16, "PA": 16, "I;16": 16, "I;16B": 16, "RGB": 24}
_MOST_BITS = 32
"""Bits of a pixel by Pillow's mode, and for all other modes."""

_DEFAULT_IMAGE_DPI = 150.0
_PLAUSIBLE_DPI = (50.0, 1200.0)

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
        inches = self.width_pt * self.height_pt / _POINTS_PER_INCH**2
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


@contextmanager
def open_document(
    path: str, password: str | None = None, limits: Limits | None = None
) -> Iterator[OpenDocument]:
    """Open a file by what its bytes are, whatever it is called.

    Args:
        path: the file.
        password: for an encrypted PDF.
        limits: what its pages may take; None for the defaults.

    Raises:
        MissingSource: the file is not there or may not be read.
        UnsupportedSource: the bytes are of no type that is read.
        CorruptSource: the bytes are damaged.
        EncryptedDocument: a password is needed or wrong.
        EmptyDocument: there is no page in it.
    """
    limits = limits or Limits()
    stagewatch.enter(Stage.OPEN)
    media_type = media_type_of(path)
    if media_type == "application/pdf":
        with _open_pdf(path, password, limits) as document:
            yield document
    else:
        with _open_image(path, media_type, limits) as image:
            yield image


def media_type_of(path: str) -> str:
    """Tell a file's type by its first bytes.

    Raises:
        MissingSource: the file cannot be read.
        EmptyDocument: the file has no bytes.
        UnsupportedSource: the bytes are of no type that is read.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(1024)
    except OSError as error:
        raise MissingSource(f"{path}: cannot be read ({error.strerror or error})") from error
    if not head:
        raise EmptyDocument(f"{path}: the file is empty (0 bytes)")
    for offset, signature, media_type in _SIGNATURES:
        if head[offset : offset + len(signature)] == signature:
            return media_type
    if b"%PDF-" in head:  # the PDF reference allows junk before the header
        return "application/pdf"
    if path.lower().endswith(".pdf"):
        raise CorruptSource(
            f"{path}: named .pdf but not a PDF (no %PDF- header); export it again as PDF"
        )
    raise UnsupportedSource(
        f"{path}: not a type that is read (PDF, PNG, JPEG, TIFF, WebP); convert it to PDF"
    )


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
                self._last = page, self._pdf[page - 1]
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
        shape, scale = self.shape(page), dpi / _POINTS_PER_INCH
        stagewatch.enter(Stage.RENDER)
        place = f"{self._path}, page {page}"
        _check_pixels(place, shape.width_pt * scale, shape.height_pt * scale, self._limits)
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


class _ImageFile:
    def __init__(self, path: str, media_type: str, image: Image.Image, limits: Limits) -> None:
        self.media_type = media_type
        self._path = path
        self._limits = limits
        self._image = image
        self._last: tuple[int, Image.Image] | None = None
        # Only TIFF frames are pages; the others' frames are an animation.
        self.page_count = getattr(image, "n_frames", 1) if media_type == "image/tiff" else 1

    def _frame(self, page: int) -> Image.Image:
        """Return a page's pixels, upright; the last page is kept, as for a PDF."""
        if self._last is None or self._last[0] != page:
            stagewatch.enter(Stage.RENDER)
            place = f"{self._path}, page {page}"
            self._last = None  # it may be the very image that is moved on now
            try:
                self._image.seek(page - 1)
                self._check_size(place)
                # Loads the frame, so that damaged data shows here; a photo is turned upright.
                self._image.load()
                turned = self._image.getexif().get(ExifTags.Base.Orientation, 1) != 1
                # A copy of a large image may be more than a page may take.
                frame = ImageOps.exif_transpose(self._image) if turned else self._image
                self._last = page, frame
            except Image.DecompressionBombError as error:
                raise _bomb(place, self._limits) from error
            except _DAMAGED_IMAGE as error:
                raise CorruptSource(
                    f"{place}: the image is damaged ({error}); save it again", Stage.RENDER
                ) from error
        return self._last[1]

    def _check_size(self, place: str) -> None:
        """Refuse a frame that is too large, before it is unpacked.

        Raises:
            TooLarge: it is.
        """
        width, height = self._image.size
        _check_pixels(place, width, height, self._limits)
        unpacked = width * height * _BITS.get(self._image.mode, _MOST_BITS) // 8
        packed = Path(self._path).stat().st_size
        what = f"{place}: an image of {width:,} x {height:,} pixels"
        imagebombs.check_unpacked(unpacked, packed, self._limits, what)

    def shape(self, page: int) -> PageShape:
        frame = self._frame(page)
        across, down = _dpi_of(frame)
        return PageShape(
            frame.width * _POINTS_PER_INCH / across,
            frame.height * _POINTS_PER_INCH / down,
            0,
            max(across, down),
            frame.size,
        )

    def text_layer(self, page: int) -> TextLayer | None:
        return None

    def objects(self, page: int) -> PageObjects:
        return PageObjects()

    def render(self, page: int, dpi: float, *, gray: bool) -> Pixels:
        frame = _flatten(self._frame(page))
        across, down = _dpi_of(frame)
        size = (
            max(1, round(frame.width * dpi / across)),
            max(1, round(frame.height * dpi / down)),
        )
        _check_pixels(f"{self._path}, page {page}", *size, self._limits)
        frame = frame.convert("L" if gray else "RGB")
        if size != frame.size:
            frame = frame.resize(size, Image.Resampling.LANCZOS)
        return np.asarray(frame)


@contextmanager
def _open_pdf(path: str, password: str | None, limits: Limits) -> Iterator[OpenDocument]:
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


@contextmanager
def _open_image(path: str, media_type: str, limits: Limits) -> Iterator[OpenDocument]:
    Image.MAX_IMAGE_PIXELS = limits.max_pixels  # Pillow refuses twice as many, unread
    try:
        image = Image.open(path, formats=[_PILLOW_FORMATS[media_type]])
    except Image.DecompressionBombError as error:
        raise _bomb(path, limits) from error
    except _DAMAGED_IMAGE as error:
        raise CorruptSource(f"{path}: the image is damaged ({error}); save it again") from error
    with image:
        try:
            document = _ImageFile(path, media_type, image, limits)
        except Image.DecompressionBombError as error:
            raise _bomb(path, limits) from error
        except _DAMAGED_IMAGE as error:  # counting the frames of a TIFF reads all their headers
            raise CorruptSource(f"{path}: the image is damaged ({error}); save it again") from error
        yield document


def _bomb(where: str, limits: Limits) -> TooLarge:
    return TooLarge(
        f"{where}: the image has more than the limit of {limits.max_pixels:,} pixels; scale it "
        "down, or raise PATCHLIGHT_MAX_PIXELS"
    )


def _check_pixels(place: str, width: float, height: float, limits: Limits) -> None:
    if width * height > limits.max_pixels:
        raise TooLarge(
            f"{place}: {width:,.0f} x {height:,.0f} pixels are more than the limit of "
            f"{limits.max_pixels:,}; lower --dpi, scale the page down, or raise "
            "PATCHLIGHT_MAX_PIXELS",
            Stage.RENDER,
        )


def _dpi_of(image: Image.Image) -> tuple[float, float]:
    """Resolution the file states, across and down, where it is plausible; faxes have two."""
    stated = image.info.get("dpi", (0.0, 0.0))
    low, high = _PLAUSIBLE_DPI
    across, down = float(stated[0]), float(stated[1])
    if not (low <= across <= high and low <= down <= high):
        return _DEFAULT_IMAGE_DPI, _DEFAULT_IMAGE_DPI
    return (across, across) if abs(across - down) < 1 else (across, down)


def _flatten(image: Image.Image) -> Image.Image:
    """Lay a transparent image on white, as a viewer shows it; keep 16-bit gray readable."""
    if image.mode.startswith("I;16") or image.mode in {"I", "F"}:
        values = np.asarray(image, dtype=np.float32)
        known = np.isfinite(values)
        values = np.where(known, values, values.max(where=known, initial=0.0))
        low, high = float(values.min()), float(values.max())
        scaled = (values - low) * (255.0 / (high - low)) if high > low else values * 0 + 255.0
        flat = Image.fromarray(scaled.astype(np.uint8))
    elif "A" in image.getbands() or "transparency" in image.info:
        rgba = image.convert("RGBA")
        flat = Image.new("RGB", rgba.size, "white")
        flat.paste(rgba, mask=rgba.getchannel("A"))
    else:
        return image
    flat.info["dpi"] = image.info.get("dpi", (0.0, 0.0))
    return flat
