"""Ray: starting or joining a cluster, and running the work of ``tasks.remote`` on it.

The only module that imports Ray.
"""

from __future__ import annotations

import logging
import os
import shlex
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from storage.convert import concat_page_tables
from tasks import overlays, remote, retrieval
from tasks.answering import Block, QuerySession
from tasks.errors import Stage, UsageError, WorkerDied, fault_of
from tasks.overlays import DocumentOverlays
from tasks.planning import InspectedFile, Shard
from tasks.reading import ReadOptions
from tasks.remote import EncodedShard, InspectionFault
from tasks.retrieval import Hits, PageHit, RegionHit
from tasks.scope import Positions
from tasks.settings import Settings
from tasks.sources import SourceFile

logger = logging.getLogger("patchlight.cluster")

_WORKER_ENVIRONMENT = {
    # One thread a process: there is a process a CPU already.
    "OMP_NUM_THREADS": "1",
    "OMP_THREAD_LIMIT": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "ORT_DISABLE_TELEMETRY": "1",
}
_MEBIBYTE = 1 << 20

_IN_FLIGHT_A_WORKER = 4
"""Files waiting to be inspected, a worker; keeps workers busy and memory bounded."""

_ACTOR_RETRIES = 3
"""How often a call is repeated on an actor that died; bounded, so a poison page ends."""

_WORKER_DEATHS = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ActorDiedError,
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.NodeDiedError,
)


@contextmanager
def ray_session(settings: Settings, workers: int) -> Iterator[None]:
    """Hold a Ray session: the cluster of ``settings.ray_address``, or a private local one.

    A session that is already open in this process is used and left open.

    Args:
        settings: where and how.
        workers: CPUs of a private cluster.

    Raises:
        UsageError: the cluster cannot be reached.
    """
    if ray.is_initialized():
        yield
        return
    runtime: dict[str, Any] = {
        "env_vars": {k: os.environ.get(k, v) for k, v in _WORKER_ENVIRONMENT.items()}
    }
    try:
        if settings.ray_address:
            ray.init(address=settings.ray_address, runtime_env=runtime, log_to_driver=False)
        else:
            # Ray puts the path unquoted into a shell line, which a space in it breaks.
            runtime["py_executable"] = shlex.quote(sys.executable)
            ray.init(
                address="local",
                num_cpus=workers,
                include_dashboard=False,
                object_store_memory=settings.ray_object_store_mb * _MEBIBYTE,
                log_to_driver=False,
                logging_level=logging.WARNING,
                runtime_env=runtime,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        where = settings.ray_address or "a private one"
        raise UsageError(
            f"Ray cannot be started or reached ({where}): {error}; see PATCHLIGHT_RAY_ADDRESS"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def resources() -> str:
    """Say what the cluster of the open session has."""
    found = ray.cluster_resources()
    return ", ".join(f"{found[name]:g} {name}" for name in ("CPU", "GPU") if name in found)


def inspect_files(
    files: Sequence[tuple[SourceFile, str | None]], workers: int, done: Callable[[int], None]
) -> Iterator[InspectedFile | InspectionFault]:
    """Inspect files on workers, a bounded number at a time; yields in the order given.

    A file whose worker dies becomes a fault.

    Args:
        files: each with its password or None.
        workers: processes at work.
        done: called with 1 for each file.
    """
    inspect = ray.remote(num_cpus=1, max_retries=1)(remote.inspect_file)
    pending: deque[tuple[SourceFile, Any]] = deque()
    for file, password in files:
        if len(pending) >= _IN_FLIGHT_A_WORKER * workers:
            yield _inspected(*pending.popleft())
            done(1)
        pending.append((file, inspect.remote(file, password)))
    while pending:
        yield _inspected(*pending.popleft())
        done(1)


def actors_for(needs_gpu: bool, workers: int) -> tuple[int, float]:
    """Return how many encoder actors to start, and the GPUs each reserves.

    An encoder that needs a GPU gets one actor a GPU of the cluster; else there is one a worker.

    Raises:
        UsageError: a GPU is needed and the cluster has none.
    """
    if not needs_gpu:
        return workers, 0.0
    gpus = int(ray.cluster_resources().get("GPU", 0))
    if gpus == 0:
        raise UsageError("the encoder needs a GPU and Ray's cluster has none")
    return gpus, 1.0


class EncoderPool:
    """Encoder actors, and the reading tasks that feed them.

    ``process`` may be called from many threads; each call holds only its own work, so that no
    two can wait for each other. What is in flight is bounded by the number of threads.

    Args:
        encoder: name of the encoder.
        actors: how many, each loads the encoder once.
        gpus: GPUs an actor reserves.
        read: what reads a shard; it runs in a process of its own.
    """

    def __init__(
        self,
        encoder: str,
        actors: int,
        gpus: float,
        read: Callable[[Shard, ReadOptions], remote.ReadShard] = remote.read_shard,
    ) -> None:
        worker = ray.remote(
            num_cpus=0, num_gpus=gpus, max_restarts=-1, max_task_retries=_ACTOR_RETRIES
        )(remote.EncoderWorker)
        self._actors = [worker.remote(encoder) for _ in range(actors)]
        self._read = ray.remote(num_cpus=1, max_retries=0)(read)
        self._load = [0] * actors
        self._lock = threading.Lock()

    def process(self, shard: Shard, options: ReadOptions, fingerprint: str) -> EncodedShard:
        """Read and encode a shard; every page of it is in the result.

        A worker that dies is no reason to lose the shard: its pages are then done one by one,
        each in a process of its own, and one that kills its worker again becomes a fault.
        """
        try:
            return self._attempt(shard, options, fingerprint)
        except _WORKER_DEATHS as death:
            logger.warning(
                "shard %d: its worker died (%s); doing its %d pages one by one",
                shard.index,
                type(death).__name__,
                shard.page_count,
            )
        parts = [self._single(page, options, fingerprint) for page in shard.single_pages()]
        return EncodedShard(
            tables=concat_page_tables([p.tables for p in parts]),
            stored=tuple(key for p in parts for key in p.stored),
            faults={key: fault for p in parts for key, fault in p.faults.items()},
        )

    def _single(self, shard: Shard, options: ReadOptions, fingerprint: str) -> EncodedShard:
        try:
            return self._attempt(shard, options, fingerprint)
        except _WORKER_DEATHS as death:
            part = shard.parts[0]
            died = WorkerDied(
                f"{part.file.label}, page {part.pages[0]}: the process working on it died "
                f"({type(death).__name__}); the page may be damaged or need more memory",
                Stage.WORDS,
            )
            read = remote.ReadShard(
                (), {(part.file.doc_id, part.pages[0]): fault_of(died, Stage.WORDS)}
            )
            return self._encode(read, fingerprint)

    def _attempt(self, shard: Shard, options: ReadOptions, fingerprint: str) -> EncodedShard:
        return self._encode(self._read.remote(shard, options), fingerprint)

    def _encode(self, read: Any, fingerprint: str) -> EncodedShard:
        with self._lock:
            chosen = self._load.index(min(self._load))
            self._load[chosen] += 1
        try:
            result: EncodedShard = ray.get(
                self._actors[chosen].encode_shard.remote(read, fingerprint)
            )
            return result
        finally:
            with self._lock:
                self._load[chosen] -= 1


class QueryWorkers:
    """The Ray tasks that answer queries. May be used from many threads.

    Args:
        session: what is answered from; its snapshot and catalog are shared with workers once.
    """

    def __init__(self, session: QuerySession) -> None:
        self._snapshot = ray.put(session.snapshot)
        self._catalog = ray.put(session.catalog)
        self._options = session.options
        self._rank = ray.remote(num_cpus=1)(retrieval.rank_stored_pages)
        self._ground = ray.remote(num_cpus=1)(retrieval.ground)
        self._draw = ray.remote(num_cpus=1, max_retries=1)(overlays.draw)

    def share(self, block: Block) -> Any:
        """Put a block where all workers reach it."""
        return ray.put(block.encodings), ray.put(block.scopes)

    def rank(self, shared: Any, positions: Positions) -> Hits:
        """Rank some pages for a shared block; see ``retrieval.rank_stored_pages``."""
        encodings, scopes = shared
        hits: Hits = ray.get(
            self._rank.remote(
                self._snapshot, self._catalog, positions, encodings, scopes, self._options
            )
        )
        return hits

    def ground(self, hits: Mapping[str, Sequence[PageHit]]) -> dict[str, list[list[RegionHit]]]:
        """Propagate to regions; see ``retrieval.ground``."""
        regions: dict[str, list[list[RegionHit]]] = ray.get(
            self._ground.remote(self._snapshot, hits, self._options)
        )
        return regions

    def draw(self, document: DocumentOverlays) -> dict[str, str]:
        """Draw a document's pictures; see ``overlays.draw``."""
        try:
            problems: dict[str, str] = ray.get(self._draw.remote(document))
            return problems
        except _WORKER_DEATHS as death:
            reason = f"the process drawing it died ({type(death).__name__})"
            return {overlay.out: reason for overlay in document.overlays}


def _inspected(file: SourceFile, pending: Any) -> InspectedFile | InspectionFault:
    try:
        result: InspectedFile | InspectionFault = ray.get(pending)
        return result
    except _WORKER_DEATHS as death:
        died = WorkerDied(
            f"{file.source.name}: the process that opened it died ({type(death).__name__}); "
            "the file may be damaged"
        )
        return InspectionFault(file.source, "", fault_of(died, Stage.OPEN))
