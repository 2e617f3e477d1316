"""The log of a trial: a line of JSON for each thing that happened."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any


class Event(StrEnum):
    """What a line is about."""

    BEGIN = "begin"
    """The trial: seed, sources, how many kills are wanted."""
    CLEAN = "clean"
    """The undisturbed ingest: code, seconds, documents, pages."""
    KILL = "kill"
    """A kill that landed: number, target, stage, seconds into the run."""
    RUN = "run"
    """A run ended: code, seconds, the kills in it, what was left behind."""
    ROUND = "round"
    """A database was finished and compared: differences, what the watcher saw."""


class Log:
    """The file, read back when a trial is continued.

    Args:
        path: the file; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lines = list(read(path)) if path.exists() else []

    def add(self, event: Event, **facts: Any) -> None:
        """Append a line; it is on the disk when this returns."""
        line = {"event": event.value, **facts}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self._lines.append(line)

    def of(self, event: Event) -> list[dict[str, Any]]:
        """Return the lines about one kind of thing, first one first."""
        return [line for line in self._lines if line["event"] == event]


def read(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of a log; one that was cut off in the middle is left out."""
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:
            continue
