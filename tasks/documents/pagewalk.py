"""The one walk through the objects of a PDF page, those in its forms too.

What a page is made of is asked three times, at different moments and for different ends: how much
of it its pictures cover, where its pictures and graphics lie, and whether a picture is too large
to be drawn. Objects are plain addresses here; PDFium keeps them as long as the page is open.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator

import pypdfium2 as pdfium
import pypdfium2.raw as raw

_MAX_DEPTH = 4
"""Forms within forms that are looked into."""


def by_address(function: object, *arguments: type) -> Callable[..., int]:
    """Return a PDFium function that takes addresses as plain numbers; pointers cost 10x."""
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    return ctypes.PYFUNCTYPE(ctypes.c_size_t, *arguments)(address or 0)


_HANDLE = ctypes.c_void_p
_get_object = by_address(raw.FPDFPage_GetObject, _HANDLE, ctypes.c_int)
_get_form_object = by_address(raw.FPDFFormObj_GetObject, _HANDLE, ctypes.c_ulong)
_get_type = by_address(raw.FPDFPageObj_GetType, _HANDLE)
_get_bounds = by_address(raw.FPDFPageObj_GetBounds, _HANDLE, *[_HANDLE] * 4)


def objects(page: pdfium.PdfPage) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    """Yield an open page's objects in the order of the file, a form before what is in it.

    Yields:
        Address, type (``FPDF_PAGEOBJ_*``), and the addresses of the forms that hold it, the
        outermost first.
    """
    handle = ctypes.cast(page.raw, _HANDLE).value
    count = raw.FPDFPage_CountObjects(page)
    return _among((_get_object(handle, i) for i in range(count)), ())


def bounds(found: int) -> tuple[float, float, float, float] | None:
    """Return left, bottom, right, top of an object, within the form that holds it if one does.

    None where PDFium cannot place it.
    """
    sides = (ctypes.c_float * 4)()
    at = ctypes.addressof(sides)
    if not _get_bounds(found, at, at + 4, at + 8, at + 12):
        return None
    left, bottom, right, top = sides
    return left, bottom, right, top


def matrix_of(form: int) -> pdfium.PdfMatrix | None:
    """Return what maps places in a form to those around it; None where PDFium does not say."""
    matrix = raw.FS_MATRIX()
    if not raw.FPDFPageObj_GetMatrix(ctypes.cast(form, raw.FPDF_PAGEOBJECT), matrix):
        return None
    return pdfium.PdfMatrix.from_raw(matrix)


def _among(
    some: Iterator[int], forms: tuple[int, ...]
) -> Iterator[tuple[int, int, tuple[int, ...]]]:
    for found in some:
        kind = _get_type(found)
        yield found, kind, forms
        if kind == raw.FPDF_PAGEOBJ_FORM and len(forms) < _MAX_DEPTH - 1:
            count = raw.FPDFFormObj_CountObjects(ctypes.cast(found, raw.FPDF_PAGEOBJECT))
            inner = (_get_form_object(found, i) for i in range(max(count, 0)))
            yield from _among(inner, (*forms, found))
