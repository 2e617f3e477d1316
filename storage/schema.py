"""The tables of a database: names, keys and Arrow schemas.

Pure: nothing here opens a database. Every table has one key column, which LanceDB is told of as
its primary key. What belongs to a page is found by its ``page_key``, which is new each time the
page is written: rows of two writings never mix.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import pyarrow as pa

from patchlight.storage.records import VectorType

SCHEMA_VERSION = 4
"""Version of everything in this file; a database carries the version that it was made with."""

SCHEMA_MINOR = 0
"""Counts the columns that were added to this version, each null or with a default in old rows. A
database of a lower one is read as it is, one of a higher one is refused."""

MIGRATED_VERSION = 3
"""The older version that `storage.schema3` reads, and ``patchlight migrate`` makes this one of."""

STAGES = ("render", "words", "regions", "encoder")
"""The stages a document, and each of its pages, has a fingerprint of."""


class Table(StrEnum):
    """The tables of a database."""

    META = "meta"
    DOCUMENTS = "documents"
    PAGES = "pages"
    REGIONS = "regions"
    WORDS = "words"
    PATCHES = "patches"
    METADATA = "metadata"
    FAILURES = "failures"
    RETRIEVALS = "retrievals"
    RUNS = "runs"
    STATISTICS = "statistics"
    TERM_COUNTS = "term_counts"
    PAGE_KEYS = "page_keys"
    SEQUENCES = "sequences"


KEYS: Mapping[Table, str] = {
    Table.META: "name",
    Table.DOCUMENTS: "doc_id",
    Table.PAGES: "page_id",
    Table.REGIONS: "region_id",
    Table.WORDS: "page_id",
    Table.PATCHES: "page_id",
    Table.METADATA: "doc_id",
    Table.FAILURES: "failure_id",
    Table.RETRIEVALS: "retrieval_id",
    Table.RUNS: "run_id",
    Table.STATISTICS: "snapshot",
    Table.TERM_COUNTS: "counts_id",
    Table.PAGE_KEYS: "block",
    Table.SEQUENCES: "name",
}
"""The key column of each table."""

RECORDS = (Table.RUNS, Table.SEQUENCES, Table.RETRIEVALS)
"""What runs write that change no document."""

PARTS = (Table.REGIONS, Table.WORDS, Table.PATCHES)
"""What a page consists of beside its row in ``pages``; found by its ``page_key``."""

JOINED = (Table.DOCUMENTS, Table.PAGES, Table.METADATA)
"""What a condition of ``--where`` is over, joined; no two of them share a name but ``doc_id`` and
``fingerprints``."""

_TIME = pa.timestamp("us", tz="UTC")
BOX = ("x0", "y0", "x1", "y1")


def _schema(key: str, **columns: pa.DataType) -> pa.Schema:
    """Columns with the key first, which LanceDB is told of as the primary key."""
    metadata = {"lance-schema:unenforced-primary-key": "true"}
    return pa.schema(
        [pa.field(key, pa.string(), nullable=False, metadata=metadata)]
        + [pa.field(name, kind) for name, kind in columns.items()]
    )


def _list_of(kind: pa.DataType) -> pa.DataType:
    return pa.list_(pa.field("item", kind))


_NUMBER: Mapping[VectorType, pa.DataType] = {
    VectorType.FLOAT16: pa.float16(),
    VectorType.INT8: pa.int8(),
}

_WORD = pa.struct(
    [
        pa.field("index", pa.int32()),
        pa.field("parent", pa.int32()),
        pa.field("reading_order", pa.int32()),
        *(pa.field(name, pa.float32()) for name in BOX),
        pa.field("text", pa.string()),
        pa.field("confidence", pa.float32()),
    ]
)
"""A word or a line, packed."""


_FINGERPRINTS = pa.struct([pa.field(stage, pa.string()) for stage in STAGES])


def schema_of(table: Table, dim: int, vectors: VectorType = VectorType.FLOAT16) -> pa.Schema:
    """Arrow schema of a table.

    Args:
        table: which.
        dim: length of the encoder's vectors, at least 1.
        vectors: how their numbers are kept. Only ``patches`` depends on these two.
    """
    text, int32 = pa.string(), pa.int32()
    key = KEYS[table]
    match table:
        case Table.META:
            return _schema(
                key,
                schema_version=int32,
                schema_minor=int32,
                encoder=text,
                fingerprint=text,
                dim=int32,
                visual_tokens=int32,
                vector_type=text,
                pool=int32,
                drop_blank=pa.bool_(),
            )
        case Table.DOCUMENTS:
            return _schema(
                key,
                name=text,
                uri=text,
                status=text,
                media_type=text,
                bytes=pa.int64(),
                page_count=int32,
                pages_stored=int32,
                pages_failed=int32,
                sources=_list_of(pa.struct([pa.field("uri", text), pa.field("name", text)])),
                fingerprints=_FINGERPRINTS,
                run_id=text,
                ingested_at=_TIME,
                revision=pa.int64(),
                changed_by=text,
            )
        case Table.PAGES:
            return _schema(
                key,
                page_key=pa.int64(),
                doc_id=text,
                page=int32,
                width_pt=pa.float64(),
                height_pt=pa.float64(),
                rotation=pa.int16(),
                words_source=text,
                ocr_dpi=int32,
                n_words=int32,
                n_regions=int32,
                n_vectors=int32,
                rows=pa.int16(),
                cols=pa.int16(),
                vector_bytes=pa.int64(),
                text=text,
                terms=text,
                fingerprints=_FINGERPRINTS,
                scale=pa.float32(),
                words_ms=pa.float32(),
                regions_ms=pa.float32(),
                encoder_ms=pa.float32(),
            )
        case Table.REGIONS:
            return _schema(
                key,
                page_key=pa.int64(),
                doc_id=text,
                page_id=text,
                page=int32,
                index=int32,
                kind=text,
                parent_id=text,
                reading_order=int32,
                table_id=text,
                row=int32,
                col=int32,
                row_span=int32,
                col_span=int32,
                **dict.fromkeys(BOX, pa.float32()),
                text=text,
                terms=text,
                confidence=pa.float32(),
            )
        case Table.WORDS:
            return _schema(
                key,
                page_key=pa.int64(),
                doc_id=text,
                page=int32,
                words=_list_of(_WORD),
                lines=_list_of(_WORD),
            )
        case Table.PATCHES:
            return _schema(
                key,
                page_key=pa.int64(),
                doc_id=text,
                page=int32,
                rows=pa.int16(),
                cols=pa.int16(),
                vectors=_list_of(pa.list_(pa.field("item", _NUMBER[vectors]), dim)),
                scales=_list_of(pa.float16()),
                cell_to_vector=_list_of(int32),
            )
        case Table.METADATA:
            return _schema(key)  # and what people give: `storage.metadata`
        case Table.FAILURES:
            return _schema(
                key,
                uri=text,
                doc_id=text,
                page=int32,
                stage=text,
                category=text,
                retryable=pa.bool_(),
                message=text,
                attempts=int32,
                run_id=text,
                failed_at=_TIME,
            )
        case Table.RETRIEVALS:
            return _schema(
                key,
                run_id=text,
                query_id=text,
                query=text,
                page_rank=int32,
                doc_id=text,
                source=text,
                page=int32,
                page_score=pa.float64(),
                width_pt=pa.float64(),
                height_pt=pa.float64(),
                region_rank=int32,
                region_id=text,
                kind=text,
                text=text,
                score=pa.float64(),
                **dict.fromkeys(BOX, pa.float32()),
                carried=text,
                metadata=text,
            )
        case Table.RUNS:
            return _schema(
                key,
                number=pa.int64(),
                kind=text,
                status=text,
                started_at=_TIME,
                ended_at=_TIME,
                parameters=text,
                summary=text,
                host=text,
                pid=int32,
                process=text,
                heartbeat=pa.int64(),
                heartbeat_at=_TIME,
                lease_s=int32,
                pins=_list_of(
                    pa.struct([pa.field("table", text), pa.field("version", pa.int64())])
                ),
            )
        case Table.STATISTICS:
            return _schema(
                key,
                revision=pa.int64(),
                base=pa.int64(),
                n_pages=pa.int64(),
                n_terms=pa.int64(),
                terms=_list_of(text),
                counts=_list_of(int32),
                added=_list_of(text),
                removed=_list_of(text),
                created_at=_TIME,
            )
        case Table.TERM_COUNTS:
            return _schema(
                key,
                doc_id=text,
                n_pages=int32,
                terms=_list_of(text),
                counts=_list_of(int32),
                counted_in=pa.int64(),
            )
        case Table.PAGE_KEYS:
            return _schema(key, first=pa.int64(), count=pa.int64(), run_id=text)
        case Table.SEQUENCES:
            return _schema(key, value=pa.int64())
