"""The texts of the views that SQL has beside the tables, in one place. Pure.

They are written in what DataFusion and DuckDB both take. None has an order: DataFusion drops one
that is inside a view.
"""

from __future__ import annotations

from collections.abc import Mapping

from patchlight.storage.engine import VISIBLE_FILTER, quoted
from patchlight.storage.records import RegionKind, WordsSource
from patchlight.storage.regionrows import PACKED
from patchlight.storage.schema import Table

ALL_REGIONS = "all_regions"
"""The view of the regions of all kinds: those of ``regions``, and words and lines."""

STORAGE = "storage_by_table"
"""What the tables take: facts that no table holds, so the session makes it when it is asked for."""

_OF_VISIBLE = (
    Table.PAGES,
    Table.REGIONS,
    Table.WORDS,
    Table.PATCHES,
    Table.METADATA,
    ALL_REGIONS,
)

_SHARED = "page_key, doc_id, page_id, page"
_PACKED = """
SELECT page_id || ':' || lpad(number, CAST(greatest(5, length(number)) AS INT), '0') AS region_id,
    {shared}, r['index'] AS "index", '{kind}' AS kind,
    CASE WHEN r['parent'] >= 0 THEN
        page_id || ':' || lpad(parent, CAST(greatest(5, length(parent)) AS INT), '0')
    END AS parent_id,
    r['reading_order'] AS reading_order, {none},
    r['x0'] AS x0, r['y0'] AS y0, r['x1'] AS x1, r['y1'] AS y1,
    r['text'] AS text, NULL AS terms, r['confidence'] AS confidence
FROM (
    SELECT *, CAST(r['index'] AS VARCHAR) AS number, CAST(r['parent'] AS VARCHAR) AS parent
    FROM (SELECT {shared}, unnest({column}) AS r FROM raw_words)
)
"""
"""The regions of one kind of the packed ones, with the columns of ``regions``."""

_COVERAGE = f"""
SELECT d.doc_id, d.name, d.status, d.page_count, d.pages_stored, d.pages_failed,
    coalesce(p.text_layer_pages, 0) AS text_layer_pages,
    coalesce(p.ocr_pages, 0) AS ocr_pages,
    coalesce(p.no_words_pages, 0) AS no_words_pages,
    coalesce(p.words, 0) AS words, coalesce(p.regions, 0) AS regions,
    coalesce(t.n, 0) AS tables
FROM documents d
LEFT JOIN (
    SELECT doc_id, CAST(sum(n_words) AS BIGINT) AS words,
        CAST(sum(n_regions) AS BIGINT) AS regions,
        count(CASE WHEN words_source = '{WordsSource.TEXT_LAYER}' THEN 1 END) AS text_layer_pages,
        count(CASE WHEN words_source = '{WordsSource.OCR}' THEN 1 END) AS ocr_pages,
        count(CASE WHEN words_source = '{WordsSource.NONE}' THEN 1 END) AS no_words_pages
    FROM pages GROUP BY doc_id
) p ON p.doc_id = d.doc_id
LEFT JOIN (
    SELECT doc_id, count(*) AS n FROM regions WHERE kind = '{RegionKind.TABLE}' GROUP BY doc_id
) t ON t.doc_id = d.doc_id
"""

_FAILURE_CAUSES = """
SELECT f.category, f.stage, f.failures, f.of_documents, f.of_pages, f.retryable, h.what_helps
FROM (
    SELECT category, stage, count(*) AS failures,
        count(CASE WHEN page = 0 THEN 1 END) AS of_documents,
        count(CASE WHEN page > 0 THEN 1 END) AS of_pages,
        count(CASE WHEN retryable THEN 1 END) AS retryable
    FROM failures GROUP BY category, stage
) f
LEFT JOIN (VALUES {helps}) AS h(category, what_helps) ON h.category = f.category
"""

# A cell is in a row, a row in a table, a table in an exhibit: nothing here is deeper than 3. The
# joins name the page too, so that a condition on it holds for what is joined.
_READING = """
SELECT d.name, r.doc_id, r.page, r.reading_order, r.kind, r.text,
    CASE WHEN r.parent_id IS NULL THEN 0 WHEN p.parent_id IS NULL THEN 1
        WHEN q.parent_id IS NULL THEN 2 ELSE 3 END AS depth,
    r.region_id, r.page_key
FROM regions r
JOIN documents d ON d.doc_id = r.doc_id
LEFT JOIN raw_regions p ON p.region_id = r.parent_id
    AND p.page_key = r.page_key AND p.doc_id = r.doc_id AND p.page = r.page
LEFT JOIN raw_regions q ON q.region_id = p.parent_id
    AND q.page_key = p.page_key AND q.doc_id = p.doc_id AND q.page = p.page
"""

_TABLE_CELLS = f"""
SELECT r.table_id, d.name, r.doc_id, r.page, r."row", r.col, r.row_span, r.col_span, r.text,
    r.region_id
FROM regions r
JOIN documents d ON d.doc_id = r.doc_id
WHERE r.kind = '{RegionKind.CELL}' AND r.table_id IS NOT NULL
"""

_LAST_ANSWERS = """
SELECT t.query_id, t.query, t.page_rank, t.region_rank, d.name, t.page, t.kind, t.text,
    t.page_score, t.score, t.x0, t.y0, t.x1, t.y1, t.metadata, t.doc_id, t.region_id, t.run_id
FROM retrievals t
JOIN runs u ON u.run_id = t.run_id
LEFT JOIN documents d ON d.doc_id = t.doc_id
WHERE u.number = (
    SELECT max(number) FROM runs
    WHERE kind = 'query' AND status IN ('completed', 'completed_with_failures')
)
"""

_SLOWEST_PAGES = """
SELECT d.name, p.doc_id, p.page, p.words_source, p.n_words, p.words_ms, p.regions_ms, p.encoder_ms,
    p.words_ms + p.regions_ms + p.encoder_ms AS total_ms
FROM pages p
JOIN documents d ON d.doc_id = p.doc_id
"""

_STAGE_TIMES = """
SELECT stage, count(ms) AS pages, round(sum(ms) / 1000, 3) AS total_s,
    round(median(ms), 1) AS median_ms,
    round(percentile_cont(0.9) WITHIN GROUP (ORDER BY ms), 1) AS p90_ms
FROM ({stages})
GROUP BY stage
"""
_STAGE = "SELECT '{stage}' AS stage, CAST({stage}_ms AS DOUBLE) AS ms FROM pages"

_RUNS_OVER_TIME = """
SELECT number, run_id, kind, status, started_at,
    round(date_part('epoch', ended_at) - date_part('epoch', started_at), 3) AS seconds,
    CAST(json_extract_string(summary, '$.pages_added') AS BIGINT) AS pages_added,
    CAST(json_extract_string(summary, '$.pages_failed') AS BIGINT) AS pages_failed
FROM runs
"""

_DUCKDB_SCAN = "FROM query('FROM ''' || getvariable('db') || '/{table}.lance''')"
"""A table, found anew each time it is asked for: the variable may name another database."""


def tables() -> dict[str, str]:
    """The views that show what queries see, by name; each needs ``raw_<table>`` of every table."""
    found = {f"raw_{ALL_REGIONS}": _all_regions()}
    for name in (*Table, ALL_REGIONS):
        condition = ""
        if name is Table.DOCUMENTS:
            condition = f" WHERE {VISIBLE_FILTER}"
        elif name in _OF_VISIBLE:
            visible = f"SELECT doc_id FROM raw_documents WHERE {VISIBLE_FILTER}"
            condition = f" WHERE doc_id IN ({visible})"
        found[str(name)] = f"SELECT * FROM raw_{name}{condition}"
    return found


def questions(helps: Mapping[str, str]) -> dict[str, str]:
    """The views that answer the usual questions, by name; each needs those of `tables`.

    Args:
        helps: what helps against failures, by category.
    """
    rows = [f"({quoted(category)}, {quoted(text)})" for category, text in helps.items()]
    stages = [_STAGE.format(stage=stage) for stage in ("words", "regions", "encoder")]
    return {
        "coverage": _COVERAGE,
        "failure_causes": _FAILURE_CAUSES.format(helps=", ".join(rows or ["('', '')"])),
        "reading": _READING,
        "table_cells": _TABLE_CELLS,
        "last_answers": _LAST_ANSWERS,
        "slowest_pages": _SLOWEST_PAGES,
        "stage_times": _STAGE_TIMES.format(stages="\n    UNION ALL ".join(stages)),
        "runs_over_time": _RUNS_OVER_TIME,
    }


def for_duckdb(helps: Mapping[str, str]) -> str:
    """Statements that give DuckDB these views, over a database that its variable ``db`` names.

    Args:
        helps: what helps against failures, by category.
    """
    views = {f"raw_{table}": _DUCKDB_SCAN.format(table=table) for table in Table}
    views |= tables() | questions(helps)
    return "\n".join(
        f"CREATE OR REPLACE VIEW {name} AS\n{text.strip()};\n" for name, text in views.items()
    )


def _all_regions() -> str:
    none = ", ".join(
        f"NULL AS {name}" for name in ("table_id", '"row"', "col", "row_span", "col_span")
    )
    packed = [
        _PACKED.format(shared=_SHARED, kind=kind, column=column, none=none)
        for kind, column in PACKED.items()
    ]
    return "\nUNION ALL\n".join(["SELECT * FROM raw_regions", *map(str.strip, packed)])
