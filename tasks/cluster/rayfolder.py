"""The folder of a private Ray: its logs, its sockets, and what it has no memory for.

It is the user's alone. Whoever could write to Ray's sockets could run code as the user, and what
Ray puts there may be pictures of pages.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from patchlight.tasks.cluster import sweeper

_LONGEST = 107 - len("/ray/session_2026-01-01_00-00-00_000000_1234567/sockets/plasma_store")
"""Bytes that its path may have: the system bounds the path of a socket."""


@contextmanager
def private_folder(place: str | None) -> Iterator[Path]:
    """Make a folder for Ray in one of mode 0700, and remove both in the end.

    Ray opens its own to everybody. The outer one is locked meanwhile: a sweeper knows by that
    whether it is still in use.

    Args:
        place: the folder to make it in; by default, and where its path is too long for Ray's
            sockets, the system's for temporary files.

    Raises:
        OSError: it cannot be made.
    """
    folder = Path(tempfile.mkdtemp(prefix=sweeper.PREFIX, dir=place))
    if len(os.fsencode(folder)) > _LONGEST:
        folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix=sweeper.PREFIX, dir="/tmp"))
    new = folder / sweeper.NEW_LOCK
    with new.open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(folder / sweeper.LOCK)  # nobody sees it without its lock
        try:
            yield folder / "ray"
        finally:
            sweeper.remove(folder)
