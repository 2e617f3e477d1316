"""Locks that processes on one machine hold on a database; the system frees a dead one's.

They are put on the folders of the database itself. In an object store there are none.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchlight.storage.engine import engine_errors, table_uri
from patchlight.storage.schema import Table

_LOCKED = Table.META
"""Its folder is there from the first moment on. Making a database locks the one above."""


@contextmanager
def making(uri: str) -> Iterator[None]:
    """Let one process at a time make tables: of two at once, the engine may keep the second.

    Makes the database's folder. In an object store nothing is locked: do not make one database
    there from two places at once.

    Raises:
        StorageUnavailable: the place cannot be used.
    """
    if not is_local(uri):
        yield
        return
    with engine_errors(uri, "(all)"):
        Path(uri).mkdir(parents=True, exist_ok=True)
    with _held(uri, uri, fcntl.LOCK_EX):
        yield


@contextmanager
def making_alone(uri: str) -> Iterator[bool]:
    """As `making`, which is not to be called inside, but without waiting for another process.

    Yields:
        Whether no other process makes tables there.

    Raises:
        StorageUnavailable: the place cannot be used.
    """
    if not is_local(uri):
        yield True
        return
    with engine_errors(uri, "(all)"):
        Path(uri).mkdir(parents=True, exist_ok=True)
    with _alone(uri, uri) as alone:
        yield alone


@contextmanager
def writing(uri: str) -> Iterator[None]:
    """Tell the cleaning of other processes that files are being written; waits for one at work.

    Raises:
        StorageUnavailable: the database is not there or its place has no locks.
    """
    if not is_local(uri):
        yield
        return
    with _held(uri, table_uri(uri, _LOCKED), fcntl.LOCK_SH):
        yield


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
    with _alone(uri, table_uri(uri, _LOCKED)) as alone:
        yield alone


def is_local(uri: str) -> bool:
    """Whether a database lies in a folder, not in an object store."""
    return "://" not in uri


@contextmanager
def _held(uri: str, folder: str, how: int) -> Iterator[None]:
    """Hold a lock on a folder of a database, once nobody is in the way."""
    with _opened(uri, folder) as descriptor:
        with engine_errors(uri, "(all)"):
            fcntl.flock(descriptor, how)
        yield


@contextmanager
def _alone(uri: str, folder: str) -> Iterator[bool]:
    """Hold a folder's lock alone, if nobody else holds it now."""
    with _opened(uri, folder) as descriptor:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            alone = False
        else:
            alone = True
        yield alone


@contextmanager
def _opened(uri: str, folder: str) -> Iterator[int]:
    """A folder's descriptor; closing it frees what lock it has."""
    with engine_errors(uri, "(all)"):
        descriptor = os.open(folder, os.O_RDONLY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
