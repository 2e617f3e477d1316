"""Text from documents, names and errors, made such that it cannot steer a terminal or a log."""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

_ACTS_IN_MARKDOWN = re.compile(r"[\\`*_\[\]#|~$@]|:(?=//)|(?<=www)\.")
"""Within a line; the last two make links of bare addresses."""


def plain(text: str) -> str:
    """Return a text to be read: a space for every character that a terminal acts on."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else " " for c in text if unicodedata.category(c) != "Cs")


def escaped(text: str) -> str:
    r"""Return a text to be told from others: ``\n`` or ``\x1b`` for what cannot be shown."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def markdown(text: str) -> str:
    """Return a text as Markdown that shows just that text, on one line.

    No formatting, link, picture, HTML or cell of a table can be made with it.
    """
    shown = _ACTS_IN_MARKDOWN.sub(r"\\\g<0>", " ".join(plain(text).split()))
    return shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def as_json(value: Any) -> str:
    """Return JSON with all escaped that a terminal acts on, which changes nothing for a program."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)


def composed(text: str) -> str:
    """A text in Unicode's composed form: a letter and its mark are one character.

    Some systems write an umlaut in a name as two. Names, conditions and metadata are compared so.
    """
    return unicodedata.normalize("NFC", text)
