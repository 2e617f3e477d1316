"""What happens to a database on a disk that is full, or that may only be read: real ones."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import page_tables
from patchlight.storage.database import Database
from patchlight.storage.digest import differences
from patchlight.storage.errors import ExitCode, StorageUnavailable
from patchlight.storage.leases import Lease
from patchlight.storage.records import page_id
from tests.storage_examples import DIM, ENCODER, doc_id, document, fill, page, put
from tests.storage_workers import running

Remount = Callable[[str], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Remount]]:
    """A disk of 4 MiB, and how to change what it is mounted with."""
    place = tmp_path / "disk"
    place.mkdir()

    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        subprocess.run(command, check=True, capture_output=True, text=True)

    try:
        mount("size=4m")
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"needs the right to mount a file system: {error}")
    try:
        yield place, lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def commit_many(committer: Committer, names: range) -> None:
    for name in map(str, names):
        committer.commit_pages(
            page_tables([page(name, n, words=40, vectors=9000) for n in (1, 2)], DIM)
        )
        put(committer, document(name, 2))


def test_a_full_disk_ends_the_commit_and_leaves_the_database_whole(
    disk: tuple[Path, Remount], tmp_path: Path
) -> None:
    place, remount = disk
    database = Database.create_or_open(place / "db", ENCODER)
    committer = Committer(database, "run")
    with pytest.raises(StorageUnavailable) as full:
        commit_many(committer, range(1000))
    message = str(full.value)
    assert f"of database {place}/db: " in message
    assert "No space left on device" in message
    assert "Check that the disk has room" in message
    assert full.value.exit_code is ExitCode.DATABASE

    snapshot = database.snapshot()
    catalog = reader.catalog(snapshot)
    done = len(database.documents())
    assert 0 < done < 1000
    assert catalog.num_rows == 2 * done
    regions = reader.read_regions(
        snapshot, reader.page_keys(snapshot, catalog["page_id"].to_pylist())
    )
    assert sum(map(len, regions.values())) == 2 * 41 * done
    batch = reader.read_patches(snapshot, catalog["patch_row"].to_numpy())
    assert np.isfinite(batch.vectors).all()

    remount("size=64m")
    commit_many(committer, range(done + 3))
    plain = Database.create_or_open(tmp_path / "plain", ENCODER)
    commit_many(Committer(plain, "run"), range(done + 3))
    assert differences(database.uri, plain.uri) == []


def test_a_lease_outlives_a_disk_that_is_full_for_a_while(disk: tuple[Path, Remount]) -> None:
    place, _ = disk
    database = Database.create_or_open(place / "db", ENCODER)
    with Lease(database, running("r"), heartbeat_s=60, lease_s=600) as lease:
        with pytest.raises(OSError, match="No space left"), (place / "rest").open("wb") as rest:
            while True:
                rest.write(bytes(1 << 16))
        with pytest.raises(StorageUnavailable, match="No space left"):
            lease.update(running("r"))
        lease.check()
        (place / "rest").unlink()
        lease.end(running("r"))


def test_a_database_that_may_only_be_read_is_read_and_says_so_when_written(
    disk: tuple[Path, Remount],
) -> None:
    place, remount = disk
    ids = fill(Database.create_or_open(place / "db", ENCODER), "a", 2)
    remount("ro")
    database = Database.create_or_open(place / "db", ENCODER)
    committer = Committer(database, "run")
    assert reader.catalog(database.snapshot())["page_id"].to_pylist() == ids
    assert ids == [page_id(doc_id("a"), number) for number in (1, 2)]
    message = rf"of database {place}/.*Read-only file system.*yours to read and write, then try"
    for write in (
        lambda: put(committer, document("b", 1)),
        lambda: committer.commit_pages(page_tables([page("b", 1)], DIM)),
        lambda: committer.drop_pages(doc_id("a"), [1]),
        lambda: Lease(database, running("r")).__enter__(),
        lambda: Database.create_or_open(place / "new", ENCODER),
    ):
        with pytest.raises(StorageUnavailable, match=message):
            write()
    committer.optimize()
    assert reader.catalog(database.snapshot())["page_id"].to_pylist() == ids
