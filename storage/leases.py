"""Leases: how runs on one database know of each other which ones are at work.

A run's row in ``runs`` counts how often it has renewed its lease. As long as it does, what it
works on is its own; when another run has watched it and that number has stayed for as long as the
lease (``storage.watching``), that run may write it off as abandoned, in one conditional write, and
take over what it left. Only the row counts: a run that finds it taken must stop.

No date decides anything: machines that share a database may have clocks that are days apart, or
that jump. ``started_at``, ``ended_at`` and ``heartbeat_at`` are for people to read.
"""

from __future__ import annotations

import json
import logging
import threading
from dataclasses import replace
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

from patchlight.storage import clocks, convert, sequences
from patchlight.storage.database import Database
from patchlight.storage.errors import LeaseLost, StorageUnavailable
from patchlight.storage.processes import this_process
from patchlight.storage.records import Run
from patchlight.storage.schema import Table
from patchlight.storage.watching import RUNNING, Watch
from patchlight.storage.writer import Writer

logger = logging.getLogger("patchlight.storage")

ABANDONED = "abandoned"
ABANDONED_BY = "abandoned_by"
"""Key in an abandoned run's summary: the run that took over."""

_STILL_OURS = f"target.status = '{RUNNING}' AND target.number = source.number"
"""A number is given out once: another process with the same run id has another one."""
_NOT_HEARD_OF_SINCE = f"{_STILL_OURS} AND target.heartbeat = source.heartbeat"


def abandon_expired(database: Database, run_id: str, watch: Watch) -> list[Run]:
    """Write off the runs that are no longer at work but whose rows say that they are.

    One that renews its lease at the same moment stays as it is. Safe to call from several
    processes: each run is returned to one of them.

    Args:
        database: the database.
        run_id: the run that asks, and takes over; never written off itself.
        watch: what it has seen of the others so far; looks again.

    Returns:
        The runs that were written off, as they are now.

    Raises:
        StorageUnavailable: the database cannot be read or written.
    """
    silent = [
        run
        for run in watch.look(database)
        if run.status == RUNNING and run.run_id != run_id and not watch.is_live(run)
    ]
    if not silent:
        return []
    writer = Writer(database)
    gone = []
    for run in silent:
        summary = json.dumps(json.loads(run.summary) | {ABANDONED_BY: run_id})
        abandoned = replace(run, status=ABANDONED, ended_at=datetime.now(UTC), summary=summary)
        row = convert.runs_table([abandoned])
        if writer.update_where(Table.RUNS, row, _NOT_HEARD_OF_SINCE):
            gone.append(abandoned)
    return gone


class Lease:
    """A run's claim to be at work; a context manager that renews it from a thread.

    Entering gives the run the next number and stores it as one of this process, whatever was
    stored of it: of two processes with one run id, the first loses its lease. Say how it ended
    with `end`; leaving otherwise only stops the thread, and the row is the caller's. A renewal
    that fails is logged and tried again.

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
        self._number = 0
        self._heartbeat = 0
        self._renewed_s = clocks.seconds()
        self._lost: LeaseLost | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_often, name="lease", daemon=True)

    def __enter__(self) -> Self:
        with self._lock:
            self._number = sequences.take(self._database, sequences.RUNS)
            before_s = clocks.seconds()
            self._writer.upsert(Table.RUNS, convert.runs_table([self._row(self._run)]))
            self._renewed_s = before_s
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
        if self._silent_s() < self._lease_s / 2:
            return
        with self._lock:
            if self._lost:
                raise self._lost
            silent_s = self._silent_s()
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

    def _silent_s(self) -> float:
        """Seconds since the last renewal that was stored was begun."""
        return clocks.seconds() - self._renewed_s

    def _row(self, run: Run) -> Run:
        """The run's row, renewed."""
        own = this_process()
        self._heartbeat += 1  # also where storing it fails: it may be there all the same
        return replace(
            run,
            number=self._number,
            host=own.host,
            pid=own.pid,
            process=own.identity,
            heartbeat=self._heartbeat,
            heartbeat_at=datetime.now(UTC),
            lease_s=self._lease_s,
        )

    def _store(self, run: Run) -> None:
        before_s = clocks.seconds()
        if self._writer.update_where(Table.RUNS, convert.runs_table([self._row(run)]), _STILL_OURS):
            self._run, self._renewed_s = run, before_s
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
