"""A query run and its id; on a real database."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.leases import Lease
from patchlight.tasks.answers.queryrun import QueryRun
from patchlight.tasks.answers.querysession import QuerySession
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.requests.query import AskRequest
from tests.storage_examples import ENCODER, fill
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
    with pytest.raises(StorageUnavailable), run.recorded():
        pass
    assert not list(run.folder.iterdir())
