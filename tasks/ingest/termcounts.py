"""Corpus statistics: how many pages hold each term."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.records import VISIBLE, TermStatistics

COUNTS_VERSION = 1
"""Raise when the same pages and terms may be counted otherwise; the next run counts anew. What a
text's terms are is the encoder's, whose fingerprint its documents have."""

_FIRST = 1
"""Version that snapshots do not name: those stored with it never did."""

_COUNTS = 3
"""How often terms are counted when other runs make documents visible meanwhile; the last of these
runs counts for all."""


def bring_up_to_date(
    database: Database, committer: Committer, terms: Callable[[str], list[str]]
) -> None:
    """Count the terms of all visible pages, unless the latest count is of just these.

    Raises:
        StorageUnavailable: the database cannot be read or written.
    """
    for _ in range(_COUNTS):
        if is_current(database):
            return
        committer.commit_statistics(count_terms(database, terms))


def count_terms(database: Database, terms: Callable[[str], list[str]]) -> TermStatistics:
    """Count, over all visible pages, the pages that hold each term.

    Args:
        database: the corpus.
        terms: the terms of a text.
    """
    # Named first: if a document comes meanwhile, the count is no longer current.
    snapshot = _snapshot_id(database)
    frequency: Counter[str] = Counter()
    pages = 0
    for texts in database.page_texts():
        for text in texts:
            frequency.update(set(terms(text)))
        pages += len(texts)
    return TermStatistics(snapshot, pages, dict(frequency))


def is_current(database: Database) -> bool:
    """Whether the latest statistics count exactly the pages that are visible now."""
    latest = database.latest_statistics()
    return latest is not None and latest.snapshot.endswith(_digest(database))


def _snapshot_id(database: Database) -> str:
    """Name of a snapshot: when it was taken, and what was visible."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{_digest(database)}"


def _digest(database: Database) -> str:
    """12 hexadecimal digits that stand for what is visible, and for how it is counted."""
    digest = hashlib.sha256()
    if COUNTS_VERSION != _FIRST:
        digest.update(f"counts-{COUNTS_VERSION}\n".encode())
    for document in database.documents():
        if document.status in VISIBLE:
            made = sorted(document.fingerprints.items())
            digest.update(f"{document.doc_id}:{document.pages_stored}:{made}\n".encode())
    return digest.hexdigest()[:12]
