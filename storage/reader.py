"""Reading what queries need, from pinned versions of the tables.

Kept light: it is on the way to the answer to one question in a fresh process. No LanceDB
connection, and DataFusion only for a condition.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patchlight.storage import convert, regionrows
from patchlight.storage.engine import (
    VISIBLE_FILTER,
    engine_errors,
    existing_table,
    one_of,
    open_table,
    some_at_a_time,
)
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.records import Document, IntArray, RegionKind
from patchlight.storage.regions import Regions
from patchlight.storage.schema import JOINED, PARTS, Table
from patchlight.storage.sqlmemory import MEMORY_MB

logger = logging.getLogger("patchlight.storage")

_KEYS_AT_ONCE = 512
"""Keys of pages named in one condition."""

_PIN_ATTEMPTS = 20
"""Looks at the table versions before giving up; one takes some 10 ms, a commit some 100 ms."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Versions of the tables that queries read, pinned together. Small and picklable.

    What is committed later is not seen, in whatever process it is used.

    Attributes:
        uri: the database.
        versions: table name -> version.
    """

    uri: str
    versions: dict[str, int]


@dataclass(frozen=True, slots=True)
class PatchBatch:
    """Patch vectors of P pages, N vectors of ``dim`` values in all.

    Page p has the vectors ``vector_offsets[p]`` to ``vector_offsets[p + 1]``, and the cells
    ``cell_offsets[p]`` to ``cell_offsets[p + 1]``.

    Attributes:
        page_ids: the P keys, in the order asked for.
        rows, cols: (P,) int32, the shape of each page's grid.
        vectors: (N, dim) float16 or int8, as stored; read-only.
        vector_offsets: (P + 1,) int64.
        cell_to_vector: flat int32, row of the page's *own* vectors for each cell, -1 for none.
        cell_offsets: (P + 1,) int64.
        scales: (N,) float16, what each int8 vector is multiplied by; None for float16 vectors.
    """

    page_ids: list[str]
    rows: IntArray
    cols: IntArray
    vectors: NDArray[np.float16] | NDArray[np.int8]
    vector_offsets: NDArray[np.int64]
    cell_to_vector: IntArray
    cell_offsets: NDArray[np.int64]
    scales: NDArray[np.float16] | None = None


def pin(uri: str) -> Snapshot:
    """Pin the newest versions of the tables that queries read, such that they fit together.

    What a page consists of is written before its row in ``pages``, and that before its
    document's; pinned in the opposite order, whatever is visible is whole. What is replaced is
    removed after the row in ``pages`` names what replaces it, and a document that is changed is
    hidden first, so unchanged ``documents`` and ``pages`` mean that nothing was removed meanwhile.

    Raises:
        DatabaseNotFound: making the database was interrupted.
        StorageUnavailable: it cannot be read, or others commit faster than this reads.
    """
    versions: dict[str, int] = {}
    for _ in range(_PIN_ATTEMPTS):
        for table in (Table.DOCUMENTS, Table.PAGES, *PARTS, Table.METADATA):
            versions[table.value] = _version(uri, table)
        if all(
            versions[table.value] == _version(uri, table)
            for table in (Table.DOCUMENTS, Table.PAGES)
        ):
            return Snapshot(uri, versions)
    raise StorageUnavailable(
        f"database {uri} changes too fast to be read in one state. "
        "Wait until the ingest that writes to it is done, and ask again."
    )


def pinned(snapshot: Snapshot) -> Mapping[str, int]:
    """What a run that reads a snapshot says in its row, so that it is kept: `Run.pins`."""
    return dict(snapshot.versions)


def still_there(snapshot: Snapshot) -> bool:
    """Whether a snapshot is there; asked once its versions are pinned in the run's row.

    They may have been removed between the two as no longer read. From then on they stay.

    Raises:
        DatabaseNotFound: a table is gone.
        StorageUnavailable: a version is there, or may be, and cannot be read.
    """
    for name, version in snapshot.versions.items():
        table = Table(name)
        try:
            open_table(snapshot.uri, table, version)
        except StorageUnavailable as error:
            newest = existing_table(snapshot.uri, table)
            with engine_errors(snapshot.uri, table):
                kept = {known["version"] for known in newest.versions()}
            if version in kept:
                raise
            logger.debug("version %d of table %s is not there: %s", version, table, error)
            return False
    return True


def documents(snapshot: Snapshot) -> list[Document]:
    """All documents, visible or not.

    Raises:
        StorageUnavailable: the database cannot be read.
    """
    names = _open(snapshot, Table.DOCUMENTS).schema.names
    return convert.documents_of(_scan(snapshot, Table.DOCUMENTS, names))


def catalog(snapshot: Snapshot, where: str | None = None, memory_mb: int = MEMORY_MB) -> pa.Table:
    """The pages that queries see, by doc_id and page.

    Args:
        snapshot: of the database.
        where: a SQL condition on the columns of ``documents``, ``pages`` and ``metadata``, e.g.
            ``department = 'law' AND page = 1``; None for all pages.
        memory_mb: MiB that the condition may take.

    Returns:
        Columns page_id, page_key, doc_id, page, width_pt, height_pt, n_vectors, name, uri, and
        patch_row (int64), which `read_patches` takes.

    Raises:
        SqlError: the condition is wrong.
        StorageUnavailable: the database cannot be read.
    """
    documents = _scan(snapshot, Table.DOCUMENTS, ["doc_id", "name", "uri"], VISIBLE_FILTER)
    columns = ["page_id", "page_key", "doc_id", "page", "width_pt", "height_pt", "n_vectors"]
    pages = _scan(snapshot, Table.PAGES, columns)
    row = pc.index_in(pages["doc_id"], value_set=documents["doc_id"])
    pages = pages.filter(pc.is_valid(row))
    row = row.drop_null()
    for name in ("name", "uri"):
        pages = pages.append_column(name, documents[name].take(row))
    if where is not None:
        from patchlight.storage.sqlengine import (
            matching_pages,  # DataFusion takes half a second to import
        )

        tables = {table: _open(snapshot, table) for table in JOINED}
        chosen = matching_pages(tables, where, memory_mb)
        pages = pages.filter(pc.is_in(pages["page_id"], value_set=chosen))
    # In the order that `_take` counts rows in.
    stored = _scan(snapshot, Table.PATCHES, ["page_key"])["page_key"].combine_chunks()
    patch_row = pc.index_in(pages["page_key"], value_set=stored)
    if patch_row.null_count:
        raise StorageUnavailable(
            f"database {snapshot.uri} has {patch_row.null_count} pages without patches: "
            "its files were changed by something else. Restore it, or ingest into a new --db."
        )
    pages = pages.append_column("patch_row", patch_row.cast(pa.int64()))
    return pages.sort_by([("doc_id", "ascending"), ("page", "ascending")])


def read_patches(snapshot: Snapshot, patch_rows: Sequence[int] | NDArray[np.int64]) -> PatchBatch:
    """Patch vectors of pages, in the order given.

    Args:
        snapshot: the one the catalog was made from.
        patch_rows: values of the catalog's ``patch_row``.

    Raises:
        StorageUnavailable: the database cannot be read.
    """
    columns = ["page_id", "rows", "cols", "vectors", "cell_to_vector"]
    scaled = pa.types.is_int8(_number_type(snapshot))
    rows = _take(snapshot, Table.PATCHES, patch_rows, [*columns, "scales"] if scaled else columns)
    vectors, cells = rows["vectors"], rows["cell_to_vector"]
    flat = vectors.flatten()
    return PatchBatch(
        page_ids=rows["page_id"].to_pylist(),
        rows=rows["rows"].to_numpy().astype(np.int32),
        cols=rows["cols"].to_numpy().astype(np.int32),
        vectors=flat.flatten().to_numpy().reshape(-1, flat.type.list_size),
        vector_offsets=_offsets(vectors),
        cell_to_vector=cells.flatten().to_numpy(),
        cell_offsets=_offsets(cells),
        scales=rows["scales"].flatten().to_numpy() if scaled else None,
    )


def page_keys(snapshot: Snapshot, page_ids: Collection[str]) -> dict[str, int]:
    """What the parts of pages are found by: page_id -> page_key; unknown ones are left out.

    Raises:
        StorageUnavailable: the database cannot be read.
    """
    keys: dict[str, int] = {}
    for some in some_at_a_time(page_ids):
        rows = _scan(snapshot, Table.PAGES, ["page_id", "page_key"], one_of("page_id", some))
        keys |= zip(rows["page_id"].to_pylist(), rows["page_key"].to_pylist(), strict=True)
    return keys


def read_regions(
    snapshot: Snapshot, pages: Mapping[str, int], kinds: Collection[RegionKind] | None = None
) -> dict[str, Regions]:
    """Regions of pages by page_id, in the order given; those of a page by index.

    Args:
        snapshot: of the database.
        pages: page_id -> page_key.
        kinds: which kinds; None for all.

    Raises:
        StorageUnavailable: the database cannot be read.
    """
    keys = list(pages.values())
    rows, packed = (
        _of_pages(snapshot, table, keys) if regionrows.kinds_in(table, kinds) else None
        for table in (Table.REGIONS, Table.WORDS)
    )
    return dict(zip(pages, regionrows.regions_of(keys, rows, packed, kinds), strict=True))


def page_texts(snapshot: Snapshot, pages: Mapping[str, int]) -> dict[str, str]:
    """Texts of pages by page_id.

    Args:
        snapshot: of the database.
        pages: page_id -> page_key.

    Raises:
        StorageUnavailable: the database cannot be read.
    """
    rows = _of_pages(snapshot, Table.PAGES, pages.values(), ["page_id", "text"])
    return dict(zip(rows["page_id"].to_pylist(), rows["text"].to_pylist(), strict=True))


def metadata_of(snapshot: Snapshot, doc_ids: Iterable[str]) -> pa.Table:
    """What people gave to documents, with ``doc_id``; those without are left out.

    Raises:
        StorageUnavailable: the database cannot be read.
    """
    names = _open(snapshot, Table.METADATA).schema.names
    parts = [
        _scan(snapshot, Table.METADATA, names, one_of("doc_id", some))
        for some in some_at_a_time(doc_ids)
    ]
    return pa.concat_tables(parts) if parts else _scan(snapshot, Table.METADATA, names, "false")


def _version(uri: str, table: Table) -> int:
    version: int = existing_table(uri, table).version
    return version


def _open(snapshot: Snapshot, table: Table) -> lance.LanceDataset:
    return _open_version(snapshot.uri, table, snapshot.versions[table])


@lru_cache(maxsize=16)
def _open_version(uri: str, table: Table, version: int) -> lance.LanceDataset:
    """A version never changes, and opening it again costs as much as reading a few pages."""
    return open_table(uri, table, version)


def _number_type(snapshot: Snapshot) -> pa.DataType:
    """What the numbers of vectors are stored as."""
    return _open(snapshot, Table.PATCHES).schema.field("vectors").type.value_type.value_type


def _scan(
    snapshot: Snapshot, table: Table, columns: list[str], condition: str | None = None
) -> pa.Table:
    dataset = _open(snapshot, table)
    with engine_errors(snapshot.uri, table):
        return dataset.to_table(columns=columns, filter=condition)


def _of_pages(
    snapshot: Snapshot,
    table: Table,
    page_keys: Collection[int],
    columns: list[str] | None = None,
) -> pa.Table:
    """The rows of some pages, by the index on their keys."""
    names = columns or _open(snapshot, table).schema.names
    keys = sorted(page_keys)
    parts = [
        _scan(snapshot, table, names, f"page_key IN ({', '.join(map(str, some))})")
        for some in (keys[at : at + _KEYS_AT_ONCE] for at in range(0, len(keys), _KEYS_AT_ONCE))
    ]
    return pa.concat_tables(parts) if parts else _scan(snapshot, table, names, "false")


def _take(
    snapshot: Snapshot,
    table: Table,
    rows: Sequence[int] | NDArray[np.int64],
    columns: list[str] | None = None,
) -> pa.RecordBatch:
    dataset = _open(snapshot, table)
    with engine_errors(snapshot.uri, table):
        taken = dataset.take([int(row) for row in rows], columns=columns).combine_chunks()
    return taken.to_batches()[0] if taken.num_rows else _empty(taken.schema)


def _empty(schema: pa.Schema) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array([], f.type) for f in schema], schema=schema)


def _offsets(lists: pa.ListArray) -> NDArray[np.int64]:
    offsets: NDArray[np.int64] = lists.offsets.to_numpy().astype(np.int64)
    offsets -= offsets[0]
    return offsets
