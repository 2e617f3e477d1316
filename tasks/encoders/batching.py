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

from tasks.errors import EncoderUnavailable, Stage, TooLarge


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
        waiting: int,
        out_of_memory: Callable[[Exception], bool],
        relieve: Callable[[], None] = lambda: None,
    ) -> None:
        """Start the thread that runs the model.

        Args:
            run: the model, called in that thread only: items of one kind, at least one ->
                an output or an error for each, in order. What it raises is the batch's:
                ``EncoderUnavailable`` ends the batcher, of memory there is a second try in
                smaller batches, and after anything else each item is tried by itself.
            budget: most tokens of a batch.
            waiting: most items that are prepared, or being prepared, and not in a batch yet,
                those of all callers together. It bounds the memory they take.
            out_of_memory: whether an error says that memory ran out.
            relieve: called before the second try.
        """
        if budget < 1 or waiting < 1:
            raise ValueError(f"budget and waiting are at least 1, got {budget} and {waiting}")
        self.budget = budget
        self._most = budget
        self._run = run
        self._slots = waiting
        self._out_of_memory = out_of_memory
        self._relieve = relieve
        self._calm = 0
        self._changed = threading.Condition()
        self._ready: deque[_Entry[ItemT, OutT]] = deque()
        self._stopped: EncoderUnavailable | None = None
        self._thread = threading.Thread(target=self._work, name="encoder", daemon=True)
        self._thread.start()

    def encode(self, jobs: Iterable[Callable[[], ItemT]]) -> list[OutT | Exception]:
        """Prepare items in this thread, one after the other, and wait for their outputs.

        Args:
            jobs: each prepares one item; what it raises is the item's error.

        Returns:
            For each job, in order, its output or its error.

        Raises:
            EncoderUnavailable: the batcher is closed, or the model can do no more.
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
            while not self._slots and self._stopped is None:
                self._changed.wait()
            if self._stopped is not None:
                raise self._stopped
            self._slots -= 1
        outcome: Future[OutT] = Future()
        queued = False
        try:
            entry = _Entry(job(), outcome)
            with self._changed:
                if self._stopped is not None:
                    raise self._stopped
                self._ready.append(entry)
                queued = True
                self._changed.notify_all()
        except EncoderUnavailable:
            raise
        except Exception as error:
            outcome.set_exception(error)
        finally:
            if not queued:
                self._release(1)
        return outcome

    def _release(self, slots: int) -> None:
        with self._changed:
            self._slots += slots
            self._changed.notify_all()

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
            self._stop(EncoderUnavailable(f"the encoder stopped ({error!r})"))
            raise
        finally:
            with self._changed:
                left = [e for e in self._ready if e.outcome.set_running_or_notify_cancel()]
                self._ready.clear()
            self._fail(left, self._stopped or EncoderUnavailable("the encoder stopped"))

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
                self._slots += count
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
                        continue
                    error = _too_large(part[0].item, error)
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
            self._fail(left, stopped if known else EncoderUnavailable(f"stopped by {stopped!r}"))
            raise

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
            entry.outcome.set_exception(error)


def _too_large(item: Sized, error: Exception) -> TooLarge:
    return TooLarge(
        f"memory ran out on this {item.kind} of {item.tokens} tokens, encoded alone, twice "
        f"({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}); it needs "
        "a machine with more memory",
        Stage.ENCODE,
    )
