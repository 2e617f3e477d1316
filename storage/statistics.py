"""Corpus statistics, kept as increments: what each document adds, and what changed when.

A snapshot is a row of ``statistics``: what changed since the one before, or, now and then, all
there is. Its order is its revision, which the next writer counts up: of two at once one is refused.
What a document adds is a row of ``term_counts``, kept until it has been taken away again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice

import pyarrow as pa

from patchlight.storage import convert
from patchlight.storage.database import Database
from patchlight.storage.engine import engine_errors, one_of, quoted
from patchlight.storage.records import StatisticsStep, TermCounts, TermStatistics
from patchlight.storage.schema import Table
from patchlight.storage.writer import Writer

_DOCUMENTS_AT_ONCE = 256
"""Documents whose counts are held at once."""

_STEPS_KEPT_APART = 64
"""Steps that a snapshot is made of at most; the next one is stored as a whole."""

_SHARE_KEPT_APART = 0.5
"""Terms in these steps at most, as a share of those of the whole that they are steps from."""


def newest(database: Database) -> StatisticsStep | None:
    """Return the newest step, without its terms; None if nothing was counted yet."""
    rows = _read(database, "true", ["snapshot", "revision"])
    if not rows.num_rows:
        return None
    last = max(rows.to_pylist(), key=lambda row: int(row["revision"]))
    return _step(database, last["snapshot"])


def latest(database: Database) -> TermStatistics | None:
    """Return the newest snapshot of the corpus statistics; None if there is none yet."""
    step = newest(database)
    return None if step is None else _total(database, step)


def named(database: Database, snapshot: str) -> TermStatistics | None:
    """Return the snapshot that a result names; None if it is not there."""
    step = _step(database, snapshot)
    return None if step is None else _total(database, step)


def counted_in(database: Database) -> dict[str, int | None]:
    """Return counts_id -> revision of the snapshot that counts it, None for none yet."""
    dataset = database.table(Table.TERM_COUNTS)
    with engine_errors(database.uri, Table.TERM_COUNTS):
        rows = dataset.to_table(["counts_id", "counted_in"])
    return dict(zip(rows["counts_id"].to_pylist(), rows["counted_in"].to_pylist(), strict=True))


def term_counts(database: Database, counts_ids: Iterable[str]) -> Iterator[TermCounts]:
    """Yield what some documents add, some read at a time; those that are not there are left out."""
    dataset, rest = database.table(Table.TERM_COUNTS), iter(counts_ids)
    while some := list(islice(rest, _DOCUMENTS_AT_ONCE)):
        with engine_errors(database.uri, Table.TERM_COUNTS):
            rows = dataset.to_table(filter=one_of("counts_id", some))
        yield from convert.term_counts_of(rows)


def next_step(
    database: Database,
    last: StatisticsStep | None,
    added: Iterable[TermCounts],
    removed: Iterable[TermCounts],
) -> StatisticsStep:
    """Make the step that adds what some documents add, and takes away what others added.

    Args:
        database: the database.
        last: the newest step; None for none, or for one that is not to be counted on.
        added: of documents that were not counted.
        removed: of documents that were.
    """
    change: Counter[str] = Counter()
    pages = last.n_pages if last else 0
    ids: tuple[list[str], list[str]] = [], []
    for sign, documents, told in ((1, added, ids[0]), (-1, removed, ids[1])):
        for counts in documents:
            for term, count in counts.counts.items():
                change[term] += sign * count
            pages += sign * counts.n_pages
            told.append(counts.counts_id)
    change = Counter({term: count for term, count in change.items() if count})
    revision = 1 + (last.revision if last else 0)
    base = last.base if last else revision
    if last is not None and _is_whole_wanted(database, last, change):
        change.update(_total(database, last).document_frequency)
        change = Counter({term: count for term, count in change.items() if count})
        base = revision
    return StatisticsStep(
        revision=revision,
        base=base,
        n_pages=pages,
        counts=change,
        added=tuple(sorted(ids[0])),
        removed=tuple(sorted(ids[1])),
    )


def settle(database: Database, writer: Writer, step: StatisticsStep) -> None:
    """Note with the documents what a stored step says of them; done again, it changes nothing."""
    open_ids = [key for key, at in counted_in(database).items() if at is None]
    waiting = sorted(set(open_ids).intersection(step.added))
    for start in range(0, len(waiting), _DOCUMENTS_AT_ONCE):
        some = waiting[start : start + _DOCUMENTS_AT_ONCE]
        writer.upsert(
            Table.TERM_COUNTS,
            convert.term_counts_table(term_counts(database, some), step.revision),
        )
    writer.delete_keys(Table.TERM_COUNTS, step.removed)


def _is_whole_wanted(database: Database, last: StatisticsStep, change: Counter[str]) -> bool:
    sizes = {
        row["revision"]: row["n_terms"]
        for row in _read(database, _between(last), ["revision", "n_terms"]).to_pylist()
    }
    whole = sizes.pop(last.base, 0)
    apart = sum(sizes.values()) + len(change)
    return len(sizes) + 1 > _STEPS_KEPT_APART or apart > _SHARE_KEPT_APART * whole


def _step(database: Database, snapshot: str) -> StatisticsStep | None:
    columns = ["snapshot", "revision", "base", "n_pages", "added", "removed"]
    rows = _read(database, f"snapshot = {quoted(snapshot)}", columns).to_pylist()
    return convert.statistics_step_of(rows[0]) if rows else None


def _total(database: Database, step: StatisticsStep) -> TermStatistics:
    counts: Counter[str] = Counter()
    for row in _read(database, _between(step), ["terms", "counts"]).to_pylist():
        counts.update(dict(zip(row["terms"], row["counts"], strict=True)))
    frequency = {term: count for term, count in counts.items() if count}
    return TermStatistics(step.snapshot, step.n_pages, frequency)


def _between(step: StatisticsStep) -> str:
    return f"revision >= {step.base} AND revision <= {step.revision}"


def _read(database: Database, condition: str, columns: list[str]) -> pa.Table:
    dataset = database.table(Table.STATISTICS)
    with engine_errors(database.uri, Table.STATISTICS):
        return dataset.to_table(columns, condition)
