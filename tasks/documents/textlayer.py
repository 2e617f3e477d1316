"""Words with boxes from a PDF page's own text, by PDFium's raw text API."""

from __future__ import annotations

import ctypes
import logging
import unicodedata
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw
from numpy.typing import NDArray

from patchlight.storage.records import Word
from patchlight.tasks.documents import pagewalk
from patchlight.tasks.kernels import geometry

logger = logging.getLogger("patchlight.worker")

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
_MEANINGLESS = {"Co", "Cn", "Cc"}


def _prototype(function: object, arguments: int) -> Callable[..., int]:
    """Return a PDFium function that takes addresses as plain numbers; pointers cost 10x."""
    types = [ctypes.c_void_p, ctypes.c_int] + [ctypes.c_void_p] * (arguments - 2)
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    return ctypes.PYFUNCTYPE(ctypes.c_uint, *types)(address or 0)


_get_unicode = _prototype(raw.FPDFText_GetUnicode, 2)
_get_char_box = _prototype(raw.FPDFText_GetCharBox, 6)


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
    to_display = display_transform(page)
    text_page = page.get_textpage()
    try:
        codes, boxes = _characters(text_page)
    finally:
        text_page.close()
    garbage = _garbage(codes)
    words = _words(codes, to_display(boxes), *page.get_size())
    return TextLayer(words, garbage, _picture_coverage(page, to_display))


class DisplayTransform:
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


def display_transform(page: pdfium.PdfPage) -> DisplayTransform:
    """Return what maps boxes in page space to fractions of the displayed page."""
    return DisplayTransform(page)


def _characters(
    text_page: pdfium.PdfTextPage,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return (n,) character codes and (n, 4) left, bottom, right, top in page space.

    PDFium writes each box straight into the array: a Python object a number would cost more
    than all the rest of the reading.
    """
    count = text_page.count_chars()
    handle = ctypes.cast(text_page.raw, ctypes.c_void_p).value
    codes = np.fromiter(map(_get_unicode, repeat(handle, count), range(count)), np.int64, count)
    boxes = np.zeros((count, 4), dtype=np.float64)  # left, right, bottom, top; 0 where it fails
    first = boxes.ctypes.data
    targets = [range(first + side, first + side + 32 * count, 32) for side in (0, 8, 16, 24)]
    deque(map(_get_char_box, repeat(handle, count), range(count), *targets), maxlen=0)
    return codes, boxes[:, [0, 2, 1, 3]]


def _garbage(codes: NDArray[np.int64]) -> float:
    """Share of the visible characters that have no meaning in Unicode."""
    visible = bad = 0
    found, counts = np.unique(codes, return_counts=True)
    for code, count in zip(found.tolist(), counts.tolist(), strict=True):
        character = chr(min(code, 0x10FFFF))
        if code in _SKIPPED or character.isspace():
            continue
        visible += count
        meaningless = code == 0xFFFD or unicodedata.category(character) in _MEANINGLESS
        bad += count if meaningless and code != _HYPHEN_AT_LINE_END else 0
    return bad / visible if visible else 0.0


def _words(
    codes: NDArray[np.int64], boxes: NDArray[np.float64], width: float, height: float
) -> tuple[Word, ...]:
    """Join characters (boxes in fractions of the page) into words."""
    kept = ~np.isin(codes, list(_SKIPPED))
    codes, boxes = codes[kept], boxes[kept]
    codes = np.where(codes == _HYPHEN_AT_LINE_END, ord("-"), codes)
    utf32 = np.minimum(codes, 0x10FFFF).astype("<u4").tobytes()
    letters = utf32.decode("utf-32-le", "surrogatepass")
    space = np.array([letter.isspace() for letter in letters], dtype=bool)

    # Words end at spaces, and where the next character with ink is far away.
    has_area = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1]) & ~space
    inked = np.nonzero(has_area)[0]
    spaces_before = np.cumsum(space)
    same_run = spaces_before[inked[1:]] == spaces_before[inked[:-1]]
    jumps = _jumps(boxes[inked] * np.array([width, height, width, height]))
    starts = space.copy()
    starts[inked[1:][same_run & jumps]] = True
    word_of = np.cumsum(starts)

    first = np.nonzero(np.diff(word_of[inked], prepend=-1))[0]  # first inked one of each word
    if not len(first):
        return ()
    hulls = geometry.hulls(boxes[inked], first)
    [on_page] = geometry.centres_in(hulls, np.array([[0.0, 0.0, 1.0, 1.0]]), strict=False)
    hulls = np.clip(hulls, 0.0, 1.0)
    numbers = word_of[inked[first]]
    begin = np.searchsorted(word_of, numbers, side="left")
    begin += space[begin]  # a word begins at the space before it
    end = np.searchsorted(word_of, numbers, side="right")
    words = []
    for i in np.nonzero(on_page)[0].tolist():
        text = _text(letters[begin[i] : end[i]])
        x0, y0, x1, y1 = hulls[i].tolist()
        if text and x1 > x0 and y1 > y0:
            words.append(Word(text, x0, y0, x1, y1))
    return tuple(words)


def _jumps(boxes: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether each but the first character (boxes in points) is too far from the one before."""
    before, after = boxes[:-1], boxes[1:]
    gap = np.maximum(after[:, :2] - before[:, 2:], before[:, :2] - after[:, 2:]).max(axis=1)
    extent = np.maximum(before[:, 2:] - before[:, :2], after[:, 2:] - after[:, :2]).max(axis=1)
    jumps: NDArray[np.bool_] = gap > _JUMP * extent
    return jumps


def _text(letters: str) -> str:
    """Clean a word: PDFium gives characters beyond the basic plane as two UTF-16 halves."""
    if letters.isascii() and letters.isprintable():
        return letters
    text = letters.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return "".join(c for c in text if unicodedata.category(c) not in {"Cc", "Cs"})


def _picture_coverage(page: pdfium.PdfPage, to_display: DisplayTransform) -> float:
    """Share of the displayed page under its largest picture."""
    largest = 0.0
    for found, kind, forms in pagewalk.objects(page):
        if kind != raw.FPDF_PAGEOBJ_IMAGE:
            continue
        place = _place(found, forms)
        if place is None:  # a damaged picture does not make the words unreadable
            logger.debug("a picture of the page cannot be located")
            break
        box = np.clip(to_display(np.array([place], dtype=np.float64))[0], 0, 1)
        largest = max(largest, float((box[2] - box[0]) * (box[3] - box[1])))
    return largest


def _place(picture: int, forms: tuple[int, ...]) -> tuple[float, float, float, float] | None:
    """Left, bottom, right, top of a picture in page space, wherever it is nested."""
    place = pagewalk.bounds(picture)
    for form in reversed(forms):  # PDFium gives the place within the form that holds the picture
        matrix = pagewalk.matrix_of(form)
        if place is None or matrix is None:
            return None
        place = matrix.on_rect(*place)
    return place
