"""Guards how pages of many callers reach one model: order, bounds, and what happens on errors.

The model here is a function, so nothing of torch is needed and nothing depends on its speed.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.encoders import batching
from tasks.encoders.batching import Batcher, fits
from tasks.errors import Category, DeviceLost, EncoderUnavailable, OutOfMemory, fault_of

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


@given(st.lists(st.integers(1, 50), min_size=1, max_size=20), st.integers(1, 200))
def test_a_batch_is_the_longest_front_that_the_budget_holds(tokens: list[int], budget: int) -> None:
    count = fits(tokens, budget)
    assert 1 <= count <= len(tokens)
    assert count == 1 or count * max(tokens[:count]) <= budget
    if count < len(tokens):
        assert (count + 1) * max(tokens[: count + 1]) > budget


def test_outputs_come_back_in_order_with_a_page_above_the_budget_alone() -> None:
    model = Model()
    batches = batcher(model, budget=30)
    items = [Item(0, 10), Item(1, 500), Item(2, 10), Item(3, 20), Item(4, 10)]
    assert batches.encode(jobs(*items)) == [0, 2, 4, 6, 8]
    batches.close()
    for names in model.batches:
        tokens = [items[name].tokens for name in names]
        assert len(names) == 1 or len(names) * max(tokens) <= 30
    assert [1] in model.batches


def test_pages_of_several_callers_share_batches_in_order_of_arrival() -> None:
    model = Model()
    batches = batcher(model, budget=90)
    model.gate.clear()
    first = Caller(batches, pages(1))
    assert model.entered.wait(PATIENCE_S)
    others = []
    for number in range(1, 4):  # three callers of three pages each, one after the other
        others.append(Caller(batches, pages(3, first=10 * number)))
        queued(batches, 3 * number)
    model.gate.set()
    assert first.done() == [0]
    assert [caller.done() for caller in others] == [
        [20, 22, 24],
        [40, 42, 44],
        [60, 62, 64],
    ]
    batches.close()
    assert model.batches == [[0], [10, 11, 12, 20, 21, 22, 30, 31, 32]]


def test_kinds_are_not_mixed() -> None:
    model = Model()
    batches = batcher(model)
    model.gate.clear()
    first = Caller(batches, pages(1))
    assert model.entered.wait(PATIENCE_S)
    mixed = [Item(1), Item(2), Item(3, 10, "query"), Item(4)]
    other = Caller(batches, jobs(*mixed))
    queued(batches, 4)
    model.gate.set()
    assert (first.done(), other.done()) == ([0], [2, 4, 6, 8])
    batches.close()
    assert model.batches == [[0], [1, 2], [3], [4]]


@pytest.mark.parametrize(("budget", "waiting"), [(40, 4), (99, 9), (10, 2), (1, 2)])
def test_pages_are_prepared_while_the_model_works_and_only_so_many(
    budget: int, waiting: int
) -> None:
    """Those of a batch wait by their tokens, of which each has 10, and two whatever they have."""
    model = Model()
    batches = batcher(model, budget=budget)
    model.gate.clear()
    made: list[int] = []

    def job(number: int) -> Item:
        made.append(number)
        return Item(number)

    first = Caller(batches, pages(1, first=1000))
    assert model.entered.wait(PATIENCE_S)
    callers = [
        Caller(batches, [lambda n=n: job(n) for n in range(20 * c, 20 * c + 20)])  # type: ignore[misc]
        for c in range(5)
    ]
    queued(batches, waiting)
    time.sleep(0.1)  # time to overrun, if nothing held them
    assert len(made) == waiting, "however many callers"
    model.gate.set()
    assert first.done() == [2000]
    assert [caller.done() for caller in callers] == [
        [2 * n for n in range(20 * c, 20 * c + 20)] for c in range(5)
    ]
    batches.close()


def test_pages_in_preparation_count_as_the_longest_so_far() -> None:
    model = Model()
    batches = batcher(model, budget=400)
    model.gate.clear()
    first = Caller(batches, pages(1, tokens=100))
    assert model.entered.wait(PATIENCE_S)
    started, go = [], threading.Event()

    def slow(number: int) -> Item:
        started.append(number)
        assert go.wait(PATIENCE_S)
        return Item(number)

    callers = [Caller(batches, [lambda n=n: slow(n)]) for n in range(9)]  # type: ignore[misc]
    end = time.monotonic() + PATIENCE_S
    while len(started) < 4:
        assert time.monotonic() < end
        time.sleep(0.001)
    time.sleep(0.1)
    assert len(started) == 4
    go.set()
    model.gate.set()
    assert first.done() == [0]
    assert sorted(caller.done() for caller in callers) == [[2 * n] for n in range(9)]
    batches.close()


def test_the_model_may_set_the_budget() -> None:
    seen: list[int] = []

    def run(items: list[Item]) -> list[int | Exception]:
        if not seen:
            batches.set_budget(200)
            queued_before.wait(PATIENCE_S)
        seen.append(len(items))
        return [item.name for item in items]

    queued_before = threading.Event()
    batches: Batcher[Item, int] = batcher(run, budget=10)
    caller = Caller(batches, pages(21))
    queued(batches, 20)
    queued_before.set()
    assert caller.done() == list(range(21))
    assert seen == [1, 20]
    with pytest.raises(ValueError, match="at least 1"):
        batches.set_budget(0)
    batches.close()


def test_memory_running_out_halves_the_budget_and_every_page_comes_once() -> None:
    model = Model(room=25)
    batches = batcher(model, budget=160)
    model.gate.clear()
    first = Caller(batches, pages(1))
    assert model.entered.wait(PATIENCE_S)
    other = Caller(batches, pages(16, first=1))
    queued(batches, 16)
    model.gate.set()
    assert first.done() == [0]
    assert other.done() == [2 * n for n in range(1, 17)]
    batches.close()
    sizes = [len(names) for names in model.batches]
    assert sizes[:5] == [1, 16, 8, 4, 2], "halved until it fits, then stays there"
    assert max(sizes[5:]) == 2
    assert batches.budget == 20


def test_the_budget_comes_back_when_memory_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "RECOVER_AFTER", 3)
    model = Model(room=25)
    batches = batcher(model, budget=40)
    batches.encode(pages(1))
    model.gate.clear()
    model.entered.clear()
    held = Caller(batches, pages(1))
    assert model.entered.wait(PATIENCE_S)
    other = Caller(batches, pages(4))
    queued(batches, 4)
    model.gate.set()
    held.done(), other.done()
    assert batches.budget == 20
    model.room = 10**9
    for _ in range(6):
        batches.encode(pages(1))
    assert batches.budget == 40, "and never above what it began with"
    batches.close()


def test_a_page_that_does_not_fit_alone_is_tried_twice_and_named() -> None:
    model = Model(room=25)
    relieved, tried = [], []

    def run(items: list[Item]) -> list[int | Exception]:
        tried.append(time.monotonic())
        return model(items)

    batches: Batcher[Item, int] = Batcher(
        run,
        budget=100,
        out_of_memory=lambda error: isinstance(error, MemoryError),
        relieve=lambda: relieved.append(1),
        pause_s=0.2,
    )
    (large,) = batches.encode(jobs(Item(2, 99)))
    assert tried[1] - tried[0] >= 0.2, "time for another process to give memory back"
    assert batches.encode(jobs(Item(1), Item(3))) == [2, 6]
    batches.close()
    assert isinstance(large, OutOfMemory)
    fault = fault_of(large, large.stage)
    assert (fault.category, fault.retryable) == (Category.OUT_OF_MEMORY, True)
    assert fault.stage == "encode"
    for word in ("99 tokens", "MemoryError: no more", "another process", "--visual-tokens"):
        assert word in fault.message
    assert model.batches.count([2]) == 2
    assert relieved


def test_a_page_that_fits_the_second_time_is_no_failure() -> None:
    model = Model(room=25)

    def relieve() -> None:
        model.room = 10**9

    batches: Batcher[Item, int] = Batcher(
        model,
        budget=100,
        out_of_memory=lambda error: isinstance(error, MemoryError),
        relieve=relieve,
        pause_s=0,
    )
    assert batches.encode(jobs(Item(2, 99))) == [4]
    batches.close()


def test_closing_does_not_wait_for_the_pause() -> None:
    model = Model(room=1)
    batches: Batcher[Item, int] = Batcher(
        model,
        budget=100,
        out_of_memory=lambda error: isinstance(error, MemoryError),
        pause_s=10 * PATIENCE_S,
    )
    caller = Caller(batches, pages(1))
    assert model.entered.wait(PATIENCE_S)
    closer = threading.Thread(target=batches.close, daemon=True)
    closer.start()
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    assert isinstance(caller.done()[0], OutOfMemory)


def test_a_page_that_breaks_the_model_does_not_take_others_with_it() -> None:
    model = Model(poison=[3])
    batches = batcher(model)
    model.gate.clear()
    first = Caller(batches, pages(1))
    assert model.entered.wait(PATIENCE_S)
    other = Caller(batches, pages(5, first=1))
    queued(batches, 5)
    model.gate.set()
    first.done()
    one, two, three, four, five = other.done()
    assert (one, two, four, five) == (2, 4, 8, 10)
    assert isinstance(three, KeyError)
    batches.close()
    assert model.batches == [[0], [1, 2, 3, 4, 5], [1], [2], [3], [4], [5]]


def test_what_the_model_says_of_one_page_is_that_pages() -> None:
    batches = batcher(lambda items: [ValueError("no"), *(item.name for item in items[1:])])
    (only,) = batches.encode(pages(1))
    assert isinstance(only, ValueError)
    batches.close()


def test_a_page_that_cannot_be_prepared_leaves_the_others() -> None:
    batches = batcher(Model(), budget=1)

    def broken() -> Item:
        raise OSError("unreadable")

    outcome = batches.encode([*pages(1), broken, *pages(1, first=5), broken, *pages(1, first=7)])
    assert outcome[::2] == [0, 10, 14]
    assert all(isinstance(error, OSError) for error in outcome[1::2])
    batches.close()


def test_a_caller_that_dies_leaves_no_work_and_no_room_behind() -> None:
    model = Model()
    batches = batcher(model, budget=10)
    model.gate.clear()
    first = Caller(batches, pages(1))
    assert model.entered.wait(PATIENCE_S)

    def interrupted() -> Item:
        raise KeyboardInterrupt

    dead = Caller(batches, [*pages(1, first=100), interrupted])
    dead.join(PATIENCE_S)
    assert isinstance(dead.error, KeyboardInterrupt)
    model.gate.set()
    assert first.done() == [0]
    assert Caller(batches, pages(9)).done() == [2 * n for n in range(9)]
    batches.close()
    assert [100] not in model.batches


def test_closing_ends_everyone_who_waits() -> None:
    model = Model()
    batches = batcher(model, budget=10)
    model.gate.clear()
    callers = [Caller(batches, pages(9)) for _ in range(3)]
    assert model.entered.wait(PATIENCE_S)
    queued(batches, 2)
    closer = threading.Thread(target=batches.close)
    closer.start()
    model.gate.set()
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    for caller in callers:
        caller.done()
        assert isinstance(caller.error, EncoderUnavailable)
    with pytest.raises(EncoderUnavailable, match="closed"):
        batches.encode(pages(1))
    batches.close()  # a second time does nothing
    assert len(model.batches) == 1


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (EncoderUnavailable("the wrong model"), EncoderUnavailable, "the wrong model"),
        (DeviceLost("the GPU is gone"), DeviceLost, "the GPU is gone"),
        (SystemExit(3), DeviceLost, r"SystemExit\(3\)"),
    ],
)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_model_that_can_do_no_more_ends_all_callers(
    error: BaseException, kind: type[Exception], said: str
) -> None:
    gate = threading.Event()

    def run(items: list[Item]) -> list[int | Exception]:
        assert gate.wait(PATIENCE_S)
        raise error

    batches: Batcher[Item, int] = batcher(run, budget=10)
    callers = [Caller(batches, pages(5)) for _ in range(3)]
    queued(batches, 2)
    gate.set()
    for caller in callers:
        caller.done()
        assert type(caller.error) is kind
        with pytest.raises(kind, match=said):
            raise caller.error
    with pytest.raises(kind, match=said):
        batches.encode(pages(1))
    batches.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("outputs", [0, 3])
def test_a_fault_of_the_batcher_itself_leaves_nobody_waiting(outputs: int) -> None:
    """As when the memory of a lost card is to be given back, or the model returns too much."""

    def relieve() -> None:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    def run(items: list[Item]) -> list[int | Exception]:
        if not outputs:
            raise MemoryError
        return [1] * outputs

    batches: Batcher[Item, int] = Batcher(
        run,
        budget=10,
        out_of_memory=lambda error: isinstance(error, MemoryError),
        relieve=relieve,
        pause_s=0,
    )
    caller = Caller(batches, pages(2))
    caller.done()
    assert isinstance(caller.error, DeviceLost)
    batches.close()


def test_a_device_lost_in_preparation_ends_all_callers() -> None:
    model = Model()
    batches = batcher(model, budget=10)
    model.gate.clear()
    first = Caller(batches, pages(9))
    queued(batches, 2)

    def lost() -> Item:
        raise DeviceLost("gone")

    model.gate.set()
    with pytest.raises(DeviceLost, match="gone"):
        batches.encode([lost])
    first.done()
    with pytest.raises(DeviceLost, match="gone"):
        batches.encode(pages(1))
    batches.close()


def test_errors_do_not_keep_what_memory_ran_out_for() -> None:
    """The frames of an error hold the tensors of the run that failed."""
    import gc
    import weakref

    class Tensor:
        pass

    seen: list[weakref.ref[Tensor]] = []

    def run(items: list[Item]) -> list[int | Exception]:
        gc.collect()
        assert not any(ref() for ref in seen), "the try before still holds its tensors"
        tensor = Tensor()
        seen.append(weakref.ref(tensor))
        raise MemoryError

    batches: Batcher[Item, int] = batcher(run)
    assert isinstance(batches.encode(pages(1))[0], OutOfMemory)
    assert len(seen) == 2
    batches.close()
