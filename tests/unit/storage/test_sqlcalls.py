"""Guards functions that a statement calls for rows: what they are asked, how their errors come."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from patchlight.storage.database import Database, State
from patchlight.storage.errors import SqlError, StorageUnavailable
from patchlight.storage.schema import Table
from patchlight.storage.sql import SqlSession
from tests.storage_examples import ENCODER, doc_id, fill


class Echo:
    """A row for each value that it is called with."""

    schema = pa.schema([("at", pa.int64()), ("said", pa.string())])

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []
        self.error: BaseException | None = None

    def __call__(self, *values: object) -> pa.Table:
        self.calls.append(values)
        if self.error is not None:
            raise self.error
        said = [repr(value) for value in values]
        return pa.table({"at": list(range(len(said))), "said": said}, self.schema)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    database = Database.create_or_open(tmp_path_factory.mktemp("calls") / "db", ENCODER)
    fill(database, "a", 2)
    return database.uri


@pytest.fixture
def echo() -> Echo:
    return Echo()


@pytest.fixture
def session(uri: str, echo: Echo) -> SqlSession:
    return SqlSession(uri, functions={"echo": lambda state: echo})


def ask(session: SqlSession, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = session.ask(query).read_all().to_pylist()
    return rows


@pytest.mark.parametrize(
    ("call", "values"),
    [
        ("echo()", ()),
        ("echo('it''s', 5, -1, 1.5, true, NULL)", ("it's", 5, -1, 1.5, True, None)),
        ("echo('a' || 'b', 2 + 3, CAST(4 AS SMALLINT))", ("ab", 5, 4)),
        ("ECHO('a')", ("a",)),
    ],
)
def test_a_function_is_asked_what_the_call_says(
    session: SqlSession, echo: Echo, call: str, values: tuple[object, ...]
) -> None:
    assert ask(session, f"SELECT said FROM {call} ORDER BY at") == [
        {"said": repr(value)} for value in values
    ]
    assert echo.calls == [values]


def test_each_call_has_its_own_rows_and_is_asked_once(session: SqlSession, echo: Echo) -> None:
    query = """
        SELECT a.said AS a, b.said AS b, p.page
        FROM echo(1) a JOIN echo(true) b ON a.at = b.at JOIN pages p ON p.page = a.at + 1
        WHERE a.at IN (SELECT at FROM echo(1))
    """
    for _ in range(2):
        assert ask(session, query) == [{"a": "1", "b": "True", "page": 1}]
    assert sorted(echo.calls, key=repr) == [(1,), (True,)]


def test_a_function_is_not_made_for_those_who_do_not_call_it(uri: str) -> None:
    made: list[State] = []

    def make(state: State) -> Echo:
        made.append(state)
        return Echo()

    session = SqlSession(uri, functions={"echo": make})
    tables = {row["table_name"] for row in ask(session, "SHOW TABLES")}
    assert ask(session, "SELECT count(*) AS n FROM pages") == [{"n": 2}] and not made
    ask(session, "SELECT * FROM echo(1) UNION ALL SELECT * FROM echo(2)")
    assert len(made) == 1
    assert {row["table_name"] for row in ask(session, "SHOW TABLES")} == tables


@pytest.mark.parametrize("value", ["name", "$1", "(SELECT 1)"])
def test_what_is_no_value_is_refused_without_asking(
    session: SqlSession, echo: Echo, value: str
) -> None:
    with pytest.raises(SqlError, match=r"^echo: .* is not a value\. It takes values"):
        ask(session, f"SELECT 1 FROM pages p, echo({value})")
    assert not echo.calls


def test_a_value_that_changes_is_refused(session: SqlSession) -> None:
    """Its rows would be those of a call that nobody makes, and the answer none, in silence."""
    with pytest.raises(SqlError, match=r"^echo: a value is another each time"):
        ask(session, "SELECT said FROM echo(CAST(now() AS VARCHAR))")
    assert ask(session, "SELECT said FROM echo(1)") == [{"said": "1"}]


@pytest.mark.parametrize(
    "query", ["SELECT nope FROM echo(1)", "COPY (SELECT * FROM echo(1)) TO 'x'"]
)
def test_nothing_is_asked_for_a_statement_that_is_wrong(
    session: SqlSession, echo: Echo, query: str
) -> None:
    with pytest.raises(SqlError, match=r"nope|COPY"):
        ask(session, query)
    assert not echo.calls
    assert ask(session, "SELECT said FROM echo(2)") == [{"said": "2"}] and echo.calls == [(2,)]


@pytest.mark.parametrize(
    "error", [StorageUnavailable("gone"), KeyError("ours"), KeyboardInterrupt()]
)
def test_what_a_function_raises_comes_as_it_is(
    session: SqlSession, echo: Echo, error: BaseException
) -> None:
    """Not as text in a message of the engine, which would lose its type, exit code and cause."""
    echo.error = error
    with pytest.raises(type(error)) as caught:
        ask(session, "SELECT * FROM echo(1)")
    assert caught.value is error
    echo.error = None
    assert ask(session, "SELECT said FROM echo(1)") == [{"said": "1"}]


def test_a_session_and_its_functions_see_one_state(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    fill(database, "a", 2)
    states: list[State] = []

    def make(state: State) -> Echo:
        states.append(state)
        return Echo()

    session = SqlSession(database.uri, functions={"echo": make})
    fill(database, "b", 1)
    assert ask(session, "SELECT count(*) AS n FROM pages, echo(1)") == [{"n": 2}]
    [state] = states
    assert state.snapshot() != database.snapshot()
    assert [d.doc_id for d in state.documents()] == [doc_id("a")]
    pinned = {name: state.table(Table(name)).version for name in state.snapshot().versions}
    assert pinned == state.snapshot().versions
