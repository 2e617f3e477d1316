"""Encoder actors on Ray: how many, where, and how queries reach them."""

from __future__ import annotations

import logging
import re
import textwrap
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from patchlight.storage.records import QueryEncoding, TermStatistics
from patchlight.tasks.cluster import waiting, work
from patchlight.tasks.cluster.placement import Node, Placement, place
from patchlight.tasks.cluster.telling import telling_worker
from patchlight.tasks.common.errors import EncoderUnavailable
from patchlight.tasks.common.settings import Settings
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import EncodeQueries, EncoderInfo

logger = logging.getLogger("patchlight.encoders")

WORKER_DEATHS = (
    ray.exceptions.WorkerCrashedError,
    ray.exceptions.OutOfMemoryError,
    ray.exceptions.ActorDiedError,
    ray.exceptions.ActorUnavailableError,
    ray.exceptions.NodeDiedError,
)
"""What Ray raises when the process that did the work is gone."""

_ACTOR_RETRIES = 1
"""How often a call is repeated on an actor that died. An accident is over then; a page that kills
the actor would do so again, with the pages of other shards in it."""

_QUERIES_A_CALL = 64

_GUESSES = re.compile(r"(Some common causes include|There are some potential root causes).*")
"""Here Ray lists what may end a process that is gone without a word: lack of memory, a crash, a
stop. It says the same of all of them."""

_KILLED_FOR_MEMORY = re.compile(r"low on memory|memory pressure|\bOOM\b|\bSIGKILL\b", re.IGNORECASE)
"""What Ray says where its memory monitor, or the system's, ended a process."""

_REASON_CHARS = 240

_LOOK_S = 60.0
"""How often a wait looks whether the cluster still has what is waited for."""

_SHORT_LOOKS = 10
"""Looks in a row that may find too few GPUs before a run gives up."""


def placement(info: EncoderInfo, settings: Settings, workers: int) -> Placement:
    """Decide where an encoder works, by what the cluster of the open session has.

    Raises:
        UsageError: more GPUs are asked for than there are, or no machine holds the weights.
    """
    nodes = [
        Node(*(int(node["Resources"].get(name, 0)) for name in ("CPU", "GPU", "memory")))
        for node in ray.nodes()
        if node["Alive"]
    ]
    return place(info, settings, workers, nodes)


class EncoderActors:
    """The actors of one encoder. May be used from many threads.

    Args:
        info: the encoder.
        where: how many actors, and on what.
        batch_tokens: most tokens of a batch; None to find out.
        worker: what encodes, as an actor.

    Raises:
        EncoderUnavailable: the encoder cannot be loaded where the actors are.
    """

    def __init__(
        self,
        info: EncoderInfo,
        where: Placement,
        batch_tokens: int | None,
        worker: type[work.EncoderWorker] = work.EncoderWorker,
    ) -> None:
        start = ray.remote(
            num_cpus=0,
            num_gpus=where.gpus,
            memory=where.memory or None,
            max_restarts=-1,
            max_task_retries=_ACTOR_RETRIES,
            max_concurrency=where.shards,
            # Tesseract's limit must not bind the encoder.
            runtime_env={"env_vars": {"OMP_THREAD_LIMIT": str(where.threads)}},
        )(telling_worker(worker)).remote
        device, share = ("cuda", where.gpus) if where.gpus else ("cpu", 1.0)
        self._gpus = where.actors * where.gpus
        self._name = info.identity.name
        self._actors = [
            start(info, device, share, where.threads, batch_tokens) for _ in range(where.actors)
        ]
        self._load = [0] * where.actors
        self._lock = threading.Lock()
        try:
            loading = [actor.load.remote() for actor in self._actors]
            self.wait(loading)
            waiting.get(loading)
        except WORKER_DEATHS as death:
            raise self._died("that loaded it", death) from death

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

    def wait(self, calls: list[Any]) -> None:
        """Wait until calls have ended, well or not; say so when it takes long.

        Raises:
            EncoderUnavailable: the cluster has had too few GPUs for minutes.
        """
        short = 0
        while not waiting.wait(calls, _LOOK_S):
            there = ray.cluster_resources().get("GPU", 0)
            free = ray.available_resources().get("GPU", 0)
            if self._gpus:
                logger.info("waiting for the encoder; %g of %g GPUs are free", free, there)
            short = short + 1 if there < self._gpus else 0
            if short > _SHORT_LOOKS:
                raise EncoderUnavailable(
                    f"{self._name}: works on {self._gpus:g} GPUs, but Ray's cluster has "
                    f"only {there:g} now; run it again when they are back"
                )

    def get(self, call: Any) -> Any:
        """Wait for the result of a call; raises as ``wait``, and what the work raised."""
        self.wait([call])
        return waiting.get(call)

    def encode_queries(
        self, queries: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding | Exception]:
        """Encode queries, spread over the actors; see ``Encoder.encode_queries``.

        Raises:
            EncoderUnavailable: the actors died over it again and again.
        """
        calls = [
            self._actors[number % len(self._actors)].encode_queries.remote(
                queries[start : start + _QUERIES_A_CALL], statistics
            )
            for number, start in enumerate(range(0, len(queries), _QUERIES_A_CALL))
        ]
        try:
            self.wait(calls)
            return [encoding for part in waiting.get(calls) for encoding in part]
        except WORKER_DEATHS as death:
            raise self._died("that encoded queries", death) from death

    def _died(self, what: str, death: Exception) -> EncoderUnavailable:
        return EncoderUnavailable(
            f"{self._name}: the process {what} died ({type(death).__name__}); {why_died(death)}"
        )


def why_died(death: Exception) -> str:
    """Say of one of ``WORKER_DEATHS`` what Ray knows of its cause, in a line.

    Nothing of what the work itself raised is in it, which might be text of a document.
    """
    if isinstance(death, ray.exceptions.ActorDiedError) and death.actor_init_failed:
        return "it failed while it was started; its own log says why"
    known = [_GUESSES.sub("", line).strip() for line in str(death).splitlines()]
    reason = next((line for line in reversed(known) if line), "")
    killed = isinstance(death, ray.exceptions.OutOfMemoryError)
    if killed or _KILLED_FOR_MEMORY.search("\n".join(known)):
        return "it may need more memory than there is"
    return f"Ray says: {textwrap.shorten(reason, _REASON_CHARS, placeholder=' …')}"


def query_encoder(info: EncoderInfo, settings: Settings, workers: int) -> EncodeQueries:
    """Return what encodes queries: here if that is light, else one actor.

    Raises:
        EncoderUnavailable: the encoder cannot be loaded.
        UsageError: more GPUs are asked for than there are, or no machine holds the weights.
    """
    if not info.wants_gpu:
        return registry.load(info).encode_queries
    where = placement(info, settings, workers).for_queries(workers)
    return EncoderActors(info, where, settings.batch_tokens).encode_queries
