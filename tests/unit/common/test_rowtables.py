"""Rows laid out for people: what fits is a table, what does not is a record a row."""

from __future__ import annotations

from itertools import islice

import pyarrow as pa

from patchlight.tasks.common.rowtables import as_lines
from tests.unit.common.test_terminal import EVIL, check_harmless


def test_columns_are_as_wide_as_what_is_in_them() -> None:
    rows = pa.table(
        {"name": ["a", "船船"], "n": [1, 10], "x": pa.array([0.2954, None], pa.float32())}
    )
    assert list(as_lines(rows.to_reader())) == [
        "name   n       x",
        "────  ──  ──────",
        "a      1  0.2954",
        "船船  10",
    ]


def test_a_row_that_does_not_fit_is_a_record() -> None:
    rows = pa.table({"id": [1, 2], "text": ["x" * 500, None]})
    assert list(as_lines(rows.to_reader(), width=80)) == [
        "─[ 1 ]──────────────────────────────────",
        "id  : 1",
        f"text: {'x' * 199}…",
        "─[ 2 ]──────────────────────────────────",
        "id  : 2",
        "text:",
    ]
    assert len(list(as_lines(rows.to_reader(), width=10_000))) == 4


def test_a_long_list_is_seen_to_be_cut() -> None:
    rows = pa.table({"v": [[[1] * 100_000] * 3, [[1]]]})
    lines = list(as_lines(rows.to_reader()))
    assert len(lines[2]) == 200 and lines[2].endswith("…")
    assert lines[3] == "[[1]]"


def test_columns_of_one_name_are_both_there() -> None:
    rows = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["x", "x"])
    assert list(as_lines(rows.to_reader())) == ["x  x", "─  ─", "1  2"]


def test_no_text_steers_the_terminal() -> None:
    clean = EVIL.replace("\ud800", "")
    rows = pa.table({clean: [clean], "n": [[{"a": clean}]]})
    for width in (None, 20):
        for line in as_lines(rows.to_reader(), width):
            check_harmless(line)


def test_rows_are_shown_as_they_come() -> None:
    """A reader such as head need not wait for rows that it will not see."""
    asked = 0

    def endless() -> object:
        nonlocal asked
        while True:
            asked += 1
            yield pa.record_batch({"n": range(100)})

    rows = pa.RecordBatchReader.from_batches(pa.schema([("n", pa.int64())]), endless())
    assert len(list(islice(as_lines(rows), 10))) == 10
    assert asked <= 3


def test_no_rows_are_a_header() -> None:
    assert list(as_lines(pa.table({"n": pa.array([], pa.int64())}).to_reader())) == ["n", "─"]


def test_a_plan_is_shown_whole() -> None:
    plan = f"Sort\n  {'x' * 300}"
    rows = pa.table({"plan_type": ["logical_plan"], "plan": [plan]})
    assert list(as_lines(rows.to_reader(), 80)) == ["logical_plan:", "  Sort", f"    {'x' * 300}"]
