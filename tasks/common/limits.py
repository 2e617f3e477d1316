"""How much one page or file may take: time, memory, size; what is beyond it becomes a failure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # processes that read documents do without what settings need
    from patchlight.tasks.common.settings import Settings

MEBIBYTE = 1 << 20


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits that documents are read under; the settings of the same names say more.

    Attributes:
        sandbox: whether documents are read in a process that can be killed; without, neither
            time nor memory is bounded.
        page_timeout_s: seconds for opening a file, or for one page without its OCR.
        page_memory_mb: MiB of memory for the same, with Tesseract.
        max_file_mb: MiB of a file.
        max_pages: pages of a document.
        max_pixels: pixels of an image, or of a page as it is drawn.
        max_expansion: how many times larger a picture may be than its compressed bytes.
    """

    sandbox: bool = True
    page_timeout_s: int = 60
    page_memory_mb: int = 1024
    max_file_mb: int = 2048
    max_pages: int = 10_000
    max_pixels: int = 100_000_000
    max_expansion: int = 2000

    @classmethod
    def of(cls, settings: Settings) -> Limits:
        """Take the limits from the settings."""
        return cls(**{name: getattr(settings, name) for name in cls.__slots__})
