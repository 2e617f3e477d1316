"""What is wrong with a database: in itself, and beside one that was made undisturbed."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from patchlight.storage import digest
from patchlight.storage.database import Database
from patchlight.storage.engine import VISIBLE_FILTER, open_table
from patchlight.storage.reader import Snapshot
from patchlight.storage.records import DocumentStatus
from patchlight.storage.schema import KEYS, PARTS, Table
from patchlight.storage.watching import RUNNING

_ATTEMPTS = ": attempts: "
"""How a difference in ``attempts`` reads: it counts the runs that tried, and these differ."""


def differences(clean: str, other: str) -> list[str]:
    """Where a database differs from one made undisturbed, vectors compared bit by bit."""
    found = digest.differences(clean, other)
    failures = f"{Table.FAILURES} "
    return [line for line in found if not (line.startswith(failures) and _ATTEMPTS in line)]


def faults_at_rest(uri: str) -> list[str]:
    """What must not be in a database that nobody works on."""
    database = Database.open(uri)
    documents = database.documents()
    known = {document.doc_id for document in documents}
    found = [
        f"document {d.doc_id[:8]} is still in work"
        for d in documents
        if d.status is DocumentStatus.UNFINISHED
    ]
    found += [
        f"run {run.run_id} is still running" for run in database.runs() if run.status == RUNNING
    ]
    failed = {failure.doc_id for failure in database.failures()}
    found += [
        f"metadata: a row of {doc_id[:8]}, which is no document"
        for doc_id in set(_column(database, Table.METADATA, "doc_id")) - known - failed
    ]
    pages = set(_column(database, Table.PAGES, "page_key"))
    for table in (Table.PAGES, *PARTS):
        strange = set(_column(database, table, "doc_id")) - known
        found += [f"{table}: rows of {doc_id[:8]}, which is no document" for doc_id in strange]
        lost = set(_column(database, table, "page_key")) - pages
        found += [f"{table}: rows of the key {key} without a page" for key in lost]
        for name in (KEYS[table], *(["page_key"] if table is not Table.REGIONS else [])):
            keys = _column(database, table, name)
            if len(keys) != len(set(keys)):
                found.append(f"{table}: {len(keys)} rows, but {len(set(keys))} values of {name}")
    found += [
        f"page_keys: block {block} was not taken back"
        for block in _column(database, Table.PAGE_KEYS, "block")
    ]
    return [*found, *half_documents(database.snapshot())]


def half_documents(snapshot: Snapshot) -> list[str]:
    """What is not whole of the documents that queries see, in words."""
    documents = _pinned(snapshot, Table.DOCUMENTS, VISIBLE_FILTER)
    pages = _pinned(snapshot, Table.PAGES)
    own = Counter(pages["doc_id"].to_pylist())
    visible = pc.is_in(pages["doc_id"], value_set=documents["doc_id"].combine_chunks())
    seen = pages.filter(visible)
    keys = set(seen["page_key"].to_pylist())
    found = [
        f"{table}: {len(missing)} visible pages without a row"
        for table in (Table.WORDS, Table.PATCHES)
        if (missing := keys - set(_pinned(snapshot, table)["page_key"].to_pylist()))
    ]
    regions = Counter(_pinned(snapshot, Table.REGIONS)["page_key"].to_pylist())
    packed = _pinned(snapshot, Table.WORDS)
    for name in ("words", "lines"):
        lengths = pc.list_value_length(packed[name]).to_pylist()
        regions.update(dict(zip(packed["page_key"].to_pylist(), lengths, strict=True)))
    found += [
        f"page {page}: {count} regions, {regions[key]} are stored"
        for key, page, count in zip(
            *(seen[name].to_pylist() for name in ("page_key", "page_id", "n_regions")), strict=True
        )
        if regions[key] != count
    ]
    metadata = _pinned(snapshot, Table.METADATA)
    if metadata.num_columns > 1:  # what is given to one document is given to all
        bare = set(documents["doc_id"].to_pylist()) - set(metadata["doc_id"].to_pylist())
        found += [f"{doc_id[:8]}: is visible without its metadata" for doc_id in sorted(bare)]
    for row in documents.to_pylist():
        label, stored = f"{row['name']} ({row['doc_id'][:8]})", row["pages_stored"]
        if own[row["doc_id"]] != stored:
            found.append(f"{label}: {stored} pages stored, {own[row['doc_id']]} rows in pages")
        if stored + row["pages_failed"] != row["page_count"]:
            found.append(
                f"{label}: {stored} pages stored and {row['pages_failed']} failed of "
                f"{row['page_count']}"
            )
    return found


def unexplained_pages(database: Database) -> list[str]:
    """Visible documents with fewer rows in ``failures`` than failed pages.

    Call it again before believing it: failures and documents are read one after the other.
    """
    documents = database.documents()
    failed = Counter(f.doc_id for f in database.failures() if f.page)
    return [
        f"{d.sources[0].name}: {d.pages_failed} failed pages, {failed[d.doc_id]} rows in failures"
        for d in documents
        if d.status is not DocumentStatus.UNFINISHED and failed[d.doc_id] < d.pages_failed
    ]


_COLUMNS = {
    Table.DOCUMENTS: ["doc_id", "name", "page_count", "pages_stored", "pages_failed"],
    Table.PAGES: ["page_key", "page_id", "doc_id", "n_regions"],
    Table.REGIONS: ["page_key"],
    Table.WORDS: ["page_key", "words", "lines"],
    Table.PATCHES: ["page_key"],
}
"""What is looked at of a table; of others all."""


def _pinned(snapshot: Snapshot, table: Table, condition: str | None = None) -> pa.Table:
    dataset = open_table(snapshot.uri, table, snapshot.versions[table.value])
    assert dataset is not None
    return dataset.to_table(columns=_COLUMNS.get(table), filter=condition)


def _column(database: Database, table: Table, name: str) -> list[Any]:
    values: list[Any] = database.table(table).to_table(columns=[name])[name].to_pylist()
    return values
