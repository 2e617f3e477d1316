"""Arguments that are not Unicode, which neither Prefect nor Ray can hold; and wrong ones."""

from __future__ import annotations

import os
import sys

import pytest
import typer

from patchlight.flows.__main__ import app
from patchlight.flows.options import restart_in_unicode
from patchlight.storage.errors import ExitCode
from patchlight.tasks.common.errors import UsageError


@pytest.mark.parametrize(
    ("line", "restarted"),
    [
        (
            ["python", "-m", "patchlight", "ingest", "a\udce9", "b", "--db", "db"],
            ["-m", "patchlight", "ingest", "file:///a", "b", "--db", "db"],
        ),
        (
            ["python", "patchlight", "retry", "--doc=a\udce9"],
            ["patchlight", "retry", "--doc=file:///a"],
        ),
        (["python", "patchlight", "ingest", "b"], None),
        (["python", "patchlight", "ingest", "ba\udce9"], None),
    ],
)
def test_a_process_starts_anew_with_what_means_the_same(
    line: list[str], restarted: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(sys, "orig_argv", line)
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append(arguments))
    restart_in_unicode({"a\udce9": "file:///a", "b": "b"})
    assert started == ([[sys.executable, *restarted]] if restarted else [])


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (["ask", "where?", "--out", ""], "--out '': a path must not be empty"),
        (["sql", "SELECT 1", "--file", ""], "--file '': a path must not be empty"),
        (["query", "", "--out", "o"], "FILE '': a path must not be empty"),
        (["ingest", "a", ""], "SOURCE... ['a', '']: a path must not be empty"),
        (["ask", "where?", "--out", "file://[x/a"], "--out 'file://[x/a': invalid IPv6 URL"),
    ],
)
def test_a_wrong_value_is_named_as_it_was_typed(line: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        app([*line, "--db", "db"], standalone_mode=False)
    assert str(raised.value) == message


def test_sql_is_asked_of_no_other_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATCHLIGHT_DB", "theirs")
    with pytest.raises(UsageError, match=r"^--db '': a database must not be empty$"):
        app(["sql", "SELECT 1", "--db", ""], standalone_mode=False)


@pytest.mark.parametrize(
    "line",
    [
        *([command, "--db", " "] for command in ("status", "failures", "digest")),
        ["delete", "a.pdf", "--db", ""],
        ["digest", "--db", "db", "--against", ""],
        ["failures", "--db", "db", "--doc", " "],
    ],
)
def test_what_names_nothing_is_refused_without_a_request_too(
    line: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is deleted must not be deleted from another database, whose name was not given."""
    monkeypatch.setenv("PATCHLIGHT_DB", "theirs")
    with pytest.raises(typer.BadParameter) as raised:
        app(line, standalone_mode=False)
    problem = f"must not be {'blank' if line[-1] else 'empty'}"
    assert f"'{line[-2]}': a " in raised.value.format_message()
    assert problem in raised.value.format_message()
    assert raised.value.exit_code == ExitCode.USAGE
