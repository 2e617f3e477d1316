"""Reading metadata files, and finding the documents that their rows are of."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patchlight.storage.records import Source
from patchlight.tasks.common.errors import MetadataFileError
from patchlight.tasks.ingest import metadata
from patchlight.tasks.ingest.metadatafile import read_metadata, typed

A, B, C = "a" * 64, "b" * 64, "a1" * 32
NOTHING = pa.schema([])


def in_file(folder: Path, text: str, name: str = "m.csv") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def columns(path: str, stored: pa.Schema = NOTHING) -> dict[str, Any]:
    found: dict[str, Any] = typed(read_metadata(path), stored).to_pydict()
    return found


def test_formats_say_the_same(tmp_path: Path) -> None:
    rows = [{"path": "a.pdf", "n": 1, "tag": "x"}, {"path": "b.pdf", "n": None, "tag": "y"}]
    table = pa.Table.from_pylist(rows)
    pq.write_table(table, tmp_path / "m.parquet")
    expected = {"n": [1, None], "tag": ["x", "y"]}
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    assert columns(in_file(tmp_path, lines, "m.jsonl")) == expected
    assert columns(in_file(tmp_path, "path,n,tag\na.pdf,1,x\nb.pdf,,y\n")) == expected
    assert columns(in_file(tmp_path, "path;n;tag\r\na.pdf;1;x\r\nb.pdf;;y\r\n")) == expected
    assert columns(in_file(tmp_path, "\ufeffpath\tn\ttag\na.pdf\t1\tx\nb.pdf\t\ty\n")) == expected
    assert columns(str(tmp_path / "m.parquet")) == expected


def test_an_empty_column_takes_values_away_and_is_none_of_its_own(tmp_path: Path) -> None:
    path = in_file(tmp_path, "path,n,m\na.pdf,,1\n")
    assert columns(path, pa.schema([("n", pa.int64())])) == {"n": [None], "m": [1]}
    assert columns(path) == {"m": [1]}
    assert columns(in_file(tmp_path, "path,n\na.pdf,\n")) == {}


def test_pandas_times_are_taken(tmp_path: Path) -> None:
    """Nanoseconds have no type in Python."""
    times = pa.array([1_700_000_000_123_456_789], pa.timestamp("ns"))
    pq.write_table(pa.table({"path": ["a.pdf"], "at": times}), tmp_path / "m.parquet")
    (at,) = columns(str(tmp_path / "m.parquet"))["at"]
    assert at.isoformat() == "2023-11-14T22:13:20.123456+00:00"


def test_times_that_python_has_not_are_refused(tmp_path: Path) -> None:
    times = pa.array([-(2**62)], pa.timestamp("us"))
    pq.write_table(pa.table({"path": ["a.pdf"], "at": times}), tmp_path / "m.parquet")
    with pytest.raises(MetadataFileError, match="cannot be read as Parquet"):
        read_metadata(str(tmp_path / "m.parquet"))


@pytest.mark.parametrize("name", ["\\ud800", "\\u0000"])
def test_a_path_that_no_file_can_have_is_refused(tmp_path: Path, name: str) -> None:
    line = f'{{"path": "{name}.pdf", "n": 1}}'
    with pytest.raises(MetadataFileError, match="line 1: 'path' must be"):
        read_metadata(in_file(tmp_path, line, "m.jsonl"))


def test_a_name_that_is_twice_in_a_line_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MetadataFileError, match=r"line 1: .*'n' is there twice"):
        read_metadata(in_file(tmp_path, '{"path": "a.pdf", "n": 1, "n": 2}', "m.jsonl"))


def test_stdin_is_refused() -> None:
    """It would be empty when it is read again."""
    with pytest.raises(MetadataFileError, match="from a file; name one"):
        read_metadata("-")


def test_a_row_of_parquet_is_called_one(tmp_path: Path) -> None:
    pq.write_table(pa.table({"path": ["a.pdf"], "x": [b"1"]}), tmp_path / "m.parquet")
    with pytest.raises(MetadataFileError, match=r"m\.parquet, row 1: column 'x'"):
        columns(str(tmp_path / "m.parquet"))


def test_a_time_that_is_none_in_utc_is_a_text(tmp_path: Path) -> None:
    """It ended an ingest with an internal error."""
    path = in_file(tmp_path, "path,at\na.pdf,0001-01-01T00:00:00+12:00\n")
    assert columns(path) == {"at": ["0001-01-01T00:00:00+12:00"]}


@pytest.mark.parametrize(
    ("names", "kind", "says"),
    [
        (["path", "n", "n"], pa.int64(), "m.parquet: column 'n' is there twice"),
        (["path", "n", "m"], pa.timestamp("us", "Nowhere/X"), "no time zone 'Nowhere/X'"),
    ],
)
def test_what_parquet_holds_that_rows_do_not(
    tmp_path: Path, names: list[str], kind: pa.DataType, says: str
) -> None:
    """A name that is twice lost its first column in silence."""
    arrays = [pa.array(["a.pdf"]), pa.array([1], kind), pa.array([2], kind)]
    pq.write_table(pa.table(arrays, names=names), tmp_path / "m.parquet")
    with pytest.raises(MetadataFileError, match=says):
        read_metadata(str(tmp_path / "m.parquet"))


def test_names_need_no_quotation_marks(tmp_path: Path) -> None:
    file = read_metadata(in_file(tmp_path, "File, Cost (EUR) ,2024,Größe\na.pdf,1,2,3\n"))
    assert file.key == "File"
    assert list(file.columns) == ["cost_eur", "_2024", "größe"]
    assert file.renamed == {" Cost (EUR) ": "cost_eur", "2024": "_2024", "Größe": "größe"}


def test_a_file_name_says_more_than_a_name(tmp_path: Path) -> None:
    file = read_metadata(in_file(tmp_path, "name,filename,team\nAnna,a.pdf,x\n"))
    assert (file.key, file.left_out) == ("filename", ["name"])


def test_the_first_key_counts_and_the_others_are_told(tmp_path: Path) -> None:
    """What SQL gives of documents has several."""
    file = read_metadata(in_file(tmp_path, f"name,doc_id,team\na.pdf,{A},x\n"))
    assert (file.key, file.left_out, list(file.columns)) == ("doc_id", ["name"], ["team"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no row"),
        ("path,n\n", "no row"),
        ("n,m\n1,2\n", "no column says which document"),
        ("path\na.pdf\n", "no column beside"),
        ("path,status\na.pdf,x\n", "'status' has the name"),
        ("path,page_id\na.pdf,x\n", "'page_id' has the name"),
        ("path,Team,team\na.pdf,x,y\n", "would both be 'team'"),
        ("path,NULL\na.pdf,x\n", "'NULL' is a value of SQL"),
        ("path,n,n\na.pdf,x,y\n", "is there twice"),
        ("path,!!\na.pdf,x\n", "has no name"),
        ("path,n\na.pdf,1,2\n", "line 2: has more fields"),
        ("path,n,m\na.pdf,1,2\nb.pdf,1\n", "line 3: has fewer fields"),
        ("path,n\n,1\n", "line 2: 'path' must be a text"),
        ('path,n\na.pdf,"1\n', "is not CSV"),
    ],
)
def test_a_wrong_file_is_refused_and_says_why(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(MetadataFileError, match=says):
        read_metadata(in_file(tmp_path, text))


def test_a_value_that_does_not_fit_says_where(tmp_path: Path) -> None:
    path = in_file(tmp_path, "path,n\na.pdf,1\nb.pdf,x\n")
    with pytest.raises(MetadataFileError, match=r"m\.csv, line 3: column 'n': 'x' does not fit"):
        typed(read_metadata(path), pa.schema([("n", pa.int64())]))


def test_a_suffix_that_says_nothing(tmp_path: Path) -> None:
    with pytest.raises(MetadataFileError, match=r"a metadata file is \.jsonl, \.csv or \.parquet"):
        read_metadata(in_file(tmp_path, "path,n\n", "m.xlsx"))


PLACES = metadata.Places(
    [
        (A, [Source("file:///data/2025/report.pdf", "2025/report.pdf")]),
        (B, [Source("file:///data/2026/report.pdf", "2026/report.pdf")]),
        (C, [Source("file:///data/M%C3%BCller%20%26%20Co.pdf", "Müller & Co.pdf")]),
    ]
)


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("/data/2025/report.pdf", {A}),
        ("file:///data/2026/report.pdf", {B}),
        ("2025/report.pdf", {A}),
        ("report.pdf", {A, B}),
        ("./2026/report.pdf", {B}),
        ("eport.pdf", set()),
        ("6/report.pdf", set()),
        ("Müller & Co.pdf", {C}),
        ("Mu\u0308ller & Co.pdf", {C}),
        ("M%C3%BCller & Co.pdf", set()),
        ("other.pdf", set()),
    ],
)
def test_what_a_path_means(text: str, means: set[str]) -> None:
    assert PLACES.of_path(text, "/nowhere") == means


def test_a_path_from_the_folder_of_the_file() -> None:
    """The nearest meaning counts: not every report.pdf."""
    assert PLACES.of_path("report.pdf", "/data/2025") == {A}


@pytest.mark.parametrize(
    ("text", "means"),
    [(A, {A}), (A.upper(), {A}), ("b" * 8, {B}), ("a" * 7, set()), ("a" * 8, {A}), ("zz", set())],
)
def test_what_an_id_means(text: str, means: set[str]) -> None:
    assert PLACES.of_id(text) == means


def matched(folder: Path, text: str) -> metadata.MatchedRows:
    file = read_metadata(in_file(folder, text))
    return metadata.match(file, typed(file, NOTHING), PLACES, str(folder))


def test_rows_that_are_of_no_document_are_told(tmp_path: Path) -> None:
    found = matched(tmp_path, "path,n\n2025/report.pdf,1\nnone.pdf,2\n")
    assert found.rows == {A: 0}
    assert [row.split(", ")[-1] for row in found.unmatched] == ["line 3: none.pdf"]
    assert not found.problems


def test_a_row_that_may_be_of_several_documents_is_of_none(tmp_path: Path) -> None:
    found = matched(tmp_path, "path,n\nreport.pdf,1\n")
    assert not found.rows
    assert "may be 2 documents" in found.problems[0]


@pytest.mark.parametrize(("second", "rows"), [("1", {A: 0}), ("2", {})])
def test_two_rows_of_a_document_must_say_the_same(
    tmp_path: Path, second: str, rows: Mapping[str, int]
) -> None:
    found = matched(tmp_path, f"path,n\n2025/report.pdf,1\n/data/2025/report.pdf,{second}\n")
    assert found.rows == rows
    assert len(found.problems) == (0 if rows else 1)


def test_a_file_of_other_documents_is_a_problem(tmp_path: Path) -> None:
    assert "none of its 1 rows" in matched(tmp_path, "path,n\nx.pdf,1\n").problems[0]


def test_rows_of_documents(tmp_path: Path) -> None:
    rows = pa.table({"n": [1, 2, 3]})
    given: Sequence[dict[str, Any]] = metadata.of_documents(rows, {B: 0, A: 2}).to_pylist()
    assert given == [{"doc_id": A, "n": 3}, {"doc_id": B, "n": 1}]
