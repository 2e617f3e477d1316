"""The views that answer the usual questions, worked out by hand on a small database."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.convert import page_tables, retrievals_table
from patchlight.storage.database import Database
from patchlight.storage.records import DocumentStatus, RegionKind, Run, WordsSource
from patchlight.storage.sql import SqlSession
from tests.region_examples import Region, record_of, rows_of
from tests.storage_examples import (
    DIM,
    ENCODER,
    NOW,
    doc_id,
    document,
    failure,
    fill,
    page,
    put,
    put_run,
    retrieval,
)


def with_table(doc: str, number: int) -> Any:
    """A page with a table of one row of two cells, under a block."""
    made = page(doc, number)
    assert made.regions is not None
    own = rows_of(made.regions)
    n = len(own)
    kinds = (RegionKind.BLOCK, RegionKind.TABLE, RegionKind.ROW, RegionKind.CELL, RegionKind.CELL)
    parents = (-1, -1, n + 1, n + 2, n + 2)
    more = [
        Region(n + i, kind, parent, i, 0.1, 0.1, 0.5, 0.4, f"{kind} {i}", 1.0)
        for i, (kind, parent) in enumerate(zip(kinds, parents, strict=True))
    ]
    regions = record_of([*own, *more])
    return replace(
        made, regions=regions, words_source=WordsSource.OCR, words_ms=500.0, regions_ms=20.0,
        encoder_ms=3.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> SqlSession:
    database = Database.create_or_open(tmp_path_factory.mktemp("views") / "db", ENCODER)
    fill(database, "a", 2)
    committer = Committer(database, "run")
    committer.commit_pages(page_tables([with_table("b", 1)], DIM))
    partial = replace(document("b", 2, DocumentStatus.PARTIAL), pages_stored=1, pages_failed=1)
    put(committer, partial)
    fill(database, "hidden", 1, DocumentStatus.UNFINISHED)
    committer.commit_failures([failure(page=1), failure(page=2), failure("file:///z", 0)])
    for number, run in enumerate(("old", "new"), 1):
        rows = [retrieval(run, "q1", 0), retrieval(run, "q1", 1)]
        committer.replace_retrievals(run, [retrievals_table(rows)])
        summary = '{"pages_added": 3}' if run == "new" else "{}"
        ended = Run(run, "query", "completed", NOW, NOW, summary=summary, number=number)
        put_run(committer, ended)
    put_run(committer, Run("going", "query", "running", NOW, number=3))
    return SqlSession(database.uri, helps={"corrupt": "Fetch it again."})


def rows(session: SqlSession, query: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = session.ask(query).read_all().to_pylist()
    return found


def test_coverage_counts_pages_by_where_their_words_came_from(session: SqlSession) -> None:
    one, other = rows(session, "SELECT * FROM coverage ORDER BY name")
    assert (one["name"], one["text_layer_pages"], one["ocr_pages"], one["tables"]) == ("a", 2, 0, 0)
    assert (other["status"], other["page_count"], other["pages_stored"]) == ("partial", 2, 1)
    assert (other["pages_failed"], other["ocr_pages"], other["tables"]) == (1, 1, 1)
    assert (other["words"], other["regions"]) == (3, 9)


def test_failure_causes_say_what_helps(session: SqlSession) -> None:
    [row] = rows(session, "SELECT * FROM failure_causes")
    assert (row["category"], row["failures"], row["of_pages"]) == ("corrupt", 3, 2)
    assert (row["of_documents"], row["what_helps"]) == (1, "Fetch it again.")


def test_a_page_is_read_in_order_and_a_table_as_rows(session: SqlSession) -> None:
    read = rows(session, "SELECT * FROM reading WHERE name = 'b' ORDER BY reading_order")
    assert {(row["kind"], row["depth"]) for row in read} == {
        *(("block", 0), ("table", 0), ("row", 1), ("cell", 2))
    }
    # Where cells are in the table, arranging them says, which these pages have not been.
    assert rows(session, "SELECT count(*) AS n FROM table_cells") == [{"n": 0}]


def test_last_answers_are_of_the_last_query_run_that_ended(session: SqlSession) -> None:
    found = rows(session, "SELECT run_id, region_rank FROM last_answers ORDER BY region_rank")
    assert found == [{"run_id": "new", "region_rank": rank} for rank in (1, 2)]


def test_times_by_page_and_by_stage(session: SqlSession) -> None:
    slowest = rows(
        session,
        "SELECT name, total_ms FROM slowest_pages ORDER BY total_ms DESC NULLS LAST LIMIT 2",
    )
    assert slowest[0] == {"name": "b", "total_ms": 523.0} and slowest[1]["total_ms"] is None
    words = rows(session, "SELECT * FROM stage_times WHERE stage = 'words'")
    assert words == [
        {"stage": "words", "pages": 1, "total_s": 0.5, "median_ms": 500.0, "p90_ms": 500.0}
    ]


def test_runs_over_time_and_what_tables_take(session: SqlSession) -> None:
    runs = rows(
        session, "SELECT number, run_id, seconds, pages_added FROM runs_over_time ORDER BY number"
    )
    assert runs[1] == {"number": 2, "run_id": "new", "seconds": 0.0, "pages_added": 3}
    assert [run["run_id"] for run in runs] == ["old", "new", "going"]
    [pages] = rows(session, "SELECT * FROM storage_by_table WHERE table_name = 'pages'")
    assert pages["rows"] == 4 and pages["bytes"] > 0 and pages["versions"] >= 3


def test_views_are_listed_and_of_visible_documents_only(session: SqlSession) -> None:
    names = {row["table_name"] for row in rows(session, "SHOW TABLES")}
    assert {"coverage", "reading", "stage_times", "storage_by_table"} <= names
    assert rows(session, f"SELECT * FROM coverage WHERE doc_id = '{doc_id('hidden')}'") == []


def test_a_new_session_needs_no_view_to_be_asked(tmp_path: Path) -> None:
    Database.create_or_open(tmp_path / "db", ENCODER)
    session = SqlSession(tmp_path / "db")
    for view in ("coverage", "failure_causes", "last_answers", "slowest_pages", "runs_over_time"):
        assert rows(session, f"SELECT * FROM {view}") == []
