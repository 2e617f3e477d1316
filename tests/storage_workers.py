"""What the tests of the storage layer have other processes do; imported by them anew."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from multiprocessing.synchronize import Barrier
from typing import Any

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import LeaseLost
from patchlight.storage.leases import Lease
from patchlight.storage.records import Document, DocumentStatus, Run, Source
from patchlight.storage.sequences import take
from patchlight.storage.watching import Watch
from tests.storage_examples import doc_id, document

_BARRIER: list[Barrier] = []


def meet_at(barrier: Barrier) -> None:
    """Give a worker what it waits at; loads LanceDB, so that races begin at once."""
    import lancedb  # noqa: F401

    _BARRIER[:] = [barrier]


def add_sources(uri: str, name: str, count: int) -> None:
    """Note ``count`` places of two documents, one at a time."""
    committer = Committer(Database.open(uri), name)
    _BARRIER[0].wait()
    for number in range(count):
        source = Source(f"file:///{name}/{number}", name)

        def add(_: str, row: Document | None, found: Source = source) -> Document:
            assert row is not None
            return replace(row, sources=(*row.sources, found))

        committer.change_documents([doc_id("a"), doc_id("b")], add)


def claim(uri: str, run_id: str, rounds: list[list[str]]) -> list[list[str]]:
    """In each round take the documents that nobody has; returns those that it got."""

    def take(doc: str, row: Document | None) -> Document | None:
        return None if row else replace(new[doc], run_id=run_id)

    committer = Committer(Database.open(uri), run_id)
    got = []
    for names in rounds:
        new = {doc_id(name): document(name, 1, DocumentStatus.UNFINISHED) for name in names}
        _BARRIER[0].wait()
        rows = committer.change_documents(new, take)
        got.append([name for name in names if _taken_by(rows[doc_id(name)], run_id)])
    return got


def _taken_by(row: Document | None, run_id: str) -> bool:
    return row is not None and row.run_id == run_id


def running(run_id: str, kind: str = "ingest", **more: Any) -> Run:
    """A run that begins now."""
    return Run(run_id, kind, "running", datetime.now(UTC), **more)


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


def watched(database: Database, seconds: float = 3600.0) -> Watch:
    """A watch that has looked once, so many seconds ago."""
    clock = Clock()
    watch = Watch(clock)
    watch.look(database)
    clock.seconds += seconds
    return watch


def take_numbers(uri: str, name: str, threads: int, each: int, count: int) -> list[int]:
    """Take numbers from several threads at once; returns the first of each."""
    database = Database.open(uri)
    with ThreadPoolExecutor(threads) as pool:
        _BARRIER[0].wait()
        taken = [pool.submit(take, database, name, count) for _ in range(threads * each)]
        return [future.result() for future in taken]


def hold_lease(uri: str, run_id: str, heartbeat_s: str, lease_s: str) -> None:
    """Hold a lease, and say for each line read whether it is still held."""
    with Lease(Database.open(uri), running(run_id), float(heartbeat_s), int(lease_s)) as lease:
        print("held", flush=True)
        for _ in sys.stdin:
            try:
                lease.check()
                print("held", flush=True)
            except LeaseLost as lost:
                print(f"lost: {lost}", flush=True)


def wait_until(true: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Wait for something that another process or thread brings about."""
    end = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < end, f"it was not so within {limit_s} s"
        time.sleep(0.02)


if __name__ == "__main__":
    hold_lease(*sys.argv[1:])
