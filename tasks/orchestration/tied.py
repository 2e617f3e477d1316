"""A small program of its own: it becomes a command that ends with the process that started it.

It is started by its path, with ``-I -S``: ``tied.py <number of that process> <command> ...``.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def become(parent: int, command: list[str]) -> None:
    """Become a command that the kernel ends with the parent, however that ends.

    Returns only where the parent has ended already.

    Args:
        parent: number of the process that started this one.
        command: path of a program, and its arguments.
    """
    # The wish outlives the exec.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() == parent:
        os.execv(command[0], command)


if __name__ == "__main__":
    become(int(sys.argv[1]), sys.argv[2:])
