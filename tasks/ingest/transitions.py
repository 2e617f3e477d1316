"""What becomes of a document's row when a run takes, finishes or finds it; pure.

Each function is given the row as it is at that moment, other runs' changes included, and
returns the row as it should be, or None to leave it alone. ``Committer.change_documents`` calls
them again when another run was faster.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from patchlight.storage.records import VISIBLE, Document, DocumentStatus, Source
from patchlight.tasks.reading.shardplan import InspectedFile


def claim(
    row: Document | None,
    file: InspectedFile,
    run_id: str,
    *,
    revision: int,
    live: Collection[str],
    now: datetime,
) -> Document | None:
    """Take a document out of sight and into work.

    Args:
        row: as it is.
        file: where its bytes were found.
        run_id: the run that is to make it.
        revision: of the row when the run decided what is to be done of it; 0 for none.
        live: runs that are at work.
        now: the time.

    Returns:
        The row to write; None if another run has the document in work, or changed it meanwhile.
    """
    if row is None:
        return _in_work(file, run_id, now)
    if is_owned(row, run_id):  # perhaps as one that had no file left, until it was found again
        known = joined(row.sources, file.sources)
        return None if known == row.sources else replace(row, sources=known)
    if row.revision != revision or is_held(row, run_id, live):
        return None
    sources = joined(row.sources, file.sources)
    return replace(row, status=DocumentStatus.UNFINISHED, run_id=run_id, sources=sources)


def is_held(row: Document, run_id: str, live: Collection[str]) -> bool:
    """Whether another run that is at work has a document."""
    in_work = row.status is DocumentStatus.UNFINISHED
    return in_work and row.run_id != run_id and row.run_id in live


def is_owned(row: Document | None, run_id: str) -> bool:
    """Whether a run has a document in work."""
    in_work = row is not None and row.status is DocumentStatus.UNFINISHED
    return row is not None and in_work and row.run_id == run_id


def is_finished_by(row: Document | None, run_id: str) -> bool:
    """Whether a document is as a run finished it, in sight or failed."""
    done = row is not None and (row.status in VISIBLE or row.status is DocumentStatus.FAILED)
    return row is not None and done and row.run_id == run_id


def finish(
    row: Document | None,
    run_id: str,
    *,
    stored: int,
    failed: int,
    fingerprints: Mapping[str, str],
    now: datetime,
) -> Document | None:
    """Make a document visible, or failed if not one page is there; None if it was taken."""
    if row is None or not is_owned(row, run_id):
        return None
    status = DocumentStatus.PARTIAL if failed else DocumentStatus.COMPLETE
    return replace(
        row,
        status=status if stored else DocumentStatus.FAILED,
        pages_stored=stored,
        pages_failed=failed,
        fingerprints=fingerprints,
        ingested_at=now,
    )


def found_at(row: Document | None, sources: Sequence[Source]) -> Document | None:
    """Note where else a document was found."""
    if row is None:
        return None
    known = joined(row.sources, sources)
    return None if known == row.sources else replace(row, sources=known)


def lose(
    row: Document | None, uris: Collection[str], run_id: str, live: Collection[str]
) -> Document | None:
    """Take sources from a document whose files are gone, or hold other bytes now.

    One that has none left is taken into work by the run, which is to remove it.
    """
    if row is None or is_held(row, run_id, live):
        return None
    left = tuple(source for source in row.sources if source.uri not in uris)
    if len(left) == len(row.sources):
        return None
    if left:
        return replace(row, sources=left)
    return replace(row, status=DocumentStatus.UNFINISHED, run_id=run_id)


def joined(known: Sequence[Source], found: Sequence[Source]) -> tuple[Source, ...]:
    """Return sources in order of first sight, each URI once."""
    uris = {source.uri for source in known}
    return (*known, *(source for source in found if source.uri not in uris))


def _in_work(file: InspectedFile, run_id: str, now: datetime) -> Document:
    return Document(
        doc_id=file.doc_id,
        status=DocumentStatus.UNFINISHED,
        media_type=file.media_type,
        bytes=file.bytes,
        page_count=file.page_count,
        pages_stored=0,
        pages_failed=0,
        sources=file.sources,
        fingerprints={},
        run_id=run_id,
        ingested_at=now,
    )
