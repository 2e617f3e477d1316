"""Corpus statistics: how many pages hold each term."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence

from patchlight.storage import statistics
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.records import VISIBLE, Document, StatisticsStep, TermCounts

COUNTS_VERSION = 1
"""Raise when the same pages and terms may be counted otherwise; the next run counts anew. What a
text's terms are is the encoder's, whose fingerprint its documents have."""

_STEPS = 8
"""How often terms are counted when other runs count at the same moment; the last of these runs
counts for all."""

_DOCUMENTS_AT_ONCE = 64


def bring_up_to_date(
    database: Database, committer: Committer, terms: Callable[[str], list[str]]
) -> None:
    """Count what became visible since the latest snapshot, and take away what is no longer.

    Costs what changed, but for a look at all documents' rows. Killed at any point, doing it again
    finishes it.

    Args:
        database: the database.
        committer: writes there.
        terms: the terms of a text.

    Raises:
        StorageUnavailable: the database cannot be read or written.
    """
    for _ in range(_STEPS):
        last = statistics.newest(database)
        if last is not None:
            committer.settle_statistics(last)
        visible = {_counts_id(d): d for d in database.documents() if d.status in VISIBLE}
        counted = statistics.counted_in(database)
        committer.drop_term_counts(
            [key for key, at in counted.items() if at is None and key not in visible]
        )
        new = [key for key in visible if counted.get(key) is None]
        gone = [key for key, at in counted.items() if at is not None and key not in visible]
        if last is not None and not new and not gone:
            return
        uncounted = [visible[key] for key in new if key not in counted]
        deque(_counted(database, committer, terms, uncounted), maxlen=0)
        added, removed = (statistics.term_counts(database, keys) for keys in (new, gone))
        step = statistics.next_step(database, last, added, removed)
        if committer.commit_statistics(step):
            committer.settle_statistics(step)


def count_anew(
    database: Database, committer: Committer, terms: Callable[[str], list[str]], after: int
) -> None:
    """Count all visible pages of a database that has snapshots of which it is not known how.

    Args:
        database: the database; none of its documents has term counts.
        committer: writes there.
        terms: the terms of a text.
        after: revision of its newest snapshot.

    Raises:
        StorageUnavailable: the database cannot be read or written.
    """
    documents = [d for d in database.documents() if d.status in VISIBLE]
    total: Counter[str] = Counter()
    pages = 0
    for counts in _counted(database, committer, terms, documents):
        total.update(counts.counts)
        pages += counts.n_pages
    step = StatisticsStep(
        revision=after + 1,
        base=after + 1,
        n_pages=pages,
        counts=total,
        added=tuple(sorted(map(_counts_id, documents))),
        removed=(),
    )
    committer.commit_statistics(step)
    committer.settle_statistics(step)


def _counted(
    database: Database,
    committer: Committer,
    terms: Callable[[str], list[str]],
    documents: Sequence[Document],
) -> Iterator[TermCounts]:
    """Store what documents add, some at a time, and yield it."""
    for start in range(0, len(documents), _DOCUMENTS_AT_ONCE):
        some = documents[start : start + _DOCUMENTS_AT_ONCE]
        counts: dict[str, Counter[str]] = {d.doc_id: Counter() for d in some}
        pages: Counter[str] = Counter()
        for doc_id, text in database.texts_of(counts):
            counts[doc_id].update(set(terms(text)))
            pages[doc_id] += 1
        stored = [
            TermCounts(_counts_id(d), d.doc_id, pages[d.doc_id], counts[d.doc_id]) for d in some
        ]
        committer.commit_term_counts(stored)
        yield from stored


def _counts_id(document: Document) -> str:
    """Stands for a document as it is visible, and for how it is counted."""
    made = sorted(document.fingerprints.items())
    what = f"counts-{COUNTS_VERSION}\n{document.pages_stored}:{document.ingested_at}:{made}"
    return f"{document.doc_id}:{hashlib.sha256(what.encode()).hexdigest()[:12]}"
