"""One ``patchlight ingest`` in processes of its own, and where it is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from patchlight.storage.database import Database
from patchlight.storage.errors import PatchlightError
from patchlight.storage.records import DocumentStatus
from patchlight.storage.schema import Table
from tests.faults.plan import Stage
from tests.faults.processes import MARK, Family, Kind, Member

ROOT = Path(__file__).parent.parent.parent

ORPHAN_S = 15.0
"""What is alive this long after the command ended is an orphan."""

_LOOK_S = 0.5
"""How often the database is asked how far a run is."""


@dataclass(frozen=True, slots=True)
class State:
    """How far a database is.

    Attributes:
        runs: rows in ``runs``.
        settled: documents that no run has in work.
        pages: pages stored.
    """

    runs: int = 0
    settled: int = 0
    pages: int = 0


def state_of(uri: str) -> State:
    """Say how far a database is; all 0 while it is being made."""
    try:
        database = Database.open(uri)
        documents = database.documents()
        return State(
            len(database.runs()),
            sum(d.status is not DocumentStatus.UNFINISHED for d in documents),
            database.table(Table.PAGES).count_rows(),
        )
    except PatchlightError:
        return State()


def environment(work: Path, more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a run: Prefect's record in the work folder, telemetry off."""
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "PATCHLIGHT_"))},
        "PREFECT_HOME": str(work / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "RAY_USAGE_STATS_ENABLED": "0",
        "DO_NOT_TRACK": "1",
        **(more or {}),
    }


class Ingest:
    """A running ``patchlight ingest``.

    Args:
        sources: what is ingested.
        db: the database.
        work: folder for Prefect's record.
        output: file for what it prints; appended to.
        expected: documents that are settled when all is done.
        more: environment of it, beside ``environment``.
        options: of ``patchlight ingest``.

    Attributes:
        stage: where it is, as of the last look.
        state: of the database, as of the last look.
    """

    def __init__(
        self,
        sources: Sequence[str],
        db: str,
        work: Path,
        output: Path,
        *,
        expected: int = 0,
        more: Mapping[str, str] | None = None,
        options: Sequence[str] = (),
    ) -> None:
        mark = f"{db}#{uuid.uuid4().hex}"
        self.stage = Stage.STARTING
        self.state = state_of(db)
        self._runs_before = self.state.runs
        self._db = db
        self._output = output
        self._expected = expected
        self._opened = False
        self._worked = False
        self._looked = self._moved = self._stage_since = self._began = time.monotonic()
        self._seen: object = None
        self._ended: float | None = None
        with output.open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "patchlight", "ingest", *sources, "--db", db, *options],
                cwd=ROOT,
                env={**environment(work, more), MARK: mark},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # Ours is not to be interrupted by what is meant for the harness.
                start_new_session=True,
            )
        self.family = Family(self._process.pid, mark)

    @property
    def seconds(self) -> float:
        """Seconds since it was started, or that it took."""
        return (self._ended or time.monotonic()) - self._began

    @property
    def stage_s(self) -> float:
        """Seconds since the stage began."""
        return time.monotonic() - self._stage_since

    @property
    def still_s(self) -> float:
        """Seconds since anything was seen to change."""
        return time.monotonic() - self._moved

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        code = self._process.poll()
        if code is not None and self._ended is None:
            self._ended = time.monotonic()
        return code

    def look(self) -> list[Member]:
        """Find out where it is; returns its living processes."""
        members = self.family.look()
        now = time.monotonic()
        if now - self._looked >= _LOOK_S:
            self._looked = now
            self.state = state_of(self._db)
        stage = self._stage(members)
        if stage is not self.stage:
            self.stage, self._stage_since = stage, now
        size = self._output.stat().st_size
        seen = (self.state, self.stage, size, frozenset(m.pid for m in members))
        if seen != self._seen:
            self._seen, self._moved = seen, now
        return members

    def wait(self, hang_s: float) -> int | None:
        """Let it end; returns its code, or None if nothing changed for ``hang_s`` seconds."""
        while self.code is None and self.still_s < hang_s:
            self.look()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
        return self.code

    def left_behind(self) -> list[tuple[Member, float | None]]:
        """Wait for what it has left behind to end, then kill the rest.

        Returns:
            What was alive after its end, and how many seconds; None for what was so still after
            ``ORPHAN_S``, and was killed.
        """
        if self.code is None:
            self.family.end()
            self._process.wait()
            return []
        end = time.monotonic()
        lived: dict[int, tuple[Member, float | None]] = {}
        while True:
            alive = self.family.look(everywhere=True)
            since = time.monotonic() - end
            for pid in lived.keys() - {m.pid for m in alive}:
                if lived[pid][1] is None:
                    lived[pid] = (lived[pid][0], since)
            lived |= {m.pid: (m, None) for m in alive}
            if not alive or since > ORPHAN_S:
                break
            time.sleep(0.5)
        self.family.end()
        return list(lived.values())

    def last_words(self, lines: int = 12) -> list[str]:
        """Return the last lines of what it printed, cut."""
        text = self._output.read_text(encoding="utf-8", errors="replace")
        return [line[:300] for line in text.splitlines()[-lines:]]

    def _stage(self, members: Sequence[Member]) -> Stage:
        tasks = {m.title for m in members if m.kind is Kind.READER}
        self._opened |= any("inspect" in task for task in tasks)
        self._worked |= any("inspect" not in task for task in tasks)
        if self.state.runs <= self._runs_before:
            return Stage.STARTING
        if not (self._opened or self._worked) or any("inspect" in task for task in tasks):
            return Stage.INSPECTING
        if self._expected and self.state.settled >= self._expected and not tasks:
            return Stage.FINISHING
        return Stage.INGESTING if self._worked else Stage.INSPECTING
