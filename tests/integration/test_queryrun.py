"""A query run and its id; on a real database."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import StorageError, StorageUnavailable
from patchlight.storage.leases import Lease
from patchlight.tasks.answers.queryrun import QueryRun
from patchlight.tasks.answers.querysession import QuerySession, read_by
from patchlight.tasks.common.errors import InputError, UsageError
from patchlight.tasks.requests.query import AskRequest
from tests.storage_examples import ENCODER, doc_id, fill, put_statistics
from tests.storage_workers import running


@pytest.mark.parametrize("kind", ["ingest", "evaluate", "delete"])
def test_the_id_of_a_run_of_another_kind_is_refused_by_its_kind(tmp_path: Path, kind: str) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    fill(database, "a", 1)
    with Lease(database, running("taken", kind)):
        pass
    session = QuerySession(database, AskRequest(query="a", db=database.uri).options(), None)
    with pytest.raises(UsageError, match=rf"run of another kind \({kind}\)"):
        QueryRun(session, "taken", str(tmp_path / "out"), {})
    with QueryRun(session, "free", str(tmp_path / "out"), {}).recorded():
        pass


def test_a_run_that_cannot_begin_leaves_no_file(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    fill(database, "a", 1)
    session = QuerySession(database, AskRequest(query="a", db=database.uri).options(), None)
    run = QueryRun(session, "run", str(tmp_path / "out"), {})
    assert list(run.folder.iterdir())
    shutil.rmtree(tmp_path / "db")
    with pytest.raises(StorageError), run.recorded():
        pass
    assert not list(run.folder.iterdir())


def test_a_run_can_be_asked_again_as_it_was_until_what_it_read_is_gone(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    ids = fill(database, "a", 2)
    put_statistics(Committer(database, "run"), 2, {"a": 2})
    options = AskRequest(query="a", db=database.uri).options()
    first = QuerySession(database, options, None)
    with QueryRun(first, "first", str(tmp_path / "out"), {}).recorded():
        pass
    committer = Committer(database, "later", keep_pinned=timedelta(0))
    committer.remove_documents([doc_id("a")])
    fill(database, "b", 1)
    put_statistics(committer, 1, {"b": 1})

    again = QuerySession(database, options, None, read_by(database, "first"))
    assert list(again.catalog.page_ids) == ids and again.snapshot == first.snapshot
    assert again.statistics == first.statistics
    assert list(QuerySession(database, options, None).catalog.doc_ids) == [doc_id("b")]

    Committer(database, "keeps").optimize(timedelta(0))
    assert list(QuerySession(database, options, None, read_by(database, "first")).catalog.page_ids)
    committer.optimize(timedelta(0))
    with pytest.raises(StorageUnavailable, match="as-of first: what that run has read was removed"):
        read_by(database, "first")


def test_what_never_read_anything_cannot_be_asked_again(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    with Lease(database, running("made", "ingest")):
        pass
    with pytest.raises(InputError, match="of the kind ingest"):
        read_by(database, "made")
    with pytest.raises(InputError, match="--as-of nobody: that run is not there"):
        read_by(database, "nobody")
