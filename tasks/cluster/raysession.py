"""Ray: starting or joining a cluster, and running on it what needs no encoder.

Beside ``tasks.cluster.shardpool`` the only module that imports Ray.
"""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import ray

from tasks.answers import overlays
from tasks.answers.answering import Block, QuerySession
from tasks.answers.overlays import DocumentOverlays
from tasks.cluster import sweeper, waiting, work
from tasks.cluster.shardpool import WORKER_DEATHS
from tasks.common.errors import Stage, UsageError, WorkerDied, fault_of
from tasks.common.limits import Limits
from tasks.common.settings import Settings, load_settings
from tasks.documents.sources import SourceFile
from tasks.grounding import places
from tasks.reading.messages import InspectionFault
from tasks.reading.shardplan import InspectedFile
from tasks.retrieval import ranking
from tasks.retrieval.ranking import FoundPage, Hits, PagePlaces
from tasks.retrieval.scope import Positions

logger = logging.getLogger("patchlight.cluster")

_WORKER_ENVIRONMENT = {
    # One thread a process: there is a process a CPU already.
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
_MEBIBYTE = 1 << 20

_IN_FLIGHT_A_WORKER = 4
"""Files waiting to be inspected, a worker; keeps workers busy and memory bounded."""

_GIVE_UP_S = 20
"""How long processes of a private Ray look for its head after that ended; it never comes back.
Longer than an orderly end takes then, some 10 s: until it is over, Ray may end our process."""

_WORDS_STORE_MB = 256
"""Shared memory of a private Ray where only words, regions and vectors travel."""


@contextmanager
def ray_session(settings: Settings, workers: int, *, pictures: bool = False) -> Iterator[None]:
    """Hold a Ray session: the cluster of ``settings.ray_address``, or a private local one.

    A session that is already open in this process is used and left open.

    Args:
        settings: where and how.
        workers: CPUs of a private cluster.
        pictures: whether pictures of pages are to travel, which are large.

    Raises:
        UsageError: the cluster cannot be reached.
    """
    store_mb = settings.ray_object_store_mb or (None if pictures else _WORDS_STORE_MB)
    if ray.is_initialized():
        yield
        return
    with nullcontext() if settings.ray_address else _swept():
        try:
            _start(settings, workers, store_mb)
        except Exception as error:  # a machine that is too busy raises just that
            where = settings.ray_address or "a private one"
            raise UsageError(
                f"Ray cannot be started or reached ({where}): {error}; see PATCHLIGHT_RAY_ADDRESS"
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _start(settings: Settings, workers: int, store_mb: int | None) -> None:
    runtime: dict[str, Any] = {
        "env_vars": {k: os.environ.get(k, v) for k, v in _WORKER_ENVIRONMENT.items()}
    }
    if settings.ray_address:
        ray.init(address=settings.ray_address, runtime_env=runtime, log_to_driver=False)
        return
    # Ray puts the path unquoted into a shell line, which a space in it breaks.
    runtime["py_executable"] = shlex.quote(sys.executable)
    ray.init(
        address="local",
        num_cpus=workers,
        include_dashboard=False,
        # None: a share of the machine's memory, which Ray chooses.
        object_store_memory=store_mb and store_mb * _MEBIBYTE,
        log_to_driver=False,
        logging_level=logging.WARNING,
        runtime_env=runtime,
        # Processes beyond this number end after a second without work, and take seconds to start:
        # those that draw, pack and read would come and go.
        _system_config={
            "num_workers_soft_limit": 2 * workers + 4,
            "gcs_rpc_server_reconnect_timeout_s": _GIVE_UP_S,
        },
    )


@contextmanager
def _swept() -> Iterator[None]:
    """Have what is left of a private Ray ended after the block, also if this process is killed.

    The kernel ends ``raylet`` and ``gcs_server`` with us. Ray's agents, and workers that are
    about to start, would look for these for ``_GIVE_UP_S`` seconds more.
    """
    command = [sys.executable, "-I", "-S", sweeper.__file__, str(os.getpid())]
    # A session of its own: Ctrl-C is meant for us.
    with subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True):
        yield


def resources() -> str:
    """Say what the cluster of the open session has."""
    found = ray.cluster_resources()
    return ", ".join(f"{found[name]:g} {name}" for name in ("CPU", "GPU") if name in found)


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
            useless, see ``remote.inspect_file``.
        workers: processes at work.
        done: called with 1 for each file.
        limits: what a file may take; None for the defaults.
    """
    inspect = ray.remote(num_cpus=1, max_retries=1)(work.inspect_file)
    pending: deque[tuple[SourceFile, Any]] = deque()
    for file, password, given_up in files:
        if len(pending) >= _IN_FLIGHT_A_WORKER * workers:
            yield _inspected(*pending.popleft())
            done(1)
        pending.append((file, inspect.remote(file, password, limits, given_up)))
    while pending:
        yield _inspected(*pending.popleft())
        done(1)


class QueryWorkers:
    """The Ray tasks that answer queries. May be used from many threads.

    Args:
        session: what is answered from; its snapshot and catalog are shared with workers once.
    """

    def __init__(self, session: QuerySession) -> None:
        self._snapshot = ray.put(session.snapshot)
        self._catalog = ray.put(session.catalog)
        self._options = session.options
        self._limits = Limits.of(load_settings())
        self._rank = ray.remote(num_cpus=1)(ranking.rank_stored_pages)
        self._ground = ray.remote(num_cpus=1)(places.ground)
        self._draw = ray.remote(num_cpus=1, max_retries=1)(overlays.draw)

    def share(self, block: Block) -> Any:
        """Put a block where all workers reach it."""
        return ray.put(block.encodings), ray.put(block.scopes)

    def rank(self, shared: Any, positions: Positions) -> Hits:
        """Rank some pages for a shared block; see ``retrieval.rank_stored_pages``."""
        encodings, scopes = shared
        hits: Hits = waiting.get(
            self._rank.remote(
                self._snapshot, self._catalog, positions, encodings, scopes, self._options
            )
        )
        return hits

    def ground(self, pages: Mapping[str, FoundPage]) -> dict[str, list[PagePlaces]]:
        """Propagate to regions; see ``grounding.ground``."""
        regions: dict[str, list[PagePlaces]] = waiting.get(
            self._ground.remote(self._snapshot, pages, self._options)
        )
        return regions

    def draw(self, document: DocumentOverlays) -> dict[str, str]:
        """Draw a document's pictures; see ``overlays.draw``."""
        try:
            problems: dict[str, str] = waiting.get(self._draw.remote(document, self._limits))
            return problems
        except WORKER_DEATHS as death:
            reason = f"the process drawing it died ({type(death).__name__})"
            return {overlay.out: reason for overlay in document.overlays}


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
