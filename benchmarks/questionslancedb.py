"""The twelve questions of `benchmarks.questions` for lancedb: it filters, the rest is Arrow's."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

Rows = list[tuple[Any, ...]]

_VISIBLE = "status IN ('complete', 'partial')"
_OCR = "words_source = 'ocr'"


class Tables:
    """The tables, each read as far as a question needs it."""

    def __init__(self, db: str, doc_id: str, term: str) -> None:
        """Tell where the database is, and what is asked of."""
        self._db = lancedb.connect(db)
        self.doc_id = doc_id
        self.term = term

    def read(self, table: str, columns: Sequence[str], where: str | None = None) -> pa.Table:
        """Some columns of the rows that a condition holds for."""
        query = self._db.open_table(table).search()
        query = query.where(where) if where else query
        return query.select(list(columns)).limit(None).to_arrow()

    def found(self, table: str, term: str, columns: Sequence[str], where: str) -> pa.Table:
        """The same of the rows that have a term, by the full-text index."""
        opened = self._db.open_table(table)
        query = opened.search(term, query_type="fts", fts_columns="terms")
        # Without a limit it would be 10 rows.
        query = query.where(where).limit(opened.count_rows())
        return query.select([*columns, "_score"]).to_arrow().drop_columns(["_score"])

    def named(self, rows: pa.Table, how: str = "inner") -> pa.Table:
        """Rows with the names of their documents."""
        names = self.read("documents", ["doc_id", "name"], _VISIBLE)
        return rows.join(names, "doc_id", join_type=how)


def _rows(table: pa.Table, columns: Sequence[str]) -> Rows:
    return list(zip(*(table[name].to_pylist() for name in columns), strict=True))


def _sorted(table: pa.Table, *keys: str, down: str = "") -> pa.Table:
    return table.sort_by([(key, "descending" if key == down else "ascending") for key in keys])


def _rounded(value: float, digits: int) -> float:
    """Rounded as SQL does, halves away from zero."""
    scale = 10.0**digits
    return math.copysign(math.floor(abs(value) * scale + 0.5), value) / scale


def _coverage(tables: Tables) -> Rows:
    pages = tables.read("pages", ["doc_id", "words_source", "n_words", "n_regions"])
    marks = {
        f"{name}_pages": pc.equal(pages["words_source"], name) for name in ("text_layer", "ocr")
    } | {"no_words_pages": pc.equal(pages["words_source"], "none")}
    for name, mark in marks.items():
        pages = pages.append_column(name, pc.cast(mark, pa.int64()))
    sums = [*marks, "n_words", "n_regions"]
    counted = pages.group_by("doc_id").aggregate([(name, "sum") for name in sums])
    regions = tables.read("regions", ["doc_id"], "kind = 'table'")
    of_tables = regions.group_by("doc_id").aggregate([([], "count_all")])
    own = ("name", "status", "page_count", "pages_stored", "pages_failed")
    documents = tables.read("documents", ["doc_id", *own], _VISIBLE)
    rows = documents.join(counted, "doc_id").join(of_tables, "doc_id")
    rows = _sorted(rows, "name", "doc_id")
    numbers = [*(f"{name}_sum" for name in sums), "count_all"]
    return [
        (*row[: len(own)], *(number or 0 for number in row[len(own) :]))
        for row in _rows(rows, [*own, *numbers])
    ]


def _failures(tables: Tables) -> Rows:
    rows = tables.read("failures", ["category", "stage", "page", "retryable"])
    rows = rows.append_column("of_documents", pc.cast(pc.equal(rows["page"], 0), pa.int64()))
    rows = rows.append_column("of_pages", pc.cast(pc.greater(rows["page"], 0), pa.int64()))
    rows = rows.append_column("again", pc.cast(rows["retryable"], pa.int64()))
    counts = [([], "count_all"), ("of_documents", "sum"), ("of_pages", "sum"), ("again", "sum")]
    counted = _sorted(rows.group_by(["category", "stage"]).aggregate(counts), "category", "stage")
    return _rows(
        counted,
        ["category", "stage", "count_all", "of_documents_sum", "of_pages_sum", "again_sum"],
    )


def _unsure(tables: Tables) -> Rows:
    columns = ["doc_id", "page_id", "page_key", "page", "ocr_dpi"]
    pages = tables.named(tables.read("pages", columns, _OCR))
    if not pages.num_rows:
        return []
    keys = ", ".join(map(str, pages["page_key"].to_pylist()))
    packed = tables.read("words", ["page_key", "words"], f"page_key IN ({keys})")
    sure = {
        key: np.array([word["confidence"] for word in words], float)
        for key, words in _rows(packed, ["page_key", "words"])
        if words
    }
    return [
        (name, page, dpi, len(own), float(own.mean()), int((np.round(own * 100) < 60).sum()))
        for key, name, page, dpi in _rows(
            _sorted(pages, "page_id"), ["page_key", "name", "page", "ocr_dpi"]
        )
        if (own := sure.get(key)) is not None
    ]


def _tables(tables: Tables) -> Rows:
    columns = ["page", "table_id", "row", "col", "row_span", "col_span", "text"]
    where = f"doc_id = '{tables.doc_id}' AND kind = 'cell' AND table_id IS NOT NULL"
    return _rows(
        _sorted(tables.read("regions", [*columns, "region_id"], where), "region_id"), columns
    )


def _headings(tables: Tables) -> Rows:
    columns = ["page", "reading_order", "text"]
    where = f"doc_id = '{tables.doc_id}' AND kind = 'heading'"
    return _rows(_sorted(tables.read("regions", columns, where), "page", "reading_order"), columns)


def _term(tables: Tables) -> Rows:
    columns = ["doc_id", "region_id", "page", "reading_order", "text"]
    rows = tables.named(tables.found("regions", tables.term, columns, "kind = 'paragraph'"))
    return _rows(_sorted(rows, "region_id"), ["name", "page", "reading_order", "text"])


def _largest(tables: Tables) -> Rows:
    columns = ["page", "n_vectors", "vector_bytes"]
    rows = tables.named(tables.read("pages", ["page_id", "doc_id", *columns]))
    rows = _sorted(rows, "vector_bytes", "page_id", down="vector_bytes").slice(0, 20)
    return _rows(rows, ["name", *columns])


def _slowest(tables: Tables) -> Rows:
    stages = ["words_ms", "regions_ms", "encoder_ms"]
    rows = tables.named(tables.read("pages", ["doc_id", "page", "words_source", *stages]))
    total = pc.add(pc.add(rows["words_ms"], rows["regions_ms"]), rows["encoder_ms"])
    rows = rows.append_column("total_ms", total)
    rows = _sorted(rows, "total_ms", "doc_id", "page", down="total_ms").slice(0, 20)
    return _rows(rows, ["name", "page", "words_source", "total_ms"])


def _stages(tables: Tables) -> Rows:
    stages = ["encoder", "regions", "words"]
    pages = tables.read("pages", [f"{stage}_ms" for stage in stages])
    found: Rows = []
    for stage in stages:
        ms = pages[f"{stage}_ms"].drop_null().to_numpy().astype(float)
        total, median, p90 = (
            (float(ms.sum()), float(np.median(ms)), float(np.quantile(ms, 0.9)))
            if len(ms)
            else (None, None, None)
        )
        found.append(
            (
                stage,
                len(ms),
                total if total is None else _rounded(total / 1000, 3),
                median if median is None else _rounded(median, 1),
                p90 if p90 is None else _rounded(p90, 1),
            )
        )
    return found


def _answers(tables: Tables) -> Rows:
    ended = "kind = 'query' AND status IN ('completed', 'completed_with_failures')"
    runs = _rows(tables.read("runs", ["number", "run_id"], ended), ["number", "run_id"])
    if not runs:
        return []
    columns = ["query_id", "page_rank", "region_rank", "page", "kind", "text", "score"]
    places = ["x0", "y0", "x1", "y1", "width_pt", "height_pt"]
    rows = tables.read("retrievals", ["doc_id", *columns, *places], f"run_id = '{max(runs)[1]}'")
    rows = _sorted(tables.named(rows, "left outer"), "query_id", "page_rank", "region_rank")
    for name, size in zip(places, (*places[4:], *places[4:]), strict=False):
        wide = pc.cast(rows[name], pa.float64())
        rows = rows.append_column(f"{name}_pt", pc.multiply(wide, rows[size]))
    boxes = [f"{name}_pt" for name in places[:4]]
    return _rows(rows, [*columns[:3], "name", *columns[3:], *boxes])


def _runs(tables: Tables) -> Rows:
    columns = ["number", "kind", "status", "started_at", "ended_at", "summary"]
    found: Rows = []
    for *own, ended, summary in _rows(_sorted(tables.read("runs", columns), "number"), columns):
        took = None if ended is None else _rounded((ended - own[-1]).total_seconds(), 3)
        report = json.loads(summary) if summary else {}
        found.append((*own, took, report.get("pages_added"), report.get("pages_failed")))
    return found


def _places(tables: Tables) -> Rows:
    documents = tables.read("documents", ["doc_id", "sources"], _VISIBLE)
    return sorted(
        (doc_id, source["uri"])
        for doc_id, sources in _rows(documents, ["doc_id", "sources"])
        if len(sources) > 1
        for source in sources
    )


ANSWERS: dict[str, Callable[[Tables], Rows]] = {
    "coverage": _coverage,
    "failures": _failures,
    "unsure": _unsure,
    "tables": _tables,
    "headings": _headings,
    "term": _term,
    "largest": _largest,
    "slowest": _slowest,
    "stages": _stages,
    "answers": _answers,
    "runs": _runs,
    "places": _places,
}
"""What answers the question of a name."""
