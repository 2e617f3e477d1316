"""Which files of a table are merged. Pure.

Every commit leaves a file, and many small ones make a table slow. Merging rewrites what it merges,
so that a table that grows by a page an hour must not be rewritten for it. As in a log-structured
merge tree, a file is only rewritten together with others that have at least as many rows in all. So
it at least doubles each time, and each row is written a few times, however large the table.
"""

from __future__ import annotations

from collections.abc import Sequence

NEVER_FULL = 1 << 62
"""Rows of a file for which none is so large that it is left alone."""

_AT_LEAST = 8
"""Files before a merge is worth it: one takes a version of the table, and some 10 ms."""

_DELETED = 0.3
"""Share of a file's rows that are deleted from which on it is rewritten without them."""


def tail(rows: Sequence[int], full: int) -> int:
    """Return how many of the newest files to merge into one; 0 for none.

    The most of which none has more rows than the others together.

    Args:
        rows: rows in each file, the oldest first.
        full: files with that many rows are left as they are.

    >>> tail([4096, 900, 1, 1, 1, 1, 1, 1, 1, 1], full=4096)
    8
    >>> tail([4096, 20, 7, 1, 1, 1, 1, 1, 1, 1], full=4096)
    8
    >>> tail([16, 16, 16, 16, 16, 16, 16, 16, 5], full=4096)
    9
    >>> tail([4096, 900, 1, 1], full=4096)
    0
    """
    most = taken = largest = 0
    for count, size in enumerate(reversed(rows), 1):
        if size >= full:
            break
        taken, largest = taken + size, max(largest, size)
        if count >= _AT_LEAST and largest <= taken - largest:
            most = count
    return most


def is_hollow(rows: int, deleted: int) -> bool:
    """Whether so many rows of a file are deleted that it is worth writing anew.

    Args:
        rows: rows it had when it was written.
        deleted: how many of these are deleted.
    """
    return deleted > _DELETED * rows
