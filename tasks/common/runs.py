"""Runs: their ids, their rows in the table ``runs``, and what one may know of the others."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from patchlight.storage.database import Database
from patchlight.storage.errors import PatchlightError
from patchlight.storage.leases import RUNNING, Lease, abandon_expired
from patchlight.storage.records import Run
from patchlight.tasks.common import tracebacks
from patchlight.tasks.common.versions import current_versions

logger = logging.getLogger("patchlight.runs")

_LEASES = 2
"""How many leases long one run waits to know whether another is alive; more would be for one that
is dead by a clock that is ahead."""


def new_run_id(kind: str, flow_run: str | None) -> str:
    """Make a run's id; one that Prefect repeats keeps the id of its flow run.

    Args:
        kind: ``ingest``, ``query``, ``evaluate`` or ``delete``.
        flow_run: id of the Prefect flow run, if there is one.
    """
    stamp = f"{datetime.now(UTC):%Y%m%dT%H%M%S}"
    return f"{kind}-{flow_run}" if flow_run else f"{kind}-{stamp}-{secrets.token_hex(3)}"


@contextmanager
def leased(
    database: Database,
    kind: str,
    run_id: str,
    parameters: Mapping[str, Any],
    ended: Callable[[], tuple[bool, Mapping[str, Any]]],
    pins: Mapping[str, int] | None = None,
) -> Iterator[Lease]:
    """Hold a run's lease while the block runs, and store how the run ended.

    What the block raises leaves it as it is. If the end cannot be stored then, or ``ended``
    raises, that is a warning in the log and a note of the error.

    Args:
        database: where the run is at work.
        kind: ``ingest``, ``query``, ``evaluate`` or ``delete``.
        run_id: id of the run.
        parameters: what it was asked to do.
        ended: asked at the end: whether all went well, and a summary. It is stored with the
            version of patchlight, unless it names versions itself (``made_by``).
        pins: table -> version that the run reads and that no cleaning may remove.

    Raises:
        LeaseLost: another run took this one for dead.
        StorageUnavailable: the database cannot be written.
    """
    run = Run(
        run_id=run_id,
        kind=kind,
        status="running",
        started_at=datetime.now(UTC),
        parameters=json.dumps(parameters, default=str),
        pins=pins or {},
    )

    def as_ended(status: str, summary: Mapping[str, Any]) -> Run:
        text = json.dumps({"made_by": current_versions(), **summary}, default=str)
        return replace(run, status=status, ended_at=datetime.now(UTC), summary=text, pins={})

    with Lease(database, run) as lease:
        try:
            yield lease
        except BaseException as error:
            # What broke the run off is the news, whatever fails on the way out.
            broken: dict[str, Any] = {"error": tracebacks.summary(error)}
            if isinstance(error, Exception) and not isinstance(error, PatchlightError):
                broken["traceback"] = tracebacks.short(error)  # of a fault that is not known
            with _said_beside(error, f"run {run_id}: its report was not made"):
                broken = {**ended()[1], **broken}
            with _said_beside(error, f"run {run_id}: its end was not stored"):
                lease.end(as_ended("failed", broken))
            raise
        well, summary = ended()
        lease.end(as_ended("completed" if well else "completed_with_failures", summary))


@contextmanager
def _said_beside(first: BaseException, what: str) -> Iterator[None]:
    """Say in the log what fails in the block, and note it with the error that came first."""
    try:
        yield
    except Exception as second:
        known = isinstance(second, PatchlightError)
        logger.warning("%s: %s", what, second, exc_info=None if known else second)
        first.add_note(f"{what}: {tracebacks.summary(second)}")


def at_work(database: Database, run_id: str) -> dict[str, Run]:
    """Return other runs that may be at work, by id; those that are dead are written off first.

    A run that is not written off may wake up and go on: what it has is not free.

    Args:
        database: the database.
        run_id: the run that asks.
    """
    for dead in abandon_expired(database, run_id, datetime.now(UTC)):
        logger.warning("run %s was cut off; this run goes on with what it left", dead.run_id)
    runs = database.runs()
    return {run.run_id: run for run in runs if run.status == RUNNING and run.run_id != run_id}


class Patience:
    """Waits until it is known of other runs whether they are alive."""

    def __init__(self) -> None:
        self._first_seen: dict[str, datetime | None] = {}
        self._began = time.monotonic()

    def is_over(self, runs: Sequence[Run]) -> bool:
        """Whether all of them have been heard of since this was first asked, or it took long.

        Args:
            runs: as they are now.
        """
        for run in runs:
            self._first_seen.setdefault(run.run_id, run.heartbeat_at)
        if all(run.heartbeat_at != self._first_seen[run.run_id] for run in runs):
            return True
        return time.monotonic() - self._began > _LEASES * max(run.lease_s for run in runs)
