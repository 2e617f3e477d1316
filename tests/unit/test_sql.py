"""SQL shows what queries see, joins across tables, and cannot change or read anything else."""

from pathlib import Path
from typing import Any

import pytest

from storage.committer import Committer
from storage.convert import retrievals_table
from storage.database import Database
from storage.errors import DatabaseNotFound, SqlError
from storage.records import DocumentStatus
from storage.schema import KEYS, Table
from storage.sql import run_sql
from tests.storage_examples import DIM, ENCODER, doc_id, failure, fill, retrieval


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    database = Database.create_or_open(tmp_path_factory.mktemp("sql") / "db", ENCODER)
    fill(database, "a", 2)
    fill(database, "b", 1, DocumentStatus.PARTIAL)
    fill(database, "hidden", 3, DocumentStatus.FAILED)
    committer = Committer(database)
    committer.commit_failures([failure()])
    committer.replace_retrievals("r1", [retrievals_table([retrieval("r1", "q1", index=2)])])
    return database.uri


def ask(uri: str, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run_sql(uri, query).read_all().to_pylist()
    return rows


@pytest.mark.parametrize(
    ("table", "visible", "all_rows"),
    [("documents", 2, 3), ("pages", 3, 6), ("regions", 12, 24), ("patches", 3, 6)],
)
def test_plain_names_show_what_queries_see(
    uri: str, table: str, visible: int, all_rows: int
) -> None:
    assert ask(uri, f"SELECT count(*) AS n FROM {table}") == [{"n": visible}]
    assert ask(uri, f"SELECT count(*) AS n FROM raw_{table}") == [{"n": all_rows}]


@pytest.mark.parametrize("table", list(Table))
def test_every_table_can_be_read_whole(uri: str, table: Table) -> None:
    rows = run_sql(uri, f"SELECT * FROM {table}").read_all()
    [count] = ask(uri, f"SELECT count(*) AS n FROM {table}")
    assert rows.num_rows == count["n"]
    assert KEYS[table] in rows.schema.names


def test_a_retrieval_joins_its_region_its_parent_and_its_document(uri: str) -> None:
    query = """
        SELECT d.name, r.text AS word, line.text AS line
        FROM retrievals t
        JOIN regions r ON r.region_id = t.region_id
        JOIN regions line ON line.region_id = r.parent_id
        JOIN documents d ON d.doc_id = t.doc_id
    """
    assert ask(uri, query) == [{"name": "a", "word": "a-1-2", "line": "a-1-0 a-1-1 a-1-2"}]


def test_a_region_without_a_parent_has_none(uri: str) -> None:
    query = "SELECT DISTINCT kind, parent_id IS NULL AS top FROM regions ORDER BY kind"
    assert ask(uri, query) == [{"kind": "line", "top": True}, {"kind": "word", "top": False}]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT max(array_length(vectors)) AS n FROM patches", [{"n": 4}]),
        ("SELECT array_length(vectors[1]) AS n FROM patches LIMIT 1", [{"n": DIM}]),
        ("SELECT count(*) AS n FROM (SELECT unnest(sources) FROM documents)", [{"n": 2}]),
        ("SELECT sources[1]['name'] AS n FROM documents ORDER BY n LIMIT 1", [{"n": "a"}]),
        ("SELECT sum(n_words) AS n FROM pages GROUP BY doc_id ORDER BY n", [{"n": 3}, {"n": 6}]),
        ("SELECT count(*) AS n FROM stored_regions WHERE array_length(regions) = 4", [{"n": 6}]),
        ("SELECT encoder FROM meta", [{"encoder": "text-patch"}]),
    ],
)
def test_lists_structs_and_float16_can_be_asked_about(
    uri: str, query: str, expected: list[dict[str, Any]]
) -> None:
    assert ask(uri, query) == expected


@pytest.mark.parametrize(
    "query", ["SHOW TABLES", "DESCRIBE pages", "EXPLAIN SELECT * FROM pages", "SELECT 1"]
)
def test_looking_around_is_allowed(uri: str, query: str) -> None:
    assert ask(uri, query)


@pytest.mark.parametrize(
    "query",
    [
        "INSERT INTO raw_runs SELECT * FROM raw_runs",
        "EXPLAIN ANALYZE INSERT INTO raw_runs SELECT * FROM raw_runs",
        "DELETE FROM raw_pages",
        "UPDATE raw_pages SET page = 1",
        "TRUNCATE raw_pages",
        "DROP TABLE raw_pages",
        "DROP VIEW pages",
        "CREATE TABLE x AS SELECT 1",
        "CREATE VIEW x AS SELECT 1",
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
        "SELECT * FROM '/etc/passwd'",
        "SELECT * FROM '{folder}/in.csv'",
        "SELECT * FROM read_csv('{folder}/in.csv')",
        "SET datafusion.catalog.information_schema = false",
        "PREPARE p AS SELECT 1",
        "BEGIN",
        "SELECT 1; DROP VIEW pages",
    ],
)
def test_nothing_can_be_written_and_no_file_read(uri: str, tmp_path: Path, query: str) -> None:
    (tmp_path / "in.csv").write_text("secret\n1\n")
    database = Database.open(uri)
    before = [database.table(table).version for table in Table]
    with pytest.raises(SqlError):
        ask(uri, query.format(folder=tmp_path))
    assert [database.table(table).version for table in Table] == before
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT nope FROM runs", r"runs\.run_id.*runs\.started_at"),
        ("SELECT * FROM page", "Tables: meta, documents, pages,.*raw_<table>"),
        ("SELEC 1", "'SELEC 1': .*Expected: an SQL statement"),
        ("", "''"),
        ("SELECT CAST(name AS INT) FROM documents", "Cannot cast string"),
    ],
)
def test_a_wrong_query_says_what_is_wrong_with_it(uri: str, query: str, message: str) -> None:
    with pytest.raises(SqlError, match=message) as caught:
        ask(uri, query)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1200


def test_a_query_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFound):
        run_sql(tmp_path / "none", "SELECT 1")


def test_ids_in_views_are_those_of_the_tables(uri: str) -> None:
    rows = ask(uri, f"SELECT region_id FROM regions WHERE doc_id = '{doc_id('b')}' ORDER BY 1")
    assert [row["region_id"] for row in rows] == [
        f"{doc_id('b')}:00001:{index:05d}" for index in range(4)
    ]
