"""Answers to SQL: which statements are asked, in what form the rows come, and where they go."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from patchlight.storage.database import State
from patchlight.storage.errors import SqlError
from patchlight.storage.sql import SqlSession
from patchlight.storage.sqlcalls import RowsFunction
from patchlight.tasks.common.advice import ADVICE
from patchlight.tasks.common.errors import InputError, UsageError
from patchlight.tasks.common.rowtables import as_lines
from patchlight.tasks.common.rowtexts import (
    Tell,
    as_csv,
    as_json_array,
    as_json_lines,
    write_parquet,
)
from patchlight.tasks.common.statements import statements_of
from patchlight.tasks.requests.sql import RowFormat, SqlRequest

_GROUNDED = "grounded"
"""The function that asks a question, as statements call it."""
_STDIN = "-"
_OF_TABLES = ("", "txt", "table")
"""Suffixes of files that are to be read by people."""
_LARGEST = 16 << 20
"""Bytes of SQL that are read; more is no SQL."""


def answers(request: SqlRequest, memory_mb: int, tell: Tell) -> Iterator[str]:
    """Answer statements, and yield the lines to be printed of it.

    Args:
        request: what is asked.
        memory_mb: MiB that a statement may take.
        tell: is told what is to be known beside the rows.

    Raises:
        UsageError: no statement or more than one source of them, or a form that does not go.
        InputError: the file with the statements cannot be read, or there is nothing to be found
            that a statement looks for with ``grounded``.
        SqlError: a statement is wrong; those before it are answered.
        EncoderUnavailable, EncoderMismatch: a statement needs the encoder, and it is not here.
        DatabaseNotFound, SchemaMismatch, StorageUnavailable: as `Database.open`.
    """
    how = _format_of(request)
    asked = _asked(request)
    if len(asked) > 1 and how is not RowFormat.TABLE:
        raise UsageError(
            f"{len(asked)} statements: {how.value} holds the rows of one. Give one statement, or "
            "--format table"
        )
    functions = {_GROUNDED: lambda state: _grounded(state, request.encoder)}
    session = SqlSession(request.db, memory_mb, ADVICE, functions)
    lines = _texts(session, asked, how, request.raw, tell)
    if request.out is None:
        yield from lines
        return
    path = Path(request.out)
    with _out(path) as part:
        if how is RowFormat.PARQUET:
            count = write_parquet(session.ask(asked[0]), part, tell)
            tell(f"{count} rows are in {path}")
        else:
            _write(part, lines)
            tell(f"the rows are in {path}")


def _grounded(state: State, encoder: str | None) -> RowsFunction:
    # What answers questions is not for those who only look.
    from patchlight.tasks.admin.groundedrows import Grounded

    return Grounded(state, encoder)


def _texts(
    session: SqlSession, asked: list[str], how: RowFormat, raw: bool, tell: Tell
) -> Iterator[str]:
    for number, statement in enumerate(asked, 1):
        if number > 1:
            yield ""
        try:
            yield from _lines(session.ask(statement), how, raw, tell)
        except (SqlError, InputError) as error:
            if len(asked) == 1:
                raise
            raise type(error)(f"statement {number} of {len(asked)}: {error}") from error


def _lines(rows: pa.RecordBatchReader, how: RowFormat, raw: bool, tell: Tell) -> Iterable[str]:
    match how:
        case RowFormat.CSV:
            return as_csv(rows, tell, raw=raw)
        case RowFormat.JSON:
            return as_json_array(rows, tell)
        case RowFormat.JSONL:
            return as_json_lines(rows, tell)
        case _:
            return as_lines(rows)


def _format_of(request: SqlRequest) -> RowFormat:
    how = request.format
    if how is None:
        suffix = Path(request.out or "").suffix.lower().removeprefix(".")
        how = RowFormat(suffix) if suffix in set(RowFormat) else RowFormat.TABLE
        if request.out and how is RowFormat.TABLE and suffix not in _OF_TABLES:
            raise UsageError(
                f"--out {request.out}: its suffix names no form of rows. Use .csv, .json, .jsonl, "
                ".parquet or .txt, or say --format"
            )
    if how is RowFormat.PARQUET and request.out is None:
        raise UsageError("--format parquet needs a file: give --out FILE")
    if request.raw and how is not RowFormat.CSV:
        raise UsageError(f"--raw is for CSV; {how.value} is as it is")
    return how


def _asked(request: SqlRequest) -> list[str]:
    if (request.statement is None) == (request.file is None):
        raise UsageError("give SQL as SELECT, or '-' for stdin, or with --file FILE: one of them")
    if request.file is not None:
        text, source = _read(request.file), request.file
    elif request.statement == _STDIN:
        text, source = _decoded(sys.stdin.buffer.read(_LARGEST + 1), "stdin"), "stdin"
    else:
        text, source = request.statement or "", "SELECT"
    found = statements_of(text)
    if not found:
        raise UsageError(f"{source}: there is no SQL statement in it")
    return found


def _read(path: str) -> str:
    try:
        with Path(path).open("rb") as file:
            return _decoded(file.read(_LARGEST + 1), path)
    except OSError as error:
        raise InputError(
            f"{path}: the file with the SQL cannot be read ({error.strerror or error})"
        ) from error


def _decoded(data: bytes, source: str) -> str:
    if len(data) > _LARGEST:
        raise InputError(f"{source}: more than {_LARGEST >> 20} MiB, which is no SQL")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{source}: is not UTF-8 (byte {error.start}); save it as that") from error


@contextmanager
def _out(path: Path) -> Iterator[Path]:
    """A file that takes the place of another only when it is whole.

    Raises:
        UsageError: it cannot be written.
    """
    from patchlight.tasks.answers.results import whole_file  # not for those who only look

    if path.exists() and not path.is_file():
        raise UsageError(f"--out {path}: is there and is no file")
    try:
        with whole_file(path) as part:
            yield part
    except OSError as error:
        raise UsageError(f"--out {path}: cannot be written ({error.strerror or error})") from error


def _write(path: Path, lines: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines(f"{line}\n" for line in lines)
