"""Words with boxes from a PDF page's own text, by PDFium's raw text API."""

from __future__ import annotations

import ctypes
import unicodedata
from dataclasses import dataclass

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw
from numpy.typing import NDArray

from storage.records import Word

_DEVICE = 1_000_000
"""PDFium maps page points to whole device units; this many make a page's side."""

_MIN_WORDS_ON_A_SCAN = 25
"""A page that is one picture with fewer words than this holds a stamp, not its text."""

_SCAN_COVERAGE = 0.7
"""Share of the page that one picture covers in a scan."""

_MAX_GARBAGE = 0.3
"""Share of characters without a meaning beyond which a text layer is not usable."""

_JUMP = 1.5
"""A gap between two characters of one word, in character sizes, that splits the word."""

_SKIPPED = {0x0, 0xFFFE, 0xFFFF}
_HYPHEN_AT_LINE_END = 0x2  # PDFium's mark for a hyphen that breaks a word over two lines


@dataclass(frozen=True, slots=True)
class TextLayer:
    """A page's own words.

    Attributes:
        words: in the file's order, boxes in fractions of the displayed page.
        garbage: share of characters that stand for nothing (no Unicode mapping), 0..1.
        picture_coverage: share of the page that its largest picture covers, 0..1.
    """

    words: tuple[Word, ...]
    garbage: float
    picture_coverage: float

    @property
    def usable(self) -> bool:
        """Whether the words can stand for the page, so that it needs no OCR."""
        if not self.words or self.garbage > _MAX_GARBAGE:
            return False
        scan = self.picture_coverage >= _SCAN_COVERAGE
        return not (scan and len(self.words) < _MIN_WORDS_ON_A_SCAN)


def read(page: pdfium.PdfPage) -> TextLayer:
    """Read the words of an open PDF page.

    Raises:
        pdfium.PdfiumError: the text of the page cannot be loaded.
    """
    to_display = _display_transform(page)
    text_page = page.get_textpage()
    try:
        codes, boxes = _characters(text_page)
    finally:
        text_page.close()
    garbage = _garbage(codes)
    words = _words(codes, to_display(boxes), *page.get_size())
    return TextLayer(words, garbage, _picture_coverage(page, to_display))


class _DisplayTransform:
    """Maps boxes in PDF page space to fractions of the displayed page (rotation, crop)."""

    def __init__(self, page: pdfium.PdfPage) -> None:
        origin, right, up = (
            self._device(page, x, y) for x, y in ((0.0, 0.0), (1000.0, 0.0), (0.0, 1000.0))
        )
        self._matrix = np.stack([(right - origin) / 1000.0, (up - origin) / 1000.0])
        self._offset = origin

    @staticmethod
    def _device(page: pdfium.PdfPage, x: float, y: float) -> NDArray[np.float64]:
        dx, dy = ctypes.c_int(), ctypes.c_int()
        if not raw.FPDF_PageToDevice(page, 0, 0, _DEVICE, _DEVICE, 0, x, y, dx, dy):
            raise pdfium.PdfiumError("the page's coordinates cannot be mapped")
        return np.array([dx.value, dy.value], dtype=np.float64) / _DEVICE

    def __call__(self, boxes: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (n, 4) left, bottom, right, top in page space to x0, y0, x1, y1."""
        first = boxes[:, :2] @ self._matrix + self._offset
        second = boxes[:, 2:] @ self._matrix + self._offset
        return np.concatenate([np.minimum(first, second), np.maximum(first, second)], axis=1)


def _display_transform(page: pdfium.PdfPage) -> _DisplayTransform:
    return _DisplayTransform(page)


def _characters(
    text_page: pdfium.PdfTextPage,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (n,) character codes and (n, 4) left, bottom, right, top in page space."""
    count = text_page.count_chars()
    codes = np.zeros(count, dtype=np.int64)
    boxes = np.zeros((count, 4), dtype=np.float64)
    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    handle = text_page.raw
    for i in range(count):
        codes[i] = raw.FPDFText_GetUnicode(handle, i)
        if raw.FPDFText_GetCharBox(handle, i, left, right, bottom, top):
            boxes[i] = (left.value, bottom.value, right.value, top.value)
    return codes, boxes


def _garbage(codes: NDArray[np.int64]) -> float:
    """Share of the visible characters that have no meaning in Unicode."""
    visible = [int(c) for c in codes if c not in _SKIPPED and not chr(min(c, 0x10FFFF)).isspace()]
    if not visible:
        return 0.0
    bad = sum(
        c == 0xFFFD or unicodedata.category(chr(min(c, 0x10FFFF))) in {"Co", "Cn", "Cc"}
        for c in visible
        if c != _HYPHEN_AT_LINE_END
    )
    return bad / len(visible)


def _words(
    codes: NDArray[np.int64], boxes: NDArray[np.float64], width: float, height: float
) -> tuple[Word, ...]:
    """Join characters (boxes in fractions of the page) into words."""
    words: list[Word] = []
    letters: list[int] = []
    members: list[int] = []
    size = np.array([width, height])

    def finish() -> None:
        if letters:
            word = _word(letters, boxes[members])
            if word is not None:
                words.append(word)
        letters.clear()
        members.clear()

    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    points = boxes * np.concatenate([size, size])
    for i, value in enumerate(codes):
        code = int(value)
        if code in _SKIPPED:
            continue
        if code == _HYPHEN_AT_LINE_END:
            code = ord("-")
        if chr(min(code, 0x10FFFF)).isspace():
            finish()
            continue
        if has_area[i]:
            if members and _jumps(points[members[-1]], points[i]):
                finish()
            members.append(i)
        letters.append(code)
    finish()
    return tuple(words)


def _jumps(before: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    """Whether two characters (boxes in points) are too far apart to be of one word."""
    gap_x = max(after[0] - before[2], before[0] - after[2])
    gap_y = max(after[1] - before[3], before[1] - after[3])
    extent = max(
        before[2] - before[0], before[3] - before[1], after[2] - after[0], after[3] - after[1]
    )
    return bool(max(gap_x, gap_y) > _JUMP * extent)


def _word(letters: list[int], boxes: NDArray[np.float64]) -> Word | None:
    """Make a word; None if no visible part of it is on the displayed page."""
    # PDFium gives characters beyond the basic plane as two UTF-16 halves.
    text = b"".join(
        code.to_bytes(2, "little") if code <= 0xFFFF else chr(code).encode("utf-16-le")
        for code in letters
    ).decode("utf-16-le", errors="replace")
    text = "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cs"})
    if not text or not len(boxes):
        return None
    box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
    centre_x, centre_y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    if not (0 <= centre_x <= 1 and 0 <= centre_y <= 1):
        return None
    x0, y0, x1, y1 = (float(v) for v in np.clip(box, 0.0, 1.0))
    return Word(text, x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def _picture_coverage(page: pdfium.PdfPage, to_display: _DisplayTransform) -> float:
    """Share of the displayed page under its largest picture."""
    largest = 0.0
    for picture in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        box = np.clip(to_display(np.array([picture.get_bounds()], dtype=np.float64))[0], 0, 1)
        largest = max(largest, float((box[2] - box[0]) * (box[3] - box[1])))
    return largest
