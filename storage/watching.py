"""Telling which runs are at work by watching them, for as long as it takes.

A run that holds a lease changes its row in ``runs`` often. Whoever wants to know whether it lives
looks twice: if its ``heartbeat`` has not changed for as long as its lease, by the clock of who
looks, it is silent. One look tells nothing of a run on another machine but that it may live. The
clocks of two machines are never compared.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from patchlight.storage import clocks
from patchlight.storage.database import Database
from patchlight.storage.processes import Process, is_alive
from patchlight.storage.records import Run

RUNNING = "running"


@dataclass(frozen=True, slots=True)
class _Sight:
    """What was last seen of a run.

    Attributes:
        beat: its number and heartbeat.
        since_s: when they were first seen so.
        changed: whether it had others when it was seen before: then it lived since.
    """

    beat: tuple[int, int]
    since_s: float
    changed: bool


class Watch:
    """What one observer has seen of the runs on a database; one thread at a time may use it.

    Keep it for as long as there may be something to find out: a new one knows nothing.

    Args:
        clock: seconds that neither jump nor stop.
    """

    def __init__(self, clock: Callable[[], float] = clocks.seconds) -> None:
        self._clock = clock
        self._looked_s = clock()
        self._seen: dict[str, _Sight] = {}

    def now(self) -> float:
        """The time by the watch's own clock, in seconds."""
        return self._clock()

    def look(self, database: Database) -> list[Run]:
        """Read all runs, in the order in which they began, and remember what they are like.

        Raises:
            StorageUnavailable: the database cannot be read.
        """
        asked_s = self._clock()
        runs = database.runs()
        self.see(runs, asked_s)
        return runs

    def see(self, runs: Iterable[Run], asked_s: float) -> None:
        """Remember runs as they were read.

        Args:
            runs: all there are.
            asked_s: when reading them began: the rows may be as old as that.
        """
        # A row is known from when it was there to when it was last asked for; not any longer.
        self._looked_s, read_s = asked_s, self._clock()
        before, self._seen = self._seen, {}
        for run in runs:
            if run.status != RUNNING:
                continue
            beat, known = (run.number, run.heartbeat), before.get(run.run_id)
            if known is None or known.beat != beat:
                known = _Sight(beat, read_s, changed=known is not None)
            self._seen[run.run_id] = known

    def is_live(self, run: Run) -> bool:
        """Whether a run is at work, as far as can be told by now.

        Args:
            run: as it was last seen.
        """
        return may_live(run) and self._silent_s(run) < run.lease_s

    def has_heard(self, run: Run, since_s: float) -> bool:
        """Whether a run has renewed its lease after a time of the watch's own clock."""
        seen = self._seen.get(run.run_id)
        return seen is not None and seen.changed and seen.since_s >= since_s

    def _silent_s(self, run: Run) -> float:
        """How long nothing has been heard of a run that was watched all the while."""
        seen = self._seen.get(run.run_id)
        if seen is None or seen.beat != (run.number, run.heartbeat):
            return 0.0
        return self._looked_s - seen.since_s


def may_live(run: Run) -> bool:
    """Whether a run may be at work, as one look tells: False if it is known not to be.

    That is so when its row says that it has ended, when it never had a lease, and when its
    process on this machine is gone.
    """
    if run.status != RUNNING or run.lease_s <= 0:
        return False
    return is_alive(process_of(run)) is not False


def process_of(run: Run) -> Process:
    """The process that a run is at work in, as its row says."""
    return Process(run.host, run.pid, run.process)
