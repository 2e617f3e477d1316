"""That a column of texts means what its values mean, and loses none of them."""

import csv
import io
import unicodedata
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from patchlight.tasks.ingest.columntypes import ARROW, Kind, TypeProblem, fitted

OF_KIND: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.WHOLE: st.integers(-(2**63), 2**63 - 1),
    Kind.NUMBER: st.floats(allow_nan=False, allow_infinity=False),
    Kind.YES_NO: st.booleans(),
    Kind.DATE: st.dates(date(1, 1, 2)),
    Kind.TIME: st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC)),
}


def made_of(values: Sequence[Any], stored: Kind | None, *, written: bool) -> tuple[Kind, pa.Array]:
    found = fitted(values, stored, written=written)
    return found or (Kind.TEXT, pa.nulls(len(values), pa.string()))


def composed(text: str) -> str:
    """As names of files are stored."""
    return unicodedata.normalize("NFC", text)


def written(value: Any) -> str:
    return value.isoformat() if isinstance(value, date) else str(value)


@pytest.mark.parametrize("kind", OF_KIND)
@given(data=st.data())
def test_what_is_written_means_what_it_was(kind: Kind, data: st.DataObject) -> None:
    values = data.draw(st.lists(st.none() | OF_KIND[kind], min_size=1))
    texts = [None if value is None else written(value) for value in values]
    found, column = made_of(texts, None, written=True)
    if any(value is not None for value in values):
        assert found is kind
        assert column.to_pylist() == values
    assert column.type == ARROW[found]


@pytest.mark.parametrize("kind", OF_KIND)
@given(data=st.data())
def test_typed_values_stay_what_they_are(kind: Kind, data: st.DataObject) -> None:
    values = data.draw(st.lists(OF_KIND[kind], min_size=1))
    found, column = made_of(values, None, written=False)
    assert found is kind
    assert column.to_pylist() == values


@given(st.lists(st.none() | st.text(min_size=1)))
def test_texts_are_kept_as_they_are_where_text_is_stored(texts: Sequence[str | None]) -> None:
    kind, column = made_of(texts, Kind.TEXT, written=True)
    assert kind is Kind.TEXT
    assert column.to_pylist() == [text and composed(text) for text in texts]


@given(st.lists(st.text(min_size=1), min_size=1))
def test_any_texts_are_a_column_that_says_the_same(texts: Sequence[str]) -> None:
    """Whatever is found in them, writing it out again gives the text, or the same value."""
    kind, column = made_of(texts, None, written=True)
    for text, value in zip(texts, column.to_pylist(), strict=True):
        if kind is Kind.TEXT:
            assert value == composed(text)
        else:
            assert made_of([text], None, written=True)[1].cast(ARROW[kind])[0].as_py() == value


@pytest.mark.parametrize(
    ("texts", "kind"),
    [
        (["1", "2"], Kind.WHOLE),
        (["1", "2.5"], Kind.NUMBER),
        (["1e+3"], Kind.NUMBER),
        (["1.5e3"], Kind.NUMBER),
        (["12e3"], Kind.TEXT),
        (["9007199254740993", "1.5"], Kind.TEXT),
        (["12345678901234567.89"], Kind.TEXT),
        (["0.30000000000000004"], Kind.NUMBER),
        (["0042", "17"], Kind.TEXT),
        (["+49"], Kind.TEXT),
        (["12345678901234567890"], Kind.TEXT),
        (["1" * 5000], Kind.TEXT),
        (["1e999"], Kind.TEXT),
        (["nan"], Kind.TEXT),
        (["inf"], Kind.TEXT),
        (["TRUE", "false"], Kind.YES_NO),
        (["1", "true"], Kind.TEXT),
        (["2026-02-28", "2026-02-30"], Kind.TEXT),
        (["2026-02-28"], Kind.DATE),
        (["2026-02-28", "2026-02-28T10:00Z"], Kind.TIME),
        (["28.02.2026"], Kind.TEXT),
        (["٣"], Kind.TEXT),
    ],
)
def test_what_texts_mean(texts: Sequence[str | None], kind: Kind) -> None:
    assert made_of(texts, None, written=True)[0] is kind


@pytest.mark.parametrize(
    ("stored", "values", "kind", "column"),
    [
        (Kind.WHOLE, ["1.5"], Kind.NUMBER, [1.5]),
        (Kind.NUMBER, ["1"], Kind.NUMBER, [1.0]),
        (Kind.DATE, ["2026-01-02T03:04Z"], Kind.TIME, [datetime(2026, 1, 2, 3, 4, tzinfo=UTC)]),
        (Kind.TIME, ["2026-01-02"], Kind.TIME, [datetime(2026, 1, 2, tzinfo=UTC)]),
        (Kind.TEXT, ["007", "1", "true"], Kind.TEXT, ["007", "1", "true"]),
        (Kind.YES_NO, [None], Kind.YES_NO, [None]),
    ],
)
def test_a_column_fits_what_is_stored(
    stored: Kind, values: Sequence[str | None], kind: Kind, column: Sequence[Any]
) -> None:
    found, made = made_of(values, stored, written=True)
    assert (found, made.to_pylist()) == (kind, list(column))


@pytest.mark.parametrize(
    ("stored", "values", "at"),
    [
        (Kind.DATE, ["2026-01-02", "soon"], 1),
        (Kind.WHOLE, ["1", "x"], 1),
        (Kind.YES_NO, ["true", "1"], 1),
        (Kind.NUMBER, ["2026-01-01"], 0),
        (Kind.NUMBER, ["1", "9007199254740993"], 1),
    ],
)
def test_what_does_not_fit_says_where(stored: Kind, values: Sequence[str], at: int) -> None:
    with pytest.raises(TypeProblem) as found:
        made_of(values, stored, written=True)
    assert found.value.at == at
    assert values[at] in found.value.problem


@pytest.mark.parametrize(
    "values",
    [
        [1, "a"],
        [True, 1],
        [{"a": 1}],
        [["a", 1]],
        [2**63],
        [float("inf")],
        [b"x"],
        ["\ud800"],
        [["\ud800"]],
        [["a"], "a"],
        [9007199254740993, 0.5],
        [Decimal("12345678901234567890.123456")],
    ],
)
def test_typed_values_that_cannot_be_one_column(values: Sequence[Any]) -> None:
    with pytest.raises(TypeProblem):
        made_of(values, None, written=False)


def test_lists_of_texts() -> None:
    kind, column = made_of([["a", "b"], [], None], None, written=False)
    assert kind is Kind.TEXTS
    assert column.to_pylist() == [["a", "b"], [], None]
    assert column.type == pa.list_(pa.field("item", pa.string()))


def test_a_file_that_is_written_from_the_column_means_the_same() -> None:
    """Exported with SQL as CSV, changed nowhere, and read again: nothing changes."""
    column = made_of(["2026-02-28T10:00:00+01:00"], None, written=True)[1]
    text = io.StringIO()
    csv.writer(text).writerow(["2026-02-28T09:00:00.000000Z"])
    again = made_of([text.getvalue().strip()], Kind.TIME, written=True)[1]
    assert again == column


def test_a_column_without_a_value_has_no_type() -> None:
    """It would be of texts for good, when dates come a month later."""
    assert fitted([None, None], None, written=True) is None
    assert fitted([None], Kind.DATE, written=True) is not None
