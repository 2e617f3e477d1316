"""Strict conversion of records to Arrow tables and back. Pure.

What does not fit the schema, a box off its page or a value that is not finite, raises
``ValueError``; nothing is repaired, cut or left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from patchlight.storage import regionrows
from patchlight.storage.pages import Page
from patchlight.storage.quantise import quantise
from patchlight.storage.records import (
    Document,
    DocumentStatus,
    EncoderIdentity,
    Failure,
    PageEncoding,
    RegionKind,
    Retrieval,
    Run,
    Source,
    StatisticsStep,
    StoredPage,
    TermCounts,
    VectorForm,
    VectorType,
    WordsSource,
    failure_id,
    page_id,
    retrieval_id,
)
from patchlight.storage.regionrows import Terms
from patchlight.storage.regions import Arrangement
from patchlight.storage.schema import KEYS, SCHEMA_MINOR, SCHEMA_VERSION, STAGES, Table, schema_of

_TIMES = ("words_ms", "regions_ms", "encoder_ms")

META_NAME = "patchlight"
"""Key of the one row of the ``meta`` table."""


@dataclass(frozen=True, slots=True)
class PageTables:
    """Pages as rows of the four tables they go to; their ``page_key`` is null; picklable.

    Attributes:
        pages: rows of ``pages``.
        regions: rows of ``regions``, of pages whose regions are not kept as stored.
        words: rows of ``words``, one a page whose regions are not kept as stored.
        patches: rows of ``patches``, one a page whose vectors are not kept as stored.
    """

    pages: pa.Table
    regions: pa.Table
    words: pa.Table
    patches: pa.Table

    def of(self, table: Table) -> pa.Table:
        """Return the rows of one of the four tables."""
        rows: pa.Table = getattr(self, table.value)
        return rows


def page_tables(
    pages: Sequence[Page],
    dim: int,
    vectors: VectorType = VectorType.FLOAT16,
    terms: Terms = str.split,
) -> PageTables:
    """Convert pages to rows.

    Boxes are rounded to float32. Vectors are rounded to float16, or to int8 with a scale each:
    then a value is off by at most half its vector's scale, which is at most 1/127 of the
    vector's largest value, rounded up to float16.

    Args:
        pages: distinct pages; may be empty.
        dim: length of the database's vectors.
        vectors: how their numbers are kept; must be that of the database's form.
        terms: what makes terms of a text, for the columns ``terms``.

    Raises:
        ValueError: a page's number, fingerprints, boxes, region order or vectors do not fit, or
            something is to be kept of one whose stored row is not given; the message names the
            page.
    """
    rows = []
    for page in pages:
        try:
            _check_page(page, dim)
            rows.append(_page_row(page, vectors, terms))
        except ValueError as error:
            raise ValueError(f"page {page.page} of document {page.doc_id}: {error}") from error
    read = [
        (page.doc_id, page.page, r, page.arrangement or Arrangement.unknown(r))
        for page in pages
        if (r := page.regions) is not None
    ]
    return PageTables(
        pages=_table(Table.PAGES, rows),
        regions=regionrows.region_rows(read, terms),
        words=regionrows.packed_rows(read),
        patches=_patches(
            [(page, e) for page in pages if (e := page.encoding) is not None], dim, vectors
        ),
    )


def concat_page_tables(parts: Sequence[PageTables]) -> PageTables:
    """Put the rows of several `PageTables` (at least one) together, in order."""
    return PageTables(
        **{
            field.name: pa.concat_tables([getattr(part, field.name) for part in parts])
            for field in fields(PageTables)
        }
    )


def with_page_keys(rows: pa.Table, keys: Mapping[str, int]) -> pa.Table:
    """Fill in the column ``page_key``.

    Args:
        rows: of ``pages`` or of what a page consists of.
        keys: page_id -> page_key, of all of these pages.
    """
    at = rows.schema.get_field_index("page_key")
    given = pa.array([keys[page] for page in rows["page_id"].to_pylist()], pa.int64())
    return rows.set_column(at, rows.schema.field(at), given)


def vector_bytes(dim: int, vectors: VectorType) -> int:
    """What one vector of a length takes, with its scale if it has one."""
    return dim + 2 if vectors is VectorType.INT8 else 2 * dim


def stored_pages_of(table: pa.Table) -> list[StoredPage]:
    """Convert rows of ``pages`` to records."""
    return [
        StoredPage(
            **_pick(row, StoredPage)
            | {
                "words_source": WordsSource(row["words_source"]),
                "fingerprints": _without_null(row["fingerprints"]),
            }
        )
        for row in table.to_pylist()
    ]


def _check_page(page: Page, dim: int) -> None:
    if page.page < 1:
        raise ValueError("page numbers start at 1")
    if not (0 < page.width_pt < np.inf and 0 < page.height_pt < np.inf):
        raise ValueError(f"a page of {page.width_pt} x {page.height_pt} points")
    if not 0 < page.scale <= 1:
        raise ValueError(f"drawn at a scale of {page.scale}")
    if page.kept is None and (page.regions is None or page.encoding is None):
        raise ValueError("a part of the page is kept, so its stored row is needed")
    if page.encoding is not None and page.encoding.vectors.shape[1] != dim:
        raise ValueError(f"vectors of {page.encoding.vectors.shape[1]} values, expected {dim}")
    if page.regions is not None:
        regionrows.check(page.regions)


def _place(page: Page) -> dict[str, Any]:
    return {"page_id": page_id(page.doc_id, page.page), "doc_id": page.doc_id, "page": page.page}


def _page_row(page: Page, vectors: VectorType, terms: Terms) -> dict[str, Any]:
    return (
        _place(page)
        | {
            "page_key": None,
            "width_pt": page.width_pt,
            "height_pt": page.height_pt,
            "rotation": page.rotation,
            "words_source": page.words_source,
            "ocr_dpi": page.ocr_dpi,
            "text": page.text,
            "terms": " ".join(terms(page.text)),
            "fingerprints": _by_stage(page.fingerprints),
            "scale": page.scale,
        }
        | _measures(page, vectors)
    )


_MEASURES = (
    *("n_words", "n_regions", "n_vectors", "rows", "cols", "vector_bytes"),
    *_TIMES,
)


def _measures(page: Page, vectors: VectorType) -> dict[str, Any]:
    """Counts and times of what is new, and of what stays as it is stored."""
    measures: dict[str, Any] = {}
    if (kept := page.kept) is not None:
        measures = {name: getattr(kept, name) for name in _MEASURES}
    measures |= {name: ms for name in _TIMES if (ms := getattr(page, name)) is not None or not kept}
    if (regions := page.regions) is not None:
        measures["n_words"] = len(regions.rows(RegionKind.WORD))
        measures["n_regions"] = len(regions)
    if (encoding := page.encoding) is not None:
        count, dim = encoding.vectors.shape
        measures |= {"n_vectors": count, "vector_bytes": count * vector_bytes(dim, vectors)}
        measures |= {"rows": encoding.rows, "cols": encoding.cols}
    return measures


def _patches(
    pages: Sequence[tuple[Page, PageEncoding]], dim: int, stored_as: VectorType
) -> pa.Table:
    schema = schema_of(Table.PATCHES, dim, stored_as)
    encodings = [encoding for _, encoding in pages]
    counts = _offsets([len(e.vectors) for e in encodings])
    exact = np.concatenate([e.vectors for e in encodings] or [np.empty((0, dim), np.float32)])
    if stored_as is VectorType.INT8:
        vectors, scales = quantise(exact)
        scale_offsets = counts
    else:
        with np.errstate(over="ignore"):
            vectors, scales = exact.astype(np.float16), np.empty(0, np.float16)
        scale_offsets = _offsets([0] * len(pages))
        if not np.isfinite(vectors).all():
            raise ValueError("a patch vector is too large for float16; vectors must be unit length")
    cells = np.concatenate([e.cell_to_vector for e in encodings] or [np.empty(0, np.int32)])
    kind = schema.field("vectors").type
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), type=kind.value_type)
    return _with_place(
        schema,
        [page for page, _ in pages],
        [
            pa.array([e.rows for e in encodings], pa.int16()),
            pa.array([e.cols for e in encodings], pa.int16()),
            pa.ListArray.from_arrays(counts, lists, type=kind),
            pa.ListArray.from_arrays(
                scale_offsets, pa.array(scales), type=schema.field("scales").type
            ),
            pa.ListArray.from_arrays(
                _offsets([len(e.cell_to_vector) for e in encodings]),
                pa.array(cells, pa.int32()),
                type=schema.field("cell_to_vector").type,
            ),
        ],
    )


def _offsets(lengths: Sequence[int]) -> pa.Array:
    return pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())


def _with_place(schema: pa.Schema, pages: Sequence[Page], rest: Sequence[pa.Array]) -> pa.Table:
    where = [_place(page) for page in pages]
    where = [row | {"page_key": None} for row in where]
    place = [pa.array([row[n] for row in where], schema.field(n).type) for n in schema.names[:4]]
    return pa.Table.from_arrays([*place, *rest], schema=schema)


def documents_table(documents: Iterable[Document]) -> pa.Table:
    """Convert documents to rows of ``documents``.

    Raises:
        ValueError: a document without a source that is not unfinished, with a fingerprint of an
            unknown stage, or with a time that has no zone.
    """
    rows = []
    for document in documents:
        if not document.sources and document.status is not DocumentStatus.UNFINISHED:
            raise ValueError(f"document {document.doc_id} has no source")
        first = next(iter(document.sources), Source("", ""))
        rows.append(
            _row(document)
            | {
                "name": first.name,
                "uri": first.uri,
                "sources": [{"uri": s.uri, "name": s.name} for s in document.sources],
                "fingerprints": _by_stage(document.fingerprints),
            }
        )
    return _table(Table.DOCUMENTS, rows)


def documents_of(table: pa.Table) -> list[Document]:
    """Convert rows of ``documents`` to records."""
    return [
        Document(
            **_pick(row, Document)
            | {
                "status": DocumentStatus(row["status"]),
                "sources": tuple(Source(**source) for source in row["sources"]),
                "fingerprints": _without_null(row["fingerprints"]),
            }
        )
        for row in table.to_pylist()
    ]


def failures_table(failures: Iterable[Failure]) -> pa.Table:
    """Convert failures to rows of ``failures``.

    Raises:
        ValueError: a time has no zone.
    """
    return _table(Table.FAILURES, [_row(f) | {"failure_id": failure_id(f)} for f in failures])


def failures_of(table: pa.Table) -> list[Failure]:
    """Convert rows of ``failures`` to records."""
    return [Failure(**_pick(row, Failure)) for row in table.to_pylist()]


def runs_table(runs: Iterable[Run]) -> pa.Table:
    """Convert runs to rows of ``runs``.

    Raises:
        ValueError: a time has no zone.
    """
    rows = [
        _row(run) | {"pins": [{"table": t, "version": v} for t, v in sorted(run.pins.items())]}
        for run in runs
    ]
    return _table(Table.RUNS, rows)


def runs_of(table: pa.Table) -> list[Run]:
    """Convert rows of ``runs`` to records."""
    return [
        Run(**_pick(row, Run) | {"pins": {pin["table"]: pin["version"] for pin in row["pins"]}})
        for row in table.to_pylist()
    ]


def retrievals_table(retrievals: Iterable[Retrieval]) -> pa.Table:
    """Convert retrievals to rows of ``retrievals``.

    Raises:
        ValueError: a score is not finite, or a box is off its page.
    """
    rows = []
    for r in retrievals:
        if not np.isfinite([r.page_score, r.score]).all():
            raise ValueError(f"{retrieval_id(r)}: scores {r.page_score}, {r.score} are not finite")
        if not (0 <= r.x0 <= r.x1 <= 1 and 0 <= r.y0 <= r.y1 <= 1):
            raise ValueError(f"{retrieval_id(r)}: box {(r.x0, r.y0, r.x1, r.y1)} is off the page")
        rows.append(_row(r) | {"retrieval_id": retrieval_id(r)})
    return _table(Table.RETRIEVALS, rows)


def statistics_table(step: StatisticsStep, created_at: datetime) -> pa.Table:
    """Convert one snapshot of the corpus statistics to its row of ``statistics``.

    Raises:
        ValueError: the time has no zone.
    """
    row = {
        "snapshot": step.snapshot,
        "revision": step.revision,
        "base": step.base,
        "n_pages": step.n_pages,
        "n_terms": len(step.counts),
        "terms": list(step.counts.keys()),
        "counts": list(step.counts.values()),
        "added": list(step.added),
        "removed": list(step.removed),
        "created_at": created_at,
    }
    return _table(Table.STATISTICS, [row])


def statistics_step_of(row: Mapping[str, Any]) -> StatisticsStep:
    """Convert a row of ``statistics`` to a record without its terms."""
    return StatisticsStep(
        revision=row["revision"],
        base=row["base"],
        n_pages=row["n_pages"],
        counts={},
        added=tuple(row["added"]),
        removed=tuple(row["removed"]),
    )


def term_counts_table(counts: Iterable[TermCounts], counted_in: int | None) -> pa.Table:
    """Convert what documents add to rows of ``term_counts``.

    Args:
        counts: of the documents.
        counted_in: revision of the snapshot that counts them; None for none yet.
    """
    rows = [
        {
            "counts_id": c.counts_id,
            "doc_id": c.doc_id,
            "n_pages": c.n_pages,
            "terms": list(c.counts.keys()),
            "counts": list(c.counts.values()),
            "counted_in": counted_in,
        }
        for c in counts
    ]
    return _table(Table.TERM_COUNTS, rows)


def term_counts_of(table: pa.Table) -> list[TermCounts]:
    """Convert rows of ``term_counts`` to records."""
    return [
        TermCounts(
            row["counts_id"],
            row["doc_id"],
            row["n_pages"],
            dict(zip(row["terms"], row["counts"], strict=True)),
        )
        for row in table.to_pylist()
    ]


def page_keys_table(blocks: Iterable[tuple[str, int, int, str]]) -> pa.Table:
    """Convert block, first, count and run_id to rows of ``page_keys``."""
    names = ("block", "first", "count", "run_id")
    return _table(Table.PAGE_KEYS, [dict(zip(names, block, strict=True)) for block in blocks])


def meta_table(encoder: EncoderIdentity, form: VectorForm) -> pa.Table:
    """The one row of ``meta``: which schema and encoder a database belongs to, and its form."""
    row = {
        "name": META_NAME,
        "schema_version": SCHEMA_VERSION,
        "schema_minor": SCHEMA_MINOR,
        "encoder": encoder.name,
        "fingerprint": encoder.fingerprint,
        "dim": encoder.dim,
        "visual_tokens": encoder.visual_tokens,
        "vector_type": form.type.value,
        "pool": form.pool,
        "drop_blank": form.drop_blank,
    }
    return _table(Table.META, [row])


def _by_stage(fingerprints: Mapping[str, str]) -> dict[str, str | None]:
    if unknown := set(fingerprints) - set(STAGES):
        raise ValueError(f"fingerprints of unknown stages: {', '.join(sorted(unknown))}")
    return {stage: fingerprints.get(stage) for stage in STAGES}


def _without_null(fingerprints: Mapping[str, str | None]) -> dict[str, str]:
    return {stage: value for stage, value in fingerprints.items() if value is not None}


def _row(record: Any) -> dict[str, Any]:
    return {field.name: getattr(record, field.name) for field in fields(record)}


def _pick(row: Mapping[str, Any], record: type[Any]) -> dict[str, Any]:
    values = {field.name: row[field.name] for field in fields(record)}
    return {k: v.astimezone(UTC) if isinstance(v, datetime) else v for k, v in values.items()}


def _table(table: Table, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Rows as an Arrow table; each row must have exactly the table's columns."""
    schema = schema_of(table, dim=1)
    for row in rows:
        if set(row) != set(schema.names):
            raise ValueError(f"{table}: columns {sorted(set(row) ^ set(schema.names))} differ")
        if not row[KEYS[table]]:
            raise ValueError(f"{table}: a row without a {KEYS[table]}")
        for name, value in row.items():
            if isinstance(value, datetime) and value.tzinfo is None:
                raise ValueError(f"{table}.{name}: {value} has no time zone")
    columns = [pa.array([row[f.name] for row in rows], f.type) for f in schema]
    return pa.Table.from_arrays(columns, schema=schema)
