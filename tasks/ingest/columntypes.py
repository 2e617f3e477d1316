"""Types of columns that people hand in: found from their values, fitted to what is stored; pure."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa

from patchlight.tasks.common.safetext import composed


class Kind(StrEnum):
    """What a column holds, in the words of messages."""

    TEXT = "texts"
    WHOLE = "whole numbers"
    NUMBER = "numbers"
    YES_NO = "true and false"
    DATE = "dates"
    TIME = "times"
    TEXTS = "lists of texts"


ARROW: Mapping[Kind, pa.DataType] = {
    Kind.TEXT: pa.string(),
    Kind.WHOLE: pa.int64(),
    Kind.NUMBER: pa.float64(),
    Kind.YES_NO: pa.bool_(),
    Kind.DATE: pa.date32(),
    Kind.TIME: pa.timestamp("us", tz="UTC"),
    Kind.TEXTS: pa.list_(pa.field("item", pa.string())),
}
"""How a column of a kind is stored."""

_WIDER = {(Kind.WHOLE, Kind.NUMBER): Kind.NUMBER, (Kind.DATE, Kind.TIME): Kind.TIME}
"""What holds the values of both."""

_WHOLE = re.compile(r"-?(0|[1-9]\d*)", re.ASCII)
_NUMBER = re.compile(r"-?(0|[1-9]\d*)((\.\d+)([eE][+-]?\d+)?|[eE][+-]\d+)", re.ASCII)
"""With a point, or an exponent with a sign as programs write it: 12e3 may be a part number."""
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d([.,]\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_LARGEST = 2**63
_DIGITS = 17
_LONGEST = 20
"""Characters of a whole number of 64 bits; Python refuses to read one of thousands."""


class TypeProblem(Exception):
    """A value that does not fit; only seen inside this project.

    Args:
        at: position of the value.
        problem: what is wrong with it, e.g. ``'soon' is not one of dates``.
    """

    def __init__(self, at: int, problem: str) -> None:
        super().__init__(problem)
        self.at = at
        self.problem = problem


@dataclass(frozen=True, slots=True)
class _Value:
    """A value that was understood.

    Attributes:
        kind: what it is.
        value: in Python's type for that.
        raw: as it was written.
    """

    kind: Kind
    value: Any
    raw: Any


def kind_of(stored: pa.DataType) -> Kind:
    """What a stored column holds.

    Raises:
        ValueError: it is of a type that no column of people has.
    """
    for kind, arrow in ARROW.items():
        if arrow.equals(stored):
            return kind
    raise ValueError(f"no column that people hand in is of type {stored}")


def fitted(
    values: Sequence[Any], stored: Kind | None, *, written: bool
) -> tuple[Kind, pa.Array] | None:
    """Make a column of values; None where there is no value, and nothing is stored.

    Args:
        values: of the rows; None for one that is missing.
        stored: what a column of that name holds already; None if there is none.
        written: whether all values are texts, as CSV has them, that may mean something else.

    Returns:
        What the column is to hold, which may be more than what is stored: numbers where that
        is whole numbers, times where it is dates; and the values, in that type.

    Raises:
        TypeProblem: a value is of no type that is taken, or fits neither the others nor what is
            stored.
    """
    understand = _meant if written else _given
    known = [None if one is None else understand(at, one) for at, one in enumerate(values)]
    found = _common(known, written=written)
    kind = _with_stored(known, found, stored) if stored else found
    if kind is None:
        return None
    if kind is Kind.NUMBER and (at := _inexact(known)) is not None:
        if stored or not written:
            raise TypeProblem(at, f"{values[at]!r} has more digits than numbers there can hold")
        kind = Kind.TEXT
    return kind, pa.array([one and _as(kind, one) for one in known], ARROW[kind])


def _common(known: Sequence[_Value | None], *, written: bool) -> Kind | None:
    """The kind that holds all values; None if all are missing."""
    found: Kind | None = None
    for at, one in enumerate(known):
        if one is None or one.kind is found:
            continue
        wider = one.kind if found is None else _wider(found, one.kind)
        if wider is None:
            texts = {found, one.kind} <= {Kind.TEXT, Kind.DATE, Kind.TIME}
            if written or texts:
                return Kind.TEXT
            raise TypeProblem(at, f"{one.raw!r} does not go with the {found} above it")
        found = wider
    return found


def _with_stored(known: Sequence[_Value | None], found: Kind | None, stored: Kind) -> Kind:
    """What a column is to hold that is stored already."""
    wider = stored if found is None else _wider(stored, found)
    if wider:
        return wider
    if stored is Kind.TEXT and found is not Kind.TEXTS:
        return stored
    at = next(i for i, one in enumerate(known) if one and _wider(stored, one.kind) is None)
    value = known[at]
    assert value is not None
    raise TypeProblem(at, f"{value.raw!r} does not fit: the database has {stored} there")


def _inexact(known: Sequence[_Value | None]) -> int | None:
    """The first number that loses digits as one of 64-bit floating point."""
    for at, one in enumerate(known):
        if one and one.kind is Kind.WHOLE and int(float(one.value)) != one.value:
            return at
        if one and one.kind is Kind.NUMBER and isinstance(one.raw, str):
            # The shortest text of a number has at most 17 digits; what has more was no such number.
            digits = len(Decimal(one.raw).normalize().as_tuple().digits)
            if digits > _DIGITS and Decimal(one.raw) != Decimal(repr(one.value)):
                return at
    return None


def _wider(one: Kind, other: Kind) -> Kind | None:
    if one is other:
        return one
    return _WIDER.get((one, other)) or _WIDER.get((other, one))


def _as(kind: Kind, one: _Value) -> Any:
    if kind is one.kind:
        return one.value
    match kind:
        case Kind.TEXT:
            return composed(one.raw) if isinstance(one.raw, str) else _text(one.raw)
        case Kind.NUMBER:
            return float(one.value)
        case Kind.TIME:
            return datetime(one.value.year, one.value.month, one.value.day, tzinfo=UTC)
    raise AssertionError(f"{one.kind} is not stored as {kind}")


def _text(raw: Any) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    return raw.isoformat() if isinstance(raw, date) else str(raw)


def _meant(at: int, text: str) -> _Value:
    """What a text of CSV means."""
    if text.lower() in ("true", "false"):
        return _Value(Kind.YES_NO, text.lower() == "true", text)
    whole = len(text) <= _LONGEST and _WHOLE.fullmatch(text)
    if whole and -_LARGEST <= int(text) < _LARGEST:
        return _Value(Kind.WHOLE, int(text), text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return _Value(Kind.NUMBER, float(text), text)
    return _dated(text)


def _dated(text: str) -> _Value:
    """A date, a time, or another text."""
    try:
        if _DATE.fullmatch(text):
            return _Value(Kind.DATE, date.fromisoformat(text), text)
        if _TIME.fullmatch(text):
            return _Value(Kind.TIME, _in_utc(datetime.fromisoformat(text)), text)
    except (ValueError, OverflowError):  # no such day, or in UTC none of years 1 to 9999
        pass
    return _Value(Kind.TEXT, composed(text), text)


def _in_utc(time: datetime) -> datetime:
    """A time without a zone is one of UTC."""
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _given(at: int, value: Any) -> _Value:
    """What a value is that has a type, as JSON and Parquet give it."""
    for kinds, read in _TYPES:
        if isinstance(value, kinds):
            try:
                return read(value)
            except (ValueError, OverflowError) as error:
                raise TypeProblem(at, f"{value!r} {error}") from error
    raise TypeProblem(
        at, f"{str(value)[:80]!r} is no text, number, date, time, true, false or list of texts"
    )


def _read_text(value: str) -> _Value:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ValueError("holds half a character, which is not Unicode") from error
    return _dated(value)


def _whole(value: int) -> _Value:
    if not -_LARGEST <= value < _LARGEST:
        raise ValueError("has more than 64 bits; write it as a text")
    return _Value(Kind.WHOLE, value, value)


def _number(value: float | Decimal) -> _Value:
    if not math.isfinite(value):
        raise ValueError("is not finite")
    if isinstance(value, Decimal) and Decimal(repr(float(value))) != value:
        raise ValueError("has more digits than a number of 64 bits can hold; write it as a text")
    return _Value(Kind.NUMBER, float(value), value)


def _texts(value: Iterable[Any]) -> _Value:
    items = list(value)
    if not all(isinstance(item, str) for item in items):
        raise ValueError("holds what is no text")
    for item in items:
        _read_text(item)
    return _Value(Kind.TEXTS, list(map(composed, items)), items)


_TYPES: Sequence[tuple[type | tuple[type, ...], Callable[[Any], _Value]]] = (
    (str, _read_text),
    (bool, lambda value: _Value(Kind.YES_NO, value, value)),
    (int, _whole),
    ((float, Decimal), _number),
    (datetime, lambda value: _Value(Kind.TIME, _in_utc(value), value)),
    (date, lambda value: _Value(Kind.DATE, value, value)),
    (list, _texts),
)
