"""Encoder actors on Ray: where they are placed, and how shards and queries reach them.

Beside ``tasks.cluster`` the only module that imports Ray.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import ray

from storage.convert import concat_page_tables
from storage.errors import PatchlightError
from storage.records import QueryEncoding, TermStatistics
from tasks import remote
from tasks.encoders import registry
from tasks.encoders.protocol import EncodeQueries, EncoderInfo
from tasks.errors import EncoderUnavailable, Stage, UsageError, WorkerDied, fault_of
from tasks.planning import Shard
from tasks.reading import ReadOptions
from tasks.remote import EncodedShard, Encodings, StoredAs
from tasks.settings import Settings

logger = logging.getLogger("patchlight.encoders")

WORKER_DEATHS = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ActorDiedError,
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.NodeDiedError,
)
"""What Ray raises when the process that did the work is gone."""

SLOW_SHARD_PAGES = 4
"""Pages of a shard where one takes seconds to a minute: what a cut-off run loses stays small."""

_ACTOR_RETRIES = 3
"""How often a call is repeated on an actor that died; bounded, so a poison page ends."""

_SHARDS_AT_ONCE = 4
"""Shards that an actor of pictures holds: one whose pages are in the model, others whose pages
are resized meanwhile, so that a batch can be filled from several."""

_QUERIES_A_CALL = 64

_CPU_SECONDS = 0.27e-6
"""Seconds of one core a page and parameter: a model of 228 million took 62.7 s for a Letter page
(docs/encoders.md). Larger ones with fewer patches a page take less than that says."""

_PROCESS_BYTES = 2 << 30
"""Memory of an encoder process on the CPU beside its weights: libraries and a page's layers."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the encoder works.

    Attributes:
        actors: how many, each loads the encoder once.
        gpus: GPUs that each reserves; 0 for the CPU.
        threads: CPU threads of each; None for the library's choice.
        shards: shards that each holds at once.
        shard_pages: pages of a shard, at most.
    """

    actors: int
    gpus: float
    threads: int | None
    shards: int
    shard_pages: int


def placement(info: EncoderInfo, settings: Settings, workers: int) -> Placement:
    """Decide where an encoder works, by what the cluster of the open session has.

    An encoder that wants a GPU gets one actor for each share of each GPU; without a GPU it gets
    as many actors as memory holds, at most one a worker. Another has an actor a worker.

    Raises:
        UsageError: more GPUs are asked for than there are, or the weights exceed the memory.
    """
    have = ray.cluster_resources()
    there = int(have.get("GPU", 0))
    asked = there if settings.gpus is None else settings.gpus
    if asked > there:
        raise UsageError(
            f"{asked} GPUs are asked for (--gpus, PATCHLIGHT_GPUS) and Ray's cluster has {there}; "
            "ask for fewer, or name a larger cluster in PATCHLIGHT_RAY_ADDRESS"
        )
    if not info.wants_gpu:
        return Placement(workers, 0.0, None, 1, settings.shard_pages)
    if asked:
        free = ray.available_resources().get("GPU", 0)
        if free < asked:
            logger.warning("%d GPUs are asked for and %g are free: waiting", asked, free)
        actors = asked * int(1 / settings.gpu_share)
        return Placement(actors, settings.gpu_share, None, _SHARDS_AT_ONCE, settings.shard_pages)
    return _on_cpu(info, settings, workers, have["memory"])


def _on_cpu(info: EncoderInfo, settings: Settings, workers: int, memory: float) -> Placement:
    name, millions = info.identity.name, info.weight_bytes / 4e6
    if info.weight_bytes > memory:
        raise UsageError(
            f"{name} takes {info.weight_bytes / 2**30:.0f} GiB of memory and Ray's cluster has "
            f"{memory / 2**30:.0f} GiB and no GPU; choose a smaller encoder (docs/encoders.md)"
        )
    fitting = int(memory / (info.weight_bytes + _PROCESS_BYTES))
    actors = max(1, min(workers, fitting))
    logger.warning(
        "no GPU: %s (%.0f million parameters) works on the CPU in %d processes; for its size that "
        "is about %.1f s of one core a page (docs/encoders.md)",
        name,
        millions,
        actors,
        info.weight_bytes / 4 * _CPU_SECONDS,
    )
    pages = min(settings.shard_pages, SLOW_SHARD_PAGES)
    return Placement(actors, 0.0, max(1, workers // actors), 2, pages)


class EncoderActors:
    """The actors of one encoder. May be used from many threads.

    Args:
        info: the encoder.
        where: how many actors, and on what.
        batch_tokens: most tokens of a batch; None to find out.

    Raises:
        EncoderUnavailable: the encoder cannot be loaded where the actors are.
    """

    def __init__(self, info: EncoderInfo, where: Placement, batch_tokens: int | None) -> None:
        worker = ray.remote(
            num_cpus=0,
            num_gpus=where.gpus,
            max_restarts=-1,
            max_task_retries=_ACTOR_RETRIES,
            max_concurrency=where.shards,
        )(remote.EncoderWorker)
        device = "cuda" if where.gpus else "cpu"
        self._actors = [
            worker.remote(info, device, where.threads, batch_tokens) for _ in range(where.actors)
        ]
        self._load = [0] * where.actors
        self._lock = threading.Lock()
        try:
            get([actor.load.remote() for actor in self._actors])
        except WORKER_DEATHS as death:
            raise EncoderUnavailable(
                f"{info.identity.name}: the process that loaded it died ({type(death).__name__}); "
                "it may need more memory than there is"
            ) from death

    def __len__(self) -> int:
        return len(self._actors)

    @contextmanager
    def least_busy(self) -> Iterator[Any]:
        """Hold one of the actors with the fewest users."""
        with self._lock:
            chosen = self._load.index(min(self._load))
            self._load[chosen] += 1
        try:
            yield self._actors[chosen]
        finally:
            with self._lock:
                self._load[chosen] -= 1

    def encode_queries(
        self, queries: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding]:
        """Encode queries, spread over the actors; see ``Encoder.encode_queries``."""
        calls = [
            self._actors[number % len(self._actors)].encode_queries.remote(
                queries[start : start + _QUERIES_A_CALL], statistics
            )
            for number, start in enumerate(range(0, len(queries), _QUERIES_A_CALL))
        ]
        return [encoding for part in get(calls) for encoding in part]


def query_encoder(info: EncoderInfo, settings: Settings, workers: int) -> EncodeQueries:
    """Return what encodes queries: here if that is light, else actors.

    Raises:
        EncoderUnavailable: the encoder cannot be loaded.
        UsageError: more GPUs are asked for than there are, or the weights exceed the memory.
    """
    if not info.wants_gpu:
        return registry.load(info).encode_queries
    where = placement(info, settings, workers)
    if not where.gpus:  # a query takes a hundredth of a page: one process, all threads
        where = replace(where, actors=1, threads=workers)
    return EncoderActors(info, where, settings.batch_tokens).encode_queries


class EncoderPool:
    """Turns shards into rows, with encoder actors and the tasks that feed them.

    ``process`` may be called from many threads; each call holds only its own work, so that no
    two can wait for each other. What is in flight is bounded by the number of threads, and
    pictures, which are large, more tightly.

    Args:
        info: the encoder.
        where: where it works.
        batch_tokens: most tokens of a batch; None to find out.
        read: what reads a shard; it runs in a process of its own.
    """

    def __init__(
        self,
        info: EncoderInfo,
        where: Placement,
        batch_tokens: int | None = None,
        read: Callable[[Shard, ReadOptions], remote.ReadShard] = remote.read_shard,
    ) -> None:
        self._actors = EncoderActors(info, where, batch_tokens)
        self._by_words = info.needs_words
        self._read = ray.remote(num_cpus=1, max_retries=0)(read)
        # Drawing takes a hundredth of what OCR takes. With a CPU of its own to wait for, it would
        # queue behind the OCR of earlier shards, and the GPU with it.
        self._render = ray.remote(num_cpus=0, max_retries=0)(remote.render_shard)
        self._pack = ray.remote(num_cpus=0, max_retries=0)(remote.pack_shard)
        self._pictures = threading.BoundedSemaphore(pictures_in_flight(where))
        self._alone = threading.Lock()

    def process(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        """Read and encode a shard; every page of it is in the result.

        A worker that dies is no reason to lose the shard: its pages are then done one by one,
        each in a process of its own, and one that kills its worker again becomes a fault.
        """
        try:
            return self._attempt(shard, options, stored_as)
        except WORKER_DEATHS as death:
            logger.warning(
                "shard %d: its worker died (%s); doing its %d pages one by one",
                shard.index,
                type(death).__name__,
                shard.page_count,
            )
        # One at a time, or the page that kills the actor would do so while others' are in it.
        with self._alone:
            parts = [self._single(page, options, stored_as) for page in shard.single_pages()]
        return EncodedShard(
            tables=concat_page_tables([p.tables for p in parts]),
            stored=tuple(key for p in parts for key in p.stored),
            faults={key: fault for p in parts for key, fault in p.faults.items()},
        )

    def _single(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        try:
            return self._attempt(shard, options, stored_as)
        except WORKER_DEATHS as death:
            part = shard.parts[0]
            died = WorkerDied(
                f"{part.file.label}, page {part.pages[0]}: the process working on it died "
                f"({type(death).__name__}); the page may be damaged or need more memory",
                Stage.WORDS,
            )
            fault = fault_of(died, Stage.WORDS)
            read = remote.ReadShard((), {(part.file.doc_id, part.pages[0]): fault})
            return remote.pack_shard(read, Encodings({}, {}), stored_as)

    def _attempt(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        read = self._read.remote(shard, options)
        if self._by_words:
            with self._actors.least_busy() as actor:
                by_words: EncodedShard = get(actor.encode_shard.remote(read, stored_as))
            return by_words
        with self._pictures, self._actors.least_busy() as actor:
            pictures = self._render.remote(shard, options)
            encoded = actor.encode.remote(pictures, stored_as.form)
            # The pictures are let go as soon as they are encoded, however long OCR takes.
            ray.wait([encoded], fetch_local=False)
            del pictures
        packed: EncodedShard = get(self._pack.remote(read, encoded, stored_as))
        return packed


def window(where: Placement, settings: Settings, workers: int) -> int:
    """Shards in work at once: those being read, and those in the actors."""
    return settings.shards_a_worker * workers + (where.actors * where.shards if where.gpus else 0)


def pictures_in_flight(where: Placement) -> int:
    """Shards whose pictures may be held at once."""
    return where.actors * (where.shards + 1)


def get(calls: Any) -> Any:
    """Wait for Ray; what the work raised for a reason of its own is raised as it was."""
    try:
        return ray.get(calls)
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, (PatchlightError, ValueError)):
            raise error.cause from None
        raise
