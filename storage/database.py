"""A database, opened, and reading its narrow tables."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Self

import lance
import pyarrow as pa
import pyarrow.compute as pc

from patchlight.storage import convert, regionrows
from patchlight.storage.engine import (
    database_uri,
    engine_errors,
    existing_table,
    one_of,
    open_table,
    some_at_a_time,
)
from patchlight.storage.errors import DatabaseNotFound
from patchlight.storage.identity import Identity, claim, read_identity
from patchlight.storage.reader import Snapshot, pin
from patchlight.storage.records import (
    Document,
    EncoderIdentity,
    Failure,
    Run,
    StoredPage,
    VectorForm,
    page_id,
)
from patchlight.storage.regions import Regions
from patchlight.storage.schema import SCHEMA_VERSION, STAGES, Table


class Database:
    """A patchlight database, opened. Holds no file open; picklable; safe to share by threads.

    Attributes:
        uri: absolute path, or the URI in an object store.
        encoder: the encoder it belongs to, by the name it was made with.
        form: what it stores of a page's patch vectors.
        schema_version: always `SCHEMA_VERSION`.
    """

    def __init__(self, uri: str, identity: Identity) -> None:
        self.uri = uri
        self.encoder = identity.encoder
        self.form = identity.form
        self.schema_version = SCHEMA_VERSION

    @classmethod
    def create_or_open(
        cls,
        uri: str | Path,
        encoder: EncoderIdentity,
        form: VectorForm | None = None,
    ) -> Self:
        """Open a database for writing, making what is missing of it.

        Args:
            uri: a path, a ``file://`` URI, or another URI that LanceDB knows.
            encoder: the encoder whose vectors it is to hold; one that is there may know it by
                another name.
            form: what it is to store of them. None: what it stores already, or for a new
                database the default, ``VectorForm()``.

        Raises:
            SchemaMismatch: it has another schema version, or tables that are not patchlight's.
            EncoderMismatch: it belongs to another encoder.
            FormMismatch: it stores vectors in another form.
            StorageUnavailable: it cannot be read or written.
        """
        place = database_uri(uri)
        return cls(place, claim(place, encoder, form))

    @classmethod
    def open(cls, uri: str | Path) -> Self:
        """Open a database for reading.

        Args:
            uri: a path, a ``file://`` URI, or another URI that LanceDB knows.

        Raises:
            DatabaseNotFound: there is none, or one whose making was interrupted.
            SchemaMismatch: it has another schema version.
            StorageUnavailable: it cannot be read.
        """
        place = database_uri(uri)
        identity = read_identity(place)
        if identity is None:
            raise DatabaseNotFound(
                f"there is no patchlight database at {place}. "
                "Make one with 'patchlight ingest', or name another with --db."
            )
        return cls(place, identity)

    @classmethod
    def find(cls, uri: str | Path) -> Self | None:
        """Open a database for reading; None if there is none. Raises as ``open`` otherwise."""
        try:
            return cls.open(uri)
        except DatabaseNotFound:
            return None

    def table(self, table: Table) -> lance.LanceDataset:
        """The newest version of a table, for reading.

        Raises:
            DatabaseNotFound: the table is not there: making the database was interrupted.
            StorageUnavailable: it cannot be read.
        """
        return existing_table(self.uri, table)

    def documents(self) -> list[Document]:
        """All documents, visible or not, by doc_id."""
        rows = self._read(Table.DOCUMENTS)
        return sorted(convert.documents_of(rows), key=lambda document: document.doc_id)

    def document_rows(self, doc_ids: Iterable[str]) -> dict[str, Document]:
        """The documents of these ids, visible or not; unknown ones are left out."""
        rows: dict[str, Document] = {}
        for some in some_at_a_time(doc_ids):
            found = self._read(Table.DOCUMENTS, condition=one_of("doc_id", some))
            rows |= {document.doc_id: document for document in convert.documents_of(found)}
        return rows

    def failures(self) -> list[Failure]:
        """All failures, by uri and page."""
        rows = self._read(Table.FAILURES)
        return sorted(convert.failures_of(rows), key=lambda f: (f.uri, f.page, f.stage))

    def runs(self) -> list[Run]:
        """All runs, in the order in which they began."""
        rows = self._read(Table.RUNS)
        return sorted(convert.runs_of(rows), key=lambda run: (run.number, run.run_id))

    def stored_pages(self, doc_ids: Collection[str]) -> dict[tuple[str, int], Mapping[str, str]]:
        """Fingerprints of the pages that are stored whole.

        Args:
            doc_ids: the documents to look at.

        Returns:
            (doc_id, page) -> stage -> fingerprint, for visible and unfinished documents alike.
            Pages with the same fingerprints share one mapping: there may be a million of them.
        """
        own = {doc_id: doc_id for doc_id in doc_ids}
        wanted = pa.array(sorted(own), pa.string())
        mappings: dict[tuple[str | None, ...], Mapping[str, str]] = {}
        stored: dict[tuple[str, int], Mapping[str, str]] = {}
        for batch in self._batches(Table.PAGES, ["doc_id", "page", "fingerprints"]):
            rows = batch.filter(pc.is_in(batch["doc_id"], value_set=wanted))
            stages = [rows["fingerprints"].field(stage).to_pylist() for stage in STAGES]
            for doc_id, page, *values in zip(
                rows["doc_id"].to_pylist(), rows["page"].to_pylist(), *stages, strict=True
            ):
                mapping = mappings.get(key := tuple(values))
                if mapping is None:
                    mapping = {s: v for s, v in zip(STAGES, key, strict=True) if v is not None}
                    mappings[key] = mapping
                stored[own[doc_id], page] = mapping
        return stored

    def page_keys(self, page_ids: Iterable[str]) -> dict[str, int]:
        """What the parts of pages are found by: page_id -> page_key; unknown ones are left out."""
        keys: dict[str, int] = {}
        for some in some_at_a_time(page_ids):
            rows = self._read(Table.PAGES, ["page_id", "page_key"], one_of("page_id", some))
            keys |= zip(rows["page_id"].to_pylist(), rows["page_key"].to_pylist(), strict=True)
        return keys

    def pages_of(self, doc_ids: Iterable[str]) -> list[str]:
        """The page_ids of the pages that are stored of documents."""
        found: list[str] = []
        for some in some_at_a_time(doc_ids):
            found += self._read(Table.PAGES, ["page_id"], one_of("doc_id", some))[
                "page_id"
            ].to_pylist()
        return found

    def page_rows(self, doc_id: str, pages: Iterable[int]) -> dict[int, StoredPage]:
        """What is stored of pages but their regions and vectors, by page.

        Args:
            doc_id: their document.
            pages: 1-based numbers; those that are not stored whole are left out.
        """
        found: dict[int, StoredPage] = {}
        for some in some_at_a_time(page_id(doc_id, page) for page in pages):
            rows = self._read(Table.PAGES, condition=one_of("page_id", some))
            numbers = rows["page"].to_pylist()
            found |= zip(numbers, convert.stored_pages_of(rows), strict=True)
        return found

    def words(self, doc_id: str, pages: Iterable[int]) -> dict[int, Regions]:
        """Words of stored pages in reading order, by page; boxes as rounded to float32.

        Args:
            doc_id: their document.
            pages: 1-based numbers; those that are not stored whole are left out.
        """
        found: dict[int, Regions] = {}
        page_ids = [page_id(doc_id, page) for page in pages]
        for some in some_at_a_time(page_ids):
            keys = ", ".join(map(str, self.page_keys(some).values())) or "NULL"
            rows = self._read(Table.WORDS, ["page", "words"], f"page_key IN ({keys})")
            found |= zip(rows["page"].to_pylist(), regionrows.words_of(rows), strict=True)
        return found

    def texts_of(self, doc_ids: Iterable[str]) -> Iterator[tuple[str, str]]:
        """Yield doc_id and text of each page that is stored of documents, in any order."""
        pages = self.table(Table.PAGES)
        for some in some_at_a_time(doc_ids):
            with engine_errors(self.uri, Table.PAGES):
                for batch in pages.to_batches(
                    columns=["doc_id", "text"], filter=one_of("doc_id", some), batch_size=1024
                ):
                    yield from zip(
                        batch["doc_id"].to_pylist(), batch["text"].to_pylist(), strict=True
                    )

    def snapshot(self) -> Snapshot:
        """Pin the tables that queries read, as they are now.

        Raises:
            DatabaseNotFound: making the database was interrupted.
            StorageUnavailable: it cannot be read, or pages are committed too fast to pin it.
        """
        return pin(self.uri)

    def _read(
        self, table: Table, columns: list[str] | None = None, condition: str | None = None
    ) -> pa.Table:
        dataset = self.table(table)
        with engine_errors(self.uri, table):
            return dataset.to_table(columns=columns, filter=condition)

    def _batches(
        self, table: Table, columns: list[str], batch_rows: int = 8192
    ) -> Iterator[pa.RecordBatch]:
        dataset = self.table(table)
        with engine_errors(self.uri, table):
            yield from dataset.to_batches(columns=columns, batch_size=batch_rows)


class State(Database):
    """A database as it was at one moment: what is committed later is not in it.

    Unlike a `Database` it holds its tables open, and crosses to no other process.
    """

    def __init__(self, database: Database) -> None:
        """Take a database as it is now.

        Raises:
            DatabaseNotFound: making the database was interrupted.
            StorageUnavailable: it cannot be read, or pages are committed too fast to pin it.
        """
        super().__init__(database.uri, Identity(database.encoder, database.form))
        self._snapshot = pin(self.uri)
        pinned = self._snapshot.versions
        self._tables = {
            table: open_table(self.uri, table, pinned[table])
            if table in pinned
            else existing_table(self.uri, table)
            for table in Table
        }

    def table(self, table: Table) -> lance.LanceDataset:
        """The version of a table that was the newest then."""
        return self._tables[table]

    def snapshot(self) -> Snapshot:
        """The versions of the tables that queries read, as they were pinned then."""
        return self._snapshot
