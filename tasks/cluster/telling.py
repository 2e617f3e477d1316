"""What workers have to say goes back with their results, into the log of the flow.

Ray would copy all that its workers print, libraries' noise too, a moment later or never. Here a
worker keeps what patchlight says at ``WARNING`` and above, and with ``--verbose`` all of it, and
each result takes along what was said until then, and so does each error. It is printed once, by
whoever takes the result out. What a worker that is killed said last stays in its own log; that it
died is said in the flow's.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from patchlight.tasks.common import tracebacks
from patchlight.tasks.common.console import PlainFormatter
from patchlight.tasks.common.settings import LogLevel, load_settings

_MOST = 200
"""Lines that a worker keeps until a result takes them along; of more, the first are kept."""

LINES = "patchlight_lines"
"""Attribute of an exception that leaves a worker: what was said until it was raised."""

_METHODS = ("load", "encode", "encode_shard", "encode_queries")
"""What is called of an encoder's actor."""


@dataclass(frozen=True, slots=True)
class Line:
    """Something a worker said.

    Attributes:
        logger: who says it.
        level: of ``logging``.
        text: the message.
        traceback: of the exception it is about; empty if it is about none.
        pid: the worker.
        created: when, seconds since 1970.
        stands_for: lines that were left out and that this one stands for; 0 where it is one
            that was said.
    """

    logger: str
    level: int
    text: str
    traceback: str
    pid: int
    created: float
    stands_for: int = 0


@dataclass(frozen=True, slots=True)
class Told:
    """A result, with what was said until it was there."""

    result: Any
    lines: tuple[Line, ...]


class _Keeper(logging.Handler):
    """Keeps what is said, for the next result."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self._lines: list[Line] = []
        self._left_out = 0

    def emit(self, record: logging.LogRecord) -> None:
        if len(self._lines) >= _MOST:
            self._left_out += 1
            return
        error = record.exc_info and logging.Formatter().formatException(record.exc_info)
        said = record.getMessage(), error or "", os.getpid(), record.created
        self._lines.append(Line(record.name, record.levelno, *said))

    def taken(self) -> tuple[Line, ...]:
        """Return what was said since the last time."""
        self.acquire()
        try:
            lines, self._lines = self._lines, []
            left_out, self._left_out = self._left_out, 0
        finally:
            self.release()
        if left_out:
            lines.append(_standing_for(left_out, lines[-1]))
        return tuple(lines)


_depth = threading.local()


def telling(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make a function that runs on a worker return ``Told``; it takes such results, too.

    One that is called by another of these in the same thread returns its plain result.
    """

    @functools.wraps(function)
    def tells(*args: Any, **named: Any) -> Any:
        return _tell(function, args, named)  # alone: all that is named here crosses to workers

    return tells


def _tell(function: Callable[..., Any], args: tuple[Any, ...], named: dict[str, Any]) -> Any:
    if getattr(_depth, "inside", False):
        return function(*args, **named)
    keeper = _keeper()
    before = tuple(line for arg in args if isinstance(arg, Told) for line in arg.lines)
    _depth.inside = True
    try:
        plain = [arg.result if isinstance(arg, Told) else arg for arg in args]
        result = function(*plain, **named)
    except Exception as error:
        setattr(error, tracebacks.SHORT, tracebacks.short(error))
        setattr(error, LINES, _bounded(before + keeper.taken()))
        raise
    finally:
        _depth.inside = False
    return Told(result, _bounded(before + keeper.taken()))


def _bounded(lines: tuple[Line, ...]) -> tuple[Line, ...]:
    """Return the first lines, and one that says how many more there were."""
    kept, more = lines[: 2 * _MOST], lines[2 * _MOST :]
    if not more:
        return kept
    return (*kept, _standing_for(sum(line.stands_for or 1 for line in more), more[-1]))


def _standing_for(left_out: int, last: Line) -> Line:
    text = f"… {left_out} more lines were left out; they are in the workers' own logs"
    return Line(last.logger, logging.WARNING, text, "", last.pid, last.created, left_out)


def telling_worker(worker: type[Any]) -> type[Any]:
    """Make an encoder's class whose methods return ``Told``."""
    methods = {name: telling(getattr(worker, name)) for name in _METHODS}
    return type(worker.__name__, (worker,), {**methods, "__doc__": worker.__doc__})


def taken(result: Any) -> Any:
    """Print what a result has along; return the result itself."""
    if not isinstance(result, Told):
        return result
    _print(result.lines)
    return result.result


def print_what_it_has_along(error: BaseException | None) -> None:
    """Print what an error that left a worker has along; a second time there is nothing left."""
    if error is not None:
        _print(error.__dict__.pop(LINES, ()))


def _print(lines: tuple[Line, ...]) -> None:
    for line in lines:
        logger = logging.getLogger(line.logger)
        if logger.isEnabledFor(line.level):
            record = logger.makeRecord(
                line.logger, line.level, "(worker)", 0, f"worker {line.pid}: %s", (line.text,), None
            )
            record.created = line.created
            record.exc_text = line.traceback or None
            logger.handle(record)


@functools.cache
def _keeper() -> _Keeper:
    """Set up the log of a worker's process; return what keeps what is said in it."""
    level = load_settings().log_level
    keeper = _Keeper(logging.DEBUG if level is LogLevel.DEBUG else logging.WARNING)
    own = logging.StreamHandler(sys.stderr)  # Ray writes that to the worker's log
    own.setFormatter(PlainFormatter("%(asctime)s %(levelname)-7s %(message)s"))
    log = logging.getLogger("patchlight")
    log.setLevel(level.value)
    log.propagate = False
    log.handlers[:] = [keeper, own]
    return keeper
