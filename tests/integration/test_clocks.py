"""That a wall clock that is days off, or jumps, keeps no dead run and takes no living one for dead.

The short form of ``tests.clocks``, with processes whose clock is faked; without Debian's faketime
it is skipped, and says so.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.leases import abandon_expired
from patchlight.storage.records import DocumentStatus
from patchlight.storage.watching import Watch
from tests import storage_workers
from tests.clocks import faking, run
from tests.clocks.faking import Clock, FakeClock, NoFakeClock
from tests.storage_examples import ENCODER, document, fill, put, put_run
from tests.storage_workers import running, wait_until

LEASE_S = 4
"""Long enough for a process that a busy machine lets wait."""


@pytest.fixture(scope="module")
def fake(tmp_path_factory: pytest.TempPathFactory) -> FakeClock:
    try:
        return FakeClock(tmp_path_factory.mktemp("clock"))
    except NoFakeClock as missing:
        pytest.skip(f"no clock can be faked, so nothing was proved: {missing}")


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create_or_open(tmp_path / "db", ENCODER)


@pytest.fixture
def holder(database: Database, fake: FakeClock, clock: Clock) -> Iterator[subprocess.Popen[str]]:
    """A process with a wrong clock that holds a lease."""
    with fake.showing(clock):
        command = [sys.executable, "-m", storage_workers.__name__]
        command += [database.uri, "held", "0.2", str(LEASE_S)]
        process = subprocess.Popen(
            command,
            env={**os.environ, **fake.environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
        process.kill()
        process.communicate()


@pytest.mark.parametrize("clock", Clock)
def test_a_run_with_a_wrong_clock_keeps_its_lease_as_long_as_it_lives(
    database: Database, holder: subprocess.Popen[str]
) -> None:
    watch, began_s = Watch(), Watch().now()
    while watch.now() - began_s < 1.5 * LEASE_S:
        assert abandon_expired(database, "next", watch) == []
        time.sleep(0.1)
    assert holder.stdin is not None and holder.stdout is not None
    holder.stdin.write("\n")
    holder.stdin.flush()
    assert holder.stdout.readline() == "held\n"
    (held,) = database.runs()
    assert held.heartbeat >= 1.5 * LEASE_S  # a fifth of those that were due: it may be busy
    holder.kill()
    wait_until(lambda: len(abandon_expired(database, "next", watch)) == 1)


@pytest.mark.parametrize("clock", Clock)
def test_a_command_with_a_wrong_clock_leaves_the_living_and_takes_over_from_the_dead(
    database: Database, fake: FakeClock, clock: Clock
) -> None:
    """Of two runs on other machines one renews its lease, by hand here."""
    committer = Committer(database, "run")
    far = running("", host="elsewhere", pid=7, process="other/place/1", number=1, lease_s=LEASE_S)
    for name in ("alive", "dead"):
        fill(database, name, 1)
        row = replace(document(name, 1, DocumentStatus.UNFINISHED), run_id=f"run-{name}")
        put(committer, row)
        put_run(committer, replace(far, run_id=f"run-{name}", heartbeat_at=datetime.now(UTC)))

    def delete(name: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "patchlight", "delete", name, "--yes", "--db", database.uri],
            env={**os.environ, **fake.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    with fake.showing(clock):
        refused, removed = delete("alive"), delete("dead")
        heartbeat = 0
        while refused.poll() is None or removed.poll() is None:
            heartbeat += 1
            said = datetime.now(UTC) + timedelta(days=heartbeat % 5 - 2)
            beat = replace(far, run_id="run-alive", heartbeat=heartbeat, heartbeat_at=said)
            put_run(committer, beat)
            time.sleep(0.1)
        assert "run run-alive works on it" in refused.communicate(timeout=60)[0]
        assert refused.returncode == 6
        assert removed.communicate(timeout=60)[0].count("run-dead on elsewhere") == 1
        assert removed.returncode == 0
    states = {run.run_id: run.status for run in database.runs() if run.kind == "ingest"}
    assert states == {"run-alive": "running", "run-dead": "abandoned"}


def test_the_long_form_says_when_it_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(faking, "_PLACES", ())
    monkeypatch.setattr(sys, "argv", ["run", "--work", str(tmp_path / "work")])
    assert run.main() == run.SKIPPED == 77
    said = capsys.readouterr().out
    assert said.startswith("skipped, nothing was proved: ") and "install faketime" in said
