"""That cleaning takes away what nobody reads, and nothing else: on real LanceDB."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from patchlight.storage import committer as committer_module
from patchlight.storage import reader
from patchlight.storage.cleaning import clean
from patchlight.storage.committer import Committer
from patchlight.storage.convert import page_tables
from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.leases import Lease
from patchlight.storage.locks import nobody_writing, writing
from patchlight.storage.reader import Snapshot, pinned, still_there
from patchlight.storage.schema import Table
from tests.storage_examples import DIM, ENCODER, NOW, doc_id, fill, page, put_run
from tests.storage_workers import running

NONE = timedelta(0)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create_or_open(tmp_path / "db", ENCODER)


@pytest.fixture
def committer(database: Database) -> Committer:
    return Committer(database, "run")


@contextmanager
def at_work(database: Database, kind: str, snapshot: Snapshot | None = None) -> Iterator[Lease]:
    run = running(f"another-{kind}", kind, pins=pinned(snapshot) if snapshot else {})
    with Lease(database, run) as lease:
        yield lease


def versions(database: Database, table: Table = Table.PATCHES) -> list[int]:
    return [version["version"] for version in database.table(table).versions()]


def test_merging_keeps_the_rows_and_every_version(database: Database, committer: Committer) -> None:
    ids = [key for name in "abcdefgh" for key in fill(database, name, 1)]
    first = database.snapshot()
    before = reader.read_patches(first, reader.catalog(first)["patch_row"].to_numpy())
    committer.commit_pages(page_tables([page("a", 1)], DIM))
    committer.optimize()
    for snapshot in (first, database.snapshot()):
        catalog = reader.catalog(snapshot)
        after = reader.read_patches(snapshot, catalog["patch_row"].to_numpy())
        assert after.page_ids == before.page_ids == sorted(ids)
        np.testing.assert_array_equal(after.vectors, before.vectors)
    assert len(database.table(Table.PATCHES).get_fragments()) == 1


def test_files_that_cannot_be_merged_lose_nothing(
    database: Database,
    committer: Committer,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # Merging is housekeeping: it may not fail the run whose pages are all stored.
    fill(database, "a", 1)
    for path in (tmp_path / "db" / "runs.lance" / "_versions").iterdir():
        path.write_bytes(b"damaged")
    committer.optimize()
    assert "files were not merged: table runs of database" in caplog.text
    assert "old files were not removed: table runs of database" in caplog.text
    assert reader.catalog(database.snapshot()).num_rows == 1


def test_many_commits_do_not_leave_many_files(
    database: Database, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each file costs every later commit and every query time.
    monkeypatch.setattr(committer_module, "_COMMITS_PER_MERGE", 5)
    for number in range(1, 13):
        committer.commit_pages(page_tables([page("a", number)], DIM))
    for table in (Table.PAGES, Table.WORDS, Table.PATCHES):
        # Files that are in an index are not merged with others: two, and what came since.
        assert len(database.table(table).get_fragments()) <= 4
    assert len(database.stored_pages([doc_id("a")])) == 12


def test_runs_that_change_nothing_leave_no_versions_behind(
    database: Database, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else an hourly schedule, or a batch of questions, makes these tables grow for good."""
    fill(database, "a", 1)
    monkeypatch.setattr(committer_module, "KEEP_VERSIONS", NONE)
    before = versions(database)
    for _ in range(12):
        with at_work(database, "query") as lease:
            lease.end(replace(running("another-query", "query"), status="completed"))
        committer.tidy_records()
    for table in (Table.RUNS, Table.SEQUENCES):
        assert len(versions(database, table)) == 1
        assert len(database.table(table).get_fragments()) <= 12
    assert versions(database) == before  # what documents are made of is left alone


def test_a_long_ingest_forgets_old_versions_on_its_way(
    database: Database, committer: Committer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (
        ("_COMMITS_PER_MERGE", 3),
        ("_CLEAN_EVERY_S", -1),
        ("KEEP_VERSIONS", NONE),
    ):
        monkeypatch.setattr(committer_module, name, value)
    for number in range(1, 7):
        committer.commit_pages(page_tables([page("a", number)], DIM))
    assert len(versions(database)) == 1


def test_forgetting_old_versions_keeps_the_newest_whole(
    database: Database, committer: Committer
) -> None:
    ids = fill(database, "a", 2) + fill(database, "b", 1)
    snapshot = database.snapshot()
    committer.commit_pages(page_tables([page("c", 1)], DIM))
    committer.optimize(keep=NONE)
    assert [len(versions(database, table)) for table in Table] == [1] * len(Table)
    now = database.snapshot()
    assert reader.catalog(now)["page_id"].to_pylist() == sorted(ids)
    assert regions_of(now, ids) == 12
    assert not still_there(snapshot)
    with pytest.raises(StorageUnavailable, match="of database"):
        reader.catalog(snapshot)


def test_a_version_stays_readable_for_a_while_after_it_was_replaced(
    database: Database, committer: Committer
) -> None:
    # It may be months old, and have been pinned a moment before it was replaced.
    fill(database, "a", 1)
    kept = versions(database)
    committer.optimize(keep=timedelta(minutes=5))
    assert versions(database)[: len(kept)] == kept


def test_what_a_living_run_pins_survives_and_what_a_dead_one_pins_does_not(
    database: Database, committer: Committer
) -> None:
    ids = fill(database, "a", 2)
    snapshot = database.snapshot()
    with at_work(database, "query", snapshot) as lease:
        fill(database, "b", 2)
        committer.optimize(keep=NONE)
        assert still_there(snapshot)
        assert reader.catalog(snapshot)["page_id"].to_pylist() == ids
        assert regions_of(snapshot, ids) == 8
        newest = database.table(Table.PATCHES).version
        assert versions(database) == [snapshot.versions["patches"], newest]
        # What it found may be looked at again for a while.
        ended = running("another-query", "query", pins=pinned(snapshot))
        lease.end(replace(ended, status="completed", ended_at=datetime.now(UTC)))
    committer.optimize(keep=NONE)
    assert still_there(snapshot)
    Committer(database, "run", keep_pinned=NONE).optimize(keep=NONE)
    assert not still_there(snapshot)


@pytest.mark.parametrize("days_off", [-2, 2])
def test_what_a_run_elsewhere_pins_stays_whatever_the_clocks_say(
    database: Database, committer: Committer, days_off: int
) -> None:
    """A date in its row is its machine's; only a run that is known to be dead pins nothing."""
    ids = fill(database, "a", 2)
    snapshot = database.snapshot()
    said = NOW + timedelta(days=days_off)
    far = running("far", "query", pins=pinned(snapshot), host="elsewhere", lease_s=1)
    put_run(committer, replace(far, started_at=said, heartbeat_at=said))
    fill(database, "b", 2)
    committer.optimize(keep=NONE)
    assert still_there(snapshot)
    assert regions_of(snapshot, ids) == 8
    put_run(committer, replace(far, status="abandoned"))
    committer.optimize(keep=NONE)
    assert not still_there(snapshot)


@pytest.mark.parametrize("kind", ["ingest", "delete"])
def test_nothing_is_removed_beside_another_run_that_writes(
    database: Database, committer: Committer, kind: str
) -> None:
    fill(database, "a", 2)
    before = versions(database)
    with at_work(database, kind) as lease:
        clean(database, "run", NONE)
        assert versions(database) == before
        clean(database, f"another-{kind}", NONE)  # it may clean up after itself
        assert len(versions(database)) == 1
        lease.end(replace(running(f"another-{kind}", kind), status="completed"))


def regions_of(snapshot: Snapshot, ids: list[str]) -> int:
    """How many regions some pages have."""
    found = reader.read_regions(snapshot, reader.page_keys(snapshot, ids))
    return sum(len(regions) for regions in found.values())


def orphan_of(database: Database) -> Path:
    """A file that looks as one that a killed writer left."""
    data = Path(database.uri) / "patches.lance" / "data"
    made = data / "orphan.lance"
    shutil.copy(next(data.glob("*.lance")), made)
    return made


def test_files_of_killed_writers_are_removed_unless_somebody_writes(
    database: Database, committer: Committer
) -> None:
    # Until it commits, a living writer's file looks the same.
    ids = fill(database, "a", 2)
    orphan = orphan_of(database)
    with writing(database.uri):
        clean(database, "run")
        assert orphan.exists()
    clean(database, "run")
    assert not orphan.exists()
    assert regions_of(database.snapshot(), ids) == 8


def test_locks_leave_no_trace_and_keep_writers_and_cleaning_apart(database: Database) -> None:
    before = sorted(Path(database.uri).rglob("*"))
    with nobody_writing(database.uri) as alone:
        assert alone
        with nobody_writing(database.uri) as both:
            assert not both
    with writing(database.uri), writing(database.uri), nobody_writing(database.uri) as alone:
        assert not alone
    assert sorted(Path(database.uri).rglob("*")) == before
    with nobody_writing("s3://bucket/db") as alone:
        assert not alone


def test_a_snapshot_that_was_removed_before_it_was_pinned_is_found_out(database: Database) -> None:
    fill(database, "a", 1)
    snapshot = database.snapshot()
    assert still_there(snapshot)
    assert dict(pinned(snapshot)) == snapshot.versions
    fill(database, "b", 1)
    clean(database, "run", NONE)
    with at_work(database, "query", snapshot):
        assert not still_there(snapshot)


def test_a_version_that_cannot_be_read_is_not_taken_for_one_that_was_removed(
    database: Database,
) -> None:
    fill(database, "a", 1)
    snapshot = database.snapshot()
    fill(database, "b", 1)
    version = snapshot.versions["patches"]
    names = {f"{version}.manifest", f"{2**64 - 1 - version:020}.manifest"}  # two ways to count
    folder = Path(database.table(Table.PATCHES).uri) / "_versions"
    (manifest,) = [path for path in folder.iterdir() if path.name in names]
    manifest.write_bytes(b"damaged")
    with pytest.raises(StorageUnavailable, match="whole and yours to read") as caught:
        still_there(snapshot)
    assert isinstance(caught.value.__cause__, (OSError, ValueError, RuntimeError))
