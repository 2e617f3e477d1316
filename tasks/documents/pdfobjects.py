"""Where a PDF page's own pictures and vector graphics lie, by PDFium."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from itertools import islice

import numpy as np
import pypdfium2 as pdfium
import pypdfium2.raw as raw

from patchlight.tasks.common.pageobjects import PageObjects
from patchlight.tasks.documents import pagewalk
from patchlight.tasks.documents.textlayer import display_transform

MOST_OBJECTS = 20_000
"""Objects of a page that are looked at, the first ones in the file; maps have a million."""

_WHITE = (255, 255, 255)

_HANDLE = ctypes.c_void_p
_get_draw_mode = pagewalk.by_address(raw.FPDFPath_GetDrawMode, _HANDLE, _HANDLE, _HANDLE)
_get_fill = pagewalk.by_address(raw.FPDFPageObj_GetFillColor, _HANDLE, *[_HANDLE] * 4)

_GRAPHICS = (raw.FPDF_PAGEOBJ_PATH, raw.FPDF_PAGEOBJ_SHADING)


def read(page: pdfium.PdfPage) -> PageObjects:
    """Locate the objects of an open page.

    Objects that PDFium cannot place are left out, as it leaves them out of the drawing; so are
    graphics that are not painted, or white.
    """
    found = list(_boxes(page))
    to_display = display_transform(page)
    parts = []
    for pictures in (True, False):
        some = [box for is_picture, box in found if is_picture is pictures]
        boxes = np.array(some, dtype=np.float64).reshape(-1, 4)
        parts.append(np.clip(to_display(boxes), 0.0, 1.0))
    return PageObjects(*parts)


def _boxes(page: pdfium.PdfPage) -> Iterator[tuple[bool, tuple[float, float, float, float]]]:
    """Yield whether an object is a picture, and its left, bottom, right, top on the page."""
    is_seen = _Paint().is_seen
    matrices: dict[tuple[int, ...], pdfium.PdfMatrix | None] = {(): pdfium.PdfMatrix()}
    for found, kind, forms in islice(pagewalk.objects(page), MOST_OBJECTS):
        if kind == raw.FPDF_PAGEOBJ_FORM:
            outer, own = matrices.get(forms), pagewalk.matrix_of(found)
            matrices[*forms, found] = own.multiply(outer) if own and outer else None
        elif kind == raw.FPDF_PAGEOBJ_IMAGE or (kind in _GRAPHICS and is_seen(found)):
            matrix, place = matrices[forms], pagewalk.bounds(found)
            if matrix is not None and place is not None:
                yield kind == raw.FPDF_PAGEOBJ_IMAGE, matrix.on_rect(*place)


class _Paint:
    """Asks how graphics are painted, in memory that is used again."""

    def __init__(self) -> None:
        self._mode = (ctypes.c_int * 2)()
        self._color = (ctypes.c_uint * 4)()

    def is_seen(self, graphic: int) -> bool:
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
