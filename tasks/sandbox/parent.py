"""A process that runs functions for this one, watched while it does: parent's side.

It has a session, a process group and a folder for temporary files of its own. It ends with its
parent, and everything that it started ends with it. ``tasks.sandbox.child`` is what runs in it.
"""

from __future__ import annotations

import os
import pickle
import secrets
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from patchlight.tasks.common import childenvironment
from patchlight.tasks.common.errors import Stage
from patchlight.tasks.common.limits import MEBIBYTE, Limits
from patchlight.tasks.common.tracebacks import Elsewhere
from patchlight.tasks.sandbox.procfs import Memory, ProcessGroup
from patchlight.tasks.sandbox.sharedmemory import SharedMemory

_LOOK_MS, _LOOK_IN_OCR_MS = 20, 100
"""Milliseconds: how often time and memory are looked at while a function runs."""

_LOOKS_A_SEARCH = 3
"""During OCR, of how many looks one searches for what the process has started."""

_START_TIMEOUT_S = 120
"""Seconds a process may take to start; a quarter of a second is usual."""

_OCR_GRACE_S = 5
"""Seconds beyond Tesseract's own limit in which it should have been ended already."""

_NEAR = 0.8
"""Share of the memory limit beyond which a process that dies is taken to have wanted more."""

DATA_FACTOR = 2
"""The system refuses a process more than this many times the limit, between two looks too."""

MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(32 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20)}
"""Keeps memory of one page for the next: pictures take longer to get memory than to be drawn."""

_BOOT = str(Path(__file__).with_name("boot.py"))
"""Not imported: what it starts, ``tasks.sandbox.child``, imports this."""

Call = tuple[Callable[..., Any], tuple[Any, ...], int]
"""What is asked of the process: a function, its arguments, and bytes of ``RLIMIT_DATA``."""


class Said(StrEnum):
    """What the process says, first in every message of it."""

    READY = "ready"
    """It has started: then the most bytes of memory it is said to have had."""
    RETURNED = "returned"
    """The function's result."""
    RAISED = "raised"
    """The exception it ended with, and where that came from, in full and short."""


class Cause(StrEnum):
    """Why the process is gone."""

    TIMEOUT = "timeout"
    MEMORY = "memory"
    CRASH = "crash"


@dataclass(slots=True, eq=False)
class Death(Exception):
    """The process died over a function, or was killed.

    Attributes:
        cause: why.
        stage: where the function was.
        ocr: whether Tesseract was at work.
        how: how the process ended, for people.
    """

    cause: Cause
    stage: Stage
    ocr: bool
    how: str


class Child:
    """A process that waits for functions. Not for use by several threads at once.

    Args:
        preload: module that it imports before it is ready, so that no call's time goes into it.

    Raises:
        OSError: it cannot be started.
        ChildProcessError: it ended, or said nothing, before it was ready.
    """

    def __init__(self, preload: str) -> None:
        self._preload = preload
        ours, theirs = socket.socketpair()
        # Made by the process while Tesseract needs it: nothing is left where both are killed.
        self._folder = f"{tempfile.gettempdir()}/patchlight-{secrets.token_hex(8)}"
        self._connection = Connection(ours.detach())
        self._shared = SharedMemory()
        self._poll = select.poll()
        self._poll.register(self._connection.fileno(), select.POLLIN)
        self._lock = threading.Lock()
        self._gone = False
        self._status: int | None = None
        self._most = 0
        self._refused: Exception | None = None
        self.pid = 0
        started = threading.Event()
        # The kernel ends the process when the *thread* that started it ends: so it has its own.
        self._keeper = threading.Thread(
            target=self._keep, args=(theirs, started), name="document-reader", daemon=True
        )
        self._keeper.start()
        started.wait()
        if self._refused is not None:
            self._let_go()
            raise self._refused
        self._memory = Memory(self.pid)
        self._group = ProcessGroup(self.pid)
        self._inherited = self._ready()

    def _ready(self) -> int:
        """Wait until it is ready; return the most bytes of memory it is said to have had by then.

        The system counts those of the parent it was forked from.
        """
        problem = f"nothing was heard of it in {_START_TIMEOUT_S} s"
        try:
            if self._poll.poll(1000 * _START_TIMEOUT_S):
                said, *rest = self._receive()
                if said is Said.READY:
                    return int(rest[0])
                problem = repr(rest[0])
        except (EOFError, ConnectionError):
            problem = ""
        self.end()
        problem = problem or self._how()
        raise ChildProcessError(f"the process that reads documents did not start: {problem}")

    @property
    def alive(self) -> bool:
        """Whether it is there."""
        return not self._gone

    def resident_mb(self) -> float:
        """MiB that it has in memory now."""
        return self._memory.now()[0] / MEBIBYTE

    def run(
        self, function: Callable[..., Any], args: tuple[Any, ...], limits: Limits
    ) -> tuple[Said, Any]:
        """Run a function in it, and wait.

        Returns:
            ``RETURNED`` and the result, or ``RAISED`` and the exception.

        Raises:
            Death: the process died, or went beyond a limit and was killed.
        """
        call: Call = function, args, DATA_FACTOR * limits.page_memory_mb * MEBIBYTE
        request = pickle.dumps(call, pickle.HIGHEST_PROTOCOL)
        self._shared.note(Stage.OPEN, 0)
        watch = _Watch(limits, self._memory, self._group)
        try:
            self._connection.send_bytes(request)
            wait_ms = _LOOK_MS
            while not self._poll.poll(wait_ms):
                _, ocr_s = self._shared.noted()
                cause = watch.cause_to_kill(ocr_s)
                if cause:
                    raise self._death(cause)
                wait_ms = _LOOK_IN_OCR_MS if ocr_s else _LOOK_MS
            said, result, *traces = self._receive()
            if said is Said.RAISED:
                if isinstance(result, MemoryError):
                    raise self._death(Cause.MEMORY)
                result.__cause__ = Elsewhere(*traces)
            return said, result
        except (EOFError, ConnectionError) as error:
            death = self._death(Cause.CRASH)
            most = self._most if self._most > self._inherited else 0
            if watch.was_near_limit(most):
                death.cause = Cause.MEMORY
            raise death from error
        except BaseException:  # e.g. Ctrl-C: what it is at would answer the next call
            self.end()
            raise

    def end(self) -> None:
        """Kill it with all it has started, and wait until nothing is left of it."""
        self._kill()
        self._keeper.join()
        self._let_go()

    def _death(self, cause: Cause) -> Death:
        """End it; return where it was."""
        self._kill()
        self._keeper.join()
        stage, ocr_s = self._shared.noted()
        return Death(cause, stage, ocr_s > 0, self._how())

    def _let_go(self) -> None:
        if not self._connection.closed:
            self._connection.close()
            self._shared.close()
            if self.pid:
                self._memory.close()
                self._group.close()

    def _receive(self) -> Any:
        return self._shared.loads(self._connection.recv_bytes())

    def _keep(self, theirs: socket.socket, started: threading.Event) -> None:
        """Start the process, wait for its end, and tidy up after it."""
        try:
            try:
                process = self._start(theirs)
            except Exception as error:  # it is raised where the process is wanted
                self._refused = error
                return
            finally:
                theirs.close()
            self.pid = process.pid
            started.set()
            # Its number is not given to another process before it has been waited for.
            with suppress(ChildProcessError):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
            with self._lock:
                self._signal_group()
                self._gone = True
            with suppress(ChildProcessError):
                _, status, used = os.wait4(self.pid, 0)
                self._most = used.ru_maxrss * 1024
                self._status = os.waitstatus_to_exitcode(status)
            process.returncode = self._status if self._status is not None else -1
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            started.set()

    def _start(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        descriptors = theirs.fileno(), self._shared.descriptor
        place = [*map(str, descriptors), str(os.getpid()), self._preload]
        path = [entry or os.getcwd() for entry in sys.path]  # noqa: PTH109 - a string is wanted
        environment = childenvironment.with_more(
            {
                "TMPDIR": self._folder,
                # One thread a process: there is a process a CPU already.
                "OMP_NUM_THREADS": "1",
                "OPENBLAS_NUM_THREADS": "1",
                **MALLOC,
            }
        )
        return subprocess.Popen(
            [sys.executable, "-P", _BOOT, *place, *path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # what libraries print must not end up between messages
            stderr=subprocess.DEVNULL,
            env=environment,
            pass_fds=descriptors,
            start_new_session=True,
        )

    def _kill(self) -> None:
        with self._lock:
            if not self._gone:
                self._signal_group()

    def _signal_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    def _how(self) -> str:
        if self._status is None:
            return "it is gone"
        if self._status >= 0:
            return f"it ended with code {self._status}"
        try:
            return f"it was ended by {signal.Signals(-self._status).name}"
        except ValueError:
            return f"it was ended by signal {-self._status}"


class _Watch:
    """Time and memory of one call."""

    def __init__(self, limits: Limits, memory: Memory, group: ProcessGroup) -> None:
        self._most = limits.page_memory_mb * MEBIBYTE
        self._timeout_s = limits.page_timeout_s
        self._memory = memory
        self._group = group
        self._last = time.monotonic()
        self._spent_s = self._in_ocr_s = 0.0
        self._looks = 0
        self._near = False

    def cause_to_kill(self, ocr_s: int) -> Cause | None:
        """Say which limit the process is beyond, if it is.

        Args:
            ocr_s: seconds Tesseract may take, if it is at work; else 0. Its time is not the page's.
        """
        now = time.monotonic()
        passed, self._last = now - self._last, now
        resident, data = self._memory.now()
        if ocr_s:
            self._in_ocr_s += passed
            if self._looks % _LOOKS_A_SEARCH == 0:
                self._group.look()
            self._looks += 1
            resident += self._group.resident()
        else:
            self._spent_s += passed
        self._near = resident > _NEAR * self._most or data > _NEAR * DATA_FACTOR * self._most
        if resident > self._most:
            return Cause.MEMORY
        late = self._spent_s > self._timeout_s or (ocr_s and self._in_ocr_s > ocr_s + _OCR_GRACE_S)
        return Cause.TIMEOUT if late else None

    def was_near_limit(self, most: int) -> bool:
        """Whether the process was about to need more memory than it may have.

        Args:
            most: most bytes that it, or a process it waited for, ever had in memory.
        """
        return self._near or most > _NEAR * self._most
