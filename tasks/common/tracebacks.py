"""Where an error came from, told so that it may be stored and reported: no text of documents.

A message, and values of variables, may hold what stands in a document. So a short traceback has
places in the code and types of exceptions, and neither of these.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from pathlib import PurePath

from patchlight.storage.errors import PatchlightError

_FRAMES = 12
"""Innermost calls of an exception that are kept; those before them start a worker's work."""

_CAUSES = 5
"""Exceptions of a chain that are kept, from the one that was caught on."""

SHORT = "patchlight_short_traceback"
"""Attribute of an exception that leaves a worker: ``short`` of it, which Ray would lose."""

_PARTS = 3
"""Last parts of a file's path that are kept: what is before them names the user's folders."""


class Elsewhere(Exception):
    """Stands as the cause of an exception that came from another process.

    Attributes:
        short: what ``short`` said of it there.
    """

    def __init__(self, full: str, short: str) -> None:
        super().__init__(f"in another process:\n{full}")
        self.short = short


def full(error: BaseException) -> str:
    """Return the traceback of an error with its causes, as Python prints it."""
    return "".join(traceback.format_exception(error))


def short(error: BaseException) -> str:
    """Return the types of an error and of its causes, each with its innermost calls.

    One line each, the caught error first: ``RuntimeError``, then ``  tasks/a/b.py:12 read``.
    """
    return "\n".join(_lines(error))


def summary(error: BaseException) -> str:
    """Return an error in a line without text of documents.

    What our own errors and those of the system say is left in; it names files and pages.
    """
    name = type(error).__name__
    if isinstance(error, KeyboardInterrupt):
        return "interrupted by the user"
    if isinstance(error, PatchlightError | OSError | MemoryError):
        return f"{name}: {error}"
    return f"{name}, which is not known here; what it says is in the log"


def _lines(error: BaseException | None) -> Iterator[str]:
    for number in range(_CAUSES):
        if error is None:
            return
        prefix = "caused by " if number else ""
        if isinstance(error, Elsewhere):
            yield "in another process:"
            yield error.short
        else:
            yield f"{prefix}{type(error).__name__}"
            for frame in traceback.extract_tb(error.__traceback__)[-_FRAMES:]:
                place = "/".join(PurePath(frame.filename).parts[-_PARTS:])
                yield f"  {place}:{frame.lineno} {frame.name}"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
