"""What workers say reaches the log of whoever takes their results, once."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import ray

from patchlight.tasks.cluster import telling as telling_module
from patchlight.tasks.cluster import work
from patchlight.tasks.cluster.telling import (
    Told,
    print_what_it_has_along,
    taken,
    telling,
    telling_worker,
)
from patchlight.tasks.common import console

log = logging.getLogger("patchlight.worker")


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    """The log of this process, as it was: a worker has a process of its own."""
    root = logging.getLogger("patchlight")
    before = root.level, root.propagate, root.handlers[:]
    telling_module._keeper.cache_clear()
    yield
    root.level, root.propagate, root.handlers[:] = before
    telling_module._keeper.cache_clear()


def speak(text: str) -> str:
    log.debug("not %s", text)
    log.warning("%s", text)
    try:
        raise ValueError("a cause")
    except ValueError:
        log.exception("failed")
    return text


def shout(first: str, second: str) -> str:
    log.warning("shouted")
    return first + second


def back_in_flow() -> None:
    root = logging.getLogger("patchlight")
    root.handlers.clear()
    root.propagate = True


def test_it_is_printed_once_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    told = telling(speak)("\x1b[31mred")
    also = telling(speak)("green")
    whole = telling(shout)(told, also)
    assert isinstance(whole, Told)
    back_in_flow()
    caplog.clear()
    assert taken(whole) == "\x1b[31mredgreen"
    messages = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    assert messages == ["\x1b[31mred", "failed", "green", "failed", "shouted"]
    formatted = console.PlainFormatter().format(caplog.records[0])
    assert "\x1b" not in formatted and "red" in formatted
    assert "ValueError: a cause" in console.PlainFormatter().format(caplog.records[1])
    assert taken("plain") == "plain"


def test_it_is_bounded() -> None:
    def chatter() -> None:
        for number in range(3 * telling_module._MOST):
            log.warning("%d", number)

    lines = telling(chatter)().lines
    assert len(lines) == telling_module._MOST + 1
    assert f"{2 * telling_module._MOST} more lines" in lines[-1].text


def test_of_many_results_at_once_it_says_how_many_lines_were_left_out() -> None:
    most = telling_module._MOST

    def chatter(*before: None) -> None:
        for number in range(most + 5):
            log.warning("%d", number)

    tell = telling(chatter)
    lines = tell(tell(), tell()).lines
    assert len(lines) == 2 * most + 1
    # Of 3 * (most + 5), the first most are there, then one that stands for 5, then most - 1.
    assert f"… {3 * (most + 5) - (2 * most - 1) - 5} more lines were left out" in lines[-1].text


def test_what_was_said_before_an_error_is_printed_once(caplog: pytest.LogCaptureFixture) -> None:
    def break_off(before: str) -> None:
        log.warning("at the end")
        raise RuntimeError(before)

    with pytest.raises(RuntimeError, match="red") as caught:
        telling(break_off)(telling(speak)("red"))
    assert telling(shout)("", "").lines[0].text == "shouted"  # none of it is told again
    back_in_flow()
    caplog.clear()
    for _ in range(2):
        print_what_it_has_along(caught.value)
    messages = [record.getMessage().split(": ", 1)[1] for record in caplog.records]
    assert messages == ["red", "failed", "at the end"]


def test_methods_of_a_worker_may_call_each_other() -> None:
    class Worker:
        def load(self) -> None: ...
        def encode(self) -> int:
            return 1

        def encode_shard(self) -> int:
            return self.encode() + 1

        def encode_queries(self) -> None: ...

    worker = telling_worker(Worker)()
    assert worker.encode_shard().result == 2
    assert worker.encode().result == 1


def test_what_crosses_to_a_worker_takes_nothing_of_this_process_along() -> None:
    """Ray sends functions and classes that are made here with all that they name."""
    for made in (telling(work.read_shard), telling_worker(work.EncoderWorker)):
        assert len(ray.cloudpickle.dumps(made)) < 10_000
