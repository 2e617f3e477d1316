"""Runs: their ids, their rows in the table ``runs``, and what one may know of the others."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from patchlight.storage.database import Database
from patchlight.storage.errors import PatchlightError
from patchlight.storage.leases import ABANDONED, Lease, abandon_expired
from patchlight.storage.processes import is_alive
from patchlight.storage.records import Run
from patchlight.storage.watching import RUNNING, Watch, process_of
from patchlight.tasks.common import tracebacks
from patchlight.tasks.common.versions import current_versions

logger = logging.getLogger("patchlight.runs")

_LOOK_S = 1.0
"""How often one run looks whether another one is done or alive."""


def new_run_id(kind: str, flow_run: str | None) -> str:
    """Make a run's id; one that Prefect repeats keeps the id of its flow run.

    Args:
        kind: ``ingest``, ``query``, ``evaluate``, ``delete`` or ``migrate``.
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
        kind: ``ingest``, ``query``, ``evaluate``, ``delete`` or ``migrate``.
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
        return replace(run, status=status, ended_at=datetime.now(UTC), summary=text)

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


class Others:
    """The other runs on a database, as one run sees them; it keeps one as long as it is at work.

    What it finds out takes more than one look (``storage.watching``). One thread at a time may
    use it. Every method that looks raises ``StorageUnavailable``.

    Args:
        database: the database.
        run_id: the run that looks.

    Attributes:
        cut_off: runs that did not get to their end; grows as more are found out.
    """

    def __init__(self, database: Database, run_id: str) -> None:
        self.cut_off: set[str] = set()
        self._database = database
        self._run_id = run_id
        self._watch = Watch()
        self._began_s = self._watch.now()

    def live(self) -> dict[str, Run]:
        """Look, and return those that are alive as far as can be told by now, by id."""
        return {run.run_id: run for run in self._running() if self._watch.is_live(run)}

    def at_work(self) -> dict[str, Run]:
        """Return those that may be at work, by id; those that are dead are written off first.

        A run that is not written off may wake up and go on: what it has is not free.
        """
        for dead in abandon_expired(self._database, self._run_id, self._watch):
            logger.warning("run %s was cut off; this run goes on with what it left", dead.run_id)
        return {run.run_id: run for run in self._running()}

    def patience(self) -> Patience:
        """A wait, from now on, until it is known of some of them whether they are alive."""
        return Patience(self._watch)

    def settle(self) -> None:
        """Wait until it is known of each whether it is alive, so that no dead one stays for good.

        That takes time only for runs on other machines that have not been heard of since this was
        made, and no longer than their leases since they were first seen.
        """
        said: set[str] = set()
        while unknown := [run for run in self.at_work().values() if not self._is_known(run)]:
            for run in unknown:
                if run.run_id not in said:
                    said.add(run.run_id)
                    logger.warning(
                        "run %s on %s may be dead; watching it for up to %d s, so that what it "
                        "keeps can be removed",
                        run.run_id,
                        run.host,
                        run.lease_s,
                    )
            pause()

    def _is_known(self, run: Run) -> bool:
        return is_alive(process_of(run)) or self._watch.has_heard(run, self._began_s)

    def _running(self) -> list[Run]:
        runs = self._watch.look(self._database)
        self.cut_off |= {run.run_id for run in runs if run.status in {ABANDONED, "failed"}}
        return [run for run in runs if run.status == RUNNING and run.run_id != self._run_id]


class Patience:
    """A wait until it is known of runs whether they are alive; looking is the caller's.

    Each of them is heard of, or is known to be dead once it has been silent for its lease.

    Args:
        watch: what is seen of them meanwhile.
    """

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._began_s = watch.now()

    def has_heard(self, run: Run) -> bool:
        """Whether a run has been heard of since this was made."""
        return self._watch.has_heard(run, self._began_s)


def pause() -> None:
    """Let some time pass before the next look at other runs."""
    time.sleep(_LOOK_S)
