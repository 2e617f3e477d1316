"""Opening a document by what its bytes are: as a PDF or as an image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchlight.tasks.common.errors import (
    CorruptSource,
    EmptyDocument,
    MissingSource,
    Stage,
    UnsupportedSource,
)
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.documents.image import open_image
from patchlight.tasks.documents.pdf import open_pdf
from patchlight.tasks.documents.protocol import (
    OpenDocument,
)
from patchlight.tasks.sandbox import stagewatch

RENDER_VERSION = 2
"""Raise when the same page may render to other pixels."""

_SIGNATURES = (
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"II*\x00", "image/tiff"),
    (0, b"MM\x00*", "image/tiff"),
    (0, b"II+\x00", "image/tiff"),
    (0, b"MM\x00+", "image/tiff"),
    (8, b"WEBP", "image/webp"),
)


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
        with open_pdf(path, password, limits) as document:
            yield document
    else:
        with open_image(path, media_type, limits) as image:
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
        f"{path}: not a supported file type (PDF, PNG, JPEG, TIFF, WebP); convert it to PDF"
    )
