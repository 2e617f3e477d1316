"""Removing documents: nothing of them stays, nothing of others goes, and nobody is disturbed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from patchlight.storage import leases, statistics
from patchlight.storage.committer import Change, Committer
from patchlight.storage.convert import page_tables, retrievals_table
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from patchlight.storage.leases import Lease
from patchlight.storage.processes import Process
from patchlight.storage.records import (
    Document,
    DocumentStatus,
    Failure,
    PageEncoding,
    Run,
    Source,
)
from patchlight.storage.schema import Table
from patchlight.storage.sql import run_sql
from patchlight.tasks.common.errors import DocumentInWork, InputError
from patchlight.tasks.encoders import registry
from patchlight.tasks.ingest import removing
from patchlight.tasks.ingest.termcounts import bring_up_to_date
from tests.storage_examples import (
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

OF_DOCUMENTS = [Table.DOCUMENTS, Table.PAGES, Table.WORDS, Table.PATCHES, Table.RETRIEVALS]


def rows_of(database: Database, name: str) -> dict[str, int]:
    """Rows that each table has of a document."""
    return {
        table.value: database.table(table).count_rows(f"doc_id = '{doc_id(name)}'")
        for table in (*OF_DOCUMENTS, Table.FAILURES)
    }


def of_file(uri: str, about: str = "") -> Failure:
    return replace(failure(uri, 0), doc_id=about, stage="open")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """Three documents; what of them is removed must not touch the others."""
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    committer = Committer(database, "run")
    for name in ("a", "b", "c"):
        fill(database, name, 2)
    committer.commit_failures(
        [
            failure("file:///a", 1),
            of_file("file:///a"),
            of_file("file:///locked.pdf", doc_id("locked")),
            of_file("file:///other/locked.pdf", doc_id("other")),
        ]
    )
    found = replace(retrieval("r1", "q1"), doc_id=doc_id("a"))
    other = replace(retrieval("r1", "q2"), doc_id=doc_id("b"), region_id=f"{doc_id('b')}:1:1")
    committer.replace_retrievals("r1", [retrievals_table([found, other])])
    return database


def test_nothing_of_a_document_stays_and_nothing_of_others_goes(database: Database) -> None:
    before = rows_of(database, "b")
    assert all(rows_of(database, "a").values())
    removal = removing.find(database, ["a"])
    assert [d.doc_id for d in removal.documents] == [doc_id("a")]
    assert [(f.uri, f.page) for f in removal.failures] == [("file:///a", 0)]
    assert removing.remove(database, removal) == 1
    assert not any(rows_of(database, "a").values())
    assert rows_of(database, "b") == before
    assert {f.uri for f in database.failures()} == {
        "file:///locked.pdf",
        "file:///other/locked.pdf",
    }
    [run] = database.runs()
    assert (run.kind, run.status) == ("delete", "completed")
    assert json.loads(run.parameters) == {"documents": [doc_id("a")]}
    assert json.loads(run.summary) == {
        "documents_removed": 1,
        "made_by": {"patchlight": version("patchlight")},
    }


def test_several_documents_by_several_names(database: Database) -> None:
    removal = removing.find(database, [doc_id("c")[:10], "file:///b", "b"])
    assert removing.remove(database, removal) == 2
    assert [d.doc_id for d in database.documents()] == [doc_id("a")]
    # Once more: it is there no longer, and that is said.
    with pytest.raises(InputError, match="no document 'b'"):
        removing.find(database, ["b"])


def test_a_file_that_never_became_a_document_is_removed_by_its_failure(database: Database) -> None:
    with pytest.raises(InputError, match=r"is ambiguous: file:///locked\.pdf, file:///other"):
        removing.find(database, ["locked.pdf"])
    removal = removing.find(database, ["/other/locked.pdf"])
    assert not removal.documents
    assert removing.remove(database, removal) == 0
    assert "file:///other/locked.pdf" not in {f.uri for f in database.failures()}
    assert len(database.documents()) == 3


def test_a_name_of_several_documents_is_an_error_that_lists_them(database: Database) -> None:
    committer = Committer(database, "run")
    twins = [
        replace(document(name, 1), sources=(Source(f"file:///{name}/twin.pdf", "twin.pdf"),))
        for name in ("x", "y")
    ]
    put(committer, *twins)
    with pytest.raises(InputError, match="is ambiguous") as caught:
        removing.find(database, ["twin.pdf"])
    assert all(twin.doc_id[:12] in str(caught.value) for twin in twins)
    assert removing.find(database, ["/x/twin.pdf"]).documents[0].doc_id == doc_id("x")


def test_a_failure_at_a_place_that_another_document_has_stays(database: Database) -> None:
    """The same bytes in two places, one of which is another document's now."""
    shared = (Source("file:///shared", "shared"), Source("file:///b", "b"))
    put(Committer(database, "run"), replace(document("a", 2), sources=shared))
    Committer(database, "run").commit_failures([of_file("file:///b", doc_id("a third"))])
    removing.remove(database, removing.find(database, [doc_id("a")]))
    assert "file:///b" in {f.uri for f in database.failures()}


def running(run_id: str, kind: str = "ingest") -> Run:
    return Run(run_id, kind, "running", NOW)


def in_work(database: Database, name: str, run_id: str) -> None:
    row = replace(document(name, 2, DocumentStatus.UNFINISHED), run_id=run_id)
    put(Committer(database, run_id), row)


def test_a_document_that_a_live_run_works_on_is_refused(database: Database) -> None:
    in_work(database, "b", "busy")
    before = rows_of(database, "b")
    with Lease(database, running("busy")):
        with pytest.raises(DocumentInWork, match="b: run busy works on it") as caught:
            removing.remove(database, removing.find(database, ["b", "a"]))
        assert caught.value.exit_code is ExitCode.DATABASE
    assert rows_of(database, "b") == before and all(rows_of(database, "a").values())
    assert [run.run_id for run in database.runs()] == ["busy"]


def test_what_a_run_that_was_cut_off_left_can_be_removed(database: Database) -> None:
    in_work(database, "b", "dead")
    put_run(Committer(database, "dead"), running("dead"))
    assert removing.remove(database, removing.find(database, ["b"])) == 1
    dead = next(run for run in database.runs() if run.run_id == "dead")
    assert dead.status == "abandoned"


def test_a_run_elsewhere_that_may_live_is_watched_until_that_is_known(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What it says of the time counts for nothing: here it was heard of in two days from now."""
    in_work(database, "b", "far")
    monkeypatch.setattr(leases, "this_process", lambda: Process("elsewhere", 7, "other/place/1"))
    alive = Lease(database, running("far"), heartbeat_s=0.3, lease_s=60)
    with alive, pytest.raises(DocumentInWork, match="b: run far works on it"):
        removing.remove(database, removing.find(database, ["b"]))
    assert "b: run far on elsewhere may work on it, or be dead" in caplog.text
    monkeypatch.undo()
    silent = replace(
        next(run for run in database.runs() if run.run_id == "far"),
        heartbeat_at=datetime.now(UTC) + timedelta(days=2),
        lease_s=2,
    )
    put_run(Committer(database, "far"), silent)
    began_s = time.monotonic()
    assert removing.remove(database, removing.find(database, ["b"])) == 1
    assert time.monotonic() - began_s >= 2
    states = {run.run_id: run.status for run in database.runs() if run.kind == "ingest"}
    assert states == {"far": "abandoned"}


def test_a_document_taken_in_the_last_moment_is_left_and_said(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An ingest takes it between the first look and the removal."""
    removal = removing.find(database, ["a", "b"])
    with Lease(database, running("busy")):
        change = Committer.change_documents

        def taken_first(
            self: Committer, doc_ids: Iterable[str], how: Change
        ) -> dict[str, Document | None]:
            monkeypatch.setattr(Committer, "change_documents", change)
            in_work(database, "b", "busy")
            return change(self, doc_ids, how)

        monkeypatch.setattr(Committer, "change_documents", taken_first)
        with pytest.raises(DocumentInWork, match="b: run busy"):
            removing.remove(database, removal)
    assert all(rows_of(database, "b")[table] for table in ("documents", "pages", "patches"))
    assert not any(rows_of(database, "a").values())
    failed = next(run for run in database.runs() if run.kind == "delete")
    assert failed.status == "failed" and json.loads(failed.summary)["documents_removed"] == 1


def test_statistics_count_what_is_left(empty_db: Database) -> None:
    """The encoder's terms are needed, so in a database of the embedded encoder."""
    committer, dim = Committer(empty_db, "run"), empty_db.encoder.dim
    for name in ("a", "b"):
        blank = PageEncoding(1, 1, np.zeros((0, dim), np.float32), np.full(1, -1, np.int32))
        committer.commit_pages(page_tables([replace(page(name, 1), encoding=blank)], dim))
        put(committer, document(name, 1))
    terms = registry.for_queries(empty_db.encoder).terms
    assert terms is not None
    bring_up_to_date(empty_db, committer, terms)
    removing.remove(empty_db, removing.find(empty_db, ["a"]))
    latest = statistics.latest(empty_db)
    assert (
        latest is not None
        and latest.n_pages == 1
        and set(latest.document_frequency.values()) == {1}
    )
    removing.remove(empty_db, removing.find(empty_db, ["b"]))
    latest = statistics.latest(empty_db)
    assert latest is not None and (latest.n_pages, latest.document_frequency) == (0, {})
    assert run_sql(empty_db.uri, "SELECT * FROM raw_documents").read_all().num_rows == 0
