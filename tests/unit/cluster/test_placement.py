"""Where an encoder is placed, on clusters that are not at hand."""

from __future__ import annotations

import threading
import time

import pytest

from patchlight.storage.records import EncoderIdentity
from patchlight.tasks.cluster.placement import Node, place
from patchlight.tasks.cluster.shardpool import Gate
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.settings import Settings
from patchlight.tasks.encoders.protocol import EncoderInfo

GIB = 1 << 30
WORDS = EncoderInfo(EncoderIdentity("w", "f", 8), False, True, wants_gpu=False)
CPU_NODE, GPU_NODE = Node(16, 0, 64 * GIB), Node(16, 4, 64 * GIB)


def vision(millions: float = 3000, pixels: int = 2_400_000) -> EncoderInfo:
    return EncoderInfo(
        EncoderIdentity("v", "f", 128), True, False, True, pixels, int(millions * 4e6)
    )


def test_an_encoder_of_words_has_an_actor_a_worker_whatever_gpus_there_are() -> None:
    where = place(WORDS, Settings(gpus=9), 6, [GPU_NODE])
    assert (where.actors, where.gpus, where.shards) == (6, 0, 1)


@pytest.mark.parametrize(
    ("gpus", "share", "actors"), [(None, 1.0, 8), (3, 1.0, 3), (None, 0.5, 16), (1, 0.3, 3)]
)
def test_every_share_of_a_gpu_has_an_actor(gpus: int | None, share: float, actors: int) -> None:
    where = place(vision(), Settings(gpus=gpus, gpu_share=share), 4, [GPU_NODE, CPU_NODE, GPU_NODE])
    assert (where.actors, where.gpus) == (actors, share)
    assert where.window(Settings(), 4) == 8 + 4 * actors
    assert where.for_queries(4).actors == 1


def test_more_gpus_than_there_are_is_a_mistake() -> None:
    with pytest.raises(UsageError, match=r"9 GPUs are asked for.*has 8"):
        place(vision(), Settings(gpus=9), 4, [GPU_NODE, GPU_NODE])


def test_on_cpus_memory_decides_node_by_node() -> None:
    """A model of 12 GB fits four times into 64 GiB, and not into what is left of two nodes."""
    assert place(vision(), Settings(), 64, [CPU_NODE]).actors == 4
    assert place(vision(), Settings(), 64, [CPU_NODE, Node(2, 0, 64 * GIB)]).actors == 6
    assert place(vision(), Settings(), 64, [Node(8, 0, 15 * GIB)] * 3).actors == 3
    assert place(vision(), Settings(gpus=0), 3, [GPU_NODE]).gpus == 0
    few = place(vision(), Settings(), 16, [Node(16, 0, 30 * GIB)])
    assert (few.actors, few.threads) == (2, 8)
    assert few.for_queries(16).threads == 16


@pytest.mark.parametrize("nodes", [[Node(8, 0, 10 * GIB)] * 3, [Node(8, 0, 0)], []])
def test_a_model_that_no_machine_holds_is_a_mistake(nodes: list[Node]) -> None:
    with pytest.raises(UsageError, match="smaller encoder"):
        place(vision(), Settings(), 4, nodes)


def test_shards_are_small_where_pages_are_slow() -> None:
    assert place(vision(3000), Settings(), 4, [CPU_NODE]).shard_pages == 1
    assert place(vision(25), Settings(), 4, [CPU_NODE]).shard_pages == 4
    assert place(vision(0.1), Settings(), 4, [CPU_NODE]).shard_pages == 16
    assert place(vision(3000), Settings(), 4, [GPU_NODE]).shard_pages == 16


def test_pictures_in_flight_are_bounded_by_their_bytes() -> None:
    assert place(vision(), Settings(), 4, [GPU_NODE]).pictures == 20
    huge = place(vision(pixels=50_000_000), Settings(), 4, [GPU_NODE])
    assert huge.pictures == 1


def test_who_wants_to_be_alone_is_so_and_goes_first() -> None:
    gate, log = Gate(), []

    def share(name: str) -> None:
        with gate.shared():
            log.append(f"{name} in")
            time.sleep(0.05)
            log.append(f"{name} out")

    def alone(name: str) -> None:
        with gate.alone():
            log.append(f"{name} in")
            time.sleep(0.05)
            log.append(f"{name} out")

    threads = [
        threading.Thread(target=share, args=("a",)),
        threading.Thread(target=share, args="b"),
    ]
    threads += [threading.Thread(target=alone, args="x"), threading.Thread(target=alone, args="y")]
    threads += [threading.Thread(target=share, args="c")]
    for thread in threads:
        thread.start()
        time.sleep(0.01)
    for thread in threads:
        thread.join(5)
    assert log[:2] == ["a in", "b in"] and set(log[2:4]) == {"a out", "b out"}
    x, y = ["x in", "x out"], ["y in", "y out"]
    assert log[4:8] in (x + y, y + x) and log[8:] == ["c in", "c out"]
