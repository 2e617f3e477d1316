"""Reading a database of schema 3, and its pages as rows of the present schema.

Tables and columns have the same names as now, but for these: ``regions`` had a row a page, with a
list of all regions; there were no ``words``, ``term_counts`` and ``page_keys``; what belonged to a
page was found by ``page_id``; each snapshot of the corpus statistics held all of them, and the
newest was known by its time, as were the order of runs and whether one was at work; and a document
whose file held other bytes stayed, as ``replaced``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Self

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patchlight.storage import convert, regionrows
from patchlight.storage.convert import PageTables
from patchlight.storage.engine import engine_errors, existing_table, open_table
from patchlight.storage.errors import DatabaseNotFound, StorageUnavailable
from patchlight.storage.identity import Identity, identity_of, other_version, read_meta
from patchlight.storage.records import VISIBLE, DocumentStatus, Run
from patchlight.storage.regionrows import Terms
from patchlight.storage.regions import KINDS, Arrangement, Regions
from patchlight.storage.schema import BOX, MIGRATED_VERSION, Table, schema_of
from patchlight.storage.watching import may_live

OF_PAGES = (Table.DOCUMENTS, Table.PAGES, Table.REGIONS, Table.PATCHES)
"""Tables that say which pages there are, and what is of them."""
_TABLES = (*OF_PAGES, Table.FAILURES, Table.RETRIEVALS, Table.RUNS, Table.STATISTICS)

_REPLACED = "replaced"
_BATCH_ROWS = 8192
_SNAPSHOTS_AT_ONCE = 8
"""Each holds every term of the corpus."""
_KIND_NAMES = pa.array([kind.value for kind in KINDS], pa.string())
Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WholePages:
    """The N pages that are whole and belong to a document that is carried over.

    Attributes:
        page_ids: (N,) their keys.
        rows: table -> (N,) int64, positions of their rows in it.
    """

    page_ids: pa.Array
    rows: Mapping[Table, Positions]

    def without(self, page_ids: pa.Array) -> WholePages:
        """Return those that are not among some."""
        left = pc.invert(pc.is_in(self.page_ids, value_set=page_ids))
        mask = left.to_numpy(zero_copy_only=False)
        return WholePages(self.page_ids.filter(left), {t: r[mask] for t, r in self.rows.items()})


@dataclass(frozen=True, slots=True)
class Contents:
    """What of a database is carried over, and what is not.

    Attributes:
        pages: what is carried over of pages.
        documents: ids of the documents that are carried over.
        incomplete: those of them that queries saw, and of which pages are not whole.
        replaced: ids of documents whose files hold other bytes.
        pages_replaced: pages of these.
        pages_of_none: pages of no document.
        pages_not_whole: pages of documents without regions or vectors.
        parts_of_none: rows of regions or vectors of no page.
    """

    pages: WholePages
    documents: pa.Array
    incomplete: pa.Array
    replaced: pa.Array
    pages_replaced: int
    pages_of_none: int
    pages_not_whole: int
    parts_of_none: int


class OldDatabase:
    """A database of schema 3, its tables pinned at one version each. Nothing is written to it.

    Attributes:
        uri: where it is.
        identity: what it was made for.
        versions: table name -> version.
    """

    def __init__(self, uri: str, identity: Identity, versions: Mapping[str, int]) -> None:
        self.uri = uri
        self.identity = identity
        self.versions = versions
        self._opened: dict[Table, lance.LanceDataset] = {}

    @classmethod
    def open(cls, uri: str) -> Self:
        """Pin a database as it is now.

        Args:
            uri: as `engine.database_uri` gives it.

        Raises:
            DatabaseNotFound: there is none, or one whose making was interrupted.
            SchemaMismatch: it has another schema version.
            StorageUnavailable: it cannot be read.
        """
        row = read_meta(uri)
        if row is None:
            raise DatabaseNotFound(f"there is no patchlight database at {uri}; name one with --db")
        if row["schema_version"] != MIGRATED_VERSION:
            raise other_version(uri, row["schema_version"])
        return cls(uri, identity_of(row), _versions(uri))

    def is_unchanged(self) -> bool:
        """Whether every table still is at the version that is pinned."""
        return dict(self.versions) == _versions(self.uri)

    def runs(self) -> list[Run]:
        """Return the runs in the order in which they began, numbered from 1."""
        return self._runs(self._table(Table.RUNS))

    def live_runs(self) -> list[Run]:
        """Return the runs that are at work now, as their version tells: by dates.

        Where a clock is wrong it may take one for dead. Such a one is noticed by what it writes:
        at least its row, every few seconds (`is_unchanged`).
        """
        now = datetime.now(UTC)
        return [
            run
            for run in self._runs(existing_table(self.uri, Table.RUNS))
            if may_live(run)
            and run.heartbeat_at is not None
            and run.heartbeat_at + timedelta(seconds=run.lease_s) > now
        ]

    def contents(self) -> Contents:
        """Find what is to be carried over: some 200 bytes a page in memory."""
        documents = self.columns(Table.DOCUMENTS, "doc_id", "status", "pages_stored")
        is_replaced = pc.equal(documents["status"], _REPLACED)
        replaced = documents.filter(is_replaced)["doc_id"].combine_chunks()
        documents = documents.filter(pc.invert(is_replaced))
        carried = documents["doc_id"].combine_chunks()
        pages = self.columns(Table.PAGES, "page_id", "doc_id")
        ids = pages["page_id"].combine_chunks()
        belongs = _mask(pc.is_in(pages["doc_id"], value_set=carried))
        of_replaced = _mask(pc.is_in(pages["doc_id"], value_set=replaced))
        whole, rows, strays = belongs.copy(), {Table.PAGES: np.arange(len(ids))}, 0
        for table in (Table.REGIONS, Table.PATCHES):
            stored = self.columns(table, "page_id")["page_id"].combine_chunks()
            strays += int((~_mask(pc.is_in(stored, value_set=ids))).sum())
            at = pc.fill_null(pc.index_in(ids, value_set=stored), -1).to_numpy()
            rows[table], whole = at.astype(np.int64), whole & (at >= 0)
        chosen = np.flatnonzero(whole)
        chosen = chosen[np.argsort(rows[Table.PATCHES][chosen], kind="stable")]
        counts = Counter(pages["doc_id"].take(chosen).to_pylist())
        visible = pc.is_in(documents["status"], value_set=pa.array([s.value for s in VISIBLE]))
        incomplete = [
            row["doc_id"]
            for row in documents.filter(visible).to_pylist()
            if counts[row["doc_id"]] < row["pages_stored"]
        ]
        return Contents(
            pages=WholePages(ids.take(chosen), {t: at[chosen] for t, at in rows.items()}),
            documents=carried,
            incomplete=pa.array(incomplete, pa.string()),
            replaced=replaced,
            pages_replaced=int(of_replaced.sum()),
            pages_of_none=int((~belongs & ~of_replaced).sum()),
            pages_not_whole=int((belongs & ~whole).sum()),
            parts_of_none=strays,
        )

    def page_tables(
        self,
        pages: WholePages,
        arrange: Callable[[Regions], Arrangement],
        terms: Terms,
        at_once: int,
    ) -> Iterator[PageTables]:
        """Yield pages as rows of the present schema, some at a time.

        Args:
            pages: which.
            arrange: finds the place of each region of a page among all of them.
            terms: what makes terms of a text.
            at_once: pages that are held in memory.

        Raises:
            StorageUnavailable: a page is damaged, or the database cannot be read.
        """
        for start in range(0, len(pages.page_ids), at_once):
            rows = {
                table: self._take(table, at[start : start + at_once])
                for table, at in pages.rows.items()
            }
            yield self._converted(rows, arrange, terms)

    def documents(self, contents: Contents) -> Iterator[pa.RecordBatch]:
        """Yield the rows of documents; those that are incomplete become ``unfinished``."""
        for batch in self.rows(Table.DOCUMENTS):
            batch = batch.filter(pc.is_in(batch["doc_id"], value_set=contents.documents))
            at = batch.schema.get_field_index("status")
            status = pc.if_else(
                pc.is_in(batch["doc_id"], value_set=contents.incomplete),
                DocumentStatus.UNFINISHED.value,
                batch["status"],
            )
            yield batch.set_column(at, batch.schema.field(at), status)

    def failures(self, contents: Contents) -> Iterator[pa.RecordBatch]:
        """Yield the rows of failures of documents that are carried over, and of files."""
        for batch in self.rows(Table.FAILURES):
            ours = pc.is_in(batch["doc_id"], value_set=contents.documents)
            gone = pc.is_in(batch["doc_id"], value_set=contents.replaced)
            of_file = pc.and_(pc.equal(batch["page"], 0), pc.invert(gone))
            yield batch.filter(pc.or_(ours, of_file))

    def statistics(self, revisions: Mapping[str, int]) -> Iterator[pa.RecordBatch]:
        """Yield some snapshots of the corpus statistics, each of which held all there was.

        Args:
            revisions: name of each -> its place among them.
        """
        schema = schema_of(Table.STATISTICS, dim=1)
        kept = pa.array(revisions, pa.string())
        names = ["snapshot", "n_pages", "terms", "counts", "created_at"]
        for batch in self._batches(Table.STATISTICS, names, _SNAPSHOTS_AT_ONCE):
            batch = batch.filter(pc.is_in(batch["snapshot"], value_set=kept))
            numbers = pa.array([revisions[s] for s in batch["snapshot"].to_pylist()], pa.int64())
            nothing = pa.array([[]] * len(batch), schema.field("added").type)
            new = {
                "revision": numbers,
                "base": numbers,
                "n_terms": pc.list_value_length(batch["terms"]).cast(pa.int64()),
                "added": nothing,
                "removed": nothing,
            }
            yield from _fitted(new, pa.Table.from_batches([batch]), schema).to_batches()

    def rows(self, table: Table) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a table as the present schema has them; what is new is null."""
        schema = schema_of(table, dim=1)
        there = set(self._table(table).schema.names)
        names = [name for name in schema.names if name in there]
        for batch in self._batches(table, names, _BATCH_ROWS):
            columns = [
                batch[field.name] if field.name in there else pa.nulls(len(batch), field.type)
                for field in schema
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=schema)

    def columns(self, table: Table, *names: str) -> pa.Table:
        """Return some columns of a table."""
        dataset = self._table(table)
        with engine_errors(self.uri, table):
            return dataset.to_table(columns=list(names))

    def _converted(
        self,
        rows: Mapping[Table, pa.Table],
        arrange: Callable[[Regions], Arrangement],
        terms: Terms,
    ) -> PageTables:
        pages, patches = rows[Table.PAGES], rows[Table.PATCHES]
        arranged = []
        places = (pages[name].to_pylist() for name in ("doc_id", "page"))
        lists = rows[Table.REGIONS]["regions"].combine_chunks()
        try:
            for doc_id, number, regions in zip(*places, regions_of(lists), strict=True):
                regionrows.check(regions)
                arranged.append((doc_id, number, regions, arrange(regions)))
        except ValueError as error:
            raise StorageUnavailable(
                f"table {Table.REGIONS} of database {self.uri}: a page is damaged ({error}). "
                "Restore the database, or ingest its documents into a new --db."
            ) from error
        return PageTables(
            pages=self._page_rows(pages, patches, terms),
            regions=regionrows.region_rows(arranged, terms),
            words=regionrows.packed_rows(arranged),
            patches=_fitted(
                {"page_key": pa.nulls(len(patches), pa.int64())},
                patches,
                schema_of(Table.PATCHES, self.identity.encoder.dim, self.identity.form.type),
            ),
        )

    def _page_rows(self, pages: pa.Table, patches: pa.Table, terms: Terms) -> pa.Table:
        counts = pages["n_vectors"].to_numpy().astype(np.int64)
        each = convert.vector_bytes(self.identity.encoder.dim, self.identity.form.type)
        schema = schema_of(Table.PAGES, dim=1)
        new: dict[str, Any] = {
            "rows": patches["rows"],
            "cols": patches["cols"],
            "vector_bytes": pa.array(counts * each, pa.int64()),
            "terms": pa.array([" ".join(terms(t)) for t in pages["text"].to_pylist()], pa.string()),
        }
        unknown = [n for n in schema.names if n not in new and n not in pages.schema.names]
        new |= {name: pa.nulls(len(pages), schema.field(name).type) for name in unknown}
        return _fitted(new, pages, schema)

    def _runs(self, dataset: lance.LanceDataset) -> list[Run]:
        with engine_errors(self.uri, Table.RUNS):
            rows = dataset.to_table()
        order = pa.array(np.zeros(len(rows), np.int64))
        schema = schema_of(Table.RUNS, dim=1)
        found = convert.runs_of(_fitted({"number": order, "heartbeat": order}, rows, schema))
        found.sort(key=lambda run: (run.started_at, run.run_id))
        return [replace(run, number=number) for number, run in enumerate(found, 1)]

    def _batches(self, table: Table, names: list[str], size: int) -> Iterator[pa.RecordBatch]:
        dataset = self._table(table)
        with engine_errors(self.uri, table):
            yield from dataset.to_batches(columns=names, batch_size=size)

    def _table(self, table: Table) -> lance.LanceDataset:
        if table not in self._opened:  # a version never changes
            dataset = open_table(self.uri, table, self.versions[table.value])
            assert dataset is not None  # one that is not there raises
            self._opened[table] = dataset
        return self._opened[table]

    def _take(self, table: Table, rows: Positions) -> pa.Table:
        dataset = self._table(table)
        with engine_errors(self.uri, table):
            return dataset.take(rows.tolist())


def regions_of(lists: pa.ListArray) -> list[Regions]:
    """Convert lists of the column ``regions`` of schema 3, a list a page. Pure.

    Raises:
        ValueError: a region is of a kind that is not known.
    """
    if not len(lists):
        return []
    structs = lists.flatten()
    codes = pc.index_in(structs.field("kind"), value_set=_KIND_NAMES)
    if codes.null_count:
        raise ValueError("a region is of a kind that is not known")
    sides = [structs.field(name).to_numpy() for name in BOX]
    together = Regions(
        codes=codes.to_numpy().astype(np.uint8),
        index=structs.field("index").to_numpy(),
        parent=structs.field("parent").to_numpy(),
        order=structs.field("reading_order").to_numpy(),
        boxes=np.stack(sides, axis=1).astype(np.float64),
        texts=tuple(structs.field("text").to_pylist()),
        confidence=structs.field("confidence").to_numpy().astype(np.float64),
    )
    ends = lists.offsets.to_numpy().astype(np.int64)
    ends -= ends[0]
    return [together.part(*pair) for pair in pairwise(ends.tolist())]


def _fitted(new: Mapping[str, Any], old: pa.Table, schema: pa.Schema) -> pa.Table:
    """Rows of a schema: columns that are new, and the others as they were."""
    columns = [new[name] if name in new else old[name] for name in schema.names]
    return pa.Table.from_arrays(columns, schema=schema)


def _mask(values: pa.ChunkedArray | pa.Array) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = values.to_numpy(zero_copy_only=False)
    return mask


def _versions(uri: str) -> dict[str, int]:
    return {table.value: int(existing_table(uri, table).version) for table in _TABLES}
