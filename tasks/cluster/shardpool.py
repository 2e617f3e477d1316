"""Shards to rows: encoder actors, the tasks that feed them, and what happens when one dies."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray

from patchlight.storage.convert import concat_page_tables
from patchlight.tasks.cluster import waiting, work
from patchlight.tasks.cluster.encoderactors import WORKER_DEATHS, EncoderActors, why_died
from patchlight.tasks.cluster.placement import Placement
from patchlight.tasks.cluster.telling import telling
from patchlight.tasks.common.errors import Stage, WorkerDied, fault_of
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.reading.messages import (
    EncodedShard,
    EncoderInputs,
    Encodings,
    ReadShard,
    StoredAs,
)
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.shardplan import Shard

logger = logging.getLogger("patchlight.encoders")


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
        worker: what encodes, as an actor.

    Attributes:
        actors: the encoder's.

    Raises:
        EncoderUnavailable: the encoder cannot be loaded where the actors are.
    """

    def __init__(
        self,
        info: EncoderInfo,
        where: Placement,
        batch_tokens: int | None = None,
        read: Callable[[Shard, ReadOptions], ReadShard] = work.read_shard,
        worker: type[work.EncoderWorker] = work.EncoderWorker,
    ) -> None:
        self.actors = EncoderActors(info, where, batch_tokens, worker)
        self._by_words = info.needs_words
        self._read = ray.remote(num_cpus=1, max_retries=0)(telling(read))
        # Drawing takes a hundredth of what OCR takes. With a CPU of its own to wait for, it would
        # queue behind the OCR of earlier shards, and the GPU with it.
        self._render = ray.remote(num_cpus=0, max_retries=0, scheduling_strategy="SPREAD")(
            telling(work.render_shard)
        )
        self._recall = ray.remote(num_cpus=1, max_retries=0)(telling(work.recall_shard))
        self._pack = ray.remote(num_cpus=1, max_retries=1)(telling(work.pack_shard))
        self._pictures = threading.BoundedSemaphore(where.pictures)
        self._gate = Gate()

    def process(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        """Read and encode a shard; every page of it is in the result.

        A worker that dies is no reason to lose the shard: its pages are then done one by one,
        with no other page in the actors, and one over which its worker dies again becomes a
        fault.
        """
        try:
            with self._gate.shared():
                return self._together(shard, options, stored_as)
        except WORKER_DEATHS as death:
            logger.warning(
                "shard %d: its worker died (%s); doing its %d pages one by one",
                shard.index,
                why_died(death),
                shard.page_count,
            )
        with self._gate.alone():
            parts = [self._single(page, options, stored_as) for page in shard.single_pages()]
        return EncodedShard(
            tables=concat_page_tables([p.tables for p in parts]),
            stored=tuple(key for p in parts for key in p.stored),
            faults={key: fault for p in parts for key, fault in p.faults.items()},
        )

    def _words(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> Any:
        """Start what gives a shard's words and regions: from its sources, or as stored."""
        if shard.work.words:
            return self._read.remote(shard, options)
        return self._recall.remote(shard, options, stored_as)

    def _together(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        read = self._words(shard, options, stored_as)
        if not shard.work.encode:
            kept: EncodedShard = waiting.get(self._pack.remote(read, None, stored_as))
            return kept
        if self._by_words:
            with self.actors.least_busy() as actor:
                by_words: EncodedShard = waiting.get(actor.encode_shard.remote(read, stored_as))
            return by_words
        with self._pictures, self.actors.least_busy() as actor:
            pictures = self._render.remote(shard, options)
            encoded = actor.encode.remote(pictures, stored_as.form)
            # The pictures are let go as soon as they are encoded, however long OCR takes.
            self.actors.wait([encoded])
            del pictures
        packed: EncodedShard = waiting.get(self._pack.remote(read, encoded, stored_as))
        return packed

    def _single(self, shard: Shard, options: ReadOptions, stored_as: StoredAs) -> EncodedShard:
        """Do one page, step by step, so that it is known at which its worker died."""
        stage = Stage.WORDS
        try:
            read: ReadShard = waiting.get(self._words(shard, options, stored_as))
            if not shard.work.encode:
                return work.pack_shard(read, None, stored_as)
            with self.actors.least_busy() as actor:
                if self._by_words:
                    stage = Stage.ENCODE
                    by_words: EncodedShard = self.actors.get(
                        actor.encode_shard.remote(read, stored_as)
                    )
                    return by_words
                stage = Stage.RENDER
                pictures: EncoderInputs = waiting.get(self._render.remote(shard, options))
                stage = Stage.ENCODE
                encoded: Encodings = self.actors.get(actor.encode.remote(pictures, stored_as.form))
            return work.pack_shard(read, encoded, stored_as)
        except WORKER_DEATHS as death:
            part = shard.parts[0]
            died = WorkerDied(
                f"{part.file.label}, page {part.pages[0]}: the process working on it died "
                f"({type(death).__name__}); the page may be damaged or need more memory",
                stage,
            )
            faults = {(part.file.doc_id, part.pages[0]): fault_of(died, stage)}
            return work.pack_shard(ReadShard((), faults), Encodings({}, {}), stored_as)


class Gate:
    """Lets many in together, or one alone; who wants to be alone goes first."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._wanting = 0
        self._taken = False

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Be inside with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._wanting and not self._taken)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be inside when nobody else is."""
        with self._changed:
            self._wanting += 1
            self._changed.wait_for(lambda: not self._inside and not self._taken)
            self._wanting -= 1
            self._taken = True
        try:
            yield
        finally:
            with self._changed:
                self._taken = False
                self._changed.notify_all()
