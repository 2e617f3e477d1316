"""One model, many callers: pages prepared by many threads, encoded in batches by one.

Each caller prepares its own pages in its own thread, one at a time, so the next pages are made
ready while the model works on those before. One thread runs the model: it takes what is ready,
from all callers, in the order it became ready. Nothing waits for a batch to fill up: while the
model is busy pages gather by themselves, and when it is not there is nothing to gain.

This knows nothing of torch or of pages.
"""

from __future__ import annotations

import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import groupby
from typing import Generic, Protocol, TypeVar

from patchlight.tasks.common.errors import DeviceLost, EncoderUnavailable, OutOfMemory, Stage


class Sized(Protocol):
    """What can be said of an item without looking into it.

    Attributes:
        kind: items of different kinds are never in one batch.
        tokens: length of its sequence, at least 1.
    """

    @property
    def kind(self) -> str: ...  # noqa: D102

    @property
    def tokens(self) -> int: ...  # noqa: D102


ItemT = TypeVar("ItemT", bound=Sized)
OutT = TypeVar("OutT")

RECOVER_AFTER = 100
"""Batches in a row that fit before a lowered budget is doubled. A shortage of memory may pass, as
when it was another process on the same card; if it has not, finding out costs one batch in
hundred."""


_ALWAYS_WAITING = 2
"""Items that may wait whatever their length: one to go on with, one in preparation."""


def fits(tokens: Sequence[int], budget: int) -> int:
    """Return how many of the items at the front make one batch, at least 1.

    A batch costs its items times the longest of them, since the others are padded to that.

    Args:
        tokens: lengths of the items, not empty.
        budget: most tokens of a batch; a longer item goes alone.

    >>> fits([700, 700, 900, 100], 2000), fits([700, 700, 900, 100], 2700), fits([900], 500)
    (2, 3, 1)
    """
    longest = 0
    for count, length in enumerate(tokens):
        longest = max(longest, length)
        if (count + 1) * longest > budget:
            return max(count, 1)
    return len(tokens)


@dataclass(slots=True)
class _Entry(Generic[ItemT, OutT]):
    item: ItemT
    outcome: Future[OutT]


class Batcher(Generic[ItemT, OutT]):
    """Runs a model over items that several threads bring; close it when it is done with.

    Attributes:
        budget: most tokens of a batch now; lower than at the start after memory ran out.
    """

    def __init__(
        self,
        run: Callable[[list[ItemT]], list[OutT | Exception]],
        *,
        budget: int,
        out_of_memory: Callable[[Exception], bool],
        relieve: Callable[[], None] = lambda: None,
        pause_s: float = 1.0,
    ) -> None:
        """Start the thread that runs the model.

        Args:
            run: the model, called in that thread only: items of one kind, at least one ->
                an output or an error for each, in order. What it raises is the batch's:
                ``EncoderUnavailable`` ends the batcher, of memory there is a second try in
                smaller batches, and after anything else each item is tried by itself.
            budget: most tokens of a batch. It also bounds the memory of what waits: the items
                of all callers that are prepared, or being prepared, and not in a batch yet have
                no more tokens together, unless they are only two.
            out_of_memory: whether an error says that memory ran out.
            relieve: called before the second try.
            pause_s: seconds between two tries of an item by itself for which memory ran out:
                time for another process on the card to give some back.
        """
        self._changed = threading.Condition()
        self.set_budget(budget)
        self._run = run
        self._out_of_memory = out_of_memory
        self._relieve = relieve
        self._pause_s = pause_s
        self._preparing = 0
        self._longest = 0  # tokens of the longest item so far: what one in preparation counts
        self._ready: deque[_Entry[ItemT, OutT]] = deque()
        self._stopped: EncoderUnavailable | None = None
        self._thread = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._thread.start()

    def encode(self, jobs: Iterable[Callable[[], ItemT]]) -> list[OutT | Exception]:
        """Prepare items in this thread, one after the other, and wait for their outputs.

        Args:
            jobs: each prepares one item; what it raises is the item's error, but for
                ``EncoderUnavailable``, which ends the batcher.

        Returns:
            For each job, in order, its output or its error.

        Raises:
            EncoderUnavailable: the batcher is closed, or the model can do no more; ``DeviceLost``
                if that of another process may.
        """
        outcomes: list[Future[OutT]] = []
        try:
            for job in jobs:
                outcomes.append(self._submit(job))  # noqa: PERF401 - cancelled if one raises
            return [self._outcome_of(outcome) for outcome in outcomes]
        except BaseException:
            for outcome in outcomes:
                outcome.cancel()
            raise

    def set_budget(self, tokens: int) -> None:
        """Set the most tokens of a batch, from the next one on; also for ``run`` to call."""
        if tokens < 1:
            raise ValueError(f"the budget is at least 1, got {tokens}")
        with self._changed:
            self.budget = self._most = tokens
            self._calm = 0
            self._changed.notify_all()

    def close(self) -> None:
        """Stop after the batch in hand; what waits ends with ``EncoderUnavailable``."""
        self._stop(EncoderUnavailable("the encoder was closed"))
        if threading.current_thread() is not self._thread:
            self._thread.join()

    def _outcome_of(self, outcome: Future[OutT]) -> OutT | Exception:
        error = outcome.exception()
        if isinstance(error, EncoderUnavailable):
            raise error
        return error if isinstance(error, Exception) else outcome.result()

    def _submit(self, job: Callable[[], ItemT]) -> Future[OutT]:
        """Prepare one item when there is room, and queue it."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped is not None or self._room())
            if self._stopped is not None:
                raise self._stopped
            self._preparing += 1
        outcome: Future[OutT] = Future()
        try:
            item = job()
        except BaseException as error:
            self._prepared(None)
            if isinstance(error, EncoderUnavailable):
                self._stop(error)
            if isinstance(error, EncoderUnavailable) or not isinstance(error, Exception):
                raise
            outcome.set_exception(error)
        else:
            self._prepared(_Entry(item, outcome))
        return outcome

    def _prepared(self, entry: _Entry[ItemT, OutT] | None) -> None:
        """Note that a preparation ended, and queue what came of it."""
        with self._changed:
            self._preparing -= 1
            self._changed.notify_all()
            if entry is None:
                return
            if self._stopped is not None:
                raise self._stopped
            self._ready.append(entry)
            self._longest = max(self._longest, entry.item.tokens)

    def _room(self) -> bool:
        """Say whether one more item may be prepared."""
        coming = self._preparing + 1
        if len(self._ready) + coming <= _ALWAYS_WAITING:
            return True
        waiting = sum(entry.item.tokens for entry in self._ready)
        return bool(self._longest) and waiting + coming * self._longest <= self.budget

    def _stop(self, why: EncoderUnavailable) -> None:
        with self._changed:
            self._stopped = self._stopped or why
            self._changed.notify_all()

    def _work(self) -> None:
        """Run batches until stopped; then nobody is left waiting."""
        try:
            while (batch := self._next()) is not None:
                self._encode(batch)
        except EncoderUnavailable as error:
            self._stop(error)
        except BaseException as error:
            self._stop(_thread_lost(error))
            raise
        finally:
            with self._changed:
                left = [e for e in self._ready if e.outcome.set_running_or_notify_cancel()]
                self._ready.clear()
            self._fail(left, self._stopped or DeviceLost("the encoder stopped"))

    def _next(self) -> list[_Entry[ItemT, OutT]] | None:
        """Wait for items and take a batch of them; None when stopped."""
        with self._changed:
            while self._stopped is None:
                if not self._ready:
                    self._changed.wait()
                    continue
                _, alike = next(groupby(self._ready, key=lambda entry: entry.item.kind))
                count = fits([entry.item.tokens for entry in alike], self.budget)
                batch = [self._ready.popleft() for _ in range(count)]
                self._changed.notify_all()
                return [entry for entry in batch if entry.outcome.set_running_or_notify_cancel()]
            return None

    def _encode(self, batch: list[_Entry[ItemT, OutT]]) -> None:
        """Give every entry of a batch its outcome, in as many runs as that takes."""
        left = deque(batch)
        alone = 0  # entries in front that failed together, of which each is tried by itself
        again = False  # the entry in front is being tried alone once more
        try:
            while left:
                tokens = [entry.item.tokens for entry in left]
                part = list(left)[: 1 if alone else fits(tokens, self.budget)]
                error = self._attempt(part)
                if error is not None and self._out_of_memory(error):
                    self._relieve()
                    if len(part) > 1:
                        self._lower(len(part) * max(tokens[: len(part)]))
                        continue
                    if not again:
                        again = True
                        self._pause()
                        continue
                    error = _no_memory(part[0].item, error)
                elif error is not None and len(part) > 1:
                    alone = len(part)
                    continue
                if error is not None:
                    self._fail(part, error)
                alone, again = max(alone - 1, 0), False
                for _ in part:
                    left.popleft()
        except BaseException as stopped:
            known = isinstance(stopped, EncoderUnavailable)
            self._fail(left, stopped if known else _thread_lost(stopped))
            raise

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stopped is not None, self._pause_s)

    def _attempt(self, part: list[_Entry[ItemT, OutT]]) -> Exception | None:
        """Run the model on a part of a batch and deliver; or return what it raised."""
        try:
            outputs = self._run([entry.item for entry in part])
        except EncoderUnavailable:
            raise
        except Exception as error:
            # Its frames hold the tensors that memory ran out for.
            traceback.clear_frames(error.__traceback__)
            return error
        for entry, output in list(zip(part, outputs, strict=True)):
            if isinstance(output, Exception):
                self._fail([entry], output)
            else:
                entry.outcome.set_result(output)
        self._calm += 1
        if self.budget < self._most and self._calm >= RECOVER_AFTER:
            self.budget, self._calm = min(2 * self.budget, self._most), 0
        return None

    def _lower(self, tokens: int) -> None:
        """Lower the budget below a batch that memory ran out for."""
        self.budget = max(min(self.budget, tokens) // 2, 1)
        self._calm = 0

    @staticmethod
    def _fail(entries: Iterable[_Entry[ItemT, OutT]], error: BaseException) -> None:
        for entry in entries:
            if not entry.outcome.done():
                entry.outcome.set_exception(error)


def _no_memory(item: Sized, error: Exception) -> OutOfMemory:
    said = str(error).splitlines()[0] if str(error) else ""
    return OutOfMemory(
        f"memory ran out on this {item.kind} of {item.tokens} tokens, encoded alone, twice "
        f"({type(error).__name__}: {said}). If another process uses the card, end it and try "
        "again; if none does, take a machine with more memory. An existing database keeps its "
        "--visual-tokens; a new one with fewer takes less memory, where the encoder has a choice",
        Stage.ENCODE,
    )


def _thread_lost(error: BaseException) -> DeviceLost:
    """Return what callers get when the model's thread ends by what nobody foresaw.

    As with a lost card nothing in this process will run the model again, and what state the
    model is in is not known; a new process starts from a known one.
    """
    return DeviceLost(f"the thread that runs the model was stopped by {error!r}")
