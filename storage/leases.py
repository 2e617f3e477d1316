"""Leases: how runs on one database know of each other which ones are at work.

A run's row in ``runs`` says when it was last heard of. As long as it renews that, what it works
on is its own; when it has been silent for longer than its lease, another run may write it off
as abandoned, in one conditional write, and take over what it left. Only the row counts: a run
that finds it taken must stop.

Times are those of each machine's clock, in UTC. A clock that is ahead of another by more than a
lease less a heartbeat takes that machine's living runs for dead; one that is behind lets dead
ones live longer by as much. Keep the clocks of machines that share a database within some
seconds of each other.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Self

from patchlight.storage import convert
from patchlight.storage.database import Database
from patchlight.storage.errors import LeaseLost, StorageUnavailable
from patchlight.storage.processes import Process, is_gone, this_process
from patchlight.storage.records import Run
from patchlight.storage.schema import Table
from patchlight.storage.writer import Writer

logger = logging.getLogger("patchlight.storage")

RUNNING = "running"
ABANDONED = "abandoned"
ABANDONED_BY = "abandoned_by"
"""Key in an abandoned run's summary: the run that took over."""

_STILL_OURS = (
    f"target.status = '{RUNNING}' AND target.host = source.host "
    "AND target.pid = source.pid AND target.process = source.process"
)
_NOT_HEARD_OF_SINCE = f"target.status = '{RUNNING}' AND " + (
    "(target.heartbeat_at = source.heartbeat_at "
    "OR (target.heartbeat_at IS NULL AND source.heartbeat_at IS NULL))"
)


def is_live(run: Run, now: datetime) -> bool:
    """Whether a run is at work, as far as can be told.

    One that is not may yet find out: take over what it left only after `abandon_expired` has
    returned it, or when its row says that it has ended.

    Args:
        run: as its row says.
        now: the time, UTC.
    """
    if run.status != RUNNING or run.heartbeat_at is None:
        return False
    if is_gone(Process(run.host, run.pid, run.process)):
        return False
    return run.heartbeat_at + timedelta(seconds=run.lease_s) > now


def abandon_expired(database: Database, run_id: str, now: datetime) -> list[Run]:
    """Write off the runs that are no longer at work but whose rows say that they are.

    One that renews its lease at the same moment stays as it is. Safe to call from several
    processes: each run is returned to one of them.

    Args:
        database: the database.
        run_id: the run that asks, and takes over; never written off itself.
        now: the time, UTC.

    Returns:
        The runs that were written off, as they are now.

    Raises:
        StorageUnavailable: the database cannot be read or written.
    """
    silent = [
        run
        for run in database.runs()
        if run.status == RUNNING and run.run_id != run_id and not is_live(run, now)
    ]
    if not silent:
        return []
    writer = Writer(database)
    gone = []
    for run in silent:
        summary = json.dumps(json.loads(run.summary) | {ABANDONED_BY: run_id})
        abandoned = replace(run, status=ABANDONED, ended_at=now, summary=summary)
        row = convert.runs_table([abandoned])
        if writer.update_where(Table.RUNS, row, _NOT_HEARD_OF_SINCE):
            gone.append(abandoned)
    return gone


class Lease:
    """A run's claim to be at work; a context manager that renews it from a thread.

    Entering stores the run as one of this process, whatever was stored of it: of two processes
    with one run id, the first loses its lease. Say how it ended with `end`; leaving otherwise
    only stops the thread, and the row is the caller's. A renewal that fails is logged and tried
    again.

    Args:
        database: the database.
        run: the run; status must be running.
        heartbeat_s: seconds between renewals.
        lease_s: seconds of silence after which the run counts as dead.

    Raises:
        ValueError: the lease would end before its first renewal.
    """

    def __init__(
        self, database: Database, run: Run, heartbeat_s: float = 10.0, lease_s: int = 60
    ) -> None:
        if not 0 < heartbeat_s < lease_s:
            raise ValueError(f"a lease of {lease_s} s, renewed every {heartbeat_s} s")
        self._database = database
        self._writer = Writer(database)
        self._heartbeat_s = heartbeat_s
        self._lease_s = lease_s
        self._run = run
        self._renewed = _Moment.now()
        self._lost: LeaseLost | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_often, name="lease", daemon=True)

    def __enter__(self) -> Self:
        with self._lock:
            row, moment = self._row(self._run)
            self._writer.upsert(Table.RUNS, convert.runs_table([row]))
            self._renewed = moment
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()

    def check(self) -> None:
        """Make sure that the lease is held; takes no time if it was renewed lately.

        Call it before each commit. A process that was stopped and goes on finds out here.

        Raises:
            LeaseLost: another run or process took over.
            StorageUnavailable: the lease has run out and cannot be renewed.
        """
        if self._lost:
            raise self._lost
        if self._renewed.seconds_ago() < self._lease_s / 2:
            return
        with self._lock:
            if self._lost:
                raise self._lost
            silent_s = self._renewed.seconds_ago()
            try:
                self._store(self._run)
            except StorageUnavailable:
                if silent_s >= self._lease_s:
                    raise
                logger.warning("run %s: its lease was not renewed, yet", self._run.run_id)

    def update(self, run: Run) -> None:
        """Store another state of the run, e.g. with pins, and go on.

        Raises:
            LeaseLost: another run or process took over.
            StorageUnavailable: the database cannot be written.
        """
        with self._lock:
            if self._lost:
                raise self._lost
            self._store(run)

    def end(self, run: Run) -> None:
        """Store how the run ended, and renew the lease no more.

        Raises:
            LeaseLost: another run or process took over; the row stays as it is.
            StorageUnavailable: the database cannot be written.
        """
        self._stop()
        self.update(run)

    def _row(self, run: Run) -> tuple[Run, _Moment]:
        """The run's row, renewed, and the moment that says so."""
        own, moment = this_process(), _Moment.now()
        return (
            replace(
                run,
                host=own.host,
                pid=own.pid,
                process=own.identity,
                heartbeat_at=moment.time,
                lease_s=self._lease_s,
            ),
            moment,
        )

    def _store(self, run: Run) -> None:
        row, moment = self._row(run)
        if self._writer.update_where(Table.RUNS, convert.runs_table([row]), _STILL_OURS):
            self._run, self._renewed = run, moment
            return
        self._lost = self._taken()
        raise self._lost

    def _taken(self) -> LeaseLost:
        run_id = self._run.run_id
        stored = next((run for run in self._database.runs() if run.run_id == run_id), None)
        if stored is None:
            what = "its row is gone from the table runs"
        elif stored.status == RUNNING:
            what = f"process {stored.pid} on {stored.host} runs under the same id"
        else:
            by = json.loads(stored.summary).get(ABANDONED_BY)
            what = f"run {by} took over" if by else f"it was ended as {stored.status}"
        return LeaseLost(
            f"run {run_id} on database {self._database.uri} lost its lease of {self._lease_s} s: "
            f"{what}. What it committed stays. Start it again when the other one is done, and it "
            "does what is left."
        )

    def _renew_often(self) -> None:
        while not self._ended.wait(self._heartbeat_s):
            with self._lock:
                if self._ended.is_set():
                    return
                try:
                    self._store(self._run)
                except LeaseLost:
                    return
                except StorageUnavailable as error:
                    logger.warning("the lease was not renewed, will try again: %s", error)

    def _stop(self) -> None:
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()


class _Moment:
    """A point in time by two clocks, of which one may be set and the other may stand still."""

    def __init__(self, at: datetime, monotonic_s: float) -> None:
        self.time = at
        self._monotonic_s = monotonic_s

    @classmethod
    def now(cls) -> _Moment:
        return cls(datetime.now(UTC), time.monotonic())

    def seconds_ago(self) -> float:
        """Seconds since then, by the clock that counts more."""
        by_date = (datetime.now(UTC) - self.time).total_seconds()
        return max(by_date, time.monotonic() - self._monotonic_s)
