"""Guards how pages of many callers reach one model: order, kinds, bounds and the budget."""

from __future__ import annotations

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlight.tasks.encoders import batching
from patchlight.tasks.encoders.batching import Batcher, fits
from tests.batching_examples import PATIENCE_S, Caller, Item, Model, batcher, jobs, pages, queued


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
