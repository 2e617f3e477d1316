"""What PDFium itself says of a file; imports nothing else, to be called where it can be killed."""

from __future__ import annotations

import pypdfium2


def pages_that_open(path: str, password: str | None) -> int:
    """Return how many pages PDFium finds in a file; 0 where it cannot open the first of them."""
    try:
        with pypdfium2.PdfDocument(path, password=password) as pdf:
            pdf[0].get_size()
            return len(pdf)
    except (pypdfium2.PdfiumError, IndexError):
        return 0
