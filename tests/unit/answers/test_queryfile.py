"""Query files: good rows are read, each bad row says what is wrong, bad files raise."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from patchlight.tasks.answers.queryfile import BadRow, QueryRow, in_blocks, read_queries
from patchlight.tasks.common.errors import QueryFileError


def jsonl(tmp_path: Path, *lines: object, name: str = "q.jsonl") -> str:
    path = tmp_path / name
    path.write_text(
        "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    )
    return str(path)


def one(tmp_path: Path, **row: Any) -> QueryRow | BadRow:
    [result] = read_queries(jsonl(tmp_path, {"query_id": "1", "query": "dues?", **row}))
    return result


def good(tmp_path: Path, **row: Any) -> QueryRow:
    result = one(tmp_path, **row)
    assert isinstance(result, QueryRow)
    return result


def bad(tmp_path: Path, **row: Any) -> BadRow:
    result = one(tmp_path, **row)
    assert isinstance(result, BadRow)
    assert result.message.startswith(f"{tmp_path / 'q.jsonl'}, line 1: ")
    return result


ROWS = [
    QueryRow(2, "a", "Who pays?", "dues.pdf", (1, 3), {"topic": "dues"}),
    QueryRow(3, "7", "Who waits?", None, None, {}),
]


def test_jsonl_is_read(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        "",
        {
            "query_id": "a",
            "query": " Who pays? ",
            "doc": "dues.pdf",
            "pages": [3, 1, 3],
            "topic": "dues",
        },
        {"query_id": 7, "query": "Who waits?"},
        "   ",
    )
    assert list(read_queries(path)) == ROWS


def test_csv_is_read(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_bytes(
        "\ufeffquery_id,query,doc,pages,topic\r\n"
        'a,"Who pays?",dues.pdf,"1, 3",dues\r\n'
        "7,Who waits?,,,\r\n"
        "\r\n".encode()
    )
    assert list(read_queries(str(path))) == ROWS


def test_parquet_is_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "query_id": ["a", "7"],
            "query": ["Who pays?", "Who waits?"],
            "doc": ["dues.pdf", None],
            "pages": pa.array([[1, 3], None], pa.list_(pa.int64())),
            "topic": ["dues", None],
            "score": [float("nan"), float("nan")],  # what pandas writes for nothing
        }
    )
    path = tmp_path / "q.parquet"
    pq.write_table(table, path)
    first, second = ROWS
    assert [(r.line, r.query_id) for r in read_queries(str(path))] == [(1, "a"), (2, "7")]
    assert [r.carried for r in read_queries(str(path)) if isinstance(r, QueryRow)] == [
        first.carried,
        second.carried,
    ]


def test_stdin_is_jsonl_in_utf8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    data = '\ufeff{"query_id": "a", "query": "Wer zahlt für 船?"}\n'.encode()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(data), encoding="ascii"))
    [row] = read_queries("-")
    assert isinstance(row, QueryRow) and row.query == "Wer zahlt für 船?"
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"{}"), encoding="ascii"))
    [row] = read_queries("-")
    assert isinstance(row, BadRow) and row.message.startswith("stdin, line 1: ")


def test_stdin_that_is_not_utf8_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(b"\xff\xfe{")))
    with pytest.raises(QueryFileError, match="stdin: is not UTF-8"):
        list(read_queries("-"))


@pytest.mark.parametrize("name", ["q.jsonl", "q.csv"])
def test_bytes_that_are_not_utf8_end_the_file_with_an_error(tmp_path: Path, name: str) -> None:
    """Far into the file too, where it is no longer the opening of it that fails."""
    row = {"jsonl": '{"query_id": "%d", "query": "dues?"}\n', "csv": "%d,dues?\n"}[name[2:]]
    head = "query_id,query\n" if name == "q.csv" else ""
    text = head + "".join(row % i for i in range(5000))
    (tmp_path / name).write_bytes(text.encode() + b"\xe9\n")
    read = 0
    with pytest.raises(QueryFileError, match=rf"{name}: is not UTF-8"):
        for _ in read_queries(str(tmp_path / name)):
            read += 1
    assert read > 1000


@pytest.mark.parametrize("name", ["q.jsonl", "q.csv", "q.parquet"])
def test_files_that_cannot_be_read_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(QueryFileError, match=f"{name}: cannot be read"):
        list(read_queries(str(tmp_path / name)))
    (tmp_path / name).mkdir()
    with pytest.raises(QueryFileError, match=f"{name}: cannot be read"):
        list(read_queries(str(tmp_path / name)))


def test_files_that_are_not_what_they_say(tmp_path: Path) -> None:
    (tmp_path / "q.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(QueryFileError, match="cannot be read as Parquet"):
        list(read_queries(str(tmp_path / "q.parquet")))
    (tmp_path / "q.xlsx").touch()
    with pytest.raises(QueryFileError, match=r"\.jsonl, \.csv or \.parquet"):
        list(read_queries(str(tmp_path / "q.xlsx")))
    (tmp_path / "q.csv").write_text(f'query_id,query\na,"{"x" * 200_000}"\n')
    with pytest.raises(QueryFileError, match=r"q\.csv, line \d: is not CSV"):
        list(read_queries(str(tmp_path / "q.csv")))


@pytest.mark.parametrize(
    "line",
    [
        "{not json}",
        "[1, 2]",
        '"text"',
        pytest.param("[" * 100_000, id="nesting without end"),
        pytest.param('{"query_id": 1' + "0" * 5000 + "}", id="a number without end"),
    ],
)
def test_a_line_that_is_no_json_object_is_a_bad_row(tmp_path: Path, line: str) -> None:
    path = jsonl(tmp_path, line, {"query_id": "b", "query": "dues?"})
    first, second = read_queries(path)
    assert isinstance(first, BadRow) and "line 1: is not" in first.message
    assert isinstance(second, QueryRow)


@pytest.mark.parametrize(
    ("column", "meant"),
    [("page", "pages"), ("Page_No", "pages"), ("qid", "query_id"), ("doc-name", "doc")],
)
def test_columns_that_are_nearly_ours_are_not_carried_silently(
    tmp_path: Path, column: str, meant: str
) -> None:
    message = bad(tmp_path, **{column: 1}).message
    assert repr(column) in message and f"did you mean '{meant}'" in message


@pytest.mark.parametrize("column", ["run_id", "statistics", "tokens", "query_tokens"])
def test_columns_of_the_results_cannot_be_carried(tmp_path: Path, column: str) -> None:
    assert "rename it" in bad(tmp_path, **{column: 1}).message


def test_other_columns_are_carried_as_they_are(tmp_path: Path) -> None:
    carried = {"topic": "dues", "weights": [1.5, None], "nested": {"a": True}}
    assert good(tmp_path, **carried).carried == carried


@pytest.mark.parametrize("value", ["\ud800", {"a": ["\udfff"]}, float("nan"), float("-inf")])
def test_what_json_cannot_carry_is_a_bad_row(tmp_path: Path, value: object) -> None:
    """It would end the run while its results are written."""
    assert "cannot carry" in bad(tmp_path, topic=value).message


@pytest.mark.parametrize("query_id", [None, "", "  ", True, 1.5, ["a"]])
def test_a_row_needs_an_id(tmp_path: Path, query_id: object) -> None:
    assert "'query_id'" in bad(tmp_path, query_id=query_id).message


@pytest.mark.parametrize("query", [None, "", "  \n", 3, ["dues?"]])
def test_a_row_needs_a_question(tmp_path: Path, query: object) -> None:
    row = bad(tmp_path, query=query)
    assert row.query_id == "1" and "'query'" in row.message


def test_ids_are_unique_and_a_number_is_its_text(tmp_path: Path) -> None:
    path = jsonl(
        tmp_path,
        {"query_id": 1, "query": "a"},
        {"query_id": "2", "query": "b"},
        {"query_id": "1", "query": "c"},
        {"query_id": "2"},
    )
    rows = list(read_queries(path))
    assert [type(row) for row in rows] == [QueryRow, QueryRow, BadRow, BadRow]
    assert isinstance(rows[2], BadRow)
    assert "line 3" in rows[2].message and "already used in line 1" in rows[2].message


@pytest.mark.parametrize(
    ("value", "pages"),
    [
        (3, (3,)),
        ([3, 1, 3], (1, 3)),
        ("3", (3,)),
        ("1, 3", (1, 3)),
        ("[1,3]", (1, 3)),
        (None, None),
    ],
)
def test_pages_are_read_in_every_form(
    tmp_path: Path, value: object, pages: tuple[int, ...] | None
) -> None:
    assert good(tmp_path, pages=value).pages == pages


@pytest.mark.parametrize(
    "value", [0, -1, 1.5, True, [], "", "one", [1, "2"], [1, None], {"a": 1}, 2**31, [10**30]]
)
def test_pages_that_are_none_are_a_bad_row(tmp_path: Path, value: object) -> None:
    assert "'pages' must be page numbers from 1 on" in bad(tmp_path, pages=value).message


def test_a_doc_is_a_text(tmp_path: Path) -> None:
    assert good(tmp_path, doc="").doc is None
    assert "'doc' must be a text" in bad(tmp_path, doc=3).message


def test_a_csv_row_that_is_too_long_is_bad_and_one_too_short_is_not(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text("query_id,query,topic\na,dues?,x,y\nb,dues?\n")
    first, second = read_queries(str(path))
    assert isinstance(first, BadRow) and "line 2: has more fields" in first.message
    assert isinstance(second, QueryRow) and second.carried == {}


def test_a_csv_column_without_a_name_is_carried(tmp_path: Path) -> None:
    """Pandas writes its row numbers so."""
    path = tmp_path / "q.csv"
    path.write_text(",query_id,query\n0,a,dues?\n")
    [row] = read_queries(str(path))
    assert isinstance(row, QueryRow) and row.carried == {"": "0"}


def test_rows_come_in_blocks_good_and_bad_apart(tmp_path: Path) -> None:
    lines: list[object] = [{"query_id": str(i), "query": "dues?"} for i in range(5)]
    lines.insert(2, "{")
    blocks = list(in_blocks(read_queries(jsonl(tmp_path, *lines)), 4))
    assert [([r.query_id for r in good], [r.line for r in bad]) for good, bad in blocks] == [
        (["0", "1", "2"], [3]),
        (["3", "4"], []),
    ]
