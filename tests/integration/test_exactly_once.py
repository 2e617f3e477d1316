"""Two runs at once, files that go: every page once, and no document half."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage import statistics
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import LeaseLost
from patchlight.storage.leases import Lease, abandon_expired
from patchlight.storage.records import VISIBLE, DocumentStatus, Run
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.reading.fingerprints import Redo
from tests.ingest_examples import InProcess, fails, ingest, states, texts, write
from tests.storage_examples import put_run
from tests.storage_workers import watched


class Other:
    """Another process's run on the database: alive, and with a document in work."""

    def __init__(self, database: Database, run_id: str = "other") -> None:
        self._database = database
        self._run = Run(run_id, "ingest", "running", datetime.now(UTC))
        self.lease = Lease(database, self._run, heartbeat_s=0.2, lease_s=60)

    def die(self) -> None:
        """Leave the row as a killed process on another machine does, its lease run out."""
        self.lease.update(self._run)
        self.lease.__exit__(None, None, None)
        abandon_expired(self._database, "somebody", watched(self._database))


# --------------------------------------------------------------------------- two runs at once


def test_two_runs_on_overlapping_folders_double_nothing(
    tmp_path: Path, database: Database, encoder: Encoder
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, place in enumerate(folders):
        place.mkdir()
        for name in range(6):
            write(place / f"same{name}.pdf", f"apples {name}", f"bananas {name}")
        write(place / "own.pdf", f"cherries {number}")
    reports, errors = {}, []

    def run(number: int) -> None:
        try:
            name = f"run{number}"
            reports[number] = ingest(folders[number], database, encoder, run_id=name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    documents = database.documents()
    assert states(database) == [DocumentStatus.COMPLETE] * 8
    assert database.table("pages").count_rows() == 14  # type: ignore[arg-type]
    assert sum(report.pages_added for report in reports.values()) == 14
    assert all(report.documents_elsewhere == [] for report in reports.values())
    # Whoever made a document, it is known at both its places.
    assert sorted(len(document.sources) for document in documents) == [1, 1] + [2] * 6


def test_what_a_live_run_has_in_work_is_left_to_it_and_reported(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    write(folder / "b.pdf", "bananas")
    ingest(folder, database, encoder)
    first = database.documents()[0]
    other = Other(database)
    with other.lease:
        _take(database, first.doc_id, "other")
        report = ingest(folder, database, encoder, redo=Redo.ALL)
    assert [first.sources[0].name] == report.documents_elsewhere
    assert (report.documents_added, report.failures) == (1, [])
    assert database.document_rows([first.doc_id])[first.doc_id].run_id == "other"


def test_what_a_dead_run_left_is_done_by_the_next(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    ingest(folder, database, encoder)
    (document,) = database.documents()
    other = Other(database)
    with other.lease:
        _take(database, document.doc_id, "other")
        other.die()
    assert texts(database) == []
    report = ingest(folder, database, encoder)
    assert report.documents_elsewhere == []
    assert texts(database) == ["apples"] and states(database) == [DocumentStatus.COMPLETE]


@pytest.mark.parametrize("days_off", [-2, 2])
def test_what_a_run_left_that_died_elsewhere_is_done_once_it_was_silent_for_its_lease(
    folder: Path, database: Database, encoder: Encoder, days_off: int
) -> None:
    write(folder / "a.pdf", "apples")
    ingest(folder, database, encoder)
    (document,) = database.documents()
    _take(database, document.doc_id, "far")
    far = Run("far", "ingest", "running", datetime.now(UTC), host="elsewhere", pid=7, lease_s=2)
    said = datetime.now(UTC) + timedelta(days=days_off)
    put_run(Committer(database, "far"), replace(far, process="other/place/1", heartbeat_at=said))
    began_s = time.monotonic()
    report = ingest(folder, database, encoder)
    assert time.monotonic() - began_s >= 2
    assert report.documents_elsewhere == []
    assert texts(database) == ["apples"] and states(database) == [DocumentStatus.COMPLETE]
    assert [run.status for run in database.runs() if run.run_id == "far"] == ["abandoned"]


def test_a_run_that_died_elsewhere_is_written_off_though_nobody_waits_for_its_documents(
    folder: Path, database: Database, encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    """Else what it pins would stay for good, where each run is shorter than its lease."""
    write(folder / "a.pdf", "apples")
    far = Run("far", "query", "running", datetime.now(UTC), host="elsewhere", pid=7, lease_s=2)
    put_run(Committer(database, "far"), replace(far, process="other/place/1"))
    ingest(folder, database, encoder)
    assert [run.status for run in database.runs() if run.run_id == "far"] == ["abandoned"]
    assert "run far on elsewhere may be dead; watching it for up to 2 s" in caplog.text


def test_a_run_that_was_taken_for_dead_stops(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples", "bananas")
    pool = InProcess(encoder)
    pool.meanwhile = lambda: _lost(database)
    with pytest.raises(LeaseLost, match="took over"):
        ingest(folder, database, encoder, pool=pool)
    assert texts(database) == []
    assert ingest(folder, database, encoder, run_id="next").pages_added == 2
    assert texts(database) == ["apples", "bananas"]


def _lost(database: Database) -> None:
    """Let another run write this one off, and this one's lease be old enough to be looked at."""
    abandon_expired(database, "somebody", watched(database))
    Lease._silent_s = lambda self: 1000.0  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lease, "_silent_s", Lease._silent_s)


def _take(database: Database, doc_id: str, run_id: str) -> None:
    def take(_: str, row: Any) -> Any:
        return replace(row, status=DocumentStatus.UNFINISHED, run_id=run_id)

    Committer(database, run_id).change_documents([doc_id], take)


# --------------------------------------------------------------------------- files that go


def test_files_that_are_gone_are_reported_and_leave_when_asked_to(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    write(folder / "b.pdf", "bananas")
    write(folder / "moved.pdf", "cherries")
    ingest(folder, database, encoder)
    (folder / "b.pdf").unlink()
    (folder / "moved.pdf").rename(folder / "here.pdf")
    report = ingest(folder, database, encoder)
    assert [uri.rpartition("/")[2] for uri in report.gone] == ["b.pdf", "moved.pdf"]
    assert texts(database) == ["apples", "bananas", "cherries"]
    report = ingest(folder, database, encoder, sync=True)
    assert (report.documents_removed, report.gone) == (1, [])
    assert texts(database) == ["apples", "cherries"]
    assert sorted(d.sources[0].name.rpartition("/")[2] for d in database.documents()) == [
        "a.pdf",
        "here.pdf",
    ]
    latest = statistics.latest(database)
    assert latest is not None and "bananas" not in latest.document_frequency
    assert ingest(folder, database, encoder).gone == []


def names(database: Database) -> dict[str, str]:
    """File names of visible documents -> text of their first page."""
    visible = [d for d in database.documents() if d.status in VISIBLE]
    return {
        source.name.rpartition("/")[2]: database.page_rows(d.doc_id, [1])[1].text
        for d in visible
        for source in d.sources
    }


@pytest.mark.parametrize("redo", [Redo.MISSING, Redo.ALL])
def test_files_that_change_names_with_each_other_all_stay(
    folder: Path, database: Database, encoder: Encoder, redo: Redo
) -> None:
    """As logs are rotated; none of them may take the place of one that was only moved."""
    for name, text in (("a", "apples"), ("b", "bananas"), ("c", "cherries"), ("d", "dates")):
        write(folder / f"{name}.pdf", text)
    ingest(folder, database, encoder)
    (folder / "a.pdf").rename(folder / "x.pdf")
    (folder / "b.pdf").rename(folder / "a.pdf")  # a and b change names
    (folder / "x.pdf").rename(folder / "b.pdf")
    (folder / "d.pdf").rename(folder / "e.pdf")  # c and d move on
    (folder / "c.pdf").rename(folder / "d.pdf")
    ingest(folder, database, encoder, redo=redo, sync=True)
    assert names(database) == {
        "a.pdf": "bananas",
        "b.pdf": "apples",
        "d.pdf": "cherries",
        "e.pdf": "dates",
    }


def test_a_new_version_that_fails_leaves_the_old_one_in_sight(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    ingest(folder, database, encoder)
    write(folder / "a.pdf", "bananas")
    report = ingest(folder, database, encoder, pool=InProcess(encoder, fails(1, retryable=True)))
    assert report.documents_failed == 1 and texts(database) == ["apples"]
    ingest(folder, database, encoder)
    assert texts(database) == ["bananas"]
