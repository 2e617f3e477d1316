"""Memory of processes, as Linux tells it under ``/proc``."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_RESIDENT, _DATA = 1, 5  # columns of statm
_LONGEST = 200
_PROC = "/proc"


class Memory:
    """Memory of one process, asked for many times a second.

    Its file is kept open: that is 20 times faster, and never another process of the same number.

    Args:
        pid: the process.
    """

    def __init__(self, pid: int) -> None:
        try:
            self._file = os.open(f"{_PROC}/{pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._file = -1

    def now(self) -> tuple[int, int]:
        """Return bytes in memory, and those asked for; 0 where the process is gone.

        The second is what ``RLIMIT_DATA`` counts.
        """
        try:
            columns = os.pread(self._file, _LONGEST, 0).split()
            return int(columns[_RESIDENT]) * _PAGE, int(columns[_DATA]) * _PAGE
        except (OSError, IndexError, ValueError):
            return 0, 0

    def close(self) -> None:
        """Ask no more."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class ProcessGroup:
    """The processes of a process group beside its leader: Tesseract, and what it may start.

    Args:
        leader: process id of the leader, which is also that of the group.
    """

    def __init__(self, leader: int) -> None:
        self._leader = leader
        self._seen: set[str] = set()
        self._members: dict[str, Memory] = {}

    def look(self) -> None:
        """Find processes that have joined the group; ones that were seen before cost nothing."""
        try:
            there = {name for name in os.listdir(_PROC) if name.isdigit()}  # noqa: PTH208
        except OSError:
            return
        for name in self._members.keys() - there:
            self._members.pop(name).close()
        for name in there - self._seen:
            belongs = self._belongs(name)
            if belongs is None:
                there.discard(name)
            elif belongs:
                self._members[name] = Memory(int(name))
        self._seen = there

    def resident(self) -> int:
        """Return bytes in memory of the processes that were found."""
        return sum(memory.now()[0] for memory in self._members.values())

    def close(self) -> None:
        """Look no more."""
        for memory in self._members.values():
            memory.close()
        self._members.clear()

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
