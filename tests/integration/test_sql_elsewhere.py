"""Guards that other tools read the tables as `patchlight sql` does, and what is said of them.

What is said stands in docs/sql.md: what each tool can read, what reaches an index, which state is
seen, and that ATTACH is never to be used.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import lance
import lancedb
import numpy as np
import pandas as pd
import polars as pl
import pytest

from benchmarks import questions, questionspolars
from patchlight.storage.database import Database
from patchlight.storage.records import VectorForm, VectorType
from patchlight.storage.schema import Table
from patchlight.storage.sql import SqlSession
from patchlight.storage.sqlviews import STORAGE
from patchlight.tasks.admin import duckdbviews
from patchlight.tasks.common.advice import ADVICE
from patchlight.tasks.encoders.protocol import Encoder
from tests import fixtures
from tests.ingest_examples import ingest


@pytest.fixture(scope="module")
def connection(analysed_db: str) -> Iterator[duckdb.DuckDBPyConnection]:
    with questions.open_duckdb(analysed_db) as connection:
        yield connection


@pytest.fixture(scope="module")
def session(analysed_db: str) -> SqlSession:
    return SqlSession(analysed_db, helps=ADVICE)


def test_twelve_questions_have_equal_answers(
    analysed_db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert questions.main([analysed_db, "--runs", "0"]) == 0
    lines = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if "yes" in line]
    # Each of them finds something, so that equal means more than empty.
    assert len(lines) == 12 and all(int(line[1].replace(",", "")) > 0 for line in lines)


def test_an_answer_that_differs_is_told(
    analysed_db: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = questionspolars.ANSWERS
    monkeypatch.setitem(answers, "largest", lambda frames: frames["pages"].select("page").head(1))
    assert questions.main([analysed_db, "--runs", "0"]) == 1
    assert "DIFFERS: largest: Polars: 1 rows for 12" in capsys.readouterr().out


def views() -> list[str]:
    """Names of the views in docs/duckdb-views.sql."""
    return re.findall(r"^CREATE OR REPLACE VIEW (\w+)", questions.VIEWS.read_text("utf-8"), re.M)


def test_views_for_duckdb_are_those_of_the_code() -> None:
    assert questions.VIEWS.read_text(encoding="utf-8") == duckdbviews.text(), duckdbviews.__doc__


def test_duckdb_has_every_view_but_the_one_that_no_table_holds(session: SqlSession) -> None:
    listed = session.ask("SHOW TABLES").read_all().to_pylist()
    ours = {row["table_name"] for row in listed if row["table_schema"] == "public"}
    assert set(views()) == ours - {STORAGE}


@pytest.mark.parametrize("view", views())
def test_a_view_has_equal_rows_in_duckdb(
    connection: duckdb.DuckDBPyConnection, session: SqlSession, view: str
) -> None:
    theirs = connection.execute(f"SELECT * FROM {view}")
    names = [column[0] for column in theirs.description or ()]
    ours = session.ask(f"SELECT * FROM {view}").read_all()
    assert names == ours.schema.names
    expected = sorted((tuple(row.values()) for row in ours.to_pylist()), key=repr)
    found = sorted(theirs.fetchall(), key=repr)
    assert list(questions.differences(expected, found)) == []
    assert found or view.removeprefix("raw_") in {"page_keys"}


@pytest.fixture(scope="module", params=VectorType)
def kind_of_db(
    request: pytest.FixtureRequest,
    analysed_db: str,
    text_patch: Encoder,
    tmp_path_factory: pytest.TempPathFactory,
) -> str:
    """A database of each type of vectors."""
    if request.param is VectorType.FLOAT16:
        return analysed_db
    place = tmp_path_factory.mktemp("int8")
    form = VectorForm(VectorType.INT8)
    database = Database.create_or_open(place / "db", text_patch.info.identity, form)
    (place / "docs").mkdir()
    fixtures.make_text_pdf(place / "docs" / "a.pdf", ["the depth of the berth", "and its length"])
    ingest(place / "docs", database, text_patch)
    return database.uri


def by_arrow(dataset: lance.LanceDataset, column: str) -> list[Any]:
    return [row[0] for row in duckdb.sql(f'SELECT "{column}" FROM dataset').fetchall()]


def by_polars(dataset: lance.LanceDataset, column: str) -> list[Any]:
    frame = pl.scan_pyarrow_dataset(dataset).select(column)
    return list(frame.collect()[column].to_list())


def by_pandas(dataset: lance.LanceDataset, column: str) -> list[Any]:
    return list(dataset.to_table([column]).to_pandas(types_mapper=pd.ArrowDtype)[column])


def by_lancedb(dataset: lance.LanceDataset, column: str) -> list[Any]:
    place = Path(dataset.uri)
    table = lancedb.connect(place.parent).open_table(place.stem)
    return list(table.search().select([column]).limit(None).to_arrow()[column].to_pylist())


@pytest.mark.parametrize("table", Table)
def test_every_column_of_every_table_is_read_by_every_tool(
    kind_of_db: str, connection: duckdb.DuckDBPyConnection, table: Table
) -> None:
    def by_extension(dataset: lance.LanceDataset, column: str) -> list[Any]:
        found = connection.execute(f"SELECT \"{column}\" FROM '{dataset.uri}'").fetchall()
        return [row[0] for row in found]

    dataset = lance.dataset(f"{kind_of_db}/{table}.lance")
    for column in dataset.schema.names:
        expected = [(value,) for value in dataset.to_table([column])[column].to_pylist()]
        for reader in (by_extension, by_polars, by_pandas, by_lancedb):
            found = [(bare(value),) for value in reader(dataset, column)]
            assert list(questions.differences(expected, found)) == [], (reader, column)


def bare(value: Any) -> Any:
    """A value without the types of NumPy and pandas, null as None."""
    if isinstance(value, np.ndarray | list | tuple):
        return [bare(one) for one in value]
    if isinstance(value, dict):
        return {name: bare(one) for name, one in value.items()}
    return None if value is pd.NA or value is pd.NaT else value


@pytest.mark.parametrize("table", Table)
def test_duckdb_through_arrow_reads_all_but_patches(kind_of_db: str, table: Table) -> None:
    dataset = lance.dataset(f"{kind_of_db}/{table}.lance")
    if table is Table.PATCHES:
        with pytest.raises(
            duckdb.NotImplementedException, match="Unsupported Internal Arrow Type e"
        ):
            by_arrow(dataset, "page")
        return
    for column in dataset.schema.names:
        expected = [(value,) for value in dataset.to_table([column])[column].to_pylist()]
        found = [(value,) for value in by_arrow(dataset, column)]
        assert list(questions.differences(expected, found)) == [], column


def test_conditions_reach_an_index(
    analysed_db: str, connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    plans: list[str] = []
    scanner = lance.LanceDataset.scanner

    def noted(self: lance.LanceDataset, *args: Any, **kwargs: Any) -> lance.LanceScanner:
        made = scanner(self, *args, **kwargs)
        plans.append(made.explain_plan(True))
        return made

    monkeypatch.setattr(lance.LanceDataset, "scanner", noted)
    regions = lance.dataset(f"{analysed_db}/regions.lance")
    regions.scanner(filter="kind = 'cell'")
    pl.scan_pyarrow_dataset(regions).filter(pl.col("kind") == "cell").select("text").collect()
    duckdb.sql("SELECT text FROM regions WHERE kind = 'cell'").fetchall()
    table = lancedb.connect(analysed_db).open_table("regions")
    plans.append(table.search().where("kind = 'cell'").explain_plan(True))
    by_itself = f"EXPLAIN SELECT text FROM '{regions.uri}' WHERE kind = 'cell'"
    through_a_view = "EXPLAIN SELECT text FROM regions WHERE kind = 'cell'"
    for statement in (by_itself, through_a_view):
        plans += [row[1] for row in connection.execute(statement).fetchall()]
    assert len(plans) == 6 and all("ScalarIndexQuery" in plan for plan in plans)


@pytest.fixture
def copied(analysed_db: str, tmp_path: Path) -> Path:
    """A folder with a copy of ``pages``."""
    shutil.copytree(f"{analysed_db}/pages.lance", tmp_path / "copy" / "pages.lance")
    return tmp_path / "copy"


def test_what_is_scanned_cannot_be_written_and_what_is_attached_is_lost(copied: Path) -> None:
    pages = copied / "pages.lance"
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{questions.extension()}'")
        for statement in (f"DELETE FROM '{pages}'", f"UPDATE '{pages}' SET page = 1"):
            with pytest.raises(duckdb.BinderException, match="base table"):
                connection.execute(statement)
        with pytest.raises(duckdb.CatalogException, match="does not exist"):
            connection.execute(f"INSERT INTO '{pages}' SELECT * FROM '{pages}'")
        with pytest.raises(duckdb.CatalogException, match="read-only"):
            connection.execute(f"ATTACH '{copied}' AS db (TYPE lance, READ_ONLY)")
        connection.execute(f"ATTACH '{copied}' AS db (TYPE lance)")
        true_of = "SELECT count(*) FROM db.main.pages WHERE page > 3"
        assert connection.execute(true_of).fetchall() == [(4,)]
        assert lance.dataset(str(pages)).count_rows() == 12
        connection.execute("DELETE FROM db.main.pages WHERE page > 3")
    # Where this fails, the extension was mended: then docs/sql.md can say so.
    assert lance.dataset(str(pages)).count_rows() == 0


def test_which_state_is_seen(copied: Path) -> None:
    place = str(copied / "pages.lance")
    count = f"SELECT count(*) FROM '{place}'"
    opened, table = lance.dataset(place), lancedb.connect(copied).open_table("pages")
    with duckdb.connect() as connection:
        connection.execute(f"LOAD '{questions.extension()}'")
        assert connection.execute(count).fetchall() == [(12,)]
        lance.write_dataset(opened.to_table(), place, mode="append")
        assert connection.execute(count).fetchall() == [(12,)]
        assert connection.cursor().execute(count).fetchall() == [(24,)]
    assert opened.count_rows() == table.count_rows() == 12
