"""The processes of a run: which they are, and which of them outlive it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil

MARK = "PATCHLIGHT_FAULTS_RUN"
"""Environment variable that names the run to each of its processes."""


class Kind(StrEnum):
    """What a process is for."""

    FLOW = "flow"
    """The command itself."""
    READER = "reader"
    """A Ray worker at work on a task: opening files, reading pages."""
    ENCODER = "encoder"
    """The Ray actor that encodes."""
    SANDBOX = "sandbox"
    """The child of a Ray worker in which documents are opened."""
    OCR = "ocr"
    """Tesseract."""
    RAYLET = "raylet"
    """Ray's process of this machine."""
    GCS = "gcs"
    """Ray's head."""
    SERVER = "prefect server"
    """Prefect's temporary server."""
    OTHER = "other"
    """Idle workers, Ray's monitors and agents, children on their way to become something."""


@dataclass(frozen=True, slots=True)
class Member:
    """A process that was alive at the last look.

    Attributes:
        pid: its number.
        kind: what it is for.
        title: its command line, cut.
        adrift: whether it does not descend from the command any more.
    """

    pid: int
    kind: Kind
    title: str
    adrift: bool


class Family:
    """A command with all that it starts, also what outlives it.

    Args:
        pid: the command's.
        mark: value of ``MARK`` in its environment.
    """

    def __init__(self, pid: int, mark: str) -> None:
        self._pid = pid
        self._mark = mark
        self._known = {pid: psutil.Process(pid)}

    def look(self, *, everywhere: bool = False) -> list[Member]:
        """Return the members that are alive.

        Args:
            everywhere: whether to look at all processes of the machine for the mark, and not
                only at descendants of those that are known.
        """
        parents = self._parents()
        self._learn(parents, everywhere)
        members = []
        for pid, process in list(self._known.items()):
            try:
                if not process.is_running() or process.status() == psutil.STATUS_ZOMBIE:
                    del self._known[pid]
                    continue
                command = process.cmdline()
            except psutil.Error:
                self._known.pop(pid, None)
                continue
            kind = Kind.FLOW if pid == self._pid else kind_of(command)
            title = " ".join(command).strip()[:120]
            members.append(Member(pid, kind, title, not self._descends(pid, parents)))
        return members

    def kill(self, member: Member) -> bool:
        """Send SIGKILL; returns whether the process was still there."""
        process = self._known.get(member.pid)
        try:
            if process is None or not process.is_running():
                return False
            process.kill()
        except psutil.NoSuchProcess:
            return False
        return True

    def end(self) -> None:
        """Kill whatever is left."""
        for _ in range(20):
            left = self.look(everywhere=True)
            if not left:
                return
            for member in left:
                self.kill(member)
            time.sleep(0.1)

    def _learn(self, parents: dict[int, int], everywhere: bool) -> None:
        found = True
        while found:
            found = False
            for pid, parent in parents.items():
                if parent in self._known and pid not in self._known:
                    with suppress(psutil.Error):
                        self._known[pid] = psutil.Process(pid)
                        found = True
        if everywhere:
            self._known |= {p.pid: p for p in marked(self._mark) if p.pid not in self._known}

    def _parents(self) -> dict[int, int]:
        return {process.pid: process.info["ppid"] for process in psutil.process_iter(["ppid"])}

    def _descends(self, pid: int, parents: dict[int, int]) -> bool:
        while pid in parents and pid != self._pid:
            pid = parents[pid]
        return pid == self._pid


def marked(mark: str) -> Iterator[psutil.Process]:
    """Yield the processes of the machine whose mark begins so.

    Ray's workers overwrite theirs when they give themselves a title; they are known before.
    """
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get(MARK, "").startswith(mark):
                yield process


def end_marked(mark: str) -> None:
    """Kill the processes whose mark begins so."""
    for process in marked(mark):
        with suppress(psutil.Error):
            process.kill()


def kind_of(command: list[str]) -> Kind:
    """Say what a process of a run is for, by its command line."""
    if not command:
        return Kind.OTHER
    name = Path(command[0]).name
    if command[0].startswith("ray::"):
        task = command[0].removeprefix("ray::")
        if task.startswith("EncoderWorker"):
            return Kind.ENCODER
        return Kind.OTHER if task.startswith(("IDLE", "Dashboard", "RuntimeEnv")) else Kind.READER
    if name == "tesseract":
        return Kind.OCR
    if name == "raylet":
        return Kind.RAYLET
    if name == "gcs_server":
        return Kind.GCS
    if any("tasks/sandbox/boot.py" in part for part in command):
        return Kind.SANDBOX
    return Kind.SERVER if "prefect.server.api.server:create_app" in command else Kind.OTHER
