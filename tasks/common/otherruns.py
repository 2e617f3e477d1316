"""Other runs on a database: which may be at work, and how long to wait to know."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from storage.database import Database
from storage.leases import RUNNING, abandon_expired
from storage.records import Run

logger = logging.getLogger("patchlight.runs")

_LEASES = 2
"""How many leases long one run waits to know whether another is alive; more would be for one that
is dead by a clock that is ahead."""


def at_work(database: Database, run_id: str) -> dict[str, Run]:
    """Return other runs that may be at work, by id; those that are dead are written off first.

    A run that is not written off may wake up and go on: what it has is not free.

    Args:
        database: the database.
        run_id: the run that asks.
    """
    for dead in abandon_expired(database, run_id, datetime.now(UTC)):
        logger.warning("run %s was cut off; what it left is taken up", dead.run_id)
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
