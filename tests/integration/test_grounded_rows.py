"""Guards ``grounded(...)`` in SQL: it finds what ``ask`` finds, and says what ``ask`` says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.database import Database, State
from patchlight.storage.errors import ExitCode
from patchlight.storage.schema import Table
from patchlight.storage.sql import SqlSession
from patchlight.tasks.admin.groundedrows import MOST_PAGES, Grounded
from patchlight.tasks.answers.asking import ask
from patchlight.tasks.answers.results import as_retrievals
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import Encoder, EncoderInfo
from patchlight.tasks.requests.query import AskRequest
from tests.integration.conftest import run
from tests.storage_examples import ENCODER, fill

OWN = ("name", "page_id", "page_key")
"""Columns that ``retrievals`` has not."""


def asked(db: str, question: str, **more: Any) -> list[dict[str, Any]]:
    """What ``ask`` finds, in the columns that both have."""
    request = AskRequest(query=question, db=db, **more)
    found = ask(db, question, request.options(), where=request.where)
    rows = as_retrievals(found.answer, found.session.catalog, "")
    names = [name for name in Grounded(state_of(db)).schema.names if name not in OWN]
    return [{name: getattr(row, name) for name in names} for row in rows]


def state_of(db: str) -> State:
    return State(Database.open(db))


def grounded(db: str, call: str, rest: str = "") -> list[dict[str, Any]]:
    session = SqlSession(db, functions={"grounded": Grounded})
    query = f"SELECT g.* FROM grounded({call}) g {rest} ORDER BY page_rank, region_rank"
    rows: list[dict[str, Any]] = session.ask(query).read_all().to_pylist()
    return rows


@pytest.mark.parametrize(
    ("call", "question", "more"),
    [
        ("'harbour dues'", "harbour dues", {}),
        ("'harbour dues', 8", "harbour dues", {"top_pages": 8}),
        ("'What was total revenue?', 1", "What was total revenue?", {"top_pages": 1}),
        (
            "'berth depth', 5, 'page <= 2 AND name NOT LIKE ''%letter%'''",
            "berth depth",
            {"top_pages": 5, "where": "page <= 2 AND name NOT LIKE '%letter%'"},
        ),
        # More pages than there are.
        ("'surplus', 100", "surplus", {"top_pages": 100}),
    ],
)
def test_grounded_finds_what_ask_finds(
    analysed_db: str, call: str, question: str, more: dict[str, Any]
) -> None:
    expected = asked(analysed_db, question, **more)
    found = grounded(analysed_db, call)
    boxes = ("x0", "y0", "x1", "y1")
    for ours, theirs in zip(found, expected, strict=True):
        assert [ours.pop(name) for name in boxes] == pytest.approx(
            [theirs.pop(name) for name in boxes], abs=1e-7
        )
        assert {name: ours[name] for name in theirs} == theirs


def test_rows_join_what_they_are_of(analysed_db: str) -> None:
    join = """
        JOIN pages p ON p.page_key = g.page_key AND p.page_id = g.page_id AND p.page = g.page
        JOIN documents d ON d.doc_id = g.doc_id AND d.name = g.name AND d.uri = g.source
        JOIN all_regions r ON r.region_id = split_part(g.region_id, '+', 1)
            AND (r.text = g.text OR g.region_id LIKE '%+%')
    """
    call = "'harbour dues and revenue', 8"
    found = grounded(analysed_db, call)
    assert len(found) >= 8 and grounded(analysed_db, call, join) == found


def test_what_people_know_of_documents_is_a_condition_and_joins(analysed_db: str) -> None:
    condition = "team = ''research''"
    found = grounded(analysed_db, f"'vessels and berths', 9, '{condition}'")
    known = "JOIN metadata m ON m.doc_id = g.doc_id AND m.team = 'research'"
    everywhere = grounded(analysed_db, "'vessels and berths', 99", known)
    # The same bytes as two-column-paper.pdf, found first under this name.
    assert {Path(row["name"]).name for row in found} == {"again.pdf"}
    places = [(row["page"], row["region_id"], row["score"]) for row in found]
    assert places == [(row["page"], row["region_id"], row["score"]) for row in everywhere]


def test_columns_that_other_tables_have_are_as_there(analysed_db: str) -> None:
    schema, database = Grounded(state_of(analysed_db)).schema, Database.open(analysed_db)
    for table, names in (
        (Table.RETRIEVALS, set(schema.names) - set(OWN)),
        (Table.PAGES, {"page_id", "page_key", "page", "doc_id", "width_pt"}),
        (Table.REGIONS, {"region_id", "kind", "text", "x0", "y1"}),
        (Table.DOCUMENTS, {"name"}),
    ):
        theirs = database.table(table).schema
        assert {n: schema.field(n).type for n in names} == {n: theirs.field(n).type for n in names}


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, text_patch: Encoder) -> list[EncoderInfo]:
    """What was loaded; none is loaded anew."""
    loads: list[EncoderInfo] = []

    def load(info: EncoderInfo) -> Encoder:
        loads.append(info)
        return text_patch

    monkeypatch.setattr(registry, "load", load)
    return loads


def test_the_encoder_is_loaded_once_and_only_where_it_is_needed(
    analysed_db: str, loaded: list[EncoderInfo], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("sql", "SELECT 'grounded' AS w FROM pages", "--db", analysed_db) == ExitCode.OK
    assert run("sql", "SELECT nope FROM grounded('dues')", "--db", analysed_db) == ExitCode.USAGE
    assert not loaded
    file = tmp_path / "q.sql"
    file.write_text(
        "SELECT a.page FROM grounded('harbour dues') a JOIN grounded('berth', 9) b "
        "ON a.page_id = b.page_id; SELECT page FROM grounded('surplus', 2, 'page = 7')"
    )
    assert run("sql", "--file", str(file), "--db", analysed_db) == ExitCode.OK
    assert len(loaded) == 1
    capsys.readouterr()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("", "takes 1 to 3 values and was given 0"),
        ("'a', 5, 'page = 1', 4", "takes 1 to 3 values and was given 4"),
        ("''", "the question is a text that is not blank, and not ''"),
        ("' '", "not ' '"),
        ("NULL", "not NULL"),
        ("5", "the question is a text that is not blank, and not 5"),
        ("X'00'", "not of type bytes"),
        ("'dues', '5'", f"a whole number from 1 to {MOST_PAGES}, and not '5'"),
        ("'dues', 0", "not 0"),
        ("'dues', -1", "not -1"),
        (f"'dues', {MOST_PAGES + 1}", f"not {MOST_PAGES + 1}"),
        ("'dues', 2.0", "not 2.0"),
        ("'dues', true", "not true"),
        ("'dues', NULL", "not NULL"),
        ("'dues', 5, NULL", "the condition is a text that is not blank, and not NULL"),
        ("'dues', 5, ''", "not ''"),
        ("'dues', 5, 'nope = 1'", "No field named nope"),
        ("'dues', 5, 'page = 1; DROP TABLE pages'", "A condition is an expression"),
        ("name", "name is not a value"),
        ("top_pages => 5", "Unsupported function argument type"),
    ],
)
def test_a_wrong_call_is_a_wrong_statement_and_loads_nothing(
    analysed_db: str,
    loaded: list[EncoderInfo],
    call: str,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    query = f"SELECT page FROM documents, grounded({call}) g"
    assert run("sql", query, "--db", analysed_db) == ExitCode.USAGE
    printed = capsys.readouterr()
    assert said in printed.err and not printed.out and not loaded
    assert "raceback" not in printed.err and "PyErr" not in printed.err


@pytest.mark.parametrize(
    ("question", "where"), [("?!", None), ("dues", "page > 100")], ids=["no word", "no page"]
)
def test_what_ask_refuses_is_refused_alike(
    analysed_db: str, question: str, where: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--where", where] if where else []
    assert run("ask", question, "--db", analysed_db, *options) == ExitCode.BAD_INPUT
    expected = capsys.readouterr().err
    call = f"'{question}', 3, '{where}'" if where else f"'{question}'"
    query = f"SELECT page FROM grounded({call})"
    assert run("sql", query, "--db", analysed_db) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err == expected
    two = f"SELECT 1 AS one; {query}"
    assert run("sql", two, "--db", analysed_db) == ExitCode.BAD_INPUT
    assert "statement 2 of 2: " in capsys.readouterr().err


def test_a_database_without_pages_is_refused_as_by_ask(
    empty_db: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("ask", "dues", "--db", empty_db.uri) == ExitCode.BAD_INPUT
    expected = capsys.readouterr().err
    query = "SELECT page FROM grounded('dues')"
    assert run("sql", query, "--db", empty_db.uri) == ExitCode.BAD_INPUT
    assert capsys.readouterr().err == expected and "no page to search" in expected


def test_an_encoder_that_is_not_here_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    fill(database, "a", 1)
    query = "SELECT page FROM grounded('dues')"
    assert run("sql", query, "--db", database.uri) == ExitCode.DATABASE
    assert "the database was made with encoder text-patch (0123" in capsys.readouterr().err
    given = ("--encoder", str(tmp_path / "none"))
    assert run("sql", query, "--db", database.uri, *given) == ExitCode.USAGE
    assert str(tmp_path / "none") in capsys.readouterr().err


def test_rows_go_out_in_every_form(
    analysed_db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "SELECT name, page, text, score FROM grounded('harbour dues', 5) WHERE kind <> ''"
    assert run("sql", query, "--db", analysed_db, "--format", "jsonl") == ExitCode.OK
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [row for row in asked(analysed_db, "harbour dues", top_pages=5) if row["kind"]]
    assert [row["score"] for row in rows] == [row["score"] for row in expected]
