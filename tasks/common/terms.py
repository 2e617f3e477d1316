"""What a text's terms are: one tokeniser for statistics, columns and search. Pure."""

from __future__ import annotations

import re
import unicodedata

_TERM = re.compile(r"[^\W_]+")


def terms(text: str) -> list[str]:
    """Return the terms of a text: runs of letters and digits, lower case, in order.

    >>> terms("Long-term debt (FY2022): $1,234")
    ['long', 'term', 'debt', 'fy2022', '1', '234']
    """
    return _TERM.findall(unicodedata.normalize("NFKC", text).lower())
