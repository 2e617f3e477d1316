"""Putting a database that was made anew in the place of the old one, in a local folder.

The new one lies beside the old one while it is made. At the end there are two renames; between
them nothing is at the place, and both are beside it, which whoever opens it can tell.
"""

from __future__ import annotations

import os
from pathlib import Path

from patchlight.storage.engine import engine_errors
from patchlight.storage.locks import is_local
from patchlight.storage.schema import SCHEMA_VERSION


def work_place(uri: str) -> str:
    """Where a database is made that is to take a place."""
    return f"{uri}.schema-{SCHEMA_VERSION}"


def kept_place(uri: str, version: int) -> str:
    """Where the database of an older schema is kept that had a place."""
    return f"{uri}.schema-{version}"


def kept(uri: str, version: int) -> str:
    """Where the old database is kept; empty if there is nothing."""
    place = kept_place(uri, version)
    return place if is_local(uri) and Path(place).exists() else ""


def is_half_moved(uri: str, version: int) -> bool:
    """Whether putting a new database in a place was cut off between the two renames.

    Args:
        uri: the place, at which no database was found.
        version: schema of the old one.
    """
    both = (kept_place(uri, version), work_place(uri))
    return is_local(uri) and all(Path(place).is_dir() for place in both)


def put_aside(uri: str, version: int) -> None:
    """Take the old database from its place: the first rename.

    Raises:
        StorageUnavailable: it cannot be renamed.
    """
    _rename(uri, kept_place(uri, version))


def put_in_place(uri: str) -> None:
    """Give the new database its place: the second rename.

    Raises:
        StorageUnavailable: it cannot be renamed.
    """
    _rename(work_place(uri), uri)


def _rename(old: str, new: str) -> None:
    with engine_errors(old, "(all)"):
        Path(old).rename(new)  # over an empty folder, too
        folder = os.open(Path(new).parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
