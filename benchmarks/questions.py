"""Twelve questions of an analyst, answered by four tools: whether the answers are equal, and times.

Run from the repository's root::

    python -m benchmarks.questions DB

``patchlight sql``, DuckDB with its extension ``lance`` and docs/duckdb-views.sql, Polars over the
tables' files, and lancedb with Arrow; the last three read the tables without patchlight. Of each
answer all rows are compared, in their order; numbers with a fraction may differ by 1e-9. Each
question is asked once to warm up and then three times, of which the median is printed. Opening
counts once for each tool. The database is to be at rest, and have the answers of a query run.
Questions 4 and 5 are on the document with most cells, question 6 on the term of six letters or more
that stands in most of its paragraphs. It ends with 1 if any answer differs.
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any

import duckdb

from benchmarks import questionslancedb, questionspolars
from benchmarks.report import print_table
from patchlight.storage.sql import SqlSession
from patchlight.tasks.common.advice import ADVICE

Rows = list[tuple[Any, ...]]
Ask = Callable[[str], Rows]
"""Answers the question of a name."""

VIEWS = Path(__file__).parent.parent / "docs" / "duckdb-views.sql"
TOLERANCE = 1e-9
MOST = 1_000_000_000
"""Rows of a full-text search: all of them."""


@dataclass(frozen=True)
class Question:
    """A question, and how it is put in SQL: ``{doc_id}`` and ``{term}`` stand for its subject."""

    text: str
    sql: str
    duckdb: str = ""
    """The same for DuckDB, where it can do better; ``{db}`` is the database."""


_FOUND = """
    SELECT d.name, r.page, r.reading_order, r.text FROM {regions} r
    JOIN documents d ON d.doc_id = r.doc_id
    WHERE r.kind = 'paragraph' {condition}
    ORDER BY r.region_id"""

QUESTIONS = {
    "coverage": Question(
        "How much of each document is there, and where do its words come from?",
        """SELECT name, status, page_count, pages_stored, pages_failed, text_layer_pages, ocr_pages,
            no_words_pages, words, regions, tables
        FROM coverage ORDER BY name, doc_id""",
    ),
    "failures": Question(
        "What failed, why, and how much of it may be tried again?",
        """SELECT category, stage, failures, of_documents, of_pages, retryable
        FROM failure_causes ORDER BY category, stage""",
    ),
    "unsure": Question(
        "Which pages were OCRed, and how sure are their words?",
        """SELECT d.name, p.page, p.ocr_dpi, count(*) AS words,
            avg(CAST(w.confidence AS DOUBLE)) AS mean,
            count(CASE WHEN round(CAST(w.confidence AS DOUBLE) * 100) < 60 THEN 1 END) AS unsure
        FROM all_regions w
        JOIN pages p ON p.page_key = w.page_key
        JOIN documents d ON d.doc_id = p.doc_id
        WHERE w.kind = 'word' AND p.words_source = 'ocr'
        GROUP BY d.name, p.page, p.ocr_dpi, p.page_id ORDER BY p.page_id""",
    ),
    "tables": Question(
        "What is in the tables of a document, cell by cell?",
        """SELECT page, table_id, "row", col, row_span, col_span, text
        FROM table_cells WHERE doc_id = '{doc_id}' ORDER BY region_id""",
    ),
    "headings": Question(
        "What are the headings of a document, in reading order?",
        """SELECT page, reading_order, text
        FROM reading WHERE doc_id = '{doc_id}' AND kind = 'heading' ORDER BY page, reading_order""",
    ),
    "term": Question(
        "Which paragraphs have a term in them?",
        _FOUND.format(regions="regions", condition="AND ' ' || r.terms || ' ' LIKE '% {term} %'"),
        duckdb=_FOUND.format(
            regions="lance_fts('{db}/regions.lance', 'terms', '{term}', k => {most})", condition=""
        ),
    ),
    "largest": Question(
        "Which pages take most room?",
        """SELECT d.name, p.page, p.n_vectors, p.vector_bytes
        FROM pages p JOIN documents d ON d.doc_id = p.doc_id
        ORDER BY p.vector_bytes DESC, p.page_id LIMIT 20""",
    ),
    "slowest": Question(
        "Which pages took longest?",
        """SELECT name, page, words_source, total_ms
        FROM slowest_pages ORDER BY total_ms DESC NULLS LAST, doc_id, page LIMIT 20""",
    ),
    "stages": Question(
        "Where did the time go?",
        "SELECT stage, pages, total_s, median_ms, p90_ms FROM stage_times ORDER BY stage",
    ),
    "answers": Question(
        "What did the last query run find, and where is it, in points?",
        """SELECT a.query_id, a.page_rank, a.region_rank, a.name, a.page, a.kind, a.text, a.score,
            a.x0 * t.width_pt AS left_pt, a.y0 * t.height_pt AS top_pt,
            a.x1 * t.width_pt AS right_pt, a.y1 * t.height_pt AS bottom_pt
        FROM last_answers a
        JOIN retrievals t ON t.run_id = a.run_id AND t.query_id = a.query_id
            AND t.doc_id = a.doc_id AND t.page = a.page AND t.region_rank = a.region_rank
        ORDER BY a.query_id, a.page_rank, a.region_rank""",
    ),
    "runs": Question(
        "What runs were there, how long did they take, and what did they add?",
        """SELECT number, kind, status, started_at, seconds, pages_added, pages_failed
        FROM runs_over_time ORDER BY number""",
    ),
    "places": Question(
        "Which documents were found at several places?",
        """SELECT doc_id, s['uri'] AS uri FROM (
            SELECT doc_id, unnest(sources) AS s FROM documents WHERE array_length(sources) > 1
        ) ORDER BY doc_id, uri""",
    ),
}


@dataclass(frozen=True)
class Subject:
    """What the questions are on that need to be told."""

    doc_id: str
    term: str


def subject_of(db: str) -> Subject:
    """The document with most cells, and the longer term that is in most of its paragraphs."""
    session = SqlSession(db)
    most = session.ask(
        "SELECT d.doc_id FROM documents d LEFT JOIN table_cells c ON c.doc_id = d.doc_id "
        "GROUP BY d.doc_id ORDER BY count(c.region_id) DESC, d.doc_id LIMIT 1"
    ).read_all()
    doc_id = most["doc_id"][0].as_py()
    terms = session.ask(
        f"SELECT terms FROM regions WHERE doc_id = '{doc_id}' AND kind = 'paragraph'"
    ).read_all()
    counts: dict[str, int] = {}
    for text in terms["terms"].to_pylist():
        for term in {term for term in text.split() if len(term) >= 6}:
            counts[term] = counts.get(term, 0) + 1
    return Subject(doc_id, min(counts, key=lambda term: (-counts[term], term)))


def with_patchlight(db: str, subject: Subject) -> Ask:
    """Ask by ``patchlight sql``, without starting a process."""
    session = SqlSession(db, helps=ADVICE)

    def ask(name: str) -> Rows:
        statement = QUESTIONS[name].sql.format(doc_id=subject.doc_id, term=subject.term)
        return [tuple(row.values()) for row in session.ask(statement).read_all().to_pylist()]

    return ask


def with_duckdb(db: str, subject: Subject) -> Ask:
    """Ask DuckDB, with the extension and the views that docs/sql.md tells of."""
    connection = open_duckdb(db)

    def ask(name: str) -> Rows:
        statement = QUESTIONS[name].duckdb or QUESTIONS[name].sql
        asked = statement.format(doc_id=subject.doc_id, term=subject.term, db=db, most=MOST)
        rows: Rows = connection.execute(asked).fetchall()
        return rows

    return ask


def extension() -> str:
    """Where the extension lies, as it was installed."""
    package = files("duckdb_extension_lance")
    return str(package / f"extensions/v{duckdb.__version__}/lance.duckdb_extension")


def open_duckdb(db: str) -> duckdb.DuckDBPyConnection:
    """A connection with the extension and the views."""
    connection = duckdb.connect()
    connection.execute(f"LOAD '{extension()}'")
    connection.execute("SET VARIABLE db = ?", [db])
    connection.execute(VIEWS.read_text(encoding="utf-8"))
    return connection


def with_polars(db: str, subject: Subject) -> Ask:
    """Ask Polars, over the files of the tables."""
    frames = questionspolars.Frames(db, subject.doc_id, subject.term)
    return lambda name: questionspolars.ANSWERS[name](frames).collect().rows()


def with_lancedb(db: str, subject: Subject) -> Ask:
    """Ask lancedb, and work out with Arrow what it does not."""
    tables = questionslancedb.Tables(db, subject.doc_id, subject.term)
    return lambda name: questionslancedb.ANSWERS[name](tables)


TOOLS: dict[str, Callable[[str, Subject], Ask]] = {
    "patchlight sql": with_patchlight,
    "DuckDB": with_duckdb,
    "Polars": with_polars,
    "lancedb": with_lancedb,
}


def differences(expected: Rows, found: Rows) -> Iterator[str]:
    """In what the rows of two answers are not equal."""
    if len(expected) != len(found):
        yield f"{len(found)} rows for {len(expected)}"
    for at, (one, other) in enumerate(zip(expected, found, strict=False)):
        if len(one) != len(other) or not all(map(_same, one, other)):
            yield f"row {at}: {other} for {one}"


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)
    if isinstance(one, datetime) and isinstance(other, datetime):
        return one.astimezone(UTC) == other.astimezone(UTC)
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return type(one) is type(other) and bool(one == other)


def seconds(ask: Ask, name: str, runs: int) -> list[float]:
    """How long a question takes, each time."""
    taken = []
    for _ in range(runs):
        began = time.perf_counter()
        ask(name)
        taken.append(time.perf_counter() - began)
    return taken


def main(argv: Sequence[str] | None = None) -> int:
    """Ask, compare and print; 1 if any answer differs."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("db", help="the database, a folder")
    parser.add_argument("--runs", type=int, default=3, help="times each is asked after the first")
    args = parser.parse_args(argv)
    subject = subject_of(args.db)
    print(f"document {subject.doc_id}, term {subject.term!r}")
    asks: dict[str, Ask] = {}
    opening = ["opening", "", ""]
    for tool, make in TOOLS.items():
        began = time.perf_counter()
        asks[tool] = make(args.db, subject)
        opening.append(f"{time.perf_counter() - began:.3f}")
    table, wrong = [opening], []
    for number, (name, question) in enumerate(QUESTIONS.items(), 1):
        answers = {tool: ask(name) for tool, ask in asks.items()}
        times = [seconds(ask, name, args.runs) for ask in asks.values()]
        expected = next(iter(answers.values()))
        found = {tool: list(differences(expected, rows)) for tool, rows in answers.items()}
        wrong += [f"{name}: {tool}: {text}" for tool in found for text in found[tool][:3]]
        equal = "no" if any(found.values()) else "yes"
        medians = [f"{statistics.median(taken):.3f}" if taken else "" for taken in times]
        table.append([f"{number}. {question.text}", f"{len(expected):,}", equal, *medians])
    print_table("Seconds a question", ["", "rows", "equal", *TOOLS], table)
    for line in wrong:
        print(f"DIFFERS: {line}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
