"""Logs and progress on stderr; results are for stdout."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from patchlight.tasks.common.safetext import escaped

logger = logging.getLogger("patchlight.progress")

_LOG_EVERY_S = 30.0
"""Where there is no terminal, progress is a log line this often."""


class PlainFormatter(logging.Formatter):
    """Writes one line a message, whatever names and texts are in it; tracebacks are indented.

    So no file name can pass for a line of the log, or steer the terminal that shows it.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        record.message = record.getMessage()
        record.asctime = self.formatTime(record, self.datefmt)
        lines = [self.formatMessage(record)]
        if record.exc_info:
            lines += self.formatException(record.exc_info).splitlines()
        elif record.exc_text:  # of another process
            lines += record.exc_text.splitlines()
        if record.stack_info:
            lines += record.stack_info.splitlines()
        return "\n    ".join(map(escaped, lines))


def set_up_logging(level: str, *, libraries: bool = False) -> None:
    """Send the log to stderr; for the command line, which owns the process.

    Args:
        level: of our own log.
        libraries: whether libraries may say everything too.
    """
    handler: logging.Handler
    if sys.stderr.isatty():
        handler = RichHandler(console=Console(stderr=True), show_path=False, show_time=False)
        handler.setFormatter(PlainFormatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(PlainFormatter("%(asctime)s %(levelname)-7s %(message)s"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.captureWarnings(True)  # shown with the libraries' log only
    root.setLevel(logging.INFO if libraries else logging.ERROR)
    logging.getLogger("patchlight").setLevel(level.upper())


@contextmanager
def progress(label: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
    """Show how far long work is, on stderr.

    Args:
        label: what is being done.
        total: how much there is to do.
        unit: of what, plural.

    Yields:
        A function to call with the amount just done; may be called from any thread.
    """
    if sys.stderr.isatty():
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total)
            yield lambda amount: bar.advance(task, amount)
        return
    state = {"done": 0, "logged": time.monotonic()}

    def advance(amount: int) -> None:
        state["done"] += amount
        now = time.monotonic()
        if now - state["logged"] >= _LOG_EVERY_S:
            state["logged"] = now
            logger.info("%s: %d of %d %s", label, state["done"], total, unit)

    yield advance
