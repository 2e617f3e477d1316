"""Guards batching when something fails: whom an error reaches, and that nobody waits for ever."""

from __future__ import annotations

import threading
import time

import pytest

from patchlight.tasks.common.errors import (
    Category,
    DeviceLost,
    EncoderUnavailable,
    OutOfMemory,
    fault_of,
)
from patchlight.tasks.encoders.batching import Batcher
from tests.batching_examples import PATIENCE_S, Caller, Item, Model, batcher, jobs, pages, queued


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
