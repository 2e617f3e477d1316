"""When the terms of visible pages are counted anew, and when the count that is there will do."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.records import TermStatistics
from patchlight.storage.schema import Table
from patchlight.tasks.ingest.termcounts import bring_up_to_date
from tests.storage_examples import ENCODER, fill


@pytest.fixture
def database(tmp_path: Path) -> Database:
    """A database of one document of one page."""
    found = Database.create_or_open(tmp_path / "db", ENCODER)
    fill(found, "a", 1)
    return found


def counted(database: Database) -> TermStatistics:
    """The latest count, once it is up to date."""
    bring_up_to_date(database, Committer(database, "run"), str.split)
    found = database.latest_statistics()
    assert found is not None
    return found


def rows(database: Database) -> pa.Table:
    pages = database.table(Table.PAGES)
    assert pages is not None
    return pages.to_table()


def test_snapshots_are_named_as_stored_ones_are(database: Database) -> None:
    """By what is visible; another name would count every database anew."""
    first = counted(database)
    assert first.snapshot.endswith("-4a906a170bf4")
    assert counted(database).snapshot == first.snapshot
    fill(database, "b", 1)
    assert counted(database).n_pages == 2


def test_a_raised_version_counts_anew_and_leaves_all_pages(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counts are of all visible pages, so of no stage of one: pages keep their rows."""
    first, pages = counted(database), rows(database)
    monkeypatch.setattr("patchlight.tasks.ingest.termcounts.COUNTS_VERSION", 99)
    again = counted(database)
    assert again.snapshot != first.snapshot and counted(database).snapshot == again.snapshot
    assert (again.n_pages, again.document_frequency) == (first.n_pages, first.document_frequency)
    assert rows(database) == pages
