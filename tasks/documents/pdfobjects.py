"""Where a PDF page's own pictures and vector graphics lie, by PDFium."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from tasks.common.pageobjects import PageObjects
from tasks.documents.imagebombs import by_address
from tasks.documents.textlayer import display_transform

MOST_OBJECTS = 20_000
"""Objects of a page that are looked at, the first ones in the file; maps have a million."""

_MAX_DEPTH = 4
"""Forms within forms that are looked into."""

_WHITE = (255, 255, 255)

_HANDLE = ctypes.c_void_p
_get_object = by_address(raw.FPDFPage_GetObject, _HANDLE, ctypes.c_int)
_get_form_object = by_address(raw.FPDFFormObj_GetObject, _HANDLE, ctypes.c_ulong)
_get_type = by_address(raw.FPDFPageObj_GetType, _HANDLE)
_get_bounds = by_address(raw.FPDFPageObj_GetBounds, _HANDLE, *[_HANDLE] * 4)
_get_draw_mode = by_address(raw.FPDFPath_GetDrawMode, _HANDLE, _HANDLE, _HANDLE)
_get_fill = by_address(raw.FPDFPageObj_GetFillColor, _HANDLE, *[_HANDLE] * 4)

_GRAPHICS = (raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_SHADING)


def read(page: pdfium.PdfPage) -> PageObjects:
    """Locate the objects of an open page.

    Objects that PDFium cannot place are left out, as it leaves them out of the drawing; so are
    graphics that are not painted, or white.
    """
    handle = ctypes.cast(page.raw, ctypes.c_void_p).value
    count = raw.FPDFPage_CountObjects(page)
    reader = _Reader()
    top = (_get_object(handle, i) for i in range(count))
    found = list(reader.boxes(top, pdfium.PdfMatrix(), _MAX_DEPTH))
    to_display = display_transform(page)
    parts = []
    for pictures in (True, False):
        some = [box for is_picture, box in found if is_picture is pictures]
        boxes = np.array(some, dtype=np.float64).reshape(-1, 4)
        parts.append(np.clip(to_display(boxes), 0.0, 1.0))
    return PageObjects(*parts)


class _Reader:
    """Walks through objects; counts them, so that a page of any size ends."""

    def __init__(self) -> None:
        self._left = MOST_OBJECTS
        self._sides = (ctypes.c_float * 4)()
        self._mode = (ctypes.c_int * 2)()
        self._color = (ctypes.c_uint * 4)()

    def boxes(
        self, objects: Iterator[int], matrix: pdfium.PdfMatrix, depth: int
    ) -> Iterator[tuple[bool, tuple[float, float, float, float]]]:
        """Yield whether an object is a picture, and its left, bottom, right, top on the page."""
        at = ctypes.addressof(self._sides)
        for found in objects:
            if self._left == 0:
                return
            self._left -= 1
            kind = _get_type(found)
            if kind == raw.FPDF_PAGEOBJ_FORM and depth > 1:
                yield from self._inside(found, matrix, depth)
                continue
            wanted = kind == raw.FPDF_PAGEOBJ_IMAGE or (kind in _GRAPHICS and self._is_seen(found))
            if wanted and _get_bounds(found, at, at + 4, at + 8, at + 12):
                yield kind == raw.FPDF_PAGEOBJ_IMAGE, matrix.on_rect(*self._sides)

    def _inside(
        self, form: int, matrix: pdfium.PdfMatrix, depth: int
    ) -> Iterator[tuple[bool, tuple[float, float, float, float]]]:
        handle = ctypes.cast(form, raw.FPDF_PAGEOBJECT)
        own = raw.FS_MATRIX()
        if not raw.FPDFPageObj_GetMatrix(handle, own):
            return
        count = max(raw.FPDFFormObj_CountObjects(handle), 0)
        inner = (_get_form_object(form, i) for i in range(count))
        yield from self.boxes(inner, pdfium.PdfMatrix.from_raw(own).multiply(matrix), depth - 1)

    def _is_seen(self, graphic: int) -> bool:
        """Whether a path is painted in another colour than that of paper."""
        mode, color = ctypes.addressof(self._mode), ctypes.addressof(self._color)
        if not _get_draw_mode(graphic, mode, mode + 4):  # a shading
            return True
        fill, stroke = self._mode
        if stroke or not fill:
            return bool(stroke)
        return not _get_fill(graphic, color, color + 4, color + 8, color + 12) or (
            tuple(self._color)[:3] != _WHITE and self._color[3] > 0
        )
