r"""Statements of a SQL text, parted by semicolons; those in strings and comments part nothing.

Pure. It follows the engine's own reading: ``''`` and ``""`` inside quotes, ``E'\''``, backticks,
``$tag$...$tag$``, ``--`` to the end of the line, and ``/* /* */ */``.
"""

from __future__ import annotations

import re

_TOKEN = re.compile(
    r"""
      (?<![\w$]) [eE] ' (?: [^'\\] | \\. | '' )* (?: ' | \Z )  # with backslashes
    | ' [^']* (?: ' | \Z )  # two in a row are two strings side by side, for our purpose
    | " [^"]* (?: " | \Z )
    | ` [^`]* (?: ` | \Z )
    | (?<![\w$]) \$ (?P<tag> \w* ) \$ .*? (?: \$ (?P=tag) \$ | \Z )
    | (?P<line> -- [^\n]* )
    | (?P<block> /\* )
    | (?P<end> ; )
    | (?P<space> \s+ )
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
_NESTED = re.compile(r"/\*|\*/")


def statements_of(text: str) -> list[str]:
    r"""Return the statements of a text, in order, without the semicolons.

    Pieces in which nothing but spaces and comments stands are left out.

    >>> statements_of("SELECT ';'; -- one; only\nSELECT 2 /* ; */;")
    ["SELECT ';'", '-- one; only\nSELECT 2 /* ; */']
    """
    found: list[str] = []
    start = at = 0
    says_something = False
    while at < len(text):
        token = _TOKEN.match(text, at)
        assert token is not None  # its last choice is any character
        at = token.end()
        if token["block"]:
            at = _end_of_comment(text, at)
        elif token["end"]:
            if says_something:
                found.append(text[start : token.start()].strip())
            start, says_something = at, False
        elif not token["line"] and not token["space"]:
            says_something = True
    if says_something:
        found.append(text[start:].strip())
    return found


def _end_of_comment(text: str, at: int) -> int:
    """Where a comment ends that has begun before ``at``; one in it must end first."""
    depth = 1
    while depth:
        edge = _NESTED.search(text, at)
        if not edge:
            return len(text)
        depth += 1 if edge[0] == "/*" else -1
        at = edge.end()
    return at
