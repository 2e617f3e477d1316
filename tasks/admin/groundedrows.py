"""``grounded('question', pages, 'condition')`` of SQL: what ``ask`` finds, as rows."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from patchlight.storage.convert import retrievals_table
from patchlight.storage.database import State
from patchlight.storage.engine import quoted, shortened
from patchlight.storage.errors import SqlError
from patchlight.storage.schema import BOX
from patchlight.tasks.answers.asking import Asker
from patchlight.tasks.answers.results import as_retrievals
from patchlight.tasks.requests.query import AskRequest

MOST_PAGES = 10_000
"""Pages of one call: what is found on them, some 30 KB a page, is in memory at once."""

_WRITE = (
    "Write grounded('question'), grounded('question', 5) for the 5 best pages, or "
    "grounded('question', 5, 'page <= 20') for the best of those for which a condition is true"
)

_COLUMNS = [
    *("query", "page_rank", "region_rank", "doc_id", "name", "source"),
    *("page_id", "page_key", "page", "page_score", "kind", "region_id", "text", "score"),
    *(*BOX, "width_pt", "height_pt"),
]
"""Those of ``retrievals`` that are not of a run, and what joins ``pages`` and ``documents``."""


class Grounded:
    """Answers the calls of a session as ``ask`` does, all from one state of the database.

    Args:
        state: of the database.
        encoder: where to take its encoder from; None for where it was at ingest.
    """

    def __init__(self, state: State, encoder: str | None = None) -> None:
        self._uri = state.uri
        self._asker = Asker(state, encoder)
        self._schema = _rows(retrievals_table([]), [], [], []).schema

    @property
    def schema(self) -> pa.Schema:
        """Columns of the rows."""
        return self._schema

    def __call__(self, *values: object) -> pa.Table:
        """Answer a question.

        Args:
            values: the question, how many pages, and a condition as of ``--where``; the last two
                may be left out.

        Returns:
            A row a region, or a page without one.

        Raises:
            SqlError: values are missing, too many, of a wrong type or out of range, or the
                condition is wrong.
            InputError: the question holds nothing to search for, or there is no page to search.
            EncoderUnavailable, EncoderMismatch: the database's encoder is not here.
        """
        request = AskRequest(db=self._uri, **_fields(values))
        asked = self._asker.ask(request.query, request.options(), where=request.where)
        catalog = asked.session.catalog
        found = retrievals_table(as_retrievals(asked.answer, catalog, "grounded"))
        hits = asked.answer.pages
        at = [hits[rank - 1].hit.position for rank in found["page_rank"].to_pylist()]
        return _rows(
            found,
            [catalog.names[position] for position in at],
            [catalog.page_ids[position] for position in at],
            [int(catalog.page_keys[position]) for position in at],
        )


def _rows(found: pa.Table, names: list[str], page_ids: list[str], page_keys: list[int]) -> pa.Table:
    """Rows of ``retrievals``, and of each its document's name and the keys of its page."""
    found = (
        found.append_column("name", pa.array(names, pa.string()))
        .append_column("page_id", pa.array(page_ids, pa.string()))
        .append_column("page_key", pa.array(page_keys, pa.int64()))
    )
    return found.select(_COLUMNS)


def _fields(values: tuple[object, ...]) -> dict[str, Any]:
    """What a call says of the fields of a request; what it leaves out has the usual value."""
    if not 1 <= len(values) <= len(_TAKES):
        raise SqlError(
            f"grounded takes 1 to {len(_TAKES)} values and was given {len(values)}. {_WRITE}."
        )
    fields = {}
    for (field, what, fits), value in zip(_TAKES, values, strict=False):
        if not fits(value):
            raise SqlError(f"grounded: {what}, and not {_shown(value)}. {_WRITE}.")
        fields[field] = value
    return fields


def _says_something(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_number_of_pages(value: object) -> bool:
    return type(value) is int and 1 <= value <= MOST_PAGES


_TAKES = (
    ("query", "the question is a text that is not blank", _says_something),
    (
        "top_pages",
        f"the number of pages is a whole number from 1 to {MOST_PAGES}",
        _is_number_of_pages,
    ),
    ("where", "the condition is a text that is not blank", _says_something),
)
"""Field of a request, what its value is, and whether a value is that; in the order of a call."""


def _shown(value: object) -> str:
    match value:
        case None:
            return "NULL"
        case str():
            return quoted(shortened(value, 60))
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case _:
            return f"of type {type(value).__name__}"
