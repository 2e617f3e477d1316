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
    StoredPage,
    TermStatistics,
    VectorForm,
    VectorType,
    WordsSource,
    failure_id,
    page_id,
    retrieval_id,
)
from patchlight.storage.regions import Regions
from patchlight.storage.schema import KEYS, SCHEMA_VERSION, STAGES, Table, schema_of

META_NAME = "patchlight"
"""Key of the one row of the ``meta`` table."""


@dataclass(frozen=True, slots=True)
class PageTables:
    """Pages as rows of the three tables they go to; picklable.

    Attributes:
        pages: rows of ``pages``.
        regions: rows of ``regions``, one a page whose regions are not kept as stored.
        patches: rows of ``patches``, one a page whose vectors are not kept as stored.
    """

    pages: pa.Table
    regions: pa.Table
    patches: pa.Table


def page_tables(
    pages: Sequence[Page], dim: int, vectors: VectorType = VectorType.FLOAT16
) -> PageTables:
    """Convert pages to rows.

    Boxes are rounded to float32. Vectors are rounded to float16, or to int8 with a scale each:
    then a value is off by at most half its vector's scale, which is at most 1/127 of the
    vector's largest value, rounded up to float16.

    Args:
        pages: distinct pages; may be empty.
        dim: length of the database's vectors.
        vectors: how their numbers are kept; must be that of the database's form.

    Raises:
        ValueError: a page's number, fingerprints, boxes, region order or vectors do not fit, or
            something is to be kept of one whose stored row is not given; the message names the
            page.
    """
    rows = []
    for page in pages:
        try:
            _check_page(page, dim)
            rows.append(_page_row(page))
        except ValueError as error:
            raise ValueError(f"page {page.page} of document {page.doc_id}: {error}") from error
    return PageTables(
        pages=_table(Table.PAGES, rows),
        regions=_regions([(page, r) for page in pages if (r := page.regions) is not None]),
        patches=_patches(
            [(page, e) for page in pages if (e := page.encoding) is not None], dim, vectors
        ),
    )


def concat_page_tables(parts: Sequence[PageTables]) -> PageTables:
    """Put the rows of several `PageTables` (at least one) together, in order."""
    return PageTables(
        pages=pa.concat_tables([part.pages for part in parts]),
        regions=pa.concat_tables([part.regions for part in parts]),
        patches=pa.concat_tables([part.patches for part in parts]),
    )


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


def _page_row(page: Page) -> dict[str, Any]:
    return (
        _place(page)
        | {
            "width_pt": page.width_pt,
            "height_pt": page.height_pt,
            "rotation": page.rotation,
            "words_source": page.words_source,
            "ocr_dpi": page.ocr_dpi,
            "text": page.text,
            "fingerprints": _by_stage(page.fingerprints),
            "scale": page.scale,
        }
        | _counts(page)
    )


def _counts(page: Page) -> dict[str, int]:
    """Counts of what is new, and of what stays as it is stored."""
    counts = {}
    if (kept := page.kept) is not None:
        counts = {name: getattr(kept, name) for name in ("n_words", "n_regions", "n_vectors")}
    if (regions := page.regions) is not None:
        counts["n_words"] = len(regions.rows(RegionKind.WORD))
        counts["n_regions"] = len(regions)
    if page.encoding is not None:
        counts["n_vectors"] = len(page.encoding.vectors)
    return counts


def _regions(pages: Sequence[tuple[Page, Regions]]) -> pa.Table:
    lists = regionrows.lists_of([regions for _, regions in pages])
    return _with_place(schema_of(Table.REGIONS, dim=1), [page for page, _ in pages], [lists])


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
    place = [pa.array([row[n] for row in where], schema.field(n).type) for n in schema.names[:3]]
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


def statistics_table(statistics: TermStatistics, created_at: datetime) -> pa.Table:
    """Convert one snapshot of the corpus statistics to its row of ``statistics``.

    Raises:
        ValueError: the time has no zone.
    """
    row = {
        "snapshot": statistics.snapshot,
        "n_pages": statistics.n_pages,
        "terms": list(statistics.document_frequency.keys()),
        "counts": list(statistics.document_frequency.values()),
        "created_at": created_at,
    }
    return _table(Table.STATISTICS, [row])


def statistics_of(table: pa.Table) -> list[TermStatistics]:
    """Convert rows of ``statistics`` to records."""
    return [
        TermStatistics(
            snapshot=row["snapshot"],
            n_pages=row["n_pages"],
            document_frequency=dict(zip(row["terms"], row["counts"], strict=True)),
        )
        for row in table.to_pylist()
    ]


def meta_table(encoder: EncoderIdentity, form: VectorForm) -> pa.Table:
    """The one row of ``meta``: which schema and encoder a database belongs to, and its form."""
    row = {
        "name": META_NAME,
        "schema_version": SCHEMA_VERSION,
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
