"""What to do about failures, by category; docs/errors.md has the same sentences."""

from __future__ import annotations

from collections.abc import Mapping

from patchlight.tasks.common.errors import Category

ADVICE: Mapping[str, str] = {
    Category.MISSING: "Check the path and the permissions.",
    Category.UNSUPPORTED: "Convert the file to PDF.",
    Category.EMPTY: "Fetch or export it again.",
    Category.CORRUPT: "Fetch or export it again.",
    Category.ENCRYPTED: "Give it with --passwords FILE.",
    Category.TOO_LARGE: (
        "The message says which. Lower --dpi, scale the page down, cut the file into parts, "
        "or raise that setting. More --visual-tokens hold a longer strip, in a new --db."
    ),
    Category.OUT_OF_MEMORY: (
        "Raise that setting, or lower --dpi. End what else uses the GPU or the memory, use "
        "fewer workers or a machine with more memory, and ingest again. Fewer --visual-tokens "
        "take less, in a new --db."
    ),
    Category.OCR: "Read the message; try again.",
    Category.TIMEOUT: (
        "Raise that setting, or lower --dpi. Save a page that is slow to draw again, in a "
        "simpler form."
    ),
    Category.ENCODER: "Read the message; try again.",
    Category.CHANGED: "Ingest it again when it is at rest.",
    Category.CRASHED: (
        "It may be damaged or need more memory: open it in a viewer, save it again, or use "
        "fewer workers."
    ),
    Category.INTERNAL: "Report it, and try again.",
}
