"""Guards how queries become blocks: one that cannot be encoded is a bad row, and ends no other."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from patchlight.storage.records import QueryEncoding, TermStatistics
from patchlight.tasks.answers.queryfile import QueryRow
from patchlight.tasks.answers.querysession import QuerySession, _file_safe
from patchlight.tasks.common.errors import DeviceLost, EncodingFailed, Stage

GOOD = QueryEncoding(("a",), np.eye(1, dtype=np.float32), np.ones(1, np.float32), np.ones(1, bool))


class Everywhere:
    """Scopes that leave every page."""

    def positions(self, doc: object, pages: object) -> None:
        return None


@pytest.fixture
def session() -> QuerySession:
    session = object.__new__(QuerySession)
    session.statistics = None
    session._scopes = Everywhere()  # type: ignore[assignment]
    return session


def rows(*queries: str) -> list[QueryRow]:
    return [QueryRow(n, f"q{n}", query, None, None) for n, query in enumerate(queries, 1)]


def test_queries_that_cannot_be_encoded_are_bad_rows_in_one_call(session: QuerySession) -> None:
    calls = []

    def encode(
        queries: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding | Exception]:
        calls.append(list(queries))
        return [
            GOOD,
            ValueError("it says nothing"),
            EncodingFailed("no finite vectors", Stage.ENCODE),
            KeyError("token"),
            GOOD,
        ]

    block, bad = session.block(rows("one", "?!", "nan", "odd", "five"), encode)
    assert calls == [["one", "?!", "nan", "odd", "five"]]
    assert block is not None
    assert [row.query for row in block.rows] == ["one", "five"]
    assert block.encodings == (GOOD, GOOD)
    assert [(row.line, row.query_id) for row in bad] == [(2, "q2"), (3, "q3"), (4, "q4")]
    for row, said in zip(
        bad,
        ("it says nothing", "no finite vectors", "the encoder failed (KeyError: 'token')"),
        strict=True,
    ):
        assert row.message.endswith(f": {said}")


def test_a_lost_encoder_is_no_bad_row(session: QuerySession) -> None:
    def encode(
        queries: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding | Exception]:
        raise DeviceLost("gone")

    with pytest.raises(DeviceLost):
        session.block(rows("one"), encode)


@given(st.text(min_size=1), st.text(min_size=1))
@example("../../etc/passwd", "..\\..")
@example("..", ".")
@example("/", "a\n\x1b[2J")
@example("a" * 300, "a" * 300 + "b")
@example("\udce9", "\u202e")
def test_a_query_id_names_a_file_in_its_folder_and_no_other_one_s(one: str, other: str) -> None:
    for query_id in (one, other):
        assert re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,90}", _file_safe(query_id))
    assert one == other or _file_safe(one) != _file_safe(other)
