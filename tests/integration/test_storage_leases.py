"""That runs know of each other which are at work: real processes, stopped and killed."""

import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage import leases
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode, LeaseLost, StorageUnavailable
from patchlight.storage.leases import Lease, abandon_expired
from patchlight.storage.processes import Process, is_alive, is_gone, this_process
from patchlight.storage.records import Run
from patchlight.storage.watching import Watch, may_live
from patchlight.storage.writer import Writer
from tests import storage_workers
from tests.storage_examples import ENCODER, NOW, put_run
from tests.storage_workers import Clock, running, wait_until, watched

LONG_S = 600


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create_or_open(tmp_path / "db", ENCODER)


def silent(database: Database, run_id: str, watch: Watch) -> bool:
    """Whether a run is taken for dead, after another look."""
    return not any(watch.is_live(run) for run in watch.look(database) if run.run_id == run_id)


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
            number=1,
            heartbeat=first.heartbeat,
            heartbeat_at=first.heartbeat_at,
            lease_s=LONG_S,
        )
        wait_until(lambda: run_of(database, "r").heartbeat > first.heartbeat)
        lease.update(replace(run, pins={"pages": 4}))
        changed = run_of(database, "r").heartbeat
        wait_until(lambda: run_of(database, "r").heartbeat > changed)
        assert run_of(database, "r").pins == {"pages": 4}
        assert may_live(run_of(database, "r"))
        lease.check()
        lease.end(replace(run, status="completed", ended_at=NOW))
    last = run_of(database, "r")
    assert (last.status, last.ended_at, last.pins) == ("completed", NOW, {"pages": 3})
    assert not may_live(last)
    assert abandon_expired(database, "other", watched(database)) == []


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
    assert may_live(run_of(database, "killed"))
    assert abandon_expired(database, "next", Watch()) == []
    holder.process.kill()
    wait_until(lambda: not may_live(run_of(database, "killed")))
    (gone,) = abandon_expired(database, "next", Watch())
    assert gone == run_of(database, "killed")
    assert (gone.status, gone.summary) == ("abandoned", '{"abandoned_by": "next"}')
    assert gone.ended_at is not None
    assert abandon_expired(database, "third", Watch()) == []


def test_a_run_that_was_stopped_goes_on_unless_it_was_written_off(
    database: Database, hold: Callable[[str, float, int], Holder]
) -> None:
    holder = hold("stopped", 0.1, 1)
    for noticed in (False, True):
        holder.process.send_signal(signal.SIGSTOP)
        watch = Watch()
        watch.look(database)
        wait_until(lambda: silent(database, "stopped", watch))  # noqa: B023
        if noticed:
            gone = abandon_expired(database, "next", watch)
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

        watch = watched(database)
        monkeypatch.setattr(Writer, "update_where", late)
        assert abandon_expired(database, "next", watch) == []
        lease.check()


def test_a_store_that_is_away_for_a_while_does_not_end_the_run(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(*_: object) -> int:
        raise StorageUnavailable("the disk is full")

    watch = Watch()
    with Lease(database, running("r"), heartbeat_s=0.1, lease_s=1) as lease:
        with monkeypatch.context() as patch:
            patch.setattr(Writer, "update_where", away)
            wait_until(lambda: "the disk is full" in caplog.text)
            lease.check()
            wait_until(lambda: silent(database, "r", watch))
            with pytest.raises(StorageUnavailable, match="the disk is full"):
                lease.check()
        lease.check()
        assert not silent(database, "r", watch)
    assert {record.levelno for record in caplog.records} == {logging.WARNING}


def test_a_run_without_a_lease_is_written_off(database: Database) -> None:
    committer = Committer(database, "own")
    for run_id in ("own", "other"):
        put_run(committer, running(run_id))
    put_run(committer, replace(running("done"), status="completed"))
    assert [run.run_id for run in abandon_expired(database, "own", Watch())] == ["other"]


def test_a_lease_must_outlive_its_renewals(database: Database) -> None:
    with pytest.raises(ValueError, match="60 s, renewed every 60 s"):
        Lease(database, running("r"), heartbeat_s=60, lease_s=60)


def test_one_look_tells_of_a_process_here_and_never_of_another_machine() -> None:
    own = this_process()
    here: dict[str, Any] = {"host": own.host, "pid": own.pid, "process": own.identity}
    live = running("r", lease_s=60, **here)
    assert may_live(live)
    assert not may_live(replace(live, status="completed"))
    assert not may_live(replace(live, process=own.identity + "0"))
    assert may_live(replace(live, process=own.identity + "0", host="elsewhere"))
    assert not may_live(replace(live, lease_s=0))


@pytest.mark.parametrize("days_off", [-2, 0, 2, 40_000])
def test_a_run_elsewhere_is_dead_only_after_its_lease_of_silence_whatever_its_clock_says(
    database: Database, days_off: int
) -> None:
    said = datetime.now(UTC) + timedelta(days=days_off)
    row = running("far", host="elsewhere", pid=7, process="b/p/1", number=1, lease_s=60)
    committer, clock = Committer(database, "far"), Clock()
    watch = Watch(clock)

    def found_dead(run: Run) -> list[str]:
        put_run(committer, replace(run, heartbeat_at=said))
        return [gone.run_id for gone in abandon_expired(database, "next", watch)]

    assert found_dead(row) == []
    clock.seconds += 59
    assert found_dead(row) == []
    later = replace(row, heartbeat=1)  # it lives
    clock.seconds += 59
    assert found_dead(later) == []
    clock.seconds += 59
    assert found_dead(later) == []
    again = replace(row, number=2, heartbeat=1)  # it was begun again, with the same run id
    assert found_dead(again) == []
    clock.seconds += 61
    assert found_dead(again) == ["far"]
    assert run_of(database, "far").status == "abandoned"


def test_a_wall_clock_that_jumps_neither_loses_nor_skips_a_renewal(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Jumping(datetime):
        days = 0

        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) + timedelta(days=cls.days)

    monkeypatch.setattr(leases, "datetime", Jumping)
    watch = Watch()
    with Lease(database, running("r"), heartbeat_s=0.1, lease_s=2) as lease:
        for days in (2, -2, 0, -2, 2):
            Jumping.days = days
            before = run_of(database, "r").heartbeat
            wait_until(lambda: run_of(database, "r").heartbeat >= before + 2, 5)  # noqa: B023
            lease.check()
            assert not silent(database, "r", watch)
            said = run_of(database, "r").heartbeat_at
            assert said is not None and abs(said - datetime.now(UTC)) < timedelta(days=3)
        assert abandon_expired(database, "next", watch) == []


def test_runs_are_in_the_order_in_which_they_began_whatever_the_clocks_say(
    database: Database,
) -> None:
    for days, run_id in ((0, "first"), (-2, "second"), (2, "third"), (0, "fourth")):
        began = replace(running(run_id), started_at=NOW + timedelta(days=days))
        with Lease(database, began) as lease:
            lease.end(replace(began, status="completed"))
    with Lease(database, running("first")) as lease:  # it is tried again
        lease.end(replace(running("first"), status="completed"))
    assert [(run.run_id, run.number) for run in database.runs()] == [
        ("second", 2),
        ("third", 3),
        ("fourth", 4),
        ("first", 5),
    ]


def test_only_a_process_of_this_machine_is_known_to_have_ended() -> None:
    own = this_process()
    assert (own.host, own.pid) == (socket.gethostname(), os.getpid())
    assert is_alive(own) and not is_gone(own)
    place, _, started = own.identity.rpartition("/")
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(Process(own.host, ended.pid, f"{place}/{started}"))
    assert is_gone(replace(own, identity=f"{place}/1"))  # the pid has a later process now
    for identity in ("", f"other-boot/pid:[1]/{started}"):
        assert is_alive(Process(own.host, ended.pid, identity)) is None
    assert is_alive(Process("elsewhere", ended.pid, f"{place}/{started}")) is None
