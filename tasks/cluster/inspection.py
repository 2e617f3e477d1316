"""Opening files on Ray, to see what they are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ray

from patchlight.tasks.cluster import waiting, work
from patchlight.tasks.cluster.encoderactors import WORKER_DEATHS
from patchlight.tasks.cluster.telling import telling
from patchlight.tasks.common.errors import Stage, WorkerDied, fault_of
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.documents.sources import SourceFile
from patchlight.tasks.reading.messages import InspectionFault
from patchlight.tasks.reading.shardplan import InspectedFile

_IN_FLIGHT_A_WORKER = 4
"""Files waiting to be inspected, a worker; keeps workers busy and memory bounded."""


def inspect_files(
    files: Sequence[tuple[SourceFile, str | None, InspectionFault | None]],
    workers: int,
    done: Callable[[int], None],
    limits: Limits | None = None,
) -> Iterator[InspectedFile | InspectionFault]:
    """Inspect files on workers, a bounded number at a time; yields in the order given.

    A file whose worker dies becomes a fault.

    Args:
        files: each with its password, if there is one, and with what makes opening it again
            useless, see ``work.inspect_file``.
        workers: processes at work.
        done: called with 1 for each file.
        limits: what a file may take; None for the defaults.
    """
    inspect = ray.remote(num_cpus=1, max_retries=1)(telling(work.inspect_file))
    pending: deque[tuple[SourceFile, Any]] = deque()
    for file, password, given_up in files:
        if len(pending) >= _IN_FLIGHT_A_WORKER * workers:
            yield _inspected(*pending.popleft())
            done(1)
        pending.append((file, inspect.remote(file, password, limits, given_up)))
    while pending:
        yield _inspected(*pending.popleft())
        done(1)


def _inspected(file: SourceFile, pending: Any) -> InspectedFile | InspectionFault:
    try:
        result: InspectedFile | InspectionFault = waiting.get(pending)
        return result
    except WORKER_DEATHS as death:
        died = WorkerDied(
            f"{file.source.name}: the process that opened it died ({type(death).__name__}); "
            "the file may be damaged"
        )
        return InspectionFault(file.source, "", fault_of(died, Stage.OPEN))
