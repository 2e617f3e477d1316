"""A small program of its own: it ends and removes what a private Ray leaves behind.

It waits for the end of the process that holds the other end of its input, whose number it is
given. Then it ends the Python processes that have files open in the folder of that one's Ray
session, and removes Ray's folder; it removes those that killed runs have left beside it, too. It
is started by its path, with ``-I -S``, beside a process that may be killed at any moment; so it
imports the standard library alone.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PREFIX = "pl-ray-"
"""Names of the folders of private Rays begin so; short, as Ray's sockets are in them."""

LOCK = "held"
"""File in such a folder that its owner keeps locked."""

NEW_LOCK = f"{LOCK}.new"
"""That file until it is locked."""

_STARTS_WITHIN_S = 3600.0
"""A folder without its lock, that nothing was put in for so long, is not one that just starts."""

_SWEEPS = 10
"""How often it looks: a process that was about to start may open its files a moment later."""
_PAUSE_S = 0.5


def sweep(owner: int) -> None:
    """End the Python processes of the Ray session that a process has held.

    Returns when none is found any more, at the latest after some five seconds.

    Args:
        owner: number of that process; it has ended, or is spared.
    """
    python = os.readlink("/proc/self/exe")  # noqa: PTH115
    spared = {os.getpid(), owner}
    session = re.compile(f"/session_[^/]*_{owner}/")
    for _ in range(_SWEEPS):
        numbers = {int(name) for name in os.listdir("/proc") if name.isdigit()}  # noqa: PTH208
        found = [pid for pid in numbers - spared if _is_left(pid, python, session)]
        if not found:
            return
        for pid in found:
            with suppress(OSError):  # it has ended meanwhile, or is another user's
                os.kill(pid, signal.SIGKILL)
        time.sleep(_PAUSE_S)


def _is_left(pid: int, python: str, session: re.Pattern[str]) -> bool:
    """Whether a process runs the same Python and has a file of the session open."""
    place = f"/proc/{pid}"
    try:
        if os.readlink(f"{place}/exe") != python:  # noqa: PTH115 - strings, of many processes
            return False
        names = os.listdir(f"{place}/fd")  # noqa: PTH208
        return any(session.search(os.readlink(f"{place}/fd/{name}")) for name in names)  # noqa: PTH115
    except OSError:  # it has ended meanwhile, or is another user's
        return False


def remove(folder: Path) -> None:
    """Remove the folder of a private Ray, with what its last processes still write into it."""
    for _ in range(_SWEEPS):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(_PAUSE_S)


def remove_abandoned(place: Path) -> None:
    """Remove the folders of private Rays whose owners and sweepers were killed.

    Args:
        place: the folder they are in. Others' are left, those whose lock is held, and those
            that may be about to get one.
    """
    for folder in place.glob(f"{PREFIX}*"):
        with suppress(OSError):  # it is another's, not ready yet, or in use
            if folder.is_symlink() or folder.stat().st_uid != os.getuid():
                continue
            try:
                with (folder / LOCK).open("rb") as lock:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder, ignore_errors=True)
            except FileNotFoundError:
                _remove_unstarted(folder)


def _remove_unstarted(folder: Path) -> None:
    """Remove a folder whose owner was killed before it had its lock; one in use is never empty.

    Raises:
        OSError: it is too young, has other things in it, or gets its lock just now.
    """
    if time.time() - folder.stat().st_mtime < _STARTS_WITHIN_S:
        return
    with suppress(FileNotFoundError), (folder / NEW_LOCK).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (folder / NEW_LOCK).unlink()
    folder.rmdir()


if __name__ == "__main__":
    sys.stdin.read()
    sweep(int(sys.argv[1]))
    remove(Path(sys.argv[2]))
    remove_abandoned(Path(sys.argv[2]).parent)
