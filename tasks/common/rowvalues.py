"""Values of rows as people and programs read them: exact, without noise, every column with a name.

A number is the shortest text that gives the same number in its own type, times are ISO 8601 with
their zone, bytes hexadecimal, decimals texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import islice
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_BYTES_AT_A_TIME = 1 << 20
"""Of rows that are turned into values at once: as such they take 30 times as much, or more."""


def unique_names(names: Sequence[str]) -> list[str]:
    """Names of which no two are the same: what repeats gets a number.

    >>> unique_names(["x", "y", "x", "x_2", "x"])
    ['x', 'y', 'x_3', 'x_2', 'x_4']
    """
    taken, found = set(names), list[str]()
    seen: set[str] = set()
    for name in names:
        one, number = name, 2
        while one in seen or (name in seen and one in taken):
            one = f"{name}_{number}"
            number += 1
        seen.add(one)
        found.append(one)
    return found


def rows_of(batches: pa.RecordBatchReader) -> Iterator[tuple[Any, ...]]:
    """The values of each row, in the order of the columns.

    Lists are lists, structs dicts with `unique_names`, maps lists of dicts ``key``, ``value``.
    """
    for batch in batches:
        wide = max(1, batch.nbytes // max(1, batch.num_rows))
        step = max(1, _BYTES_AT_A_TIME // wide)
        for start in range(0, batch.num_rows, step):
            some = batch.slice(start, step)
            if not some.num_columns:
                yield from [()] * some.num_rows
            yield from zip(*map(values_of, some.columns), strict=True)


def values_of(column: pa.Array) -> list[Any]:
    """The values of a column."""
    kind = column.type
    if pa.types.is_float16(kind):
        return _halves(column)
    if pa.types.is_float32(kind):
        # The shortest text in the column's own precision; its float64 prints the same.
        return list(column.cast(pa.string()).cast(pa.float64()).to_pylist())
    if pa.types.is_struct(kind):
        return _structs(column)
    if pa.types.is_map(kind):
        return _maps(column)
    if any(is_list(kind) for is_list in _LISTS):
        lengths = pc.list_value_length(column).to_pylist()
        items = iter(values_of(column.flatten()))
        return [None if n is None else list(islice(items, n)) for n in lengths]
    if pa.types.is_dictionary(kind):
        return values_of(column.dictionary_decode())
    if pa.types.is_timestamp(kind):
        return _times(column)
    if pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_decimal(kind):
        return list(column.cast(pa.string()).to_pylist())
    if pa.types.is_duration(kind):
        column = column.cast(pa.duration("us"), safe=False)
    values = list(column.to_pylist())
    if pa.types.is_null(kind) or any(is_known(kind) for is_known in _AS_THEY_ARE):
        return values
    if any(is_bytes(kind) for is_bytes in _BYTES):
        return [None if one is None else one.hex() for one in values]
    return [None if one is None else str(one) for one in values]


_LISTS: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
_AS_THEY_ARE: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_integer,
    pa.types.is_float64,
    pa.types.is_boolean,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
)
_BYTES: tuple[Callable[[pa.DataType], bool], ...] = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_binary_view,
)


def _structs(column: pa.StructArray) -> list[dict[str, Any] | None]:
    names = unique_names([field.name for field in column.type])
    fields = [values_of(field) for field in column.flatten()]
    rows = zip(*fields, strict=True) if fields else iter([()] * len(column))
    return [
        dict(zip(names, row, strict=True)) if there else None
        for there, row in zip(column.is_valid().to_pylist(), rows, strict=True)
    ]


def _maps(column: pa.MapArray) -> list[list[dict[str, Any]] | None]:
    found: list[list[dict[str, Any]] | None] = []
    for one in column:
        if not one.is_valid:
            found.append(None)
            continue
        keys, values = (values_of(one.values.field(i)) for i in (0, 1))
        found.append([{"key": k, "value": v} for k, v in zip(keys, values, strict=True)])
    return found


def _times(column: pa.Array) -> list[str | None]:
    if column.type.tz is not None:
        column = column.cast(pa.timestamp(column.type.unit, tz="UTC"))
    texts = column.cast(pa.string()).to_pylist()
    return [text and text.replace(" ", "T", 1) for text in texts]


def _halves(column: pa.Array) -> list[float | None]:
    if not len(column):
        return []
    bits = np.frombuffer(column.buffers()[1], np.uint16)[column.offset :][: len(column)]
    values = _every_half()[bits].tolist()
    if not column.null_count:
        return list(values)
    there = column.is_valid().to_pylist()
    return [value if is_there else None for value, is_there in zip(values, there, strict=True)]


@cache
def _every_half() -> np.ndarray[Any, np.dtype[np.float64]]:
    """For every float16, by its bits, the float64 that prints the same."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return np.array([float(str(half)) for half in halves])
