"""Memory of processes, as Linux tells it under ``/proc``; elsewhere nothing is known, so 0."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_RESIDENT, _DATA = 1, 5  # columns of statm
_PROC = "/proc"


def memory_of(pid: int) -> tuple[int, int]:
    """Return bytes of a process in memory, and those it has asked for; 0 where it is gone.

    The second is what ``RLIMIT_DATA`` counts.
    """
    try:
        with open(f"{_PROC}/{pid}/statm", "rb") as file:  # noqa: PTH123 - asked 50 times a second
            columns = file.read().split()
        return int(columns[_RESIDENT]) * _PAGE, int(columns[_DATA]) * _PAGE
    except (OSError, IndexError, ValueError):
        return 0, 0


class Group:
    """The processes of a process group beside its leader: Tesseract, and what it may start.

    Args:
        leader: process id of the leader, which is also that of the group.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._seen: set[str] = set()
        self._members: set[int] = set()

    def look(self) -> None:
        """Find processes that have joined the group; ones that were seen before cost nothing."""
        try:
            there = {name for name in os.listdir(_PROC) if name.isdigit()}  # noqa: PTH208
        except OSError:
            return
        for name in there - self._seen:
            belongs = self._belongs(name)
            if belongs is None:
                there.discard(name)
            elif belongs:
                self._members.add(int(name))
        self._seen = there
        self._members &= {int(name) for name in there}

    def resident(self) -> int:
        """Return bytes in memory of the processes that were found."""
        return sum(memory_of(pid)[0] for pid in self._members)

    def _belongs(self, name: str) -> bool | None:
        if int(name) == self._leader:
            return False
        with suppress(OSError, IndexError, ValueError):
            # After the name of the program, in parentheses: state, parent, group.
            state = Path(_PROC, name, "stat").read_bytes().rpartition(b")")[2].split()
            if int(state[2]) != self._leader:
                return False
            # Until it has become a program of its own, its memory is that of its parent.
            return True if self._line(name) != self._line(str(self._leader)) else None
        return False

    @staticmethod
    def _line(name: str) -> bytes:
        return Path(_PROC, name, "cmdline").read_bytes()
