"""Pictures inside a PDF page, judged before the page is drawn, without unpacking one of them."""

from __future__ import annotations

import ctypes

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from patchlight.tasks.common.errors import Stage, TooLarge
from patchlight.tasks.common.limits import MEBIBYTE, Limits
from patchlight.tasks.documents import pagewalk

JUDGED = 64 * MEBIBYTE
"""Bytes of an unpacked picture up to which nobody asks how small it was before."""


def check(page: pdfium.PdfPage, limits: Limits, place: str) -> None:
    """Refuse a page with a picture that is small in the file and huge when it is drawn.

    PDFium leaves out, silently, what it finds no memory for; such a page would look blank.

    Args:
        page: an open page.
        limits: what a picture may take.
        place: file and page, for messages.

    Raises:
        TooLarge: a picture takes more memory than a page may, or unpacks to too many times its
            size in the file.
    """
    for found, kind, _ in pagewalk.objects(page):
        if kind != raw.FPDF_PAGEOBJ_IMAGE:
            continue
        picture = ctypes.cast(found, raw.FPDF_PAGEOBJECT)
        width, height = ctypes.c_uint(), ctypes.c_uint()
        if not raw.FPDFImageObj_GetImagePixelSize(picture, width, height):
            continue
        pixels = width.value * height.value
        if pixels <= JUDGED // 4:  # the most bytes a pixel may take
            continue
        unpacked = pixels * _bits(picture, page) // 8
        packed = raw.FPDFImageObj_GetImageDataRaw(picture, None, 0)
        what = f"{place}: a picture of {width.value:,} x {height.value:,} pixels"
        check_unpacked(unpacked, packed, limits, what)


def check_unpacked(unpacked: int, packed: int, limits: Limits, what: str) -> None:
    """Refuse what would be too large in memory, or too much larger than it is in the file.

    Args:
        unpacked: bytes in memory.
        packed: bytes in the file.
        limits: the limits.
        what: file, page and picture, for messages.

    Raises:
        TooLarge: it is one of these.
    """
    if unpacked > limits.page_memory_mb * MEBIBYTE:
        raise TooLarge(
            f"{what} takes {unpacked // MEBIBYTE:,} MiB, and a page may take "
            f"{limits.page_memory_mb:,}; scale it down, or raise PATCHLIGHT_PAGE_MEMORY_MB",
            Stage.RENDER,
        )
    if unpacked > JUDGED and unpacked > limits.max_expansion * packed:
        raise TooLarge(
            f"{what} unpacks from {packed:,} bytes to {unpacked:,}, more than "
            f"{limits.max_expansion:,} times as many; save it again, or raise "
            "PATCHLIGHT_MAX_EXPANSION",
            Stage.RENDER,
        )


def _bits(picture: ctypes.c_void_p, page: pdfium.PdfPage) -> int:
    """Bits that a pixel takes when it is drawn; where PDFium does not say, those of a gray one."""
    known = raw.FPDF_IMAGEOBJ_METADATA()
    if raw.FPDFImageObj_GetImageMetadata(picture, page, known) and known.bits_per_pixel:
        return int(known.bits_per_pixel)
    return 8
