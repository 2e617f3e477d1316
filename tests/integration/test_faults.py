"""Ingests that are killed, that run side by side, and that run out of disk, end as clean ones.

The short form of ``tests.faults``: documents made on the spot, and a kill of each kind.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from patchlight.flows.__main__ import _run, app
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from patchlight.storage.schema import PARTS, Table
from tests.faults import corpus
from tests.faults.comparing import differences, faults_at_rest
from tests.faults.plan import Stage
from tests.faults.processes import Kind
from tests.faults.running import Ingest

_HANG_S = 200.0
_TARGETS = (Kind.READER, Kind.ENCODER, Kind.SANDBOX, Kind.OCR, Kind.RAYLET)
"""What is killed in the first run, one after the other; the last ends it."""
_APART_S = 1.0


@pytest.fixture(scope="module")
def server(engines: None) -> dict[str, str]:
    """Environment with the Prefect server of the tests: each run starting its own takes long."""
    from prefect.settings import PREFECT_API_URL

    url = PREFECT_API_URL.value()
    assert url
    return {"PREFECT_API_URL": url, "PATCHLIGHT_SHARD_PAGES": "4"}


def ingest_here(sources: Sequence[Path], db: Path, options: Sequence[str] = ()) -> int:
    """Ingest in this process, undisturbed; returns the exit code."""
    command = ["ingest", *map(str, sources), "--db", str(db), *options]
    return _run(lambda: app(command, standalone_mode=False))


@pytest.mark.timeout(600)
def test_killed_and_started_again_it_ends_as_a_clean_one(
    server: dict[str, str], tmp_path: Path
) -> None:
    sources, clean, db = tmp_path / "sources", tmp_path / "clean", tmp_path / "db"
    corpus.make(sources, documents=3, scans=12)
    known = corpus.describe([str(sources)], tmp_path / "known.csv")
    assert ingest_here([sources], clean, known) == ExitCode.DONE_WITH_FAILURES

    first = Ingest(
        [str(sources)], str(db), tmp_path, tmp_path / "first.txt", more=server, options=known
    )
    try:
        for target in _TARGETS:
            _kill(first, target)
        assert first.wait(_HANG_S) == ExitCode.INTERNAL, first.last_words()
    finally:
        left = first.left_behind()
    # Ray's own core may end the process before ours does, with the last words of the raylet.
    assert any("error: Ray is gone" in line or "(raylet)" in line for line in first.last_words())
    assert [member for member, seconds in left if seconds is None] == []

    second = Ingest(
        [str(sources)], str(db), tmp_path, tmp_path / "second.txt", more=server, options=known
    )
    try:
        _kill(second, Kind.FLOW, wait_for=Kind.READER)
        assert second.wait(_HANG_S) == -9
    finally:
        left = second.left_behind()
    assert [member for member, seconds in left if seconds is None] == []

    assert ingest_here([sources], db, known) == ExitCode.DONE_WITH_FAILURES
    assert differences(str(clean), str(db)) == []
    assert faults_at_rest(str(db)) == []


def _kill(run: Ingest, target: Kind, wait_for: Kind | None = None) -> None:
    """Kill a process of a run as soon as there is one of its kind, or of another."""
    since = time.monotonic()
    while run.code is None and time.monotonic() - since < _HANG_S:
        members = run.look()
        kinds = {m.kind: m for m in members if not m.adrift}
        there = run.stage is Stage.INGESTING and {target, wait_for or target} <= kinds.keys()
        if there and run.family.kill(kinds[target]):  # it may have ended since
            time.sleep(_APART_S)
            return
        time.sleep(0.05)
    pytest.fail(f"no {target} to kill; code {run.code}, it said: {run.last_words()}")


@pytest.mark.timeout(600)
def test_two_at_once_make_what_one_makes(server: dict[str, str], tmp_path: Path) -> None:
    places = [tmp_path / name for name in ("common", "first", "second")]
    for number in range(9):
        place = places[number // 3]
        place.mkdir(exist_ok=True)
        corpus.write_text(place / f"report-{number}.pdf", number)
    common, *own = places
    clean, db = tmp_path / "clean", tmp_path / "db"
    assert ingest_here(places, clean) == ExitCode.OK

    runs = [
        Ingest(
            [str(common), str(one)], str(db), tmp_path, tmp_path / f"{one.name}.txt", more=server
        )
        for one in own
    ]
    try:
        assert [run.wait(_HANG_S) for run in runs] == [ExitCode.OK, ExitCode.OK]
    finally:
        for run in runs:
            run.left_behind()
    assert differences(str(clean), str(db)) == []
    assert faults_at_rest(str(db)) == []

    before = _contents(db)
    assert ingest_here(places, db) == ExitCode.OK
    assert _contents(db) == before


def _contents(db: Path) -> dict[str, int]:
    """Version of each table whose rows an ingest with nothing to do must leave alone."""
    database = Database.open(db)
    kept = (
        Table.DOCUMENTS,
        Table.PAGES,
        *PARTS,
        Table.FAILURES,
        Table.STATISTICS,
    )
    return {table: database.table(table).version for table in kept}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 2 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mounted = _mount("-t", "tmpfs", "-o", "size=2m", "patchlight-test", str(place))
    if mounted.returncode:
        pytest.skip(f"a disk cannot be mounted here: {mounted.stderr}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def _mount(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["mount", *arguments], capture_output=True, text=True)


@pytest.mark.timeout(600)
def test_a_full_disk_ends_it_with_advice_and_room_lets_it_go_on(
    server: dict[str, str], disk: Path, tmp_path: Path
) -> None:
    sources, clean, db = tmp_path / "sources", tmp_path / "clean", disk / "db"
    corpus.make(sources, documents=20, scans=0)
    assert ingest_here([sources], clean) == ExitCode.DONE_WITH_FAILURES
    _is_refused(sources, db, tmp_path, server)
    assert _command("status", "--db", str(db)) == ExitCode.OK
    assert _command("sql", "SELECT count(*) FROM raw_pages", "--db", str(db)) == ExitCode.OK
    assert not _mount("-o", "remount,size=100m", str(disk)).returncode
    assert ingest_here([sources], db) == ExitCode.DONE_WITH_FAILURES
    assert differences(str(clean), str(db)) == []
    assert faults_at_rest(str(db)) == []


@pytest.mark.timeout(600)
def test_a_read_only_disk_is_told_at_once(
    server: dict[str, str], disk: Path, tmp_path: Path
) -> None:
    assert not _mount("-o", "remount,size=100m", str(disk)).returncode
    sources, db = tmp_path / "sources", disk / "db"
    corpus.make(sources, documents=1, scans=0)
    assert ingest_here([sources], db) == ExitCode.DONE_WITH_FAILURES
    assert not _mount("-o", "remount,ro", str(disk)).returncode
    corpus.write_text(sources / "another.pdf", 7)
    _is_refused(sources, db, tmp_path, server)
    assert ingest_here([sources], disk / "new") == ExitCode.DATABASE
    assert _command("status", "--db", str(db)) == ExitCode.OK


def _command(*arguments: str) -> int:
    return _run(lambda: app(list(arguments), standalone_mode=False))


def _is_refused(sources: Path, db: Path, work: Path, server: dict[str, str]) -> None:
    """Ingest in processes of its own; the last line names the place and says what to do."""
    output = work / f"{db.name}.txt"
    run = Ingest([str(sources)], str(db), work, output, more=server)
    try:
        assert run.wait(_HANG_S) == ExitCode.DATABASE, run.last_words()
    finally:
        left = run.left_behind()
    assert [member for member, seconds in left if seconds is None] == []
    printed = output.read_text(encoding="utf-8")
    last = printed.strip().splitlines()[-1]
    assert "Traceback" not in printed
    assert last.startswith("error: ") and str(db) in last and "Check that the disk has room" in last
