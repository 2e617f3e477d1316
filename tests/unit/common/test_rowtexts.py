"""Rows as CSV, JSON and Parquet: exact for programs, valid, and harmless for people and sheets."""

from __future__ import annotations

import csv
import io
import json
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlight.tasks.common import rowtexts
from tests.unit.common.test_terminal import EVIL, check_harmless

CLEAN = EVIL.replace("\ud800", "")
STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def batches(rows: Iterable[dict[str, object]]) -> pa.RecordBatchReader:
    return pa.Table.from_pylist(list(rows)).to_reader()


def columns(names: list[str], *arrays: pa.Array) -> pa.RecordBatchReader:
    return pa.Table.from_arrays(list(arrays), names=names).to_reader()


def read_csv(lines: Iterable[str]) -> list[list[str]]:
    return list(csv.reader(io.StringIO("\r\n".join(lines), newline="")))


def quiet(said: str) -> None:
    raise AssertionError(f"nothing was to be said: {said}")


def test_json_lines_are_harmless_and_exact() -> None:
    row: dict[str, object] = {"text": CLEAN, "list": ["ü", CLEAN], "n": 1}
    [line] = rowtexts.as_json_lines(batches([row]), quiet)
    check_harmless(line)
    assert json.loads(line) == row
    assert "ü" in line


@pytest.mark.parametrize("count", [0, 1, 3])
def test_json_is_one_array(count: int) -> None:
    rows = columns(["n"], pa.array(range(count), pa.int64()))
    assert json.loads("\n".join(rowtexts.as_json_array(rows, quiet))) == [
        {"n": n} for n in range(count)
    ]


def test_json_has_no_nan_and_says_how_many_there_were() -> None:
    nan, inf = math.nan, math.inf
    struct = pa.array([{"a": nan, "b": [1.5, -inf, None]}, None])
    said: list[str] = []
    rows = columns(["x", "s"], pa.array([nan, 1.0], pa.float32()), struct)
    lines = list(rowtexts.as_json_lines(rows, said.append))
    assert [json.loads(line, parse_constant=quiet) for line in lines] == [
        {"x": None, "s": {"a": None, "b": [1.5, None, None]}},
        {"x": 1.0, "s": None},
    ]
    assert said == ["3 numbers that JSON does not have (NaN, infinity) are null"]


def test_columns_of_one_name_are_told_apart_in_every_form(tmp_path: Path) -> None:
    def rows() -> pa.RecordBatchReader:
        return columns(["x", "y", "x"], *(pa.array([n]) for n in (1, 2, 3)))

    said: list[str] = []
    want = {"x": 1, "y": 2, "x_2": 3}
    [line] = rowtexts.as_json_lines(rows(), said.append)
    assert json.loads(line) == want
    assert list(rowtexts.as_csv(rows(), said.append)) == ["x,y,x_2", "1,2,3"]
    assert rowtexts.write_parquet(rows(), tmp_path / "x.parquet", said.append) == 1
    assert pq.read_table(tmp_path / "x.parquet").to_pylist() == [want]
    assert said == ["column names that repeat: 'x' is 'x_2'"] * 3


@pytest.mark.parametrize("for_people", [True, False])
def test_csv_is_exact_for_programs_and_harmless_on_a_terminal(
    for_people: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: for_people)
    rows = batches([{"text": CLEAN, "list": [1, 2], "none": None}])
    lines = list(rowtexts.as_csv(rows, quiet))
    assert lines[0] == "text,list,none"
    if for_people:
        check_harmless(lines[1])
    else:
        assert read_csv(lines)[1] == [CLEAN, "[1, 2]", ""]


@pytest.mark.parametrize("start", STARTS)
def test_no_cell_of_a_csv_is_a_formula(start: str) -> None:
    formula = f"{start}cmd|' /C calc'!A0"
    rows = columns([formula, "n"], pa.array([formula]), pa.array([-1.5]))
    assert read_csv(rowtexts.as_csv(rows, quiet)) == [[f"'{formula}", "n"], [f"'{formula}", "-1.5"]]
    rows = columns([formula, "n"], pa.array([formula]), pa.array([-1.5]))
    assert read_csv(rowtexts.as_csv(rows, quiet, raw=True))[1] == [formula, "-1.5"]


@given(st.text(alphabet=st.sampled_from("'=+-@\t\r\n1.e ax＝"), max_size=6))
def test_a_text_can_be_had_back_from_a_csv(text: str) -> None:
    safe = rowtexts.no_formula(text)
    assert safe.removeprefix("'") == text if safe != text else safe == text
    if not safe.startswith(STARTS):
        return
    float(safe)  # a number is the only thing that may begin so


@given(st.text(alphabet="'=+-@a1", max_size=6), st.text(alphabet="'=+-@a1", max_size=6))
def test_no_two_texts_are_one_in_a_csv(one: str, other: str) -> None:
    assert (rowtexts.no_formula(one) == rowtexts.no_formula(other)) == (one == other)


def test_parquet_holds_every_type_and_every_row(tmp_path: Path) -> None:
    vectors = pa.array([[1, 2], None], pa.list_(pa.float16(), 2))
    views = pa.array(["a", None], pa.string_view())
    rows = pa.Table.from_arrays([vectors, views], names=["v", "t"])
    path = tmp_path / "x.parquet"
    assert rowtexts.write_parquet(rows.to_reader(max_chunksize=1), path, quiet) == 2
    assert pq.read_table(path).to_pylist() == rows.to_pylist()
    assert pq.ParquetFile(path).num_row_groups == 1  # not one for every small batch
    assert rowtexts.write_parquet(rows.slice(0, 0).to_reader(), path, quiet) == 0
    assert pq.read_table(path).schema.names == ["v", "t"]


def test_numbers_are_without_noise() -> None:
    short: dict[str, Any] = {
        "half": pa.array([0.2954], pa.float16()),
        "single": pa.array([0.2954], pa.float32()),
        "double": pa.array([0.1]),
        "nested": pa.array([[{"x": 0.2954}]], pa.list_(pa.struct([("x", pa.float32())]))),
    }
    [line] = rowtexts.as_json_lines(columns(list(short), *short.values()), quiet)
    assert line == '{"half": 0.2954, "single": 0.2954, "double": 0.1, "nested": [{"x": 0.2954}]}'
    _, line = rowtexts.as_csv(columns(list(short)[:3], *list(short.values())[:3]), quiet)
    assert line == "0.2954,0.2954,0.1"


@given(st.lists(st.floats(width=32, allow_nan=False), min_size=1))
def test_a_float32_is_the_shortest_text_that_gives_it(values: list[float]) -> None:
    column = pa.array(values, pa.float32())
    lines = list(rowtexts.as_csv(columns(["x"], column), quiet))[1:]
    assert [np.float32(line) for line in lines] == values
    assert [float(line) for line in lines] == [float(str(np.float32(v))) for v in values]
