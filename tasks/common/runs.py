"""Runs: their ids, and their rows in the table ``runs``."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from storage.database import Database
from storage.errors import StorageError
from storage.leases import Lease
from storage.records import Run

logger = logging.getLogger("patchlight.runs")


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

    Args:
        database: where the run is at work.
        kind: ``ingest``, ``query``, ``evaluate`` or ``delete``.
        run_id: id of the run.
        parameters: what it was asked to do.
        ended: asked at the end: whether all went well, and a summary.
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
        text = json.dumps(summary, default=str)
        return replace(run, status=status, ended_at=datetime.now(UTC), summary=text, pins={})

    with Lease(database, run) as lease:
        try:
            yield lease
        except BaseException as error:
            broken = {**ended()[1], "error": f"{type(error).__name__}: {error}"}
            try:
                lease.end(as_ended("failed", broken))
            except StorageError as second:  # what broke the run off is the news
                logger.warning("run %s: its end was not stored: %s", run_id, second)
            raise
        well, summary = ended()
        lease.end(as_ended("completed" if well else "completed_with_failures", summary))
