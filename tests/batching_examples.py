"""A model that is a function, its items and its callers, for the tests of batching.

Nothing of torch is needed and nothing depends on a model's speed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from patchlight.tasks.encoders.batching import Batcher

PATIENCE_S = 20


@dataclass(frozen=True)
class Item:
    """What a page is to the batcher."""

    name: int
    tokens: int = 10
    kind: str = "page"


class Model:
    """Doubles names; counts what it saw; memory for ``room`` tokens; a gate to hold it."""

    def __init__(self, room: int = 10**9, poison: Sequence[int] = ()) -> None:
        self.room = room
        self.poison = set(poison)
        self.batches: list[list[int]] = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def __call__(self, items: list[Item]) -> list[int | Exception]:
        self.batches.append([item.name for item in items])
        self.entered.set()
        assert self.gate.wait(PATIENCE_S)
        if len(items) * max(item.tokens for item in items) > self.room:
            raise MemoryError("no more")
        if self.poison & {item.name for item in items}:
            raise KeyError("poison")
        return [2 * item.name for item in items]


def batcher(model: Callable[..., Any], budget: int = 100) -> Batcher[Item, int]:
    return Batcher(
        model,
        budget=budget,
        out_of_memory=lambda error: isinstance(error, MemoryError),
        pause_s=0,
    )


def jobs(*items: Item) -> list[Callable[[], Item]]:
    return [lambda item=item: item for item in items]  # type: ignore[misc]


def pages(count: int, first: int = 0, tokens: int = 10) -> list[Callable[[], Item]]:
    return jobs(*(Item(first + number, tokens) for number in range(count)))


class Caller(threading.Thread):
    """Calls ``encode`` in a thread of its own and keeps what came of it."""

    def __init__(self, batches: Batcher[Item, int], work: Sequence[Callable[[], Item]]) -> None:
        super().__init__(daemon=True)
        self.batches, self.work = batches, work
        self.result: list[int | Exception] = []
        self.error: BaseException | None = None
        self.start()

    def run(self) -> None:
        try:
            self.result = self.batches.encode(self.work)
        except BaseException as error:
            self.error = error

    def done(self) -> list[int | Exception]:
        self.join(PATIENCE_S)
        assert not self.is_alive(), "the caller hangs"
        return self.result


def queued(batches: Batcher[Item, int], count: int) -> None:
    """Wait until so many items are ready."""
    end = time.monotonic() + PATIENCE_S
    while len(batches._ready) < count:
        assert time.monotonic() < end
        time.sleep(0.001)
