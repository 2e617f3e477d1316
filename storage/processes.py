"""Which process this is, and whether another one of this machine still runs."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_PID_NAMESPACE = Path("/proc/self/ns/pid")
_STATE, _START_TIME = 0, 19
"""Fields of ``/proc/<pid>/stat``, counted from the one behind the name of the command."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process, told apart from every other, on other machines and at other times.

    Attributes:
        host: name of the machine.
        pid: its number there.
        identity: ``<boot>/<pid namespace>/<start>``; empty where the system does not tell.
    """

    host: str
    pid: int
    identity: str


def this_process() -> Process:
    """The process that asks."""
    pid, place, stat = os.getpid(), _place(), _stat(os.getpid())
    identity = f"{place}/{stat[_START_TIME]}" if place and stat else ""
    return Process(socket.gethostname(), pid, identity)


def is_gone(process: Process) -> bool:
    """Whether a process is known to have ended; see `is_alive`."""
    return is_alive(process) is False


def is_alive(process: Process) -> bool | None:
    """Whether a process of this machine is there.

    None for one of another machine or container, for one from before the machine was started
    anew, and wherever the system does not tell: it may live.
    """
    place, _, started = process.identity.rpartition("/")
    if not place or place != _place() or process.host != socket.gethostname():
        return None
    stat = _stat(process.pid)
    if stat:
        # One that was killed keeps its number until its parent has asked how it ended.
        return stat[_STATE] not in ("Z", "X") and stat[_START_TIME] == started
    return None if _exists(process.pid) else False


def _place() -> str:
    """Where a pid means something: this start of this machine, and a container on it."""
    try:
        return f"{_BOOT_ID.read_text().strip()}/{_PID_NAMESPACE.readlink()}"
    except OSError:
        return ""


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return []
    return text.rpartition(")")[2].split()  # the command's name may hold spaces and brackets


def _exists(pid: int) -> bool:
    """Whether a pid is in use; asked where /proc may hide processes of other users."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
