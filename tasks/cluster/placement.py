"""Where an encoder works, decided from what a Ray cluster has. Pure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace

from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.settings import Settings
from patchlight.tasks.encoders.protocol import EncoderInfo

logger = logging.getLogger("patchlight.encoders")

SHARD_SECONDS = 20
"""About what a shard takes on the CPU, if one page does not take longer: what a cut-off run loses
stays small, and every process has work where pages are few."""

_SHARDS_AT_ONCE = 4
"""Shards that an actor of pictures holds: one whose pages are in the model, others whose pages
are resized meanwhile, so that a batch can be filled from several."""

_CPU_SECONDS = 0.19e-6
"""Seconds of one core a page and parameter: measured with a model of 228 million parameters and
its largest pages (docs/encoders.md). Models with fewer patches a page take less than that says."""

_PROCESS_BYTES = 2 << 30
"""Memory of an encoder process on the CPU beside its weights: libraries and a page's layers."""

_PICTURE_BYTES = 4 << 30
"""Memory that the pictures of shards in flight may take, or those of one shard."""


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of a cluster has.

    Attributes:
        cpus, gpus: how many.
        memory: bytes that tasks and actors may take.
    """

    cpus: int
    gpus: int
    memory: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where an encoder works.

    Attributes:
        actors: how many, each loads the encoder once.
        gpus: GPUs that each reserves; 0 for the CPU.
        memory: bytes of main memory that each reserves; 0 for none.
        threads: CPU threads of its arithmetic.
        shards: shards that each holds at once.
        shard_pages: pages of a shard, at most.
        pictures: shards whose pictures may be held at once, in all.
    """

    actors: int
    gpus: float
    memory: int
    threads: int
    shards: int
    shard_pages: int
    pictures: int

    def window(self, settings: Settings, workers: int) -> int:
        """Shards in work at once: those being read, and those in the actors."""
        in_actors = self.actors * self.shards if self.gpus else 0
        return settings.shards_a_worker * workers + in_actors

    def for_queries(self, workers: int) -> Placement:
        """The same with one actor: a query takes a hundredth of what a page takes."""
        return replace(self, actors=1, threads=self.threads if self.gpus else workers)


def place(info: EncoderInfo, settings: Settings, workers: int, nodes: Sequence[Node]) -> Placement:
    """Decide where an encoder works.

    One that wants a GPU gets an actor for each share of each GPU; without a GPU as many as
    memory holds, at most one a worker. Another has an actor a worker.

    Args:
        info: the encoder.
        settings: GPUs asked for, and the sizes of shards.
        workers: processes at work.
        nodes: the machines of the cluster.

    Raises:
        UsageError: more GPUs are asked for than there are, or no machine holds the weights.
    """
    if not info.wants_gpu:
        return Placement(workers, 0.0, 0, 1, 1, settings.shard_pages, 1)
    there = sum(node.gpus for node in nodes)
    asked = there if settings.gpus is None else settings.gpus
    if asked > there:
        raise UsageError(
            f"{asked} GPUs are asked for (--gpus, PATCHLIGHT_GPUS), but Ray's cluster has {there}; "
            "ask for fewer, or name a larger cluster in PATCHLIGHT_RAY_ADDRESS"
        )
    if not asked:
        return _on_cpu(info, settings, workers, nodes)
    actors = asked * int(1 / settings.gpu_share)
    pictures = _pictures(actors * (_SHARDS_AT_ONCE + 1), info, settings.shard_pages)
    return Placement(
        actors, settings.gpu_share, 0, 1, _SHARDS_AT_ONCE, settings.shard_pages, pictures
    )


def _on_cpu(
    info: EncoderInfo, settings: Settings, workers: int, nodes: Sequence[Node]
) -> Placement:
    name, parameters = info.identity.name, info.weight_bytes / 4
    need = info.weight_bytes + _PROCESS_BYTES
    most = max((node.memory for node in nodes), default=0)
    if info.weight_bytes > most:
        raise UsageError(
            f"{name} takes {info.weight_bytes / 2**30:.0f} GiB of memory; no machine of Ray's "
            f"cluster has a GPU, or more than {most / 2**30:.0f} GiB; choose a smaller encoder "
            "(docs/encoders.md)"
        )
    fitting = sum(min(node.cpus, node.memory // need) for node in nodes)
    actors = max(1, min(workers, fitting))
    seconds = parameters * _CPU_SECONDS
    logger.warning(
        "no GPU: %s (%.1f million parameters) works on the CPU in %d processes; for its size that "
        "is up to %.1f s of one core a page (docs/encoders.md)",
        name,
        parameters / 1e6,
        actors,
        seconds,
    )
    pages = max(1, min(settings.shard_pages, int(SHARD_SECONDS / max(seconds, 1))))
    return Placement(
        actors,
        0.0,
        min(need, most),
        max(1, workers // actors),
        1,
        pages,
        _pictures(2 * actors, info, pages),
    )


def _pictures(wanted: int, info: EncoderInfo, shard_pages: int) -> int:
    """Shards whose pictures may be held at once."""
    return max(1, min(wanted, _PICTURE_BYTES // (3 * info.image_pixels * shard_pages)))
