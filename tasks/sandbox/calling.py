"""Calling what reads documents, so that it can hang, crash or fill the memory and harm nothing.

A process of its own does it (``tasks.sandbox.parent``). It is started at the first call, serves
all calls of this process, and is replaced when it dies: then the call is tried once more in a
fresh one, because a machine may have been short of memory or time for a moment. What fails twice
is an error that says where and why.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from patchlight.tasks.common.errors import (
    OcrDied,
    OcrTimeout,
    OutOfMemory,
    PageTimeout,
    SourceError,
    Stage,
    WorkerDied,
)
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.sandbox.parent import Cause, Child, Death, Said

logger = logging.getLogger("patchlight.worker")

_T = TypeVar("_T")

_WORN = 0.5
"""Share of the memory limit that a process may hold between calls; with more it is replaced, so
that no page pays for those before it."""

_DEATHS = (PageTimeout, OcrTimeout, OcrDied, OutOfMemory, WorkerDied)
"""What is tried once more, in a fresh process."""

_DOING = {
    Stage.OPEN: "opening it",
    Stage.WORDS: "reading its words",
    Stage.RENDER: "drawing it",
    Stage.ENCODE: "encoding it",
}


class Sandbox:
    """A process that functions are called in; there need be no more than one in a process.

    May be used from many threads; calls wait for each other.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._owner = os.getpid()

    def call(self, function: Callable[..., _T], *args: object, label: str, limits: Limits) -> _T:
        """Call a function in the process.

        Args:
            function: of a module; it and its arguments and result must be picklable.
            args: its arguments.
            label: file, or file and page, for messages.
            limits: what it may take. Without ``limits.sandbox`` it is called in this process.

        Raises:
            PageTimeout: it took too long, twice.
            OcrTimeout: Tesseract took too long, twice.
            OutOfMemory: it took too much memory, twice.
            WorkerDied: its process died over it, twice.
            Exception: what the function raises.
        """
        if not limits.sandbox:
            return function(*args)
        with self._lock:
            try:
                return self._once(function, args, label, limits)
            except _DEATHS as error:
                logger.warning("%s; trying it once more", error)
            return self._once(function, args, label, limits)

    def close(self) -> None:
        """End the process, if there is one; what waits for it in another thread fails."""
        self._end()

    def pid(self) -> int | None:
        """Return the process's id; None if there is none."""
        return self._child.pid if self._child and self._child.alive else None

    def _once(
        self, function: Callable[..., _T], args: tuple[object, ...], label: str, limits: Limits
    ) -> _T:
        try:
            child = self._ready(limits, function.__module__)
        except OSError as error:  # the machine may be out of memory or processes for a moment
            problem = f"{label}: no process to open it in could be started ({error}); try again"
            raise WorkerDied(problem) from error
        began = time.monotonic()
        try:
            said, result = child.run(function, args, limits)
        except Death as death:
            raise _error_of(death, label, limits) from death
        finally:
            logger.debug(
                "%s: %s in process %d, %.2f s",
                label,
                function.__name__,
                child.pid,
                time.monotonic() - began,
            )
        if said is Said.RETURNED:
            returned: _T = result
            return returned
        if isinstance(result, _DEATHS):  # of Tesseract: who knows what it has left behind
            self._end()
        raise result

    def _ready(self, limits: Limits, preload: str) -> Child:
        """Return a process that waits for a call, a fresh one where there is no good one."""
        if self._owner != os.getpid():  # a copy by fork: the process is the original's
            self._child, self._owner = None, os.getpid()
        if self._child and self._child.resident_mb() > _WORN * limits.page_memory_mb:
            self._end()
        if self._child is None or not self._child.alive:
            self._end()
            self._child = Child(preload)
        return self._child

    def _end(self) -> None:
        if self._child is not None and self._owner == os.getpid():
            self._child.end()
        self._child = None


def _error_of(death: Death, label: str, limits: Limits) -> SourceError:
    doing = "waiting for Tesseract" if death.ocr else _DOING[death.stage]
    if death.cause is Cause.MEMORY:
        return OutOfMemory(
            f"{label}: {'Tesseract' if death.ocr else doing} took more than "
            f"{limits.page_memory_mb} MiB of memory and was stopped; raise "
            "PATCHLIGHT_PAGE_MEMORY_MB if the machine has more, or lower --dpi",
            death.stage,
        )
    if death.cause is Cause.CRASH:
        return WorkerDied(
            f"{label}: the process that was {doing} died ({death.how}); the file may be damaged: "
            "open it in a viewer and save it again",
            death.stage,
        )
    if death.ocr:
        return OcrTimeout(
            f"{label}: Tesseract took longer than PATCHLIGHT_OCR_TIMEOUT_S allows and could not "
            "be ended; raise that, or lower --dpi",
            death.stage,
        )
    return PageTimeout(
        f"{label}: {doing} took longer than {limits.page_timeout_s} s and was stopped; raise "
        "PATCHLIGHT_PAGE_TIMEOUT_S, or save the file again in a simpler form",
        death.stage,
    )


_sandbox = Sandbox()
atexit.register(_sandbox.close)


def call(function: Callable[..., _T], *args: object, label: str, limits: Limits) -> _T:
    """Call a function in the process that this one has for it; see ``Sandbox.call``."""
    return _sandbox.call(function, *args, label=label, limits=limits)
