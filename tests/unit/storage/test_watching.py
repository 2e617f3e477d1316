"""That runs are judged by what was seen of them, by a clock that the observer has."""

from __future__ import annotations

from patchlight.storage.records import Run
from patchlight.storage.watching import Watch
from tests.storage_workers import Clock, running


def far(heartbeat: int = 1, number: int = 1, lease_s: int = 60) -> Run:
    """A run on another machine, which no look can tell to be dead."""
    return running(
        "far", host="elsewhere", number=number, heartbeat=heartbeat, lease_s=lease_s, process="x/y"
    )


def seen(watch: Watch, clock: Clock, run: Run, after_s: float = 0.0, read_s: float = 0.0) -> bool:
    """Look at one run after some time, with a read that takes some; whether it may live."""
    clock.seconds += after_s
    asked_s = clock()
    clock.seconds += read_s
    watch.see([run], asked_s)
    return watch.is_live(run)


def test_one_look_never_tells_that_a_run_elsewhere_is_dead() -> None:
    clock = Clock()
    watch = Watch(clock)
    clock.seconds += 1e6  # the watch is old, what it sees is new
    assert seen(watch, clock, far())
    clock.seconds += 1e6  # nothing is concluded from not having looked
    assert watch.is_live(far())


def test_silence_counts_from_when_a_heartbeat_was_first_seen() -> None:
    clock = Clock()
    watch = Watch(clock)
    assert seen(watch, clock, far(1))
    assert seen(watch, clock, far(1), after_s=59.9)
    assert seen(watch, clock, far(2), after_s=59.9)  # one heartbeat, and it begins anew
    assert seen(watch, clock, far(2), after_s=59.9)
    assert not seen(watch, clock, far(2), after_s=0.1)
    assert seen(watch, clock, far(3))  # it was only stopped, and goes on


def test_another_process_with_the_same_run_id_is_another_run() -> None:
    clock = Clock()
    watch = Watch(clock)
    assert seen(watch, clock, far(1, number=1))
    assert seen(watch, clock, far(1, number=2), after_s=60)


def test_the_time_that_reading_takes_is_not_silence() -> None:
    """The rows may be as old as the question: a run may have renewed its lease since."""
    clock = Clock()
    watch = Watch(clock)
    assert seen(watch, clock, far(), read_s=100)
    assert seen(watch, clock, far(), after_s=59, read_s=100)
    assert not seen(watch, clock, far())


def test_a_lease_is_as_long_as_the_run_says() -> None:
    clock = Clock()
    watch = Watch(clock)
    assert seen(watch, clock, far(lease_s=600))
    assert seen(watch, clock, far(lease_s=600), after_s=599)
    assert not seen(watch, clock, far(lease_s=600), after_s=1)
    assert not seen(watch, clock, far(lease_s=0))  # it has none


def test_a_run_has_been_heard_of_once_its_heartbeat_changed_since() -> None:
    clock = Clock()
    watch = Watch(clock)
    began_s = watch.now()
    seen(watch, clock, far(1))
    assert not watch.has_heard(far(1), began_s)  # it may have been dead for a year
    seen(watch, clock, far(2), after_s=10)
    assert watch.has_heard(far(2), began_s)
    clock.seconds += 1
    assert not watch.has_heard(far(2), watch.now())  # it may have died since


def test_what_has_ended_is_forgotten() -> None:
    clock = Clock()
    watch = Watch(clock)
    seen(watch, clock, far(5))
    watch.see([], clock())
    assert seen(watch, clock, far(5), after_s=1e6)
