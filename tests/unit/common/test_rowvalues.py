"""Values of rows: every type of Arrow that SQL can give, as JSON can hold it."""

from __future__ import annotations

import datetime as dt
import decimal
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlight.tasks.common.rowvalues import rows_of, unique_names, values_of

NOON = dt.datetime(2026, 11, 21, 12, 0, 0, 123456, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        (pa.array([True, None]), [True, None]),
        (pa.array([2**63 - 1, None]), [2**63 - 1, None]),
        (pa.array([2**64 - 1], pa.uint64()), [2**64 - 1]),
        (pa.array([decimal.Decimal("1.500"), None]), ["1.500", None]),
        (pa.array([b"\x00\xff", None]), ["00ff", None]),
        (pa.array([b"\x01"], pa.binary_view()), ["01"]),
        (pa.array(["a", None], pa.string_view()), ["a", None]),
        (pa.array(["a", "a"]).dictionary_encode(), ["a", "a"]),
        (pa.nulls(2), [None, None]),
        (pa.array([NOON, None]), ["2026-11-21T12:00:00.123456Z", None]),
        (pa.array([NOON], pa.timestamp("s", "Europe/Berlin")), ["2026-11-21T12:00:00Z"]),
        (pa.array([1], pa.timestamp("ns")), ["1970-01-01T00:00:00.000000001"]),
        (pa.array([NOON.date()]), ["2026-11-21"]),
        (pa.array([5], pa.time64("us")), ["00:00:00.000005"]),
        (pa.array([5000], pa.duration("ns")), ["0:00:00.000005"]),
        (pa.array([0.5, None, float("inf")], pa.float16()), [0.5, None, float("inf")]),
        (pa.array([[1], None, []]), [[1], None, []]),
        (pa.array([[1, 2], None], pa.list_(pa.int8(), 2)), [[1, 2], None]),
        (pa.array([[1], None], pa.large_list(pa.int8())), [[1], None]),
        (pa.array([[1], None, [2, 3]], pa.list_view(pa.int8())), [[1], None, [2, 3]]),
        (pa.array([{"a": 1}, None]), [{"a": 1}, None]),
        (pa.array([{"a": None}]), [{"a": None}]),
        (
            pa.array([[("k", NOON)], None], pa.map_(pa.string(), pa.timestamp("us", "UTC"))),
            [[{"key": "k", "value": "2026-11-21T12:00:00.123456Z"}], None],
        ),
        (
            pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]),
            [{"a": 1, "a_2": 2}],
        ),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)
def test_values(column: pa.Array, values: list[Any]) -> None:
    assert values_of(column) == values
    both = pa.concat_arrays([column, column])
    assert values_of(both.slice(len(column))) == values  # a part of an array
    assert values_of(column.slice(0, 0)) == []
    json.dumps(values_of(column))


def test_every_float16_keeps_its_value() -> None:
    bits = np.arange(1 << 16, dtype=np.uint16)
    halves = bits.view(np.float16)
    finite = np.isfinite(halves)
    found = np.array(values_of(pa.array(halves)))
    assert np.array_equal(found[finite].astype(np.float16).view(np.uint16), bits[finite])


@given(st.lists(st.none() | st.lists(st.none() | st.lists(st.none() | st.integers(0, 9)))))
def test_lists_in_lists_come_back(value: list[Any]) -> None:
    column = pa.array(value, pa.list_(pa.list_(pa.int64())))
    assert values_of(column) == value


@given(st.lists(st.sampled_from(["x", "x_2", "x_3", "y", ""])))
def test_names_are_each_once_and_stay_where_they_can(names: list[str]) -> None:
    found = unique_names(names)
    assert len(set(found)) == len(names)
    firsts = {name: names.index(name) for name in names}
    assert all(found[at] == name for name, at in firsts.items())


def test_wide_rows_come_a_few_at_a_time() -> None:
    wide = pa.array(np.zeros(64 << 17, np.float16))
    column = pa.FixedSizeListArray.from_arrays(wide, 1 << 17)
    rows = list(rows_of(pa.table({"n": range(64), "v": column}).to_reader()))
    assert [row[0] for row in rows] == list(range(64)) and len(rows[9][1]) == 1 << 17
