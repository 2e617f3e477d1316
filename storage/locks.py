"""Locks that processes on one machine hold on a database; the system frees a dead one's.

They are put on folders that are there anyway. In an object store there are none.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from storage.engine import engine_errors, table_uri
from storage.schema import Table

_LOCKED = Table.META
"""Its folder is there from the first moment on, and nothing else locks it."""


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Tell the cleaning of other processes that files are being written; waits for one at work.

    Raises:
        StorageUnavailable: the database is not there or its place has no locks.
    """
    if not is_local(uri):
        yield
        return
    folder = _folder(uri)
    try:
        with engine_errors(uri, "(all)"):
            fcntl.flock(folder, fcntl.LOCK_SH)
        yield
    finally:
        os.close(folder)


@contextmanager
def nobody_writing(uri: str) -> Iterator[bool]:
    """Keep every other writer waiting, if none is at work; do not write inside.

    Yields:
        Whether that is so. False in an object store, and on a file system without such locks.

    Raises:
        StorageUnavailable: the database is not there.
    """
    if not is_local(uri):
        yield False
        return
    folder = _folder(uri)
    try:
        yield _locked(folder)
    finally:
        os.close(folder)


def is_local(uri: str) -> bool:
    """Whether a database lies in a folder, not in an object store."""
    return "://" not in uri


def _locked(folder: int) -> bool:
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _folder(uri: str) -> int:
    with engine_errors(uri, "(all)"):
        return os.open(table_uri(uri, _LOCKED), os.O_RDONLY)
