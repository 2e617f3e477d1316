"""That runs know of each other which are at work: real processes, stopped and killed."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage import leases
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode, LeaseLost, StorageUnavailable
from patchlight.storage.leases import Lease, abandon_expired, is_live
from patchlight.storage.processes import Process, is_gone, this_process
from patchlight.storage.records import Run
from patchlight.storage.writer import Writer
from tests import storage_workers
from tests.storage_examples import ENCODER, NOW, put_run
from tests.storage_workers import running, wait_until

LONG_S = 600


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create_or_open(tmp_path / "db", ENCODER)


class Holder:
    """Another process that holds a lease."""

    def __init__(self, database: Database, run_id: str, heartbeat_s: float, lease_s: int) -> None:
        command = [sys.executable, "-m", storage_workers.__name__]
        command += [database.uri, run_id, str(heartbeat_s), str(lease_s)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.says() == "held"

    def says(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def check(self) -> str:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.says()


@pytest.fixture
def hold(database: Database) -> Iterator[Callable[[str, float, int], Holder]]:
    """Starts a process that holds a lease."""
    started: list[Holder] = []

    def start(run_id: str, heartbeat_s: float, lease_s: int) -> Holder:
        started.append(Holder(database, run_id, heartbeat_s, lease_s))
        return started[-1]

    yield start
    for holder in started:
        holder.process.kill()
        holder.process.communicate()


def run_of(database: Database, run_id: str) -> Run:
    return next(run for run in database.runs() if run.run_id == run_id)


def now() -> datetime:
    return datetime.now(UTC)


def test_a_lease_is_renewed_while_it_is_held_and_ends_with_the_run(database: Database) -> None:
    run = running("r", pins={"pages": 3}, parameters='{"dpi": 150}')
    with Lease(database, run, heartbeat_s=0.05, lease_s=LONG_S) as lease:
        first = run_of(database, "r")
        assert first.heartbeat_at is not None
        here = this_process()
        assert first == replace(
            run,
            host=here.host,
            pid=here.pid,
            process=here.identity,
            heartbeat_at=first.heartbeat_at,
            lease_s=LONG_S,
        )
        wait_until(lambda: run_of(database, "r").heartbeat_at != first.heartbeat_at)
        lease.update(replace(run, pins={"pages": 4}))
        changed = run_of(database, "r").heartbeat_at
        wait_until(lambda: run_of(database, "r").heartbeat_at != changed)
        assert run_of(database, "r").pins == {"pages": 4}
        assert is_live(run_of(database, "r"), now())
        lease.check()
        lease.end(replace(run, status="completed", ended_at=NOW))
    last = run_of(database, "r")
    assert (last.status, last.ended_at, last.pins) == ("completed", NOW, {"pages": 3})
    assert not is_live(last, now())
    assert abandon_expired(database, "other", now() + timedelta(days=9)) == []


def test_leaving_with_an_error_leaves_the_row_to_the_caller(database: Database) -> None:
    run = running("r")
    with pytest.raises(KeyboardInterrupt), Lease(database, run, 0.01, LONG_S) as lease:
        raise KeyboardInterrupt
    left = run_of(database, "r")
    assert left.status == "running"
    lease.end(replace(run, status="failed", ended_at=NOW))
    assert run_of(database, "r").status == "failed"


def test_a_run_that_is_killed_is_dead_at_once_on_its_machine(
    database: Database, hold: Callable[[str, float, int], Holder]
) -> None:
    # Its lease has ten minutes to go, and as nobody has waited for it, its pid is still taken.
    holder = hold("killed", 60, LONG_S)
    assert is_live(run_of(database, "killed"), now())
    assert abandon_expired(database, "next", now()) == []
    holder.process.kill()
    wait_until(lambda: not is_live(run_of(database, "killed"), now()))
    (gone,) = abandon_expired(database, "next", now())
    assert gone == run_of(database, "killed")
    assert (gone.status, gone.summary) == ("abandoned", '{"abandoned_by": "next"}')
    assert gone.ended_at is not None
    assert abandon_expired(database, "third", now()) == []


def test_a_run_that_was_stopped_goes_on_unless_it_was_written_off(
    database: Database, hold: Callable[[str, float, int], Holder]
) -> None:
    holder = hold("stopped", 0.1, 1)
    for noticed in (False, True):
        holder.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not is_live(run_of(database, "stopped"), now()))
        if noticed:
            gone = abandon_expired(database, "next", now())
            assert [run.run_id for run in gone] == ["stopped"]
        holder.process.send_signal(signal.SIGCONT)
        said = holder.check()
        assert said.startswith("lost: run stopped on database " if noticed else "held")
    assert "lost its lease of 1 s: run next took over" in said
    assert run_of(database, "stopped").status == "abandoned"


def test_of_two_processes_with_one_run_id_the_second_has_it(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run that is tried again elsewhere, while its first process is not dead after all.
    with Lease(database, running("r"), heartbeat_s=60, lease_s=LONG_S) as first:
        with monkeypatch.context() as patch:
            patch.setattr(leases, "this_process", lambda: Process("elsewhere", 7, "other"))
            with Lease(database, running("r"), heartbeat_s=60, lease_s=LONG_S) as second:
                second.check()
        with pytest.raises(LeaseLost, match="process 7 on elsewhere runs under the same id"):
            first.update(running("r"))
        with pytest.raises(LeaseLost) as lost:
            first.check()
        assert lost.value.exit_code is ExitCode.DATABASE
        with pytest.raises(LeaseLost):
            first.end(running("r"))
    assert run_of(database, "r").host == "elsewhere"


def test_a_renewal_that_beats_the_verdict_stands(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Lease(database, running("r"), heartbeat_s=60, lease_s=LONG_S) as lease:
        update = Writer.update_where

        def late(self: Writer, *given: object) -> int:
            monkeypatch.setattr(Writer, "update_where", update)
            lease.update(running("r"))
            return update(self, *given)  # type: ignore[arg-type]

        monkeypatch.setattr(Writer, "update_where", late)
        assert abandon_expired(database, "next", now() + timedelta(days=1)) == []
        lease.check()


def test_a_store_that_is_away_for_a_while_does_not_end_the_run(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> int:
        raise StorageUnavailable("the disk is full")

    with Lease(database, running("r"), heartbeat_s=0.1, lease_s=1) as lease:
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "update_where", away)
            wait_until(lambda: "the disk is full" in caplog.text)
            lease.check()
            wait_until(lambda: not is_live(run_of(database, "r"), now()))
            with pytest.raises(StorageUnavailable, match="the disk is full"):
                lease.check()
        lease.check()
        assert is_live(run_of(database, "r"), now())
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_run_without_a_lease_is_written_off(database: Database) -> None:
    committer = Committer(database, "own")
    for run_id in ("own", "other"):
        put_run(committer, running(run_id))
    put_run(committer, replace(running("done"), status="completed"))
    assert [run.run_id for run in abandon_expired(database, "own", now())] == ["other"]


def test_a_lease_must_outlive_its_renewals(database: Database) -> None:
    with pytest.raises(ValueError, match="60 s, renewed every 60 s"):
        Lease(database, running("r"), heartbeat_s=60, lease_s=60)


def test_whether_a_run_is_live_is_told_by_its_lease_unless_its_process_is_known_dead() -> None:
    own = this_process()
    here: dict[str, Any] = {"host": own.host, "pid": own.pid, "process": own.identity}
    live = running("r", heartbeat_at=NOW, lease_s=60, **here)
    just, late = NOW + timedelta(seconds=59), NOW + timedelta(seconds=60)
    assert is_live(live, just)
    assert not is_live(live, late)
    assert not is_live(replace(live, status="completed"), just)
    assert not is_live(replace(live, process=own.identity + "0"), just)
    assert is_live(replace(live, process=own.identity + "0", host="elsewhere"), just)
    assert not is_live(replace(live, heartbeat_at=None), just)


def test_only_a_process_of_this_machine_is_known_to_have_ended() -> None:
    own = this_process()
    assert (own.host, own.pid) == (socket.gethostname(), os.getpid())
    assert not is_gone(own)
    place, _, started = own.identity.rpartition("/")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(Process(own.host, ended.pid, f"{place}/{started}"))
    assert is_gone(replace(own, identity=f"{place}/1"))  # the pid has a later process now
    for identity in ("", f"other-boot/pid:[1]/{started}"):
        assert not is_gone(Process(own.host, ended.pid, identity))
    assert not is_gone(Process("elsewhere", ended.pid, f"{place}/{started}"))
