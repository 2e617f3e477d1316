"""SQL shows what queries see, joins across tables, and cannot change or read anything else."""

import gc
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import retrievals_table
from patchlight.storage.database import Database
from patchlight.storage.errors import DatabaseNotFound, SqlError
from patchlight.storage.records import DocumentStatus
from patchlight.storage.schema import KEYS, Table
from patchlight.storage.sql import SqlSession, run_sql
from tests.storage_examples import DIM, ENCODER, doc_id, failure, fill, retrieval


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    database = Database.create_or_open(tmp_path_factory.mktemp("sql") / "db", ENCODER)
    fill(database, "a", 2)
    fill(database, "b", 1, DocumentStatus.PARTIAL)
    fill(database, "hidden", 3, DocumentStatus.FAILED)
    committer = Committer(database, "run")
    committer.commit_failures([failure()])
    committer.replace_retrievals("r1", [retrievals_table([retrieval("r1", "q1", index=2)])])
    return database.uri


def ask(uri: str, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = run_sql(uri, query).read_all().to_pylist()
    return rows


@pytest.mark.parametrize(
    ("table", "visible", "all_rows"),
    [
        ("documents", 2, 3),
        ("pages", 3, 6),
        ("all_regions", 12, 24),
        ("words", 3, 6),
        ("patches", 3, 6),
    ],
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
        JOIN all_regions r ON r.region_id = t.region_id
        JOIN all_regions line ON line.region_id = r.parent_id
        JOIN documents d ON d.doc_id = t.doc_id
    """
    assert ask(uri, query) == [{"name": "a", "word": "a-1-2", "line": "a-1-0 a-1-1 a-1-2"}]


def test_a_region_without_a_parent_has_none(uri: str) -> None:
    query = "SELECT DISTINCT kind, parent_id IS NULL AS top FROM all_regions ORDER BY kind"
    assert ask(uri, query) == [{"kind": "line", "top": True}, {"kind": "word", "top": False}]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT max(array_length(vectors)) AS n FROM patches", [{"n": 4}]),
        ("SELECT array_length(vectors[1]) AS n FROM patches LIMIT 1", [{"n": DIM}]),
        ("SELECT count(*) AS n FROM (SELECT unnest(sources) FROM documents)", [{"n": 2}]),
        ("SELECT sources[1]['name'] AS n FROM documents ORDER BY n LIMIT 1", [{"n": "a"}]),
        ("SELECT sum(n_words) AS n FROM pages GROUP BY doc_id ORDER BY n", [{"n": 3}, {"n": 6}]),
        ("SELECT count(*) AS n FROM raw_words WHERE array_length(words) = 3", [{"n": 6}]),
        ("SELECT encoder FROM meta", [{"encoder": "text-patch"}]),
    ],
)
def test_lists_structs_and_float16_can_be_asked_about(
    uri: str, query: str, expected: list[dict[str, Any]]
) -> None:
    assert ask(uri, query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "SHOW TABLES",
        "DESCRIBE pages",
        "EXPLAIN SELECT * FROM pages",
        "SELECT 1",
        # Columns that the plan promises to be without nulls, and the batches do not.
        "SELECT version()",
        "SELECT regexp_count('aaa', 'a') AS n",
    ],
)
def test_looking_around_is_allowed(uri: str, query: str) -> None:
    assert ask(uri, query)


def test_columns_of_one_name_are_all_there(uri: str) -> None:
    rows = run_sql(uri, "SELECT * FROM documents d JOIN pages p ON p.doc_id = d.doc_id").read_all()
    first, second = (at for at, name in enumerate(rows.schema.names) if name == "doc_id")
    assert rows.column(first).to_pylist() == rows.column(second).to_pylist()


@pytest.mark.parametrize(
    "query",
    [
        # Writing to the tables, also from within what is allowed.
        "INSERT INTO raw_runs SELECT * FROM raw_runs",
        "INSERT OVERWRITE raw_runs SELECT * FROM raw_runs",
        "REPLACE INTO raw_runs SELECT * FROM raw_runs",
        "WITH x AS (INSERT INTO raw_runs SELECT * FROM raw_runs) SELECT * FROM x",
        "WITH x AS (DELETE FROM raw_pages RETURNING *) SELECT * FROM x",
        "EXPLAIN ANALYZE INSERT INTO raw_runs SELECT * FROM raw_runs",
        "EXPLAIN ANALYZE VERBOSE DELETE FROM raw_pages",
        "DELETE FROM raw_pages",
        "UPDATE raw_pages SET page = 1",
        "TRUNCATE TABLE raw_pages",
        "MERGE INTO raw_pages USING raw_pages p ON 1 = 1 WHEN MATCHED THEN DELETE",
        "DROP TABLE raw_pages",
        "DROP VIEW pages",
        "DROP SCHEMA public CASCADE",
        "ALTER TABLE raw_pages ADD COLUMN x INT",
        "CREATE TABLE x AS SELECT 1",
        "CREATE OR REPLACE VIEW pages AS SELECT 1",
        "CREATE SCHEMA x",
        "CREATE DATABASE x",
        "CREATE FUNCTION f(DOUBLE) RETURNS DOUBLE RETURN $1",
        "SELECT * INTO x FROM raw_runs",
        # Writing to files.
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "COPY pages TO '{folder}/out' STORED AS PARQUET",
        "EXPLAIN COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
        "SELECT * INTO OUTFILE '{folder}/out.csv' FROM raw_runs",
        "UNLOAD ('SELECT 1') TO '{folder}/out'",
        # Reading files and places in the network.
        "CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "CREATE UNBOUNDED EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'",
        "EXPLAIN ANALYZE CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '{folder}/in.csv'",
        "SELECT * FROM '{folder}/in.csv'",
        'SELECT * FROM "{folder}/in.csv"',
        'SELECT * FROM "file://{folder}/in.csv"',
        "SELECT * FROM 'http://127.0.0.1:9/x.parquet'",
        'SELECT * FROM "s3://bucket/x.parquet"',
        "FROM '{folder}/in.csv'",
        "DESCRIBE '{folder}/in.csv'",
        "SELECT 1 WHERE EXISTS (SELECT * FROM '{folder}/in.csv')",
        "SELECT * FROM read_csv('{folder}/in.csv')",
        "SELECT * FROM read_parquet('{folder}/in.csv')",
        "SELECT * FROM parquet_metadata('{folder}/in.csv')",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT getenv('HOME')",
        "ATTACH DATABASE '{folder}/x' AS x",
        "LOAD DATA INPATH '{folder}/in.csv' INTO TABLE raw_pages",
        # Changing the session, and more than one statement.
        "SET datafusion.catalog.information_schema = false",
        "RESET datafusion.catalog.information_schema",
        "PREPARE p AS SELECT 1",
        "EXECUTE p",
        "DEALLOCATE p",
        "BEGIN",
        "COMMIT",
        "SELECT 1; DROP VIEW pages",
        "SELECT 1; SELECT 2",
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


@pytest.mark.parametrize(
    "condition",
    [
        "page = 1; DROP TABLE d",
        "page = 1) UNION SELECT * FROM d --",
        "page = 1 ORDER BY page",
        "SELECT 1",
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "EXISTS (SELECT * FROM '{folder}/in.csv')",
        "EXISTS (SELECT * FROM read_csv('{folder}/in.csv'))",
        "EXISTS (SELECT * FROM d WHERE status = 'failed')",
        "name = getenv('HOME')",
    ],
)
def test_a_condition_reads_columns_and_nothing_else(
    uri: str, tmp_path: Path, condition: str
) -> None:
    (tmp_path / "in.csv").write_text("secret\n1\n")
    snapshot = Database.open(uri).snapshot()
    with pytest.raises(SqlError):
        reader.catalog(snapshot, condition.format(folder=tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


def test_a_query_that_is_given_up_ends_and_leaves_no_files(
    uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    endless = "WITH RECURSIVE t(n) AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT n FROM t"
    found = run_sql(uri, endless)
    assert len(list(tmp_path.iterdir())) == 1
    assert found.read_next_batch().num_rows
    del found
    gc.collect()
    assert wait_until(lambda: "sql" not in {thread.name for thread in threading.enumerate()})
    assert wait_until(lambda: not list(tmp_path.iterdir()))


def wait_until(true: Callable[[], bool]) -> bool:
    for _ in range(100):
        if true():
            return True
        time.sleep(0.1)
    return False


def test_a_query_needs_a_database(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFound):
        run_sql(tmp_path / "none", "SELECT 1")


def test_ids_in_views_are_those_of_the_tables(uri: str) -> None:
    rows = ask(uri, f"SELECT region_id FROM all_regions WHERE doc_id = '{doc_id('b')}' ORDER BY 1")
    assert [row["region_id"] for row in rows] == [
        f"{doc_id('b')}:00001:{index:05d}" for index in range(4)
    ]


def test_json_columns_can_be_asked_about(uri: str) -> None:
    query = """
        SELECT json_extract_string(j, '$.a[' || i || '].w') AS w, json_array_length(a) AS n
        FROM (SELECT j, a, unnest(range(0, json_array_length(a))) AS i
              FROM (SELECT j, json_extract(j, '$.a') AS a
                    FROM (VALUES ('{"a":[{"w":"x"},{"w":null}]}'), (NULL)) AS t(j)))
    """
    assert ask(uri, query) == [{"w": "x", "n": 2}, {"w": None, "n": 2}]
    [row] = ask(
        uri, "SELECT json_keys('{\"b\":1}') AS k, json_valid('x') AS v, json_type('1') AS t"
    )
    assert row == {"k": ["b"], "v": False, "t": "UBIGINT"}
    guarded = (
        "SELECT CASE WHEN json_valid(name) THEN json_extract(name, '$') END AS j FROM documents"
    )
    assert {row["j"] for row in ask(uri, guarded)} == {None}


def test_a_wrong_json_is_told_without_a_traceback(uri: str) -> None:
    with pytest.raises(SqlError, match=r"malformed JSON 'a' .*json_valid") as caught:
        ask(uri, "SELECT json_extract(name, '$') FROM documents WHERE name = 'a'")
    assert "raceback" not in str(caught.value)
    with pytest.raises(SqlError, match=r"JSON path '\$\.' is wrong"):
        ask(uri, "SELECT json_extract('{}', '$.')")


def test_a_session_answers_several_queries_on_one_state(uri: str) -> None:
    session = SqlSession(uri)
    for _ in range(2):
        assert session.ask("SELECT count(*) AS n FROM documents").read_all().to_pylist() == [
            {"n": 2}
        ]
