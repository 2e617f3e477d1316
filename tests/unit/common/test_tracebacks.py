"""A short traceback has places and types, and no text."""

from __future__ import annotations

from patchlight.storage.errors import StorageUnavailable
from patchlight.tasks.common import tracebacks
from patchlight.tasks.common.errors import EncodingFailed, Fault, Stage, fault_of
from patchlight.tasks.common.tracebacks import Elsewhere
from patchlight.tasks.ingest.progress import MOST_TRACEBACKS, IngestReport


def raised() -> Exception:
    secret = "Harker"
    try:
        try:
            raise KeyError(secret)
        except KeyError as error:
            raise RuntimeError(f"{secret} is not there") from error
    except RuntimeError as error:
        return error


def test_it_has_places_and_types_of_each_cause() -> None:
    lines = tracebacks.short(raised()).splitlines()
    assert lines[0] == "RuntimeError" and lines[2] == "caused by KeyError"
    assert all("common/test_tracebacks.py:" in line and "raised" in line for line in lines[1::2])
    assert "Harker" not in "".join(lines)
    assert "Harker is not there" in tracebacks.full(raised())


def test_what_came_from_another_process_is_told_as_it_was_there() -> None:
    error = RuntimeError("Harker")
    error.__cause__ = Elsewhere("all of it", "KeyError\n  a.py:1 there")
    assert tracebacks.short(error).splitlines()[-2:] == ["KeyError", "  a.py:1 there"]


def test_only_what_is_not_known_carries_one() -> None:
    internal = fault_of(raised(), Stage.WORDS)
    assert internal.traceback and "Harker" not in internal.message
    known = EncodingFailed("the page came without its picture", Stage.ENCODE)
    assert not fault_of(known, Stage.ENCODE).traceback
    known.__cause__ = raised()
    assert "KeyError" in fault_of(known, Stage.ENCODE).traceback


def test_errors_of_ours_and_of_the_system_keep_what_they_say() -> None:
    assert "mydb" in tracebacks.summary(StorageUnavailable("mydb"))
    assert "No space" in tracebacks.summary(OSError(28, "No space left"))
    assert "Harker" not in tracebacks.summary(raised())


def test_a_report_keeps_a_bounded_number_and_counts() -> None:
    report = IngestReport("run")
    for number in range(2 * MOST_TRACEBACKS):
        for _ in range(3):
            fault = fault_of(raised(), Stage.WORDS)
            report.note(Fault(fault.stage, fault.category, True, "", f"Error at {number}"))
    assert len(report.tracebacks) == MOST_TRACEBACKS
    assert {found["count"] for found in report.tracebacks} == {3}
