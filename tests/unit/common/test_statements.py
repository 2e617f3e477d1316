"""A file of SQL is parted into its statements where the engine would part it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlight.storage.sqlengine import sql_context
from patchlight.storage.sqlmemory import MemoryBound
from patchlight.tasks.common.statements import statements_of

WHOLE = [
    "SELECT ';' AS x",
    "SELECT 'it''s; so' AS x",
    'SELECT 1 AS "a;""b"',
    "SELECT 1 AS `a;b`",
    r"SELECT E'a\';b' AS x",
    r"SELECT 'a\' AS x",
    "SELECT $$a;b'$$ AS x",
    "SELECT $t$a;$$;b$t$ AS x",
    "SELECT 1 -- not; here'\n AS x",
    "SELECT /* a; /* b; */ 'c; */ 1 AS x",
    "SELECT 1 AS x /* ; */ -- ;",
    "SELECT 2 - -1 AS x",
    "SELECT 4 / 2 * 3 AS x",
    "-- first; a comment\nSELECT 1 AS x",
]


@pytest.mark.parametrize("statement", WHOLE)
def test_what_is_one_statement_to_the_engine_is_one(statement: str) -> None:
    assert statements_of(statement) == [statement]
    assert statements_of(f"{statement}\n;\n{statement}\n;") == [statement] * 2
    assert sql_context(MemoryBound(256)).sql(statement).count() == 1


@pytest.mark.parametrize("text", ["", " \n", ";", ";;", "-- nothing;", "/* ; */ ;", "/* open ;"])
def test_where_nothing_is_said_there_is_no_statement(text: str) -> None:
    assert statements_of(text) == []


@pytest.mark.parametrize("text", ["SELECT ';", 'SELECT ";', "SELECT 1 /* ;", "SELECT $$;"])
def test_what_is_not_closed_goes_to_the_end(text: str) -> None:
    assert statements_of(text) == [text]


@given(st.lists(st.sampled_from(WHOLE), max_size=6))
def test_statements_side_by_side_come_back(statements: list[str]) -> None:
    assert statements_of("\n;\n".join(statements)) == statements


@given(st.text(alphabet="';\"`-/*$eE\\ \na", max_size=40))
def test_nothing_is_lost(text: str) -> None:
    found = statements_of(text)
    at = 0
    for statement in found:
        assert statement == statement.strip() and statement
        at = text.index(statement, at) + len(statement)
