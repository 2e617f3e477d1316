"""What people know of documents: stored with them, changed without reading them, gone with them."""

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import lance
import pyarrow as pa
import pytest

from patchlight.flows.__main__ import _run, app
from patchlight.storage import metadata, reader
from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode, SqlError, StorageUnavailable
from patchlight.storage.schema import Table
from patchlight.storage.sql import run_sql
from patchlight.tasks.answers import results
from patchlight.tasks.answers.asking import ask
from patchlight.tasks.common.errors import MetadataFileError
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.ingest import removing
from patchlight.tasks.ingest.progress import IngestReport
from patchlight.tasks.requests.query import AskRequest
from tests.ingest_examples import InProcess, fails, ingest, write
from tests.storage_examples import document, put

Ingest = Callable[..., IngestReport]


@pytest.fixture
def documents(folder: Path) -> Path:
    """Two documents."""
    write(folder / "law.pdf", "The notice period is three months", "Second page")
    write(folder / "sales.pdf", "The notice period is one month")
    return folder


@pytest.fixture
def given(tmp_path: Path) -> Callable[[str], Path]:
    """Writes a CSV file of metadata."""

    def write_file(text: str) -> Path:
        path = tmp_path / "given.csv"
        path.write_text(text, encoding="utf-8")
        return path

    return write_file


def known(database: Database) -> dict[str, dict[str, Any]]:
    """File name -> what is stored of it, by what queries see."""
    rows = run_sql(
        database.uri,
        "SELECT d.uri AS its_uri, m.* FROM metadata m "
        "LEFT JOIN raw_documents d ON d.doc_id = m.doc_id",
    )
    found = {row.pop("its_uri"): row for row in rows.read_all().to_pylist()}
    for row in found.values():
        del row["doc_id"]
    return {uri.rsplit("/", 1)[-1]: row for uri, row in found.items()}


def versions(database: Database) -> int:
    return len(database.table(Table.METADATA).versions())


def test_it_is_there_before_a_document_is(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    """A condition on an access tag must never miss one."""
    seen: list[set[str]] = []
    pool = InProcess(encoder)
    pool.meanwhile = lambda: seen.append(metadata.doc_ids(database))
    file = given("path,access\nlaw.pdf,secret\nsales.pdf,open\n")
    report = ingest(documents, database, encoder, pool=pool, metadata=file)
    assert len(seen[0]) == 2
    assert known(database) == {"law.pdf": {"access": "secret"}, "sales.pdf": {"access": "open"}}
    assert (report.metadata["rows"], report.metadata["changed"]) == (2, 2)
    assert report.documents_without_metadata == 0


def test_it_changes_without_reading(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    file = given("path,team,cost\nlaw.pdf,legal,1\nsales.pdf,field,2\n")
    ingest(documents, database, encoder, metadata=file)
    pool = InProcess(encoder)
    file = given("path,cost,paid\nlaw.pdf,1.5,true\nother.pdf,3,false\n")
    # The other document is not among the sources, and may be described all the same.
    report = ingest(documents / "sales.pdf", database, encoder, pool=pool, metadata=file)
    assert pool.work == []
    assert known(database) == {
        "law.pdf": {"team": "legal", "cost": 1.5, "paid": True},
        "sales.pdf": {"team": "field", "cost": 2.0, "paid": None},
    }
    assert report.metadata["unmatched"] == 1
    assert report.metadata["unmatched_first"][0].endswith(": other.pdf")
    assert report.failures == []


def test_an_empty_field_takes_a_value_away(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    ingest(documents, database, encoder, metadata=given("path,team,n\nlaw.pdf,legal,1\n"))
    ingest(documents, database, encoder, metadata=given("path,team\nlaw.pdf,\n"))
    assert known(database) == {"law.pdf": {"team": None, "n": 1}}


def test_the_same_again_writes_nothing(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    """A schedule gives the same file every hour."""
    file = given("path,team\nlaw.pdf,legal\n")
    ingest(documents, database, encoder, metadata=file)
    before = versions(database)
    report = ingest(documents, database, encoder, metadata=file)
    assert versions(database) == before
    assert report.metadata["changed"] == 0
    assert report.documents_without_metadata == 1


def test_a_file_of_other_documents_leaves_no_column(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    report = ingest(documents, database, encoder, metadata=given("path,typo\nx.pdf,1\n"))
    assert "none of its 1 rows" in report.failures[0]
    assert metadata.columns(database).names == []
    assert report.documents_without_metadata == 0


def test_a_report_keeps_some_of_the_rows_of_no_document(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    """A register of a whole archive is given every hour, and each run keeps its report."""
    rows = "".join(f"other-{number}.pdf,1\n" for number in range(2000))
    report = ingest(documents, database, encoder, metadata=given(f"path,n\nlaw.pdf,1\n{rows}"))
    assert report.metadata["unmatched"] == 2000
    assert len(report.metadata["unmatched_first"]) == 100


def test_whole_numbers_that_would_lose_digits_are_not_widened(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    file = given("path,n,m\nlaw.pdf,9007199254740993,7\n")
    ingest(documents, database, encoder, metadata=file)
    with pytest.raises(MetadataFileError, match="column 'n': the database has whole numbers"):
        ingest(documents, database, encoder, metadata=given("path,n\nlaw.pdf,0.5\n"))
    ingest(documents, database, encoder, metadata=given("path,m\nlaw.pdf,0.5\n"))
    assert known(database) == {"law.pdf": {"n": 9007199254740993, "m": 0.5}}


def test_columns_without_any_value_are_told_and_not_stored(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    report = ingest(documents, database, encoder, metadata=given("path,n\nlaw.pdf,\n"))
    assert (report.metadata["columns"], report.metadata["empty"]) == ({}, ["n"])
    assert (report.metadata["documents"], report.metadata["changed"]) == (1, 0)
    assert metadata.doc_ids(database) == set()
    ingest(documents, database, encoder, metadata=given("path,n\nlaw.pdf,2026-01-02\n"))
    assert known(database) == {"law.pdf": {"n": date(2026, 1, 2)}}


def test_it_leaves_with_its_document(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    ingest(documents, database, encoder, metadata=given("path,n\nlaw.pdf,1\nsales.pdf,2\n"))
    removing.remove(database, removing.find(database, ["sales.pdf"]))
    assert database.table(Table.METADATA).count_rows() == 1
    assert known(database) == {"law.pdf": {"n": 1}}


def test_other_bytes_in_a_file_are_another_document(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    """Its path means what is there now; what was there goes, with what was known of it."""
    file = given("path,n\nlaw.pdf,1\n")
    ingest(documents, database, encoder, metadata=file)
    write(documents / "law.pdf", "Another text")
    report = ingest(documents, database, encoder, metadata=file)
    assert report.failures == []
    assert database.table(Table.METADATA).count_rows() == 1
    assert known(database) == {"law.pdf": {"n": 1}}
    write(documents / "law.pdf", "And another")
    assert ingest(documents, database, encoder).documents_without_metadata == 2
    assert database.table(Table.METADATA).count_rows() == 0


def test_it_waits_for_a_document_that_failed(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    (documents / "law.pdf").write_bytes(b"%PDF-1.4 broken")
    faulty = InProcess(encoder, fails(1, retryable=True))
    file = given("path,n\nlaw.pdf,1\nsales.pdf,2\n")
    report = ingest(documents, database, encoder, pool=faulty, metadata=file)
    assert report.documents_failed == 2
    assert database.table(Table.METADATA).count_rows() == 2
    ingest(documents, database, encoder)
    assert known(database) == {"sales.pdf": {"n": 2}}
    assert database.table(Table.METADATA).count_rows() == 2


def test_rows_of_nothing_are_removed(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    """A run that was cut off before it took its documents leaves some."""
    ingest(documents / "law.pdf", database, encoder, metadata=given("path,n\nlaw.pdf,1\n"))
    stray = pa.table({"doc_id": ["f" * 64], "n": pa.array([7], pa.int64())})
    Committer(database, "killed").commit_metadata(stray)
    ingest(documents, database, encoder)
    assert database.table(Table.METADATA).count_rows() == 1


@pytest.mark.parametrize(
    ("condition", "pages"),
    [
        ("team = 'legal'", 2),
        ("team IS NULL", 1),
        ("team = 'legal' AND page = 2", 1),
        ("signed > DATE '2026-01-01'", 0),
        ("name LIKE '%law%' OR n = 7", 2),
        ("größe = '0042'", 2),
        ('"order" = 5', 2),
    ],
)
def test_conditions_know_it(
    documents: Path,
    database: Database,
    encoder: Encoder,
    given: Callable[[str], Path],
    condition: str,
    pages: int,
) -> None:
    file = given("path,team,signed,n,Größe,order\nlaw.pdf,legal,2025-03-04,1,0042,5\n")
    ingest(documents, database, encoder, metadata=file)
    assert len(reader.catalog(database.snapshot(), condition)) == pages


def test_a_condition_keeps_to_its_memory(
    documents: Path, database: Database, encoder: Encoder
) -> None:
    ingest(documents, database, encoder)
    with pytest.raises(SqlError, match="PATCHLIGHT_SQL_MEMORY_MB"):
        reader.catalog(
            database.snapshot(),
            "length(array_to_string(range(0, 30000000 + page), ',')) > 1",
            memory_mb=64,
        )


def test_answers_carry_it(
    documents: Path, database: Database, encoder: Encoder, given: Callable[[str], Path]
) -> None:
    file = given("path,team,signed,n\nlaw.pdf,legal,2025-03-04,\n")
    ingest(documents, database, encoder, metadata=file)
    request = AskRequest(query="notice period", db=database.uri)
    asked = ask(database.uri, request.query, request.options())
    line = results.result_line(asked.answer, asked.session.catalog, "run", "")
    about = {page["source"].rsplit("/", 1)[-1]: page["metadata"] for page in line["pages"]}
    assert about == {"law.pdf": {"team": "legal", "signed": "2025-03-04"}, "sales.pdf": {}}
    rows = results.as_retrievals(asked.answer, asked.session.catalog, "run")
    assert {json.loads(row.metadata).get("team") for row in rows} == {"legal", None}


@pytest.mark.parametrize("columns", [("team", "team"), ("team", "n")])
def test_two_runs_may_add_columns_at_once(database: Database, columns: Sequence[str]) -> None:
    put(Committer(database, "run"), document("a", 1), document("b", 1))

    def add(number: int) -> None:
        rows = pa.table({"doc_id": [f"{number}" * 64], columns[number]: [f"of {number}"]})
        for _ in range(5):
            Committer(database, f"run {number}").commit_metadata(rows)

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(add, (0, 1)))
    rows = database.table(Table.METADATA).to_table().sort_by("doc_id").to_pylist()
    assert [rows[number][columns[number]] for number in (0, 1)] == ["of 0", "of 1"]


def test_a_change_at_the_same_moment_is_no_error(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another process may remove a document, or merge files, between looking and adding."""
    committer, opened = Committer(database, "run"), Database.table
    committer.commit_metadata(pa.table({"doc_id": ["a" * 64], "n": [1]}))
    others = iter(("b", "c"))

    def changed_meanwhile(own: Database, table: Table) -> lance.LanceDataset:
        found = opened(own, table)
        if (other := next(others, None)) is not None:
            row = pa.table(
                {"doc_id": [other * 64]}, schema=pa.schema([found.schema.field("doc_id")])
            )
            lance.write_dataset(row, found.uri, mode="append")
        return found

    monkeypatch.setattr(Database, "table", changed_meanwhile)
    committer.commit_metadata(pa.table({"doc_id": ["d" * 64], "team": ["x"]}))
    assert database.table(Table.METADATA).count_rows() == 4
    assert metadata.columns(database).names == ["n", "team"]


def test_a_column_of_another_type_is_not_overwritten(database: Database) -> None:
    committer = Committer(database, "run")
    committer.commit_metadata(pa.table({"doc_id": ["a" * 64], "n": ["text"]}))
    with pytest.raises(StorageUnavailable, match="column 'n' of type string"):
        committer.commit_metadata(pa.table({"doc_id": ["b" * 64], "n": [1]}))


def test_a_wrong_file_is_told_before_anything_is_done(
    documents: Path,
    tmp_path: Path,
    given: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    db = str(tmp_path / "new")
    file = given("path,status\nlaw.pdf,1\n")
    arguments = ["ingest", str(documents), "--db", db, "--metadata", str(file)]
    assert _run(lambda: app(arguments, standalone_mode=False)) == ExitCode.BAD_INPUT
    assert "rename it, e.g. to 'my_status'" in capsys.readouterr().err
    assert Database.find(db) is None
