"""That the database gives out each number once, to whoever takes them and however they end."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from patchlight.storage import sequences
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.schema import Table
from patchlight.storage.sequences import take
from patchlight.storage.writer import Writer
from tests.storage_examples import ENCODER
from tests.storage_workers import meet_at, take_numbers

PROCESSES, THREADS = 2, 4


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create_or_open(tmp_path / "db", ENCODER)


@pytest.fixture(scope="module")
def workers() -> Iterator[ProcessPoolExecutor]:
    """Processes that begin what they are given at the same moment, one thing each."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(PROCESSES)
    with ProcessPoolExecutor(PROCESSES, context, meet_at, (barrier,)) as pool:
        yield pool


def test_numbers_follow_each_other_and_sequences_do_not_mix(database: Database) -> None:
    assert [take(database, "a"), take(database, "a", 5), take(database, "a")] == [1, 2, 7]
    assert [take(database, "it's b", 3), take(database, "it's b")] == [1, 4]
    assert take(database, "a", 1 << 40) == 8
    assert take(Database.open(database.uri), "a") == 8 + (1 << 40)
    with pytest.raises(ValueError, match="0 numbers of the sequence a"):
        take(database, "a", 0)


@pytest.mark.parametrize("rounds", range(3))
def test_threads_of_several_processes_never_get_the_same_number(
    database: Database, workers: ProcessPoolExecutor, rounds: int
) -> None:
    """From the first number on, when the row is not there yet."""
    each, count = 4, 3
    given = [[value] * PROCESSES for value in (database.uri, "pages", THREADS, each, count)]
    first = [number for numbers in workers.map(take_numbers, *given) for number in numbers]
    taken = sorted(number for start in first for number in range(start, start + count))
    assert taken == list(range(1, 1 + PROCESSES * THREADS * each * count))


def test_a_number_whose_taking_seemed_to_fail_is_left_out(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the process is killed before it hears that it was stored."""
    upsert = Writer.upsert_where

    def stored_and_away(self: Writer, *given: object) -> int:
        upsert(self, *given)  # type: ignore[arg-type]
        raise StorageUnavailable("away")

    assert take(database, "a") == 1
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "upsert_where", stored_and_away)
        with pytest.raises(StorageUnavailable):
            take(database, "a")
    assert take(database, "a") == 3


def test_numbers_go_on_after_files_were_merged_and_old_versions_removed(
    database: Database,
) -> None:
    taken = []
    for _ in range(3):
        taken += [take(database, "a") for _ in range(3)]
        Committer(database, "run").optimize()
    assert taken == list(range(1, 10))
    assert database.table(Table.SEQUENCES).count_rows() == 1


def test_who_never_gets_a_number_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sequences, "_LONGEST_PAUSE_S", 0.0)
    monkeypatch.setattr(Writer, "upsert_where", lambda *_: 0)
    with pytest.raises(StorageUnavailable, match=r"took numbers of a 100 times first"):
        take(database, "a")
