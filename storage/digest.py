"""What a database holds, told apart from how it came to hold it.

Two databases made of the same files by the same options have the same digests, in whatever order
and however often things were written. Times, run ids, revisions and the tables ``runs``,
``retrievals`` and ``sequences`` do not count; ``attempts`` of a failure does. Meant for databases
at rest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from patchlight.storage import statistics
from patchlight.storage.database import Database
from patchlight.storage.engine import engine_errors, shortened
from patchlight.storage.schema import KEYS, Table

_TABLES = (
    Table.META,
    Table.DOCUMENTS,
    Table.PAGES,
    Table.REGIONS,
    Table.WORDS,
    Table.PATCHES,
    Table.METADATA,
    Table.FAILURES,
)
_CIRCUMSTANCES = ("run_id", "changed_by", "revision", "page_key", "vector_bytes")
_VECTORS = ("vectors", "scales")

_BATCH_ROWS = 128
"""Pages of a wide table held at once, some 100 kB each."""
_MOST_DIFFERENCES = 50
_SHOWN_CHARACTERS = 80


def digest(uri: str | Path, vectors: bool = False) -> dict[str, str]:
    """Digests of what a database holds.

    Args:
        uri: the database.
        vectors: whether to add one of the patch vectors, bit by bit, under ``vectors``. They
            depend on the arithmetic of the machine, so the digest of ``patches`` leaves them out.

    Returns:
        Table -> SHA-256, 64 hexadecimal digits.

    Raises:
        DatabaseNotFound, SchemaMismatch, StorageUnavailable: as `Database.open`.
    """
    database = Database.open(uri)
    parts = [_stored(database, table) for table in _TABLES] + [_statistics(database)]
    if vectors:
        parts.append(_stored_vectors(database))
    return {part.name: _digest(part) for part in parts}


def differences(
    uri_a: str | Path,
    uri_b: str | Path,
    vector_tolerance: float = 0.0,
) -> list[str]:
    """Where two databases differ in what they hold, in words; empty if they do not.

    Args:
        uri_a: the first database.
        uri_b: the second.
        vector_tolerance: how far a value of a patch vector may be off; 0 for not by a bit.

    Returns:
        At most some 50 lines that name table, key and column.

    Raises:
        DatabaseNotFound, SchemaMismatch, StorageUnavailable: as `Database.open`.
    """
    a, b = (Database.open(uri) for uri in (uri_a, uri_b))
    found = _all_differences(a, b, vector_tolerance)
    lines = list(islice(found, _MOST_DIFFERENCES))
    return [*lines, "and more"] if next(found, None) else lines


@dataclass(frozen=True, slots=True)
class _Part:
    """Columns of a table, newest version; what is told from them is told under ``name``."""

    database: Database
    name: str
    key: str
    rows: pa.Table | None
    """In memory; None for those of the table of that name."""
    table: Table
    columns: Sequence[str]

    def batches(self) -> Iterator[pa.RecordBatch]:
        if self.rows is not None:
            yield from self.rows.to_batches()
            return
        dataset = self.database.table(self.table)
        with engine_errors(self.database.uri, self.table):
            yield from dataset.to_batches(columns=list(self.columns), batch_size=_BATCH_ROWS)

    def take(self, positions: Sequence[int]) -> pa.Table:
        """Rows by their position in `batches`."""
        if self.rows is not None:
            return self.rows.take(positions)
        dataset = self.database.table(self.table)
        with engine_errors(self.database.uri, self.table):
            return dataset.take(positions, columns=list(self.columns))


def _stored(database: Database, table: Table) -> _Part:
    left_out = (*_CIRCUMSTANCES, *_VECTORS)
    columns = [
        name
        for name in database.table(table).schema.names
        if name not in left_out and not name.endswith(("_at", "_ms"))
    ]
    return _Part(database, table.value, KEYS[table], None, table, columns)


def _stored_vectors(database: Database) -> _Part:
    columns = ("page_id", *_VECTORS)
    return _Part(database, "vectors", "page_id", None, Table.PATCHES, columns)


def _statistics(database: Database) -> _Part:
    """The newest snapshot, without its id, as one row."""
    latest = statistics.latest(database)
    counts = sorted(latest.document_frequency.items()) if latest else []
    row = {
        "snapshot": "latest",
        "n_pages": latest.n_pages if latest else 0,
        "terms": [{"term": term, "count": count} for term, count in counts],
    }
    kind = pa.struct([pa.field("term", pa.string()), pa.field("count", pa.int32())])
    schema = pa.schema(
        [("snapshot", pa.string()), ("n_pages", pa.int64()), ("terms", pa.list_(kind))]
    )
    rows = pa.Table.from_pylist([row] if latest else [], schema=schema)
    name = Table.STATISTICS.value
    return _Part(database, name, "snapshot", rows, Table.STATISTICS, schema.names)


def _digest(part: _Part) -> str:
    """SHA-256 of the sum of the rows' digests: a sum does not depend on their order."""
    count = total = 0
    for _, value in _digests(part):
        count += 1
        total += int.from_bytes(value)
    return hashlib.sha256(f"{count} {total % (1 << 256):x}".encode()).hexdigest()


def _digests(part: _Part) -> Iterator[tuple[str, bytes]]:
    """Key and SHA-256 of each row."""
    for batch in part.batches():
        columns = [
            (f"{name} {batch[name].type}".encode(), _cutter(batch[name])) for name in part.columns
        ]
        for at, key in enumerate(batch[part.key].to_pylist()):
            row = hashlib.sha256()
            for title, cut in columns:
                row.update(title + b"".join(cut(at, at + 1)))
            yield key, row.digest()


_Cut = Callable[[int, int], Iterator[bytes]]
"""From the positions of the first value and of the one behind the last to their bytes."""


def _cutter(values: pa.Array) -> _Cut:
    """Bytes of some of an array's values that do not depend on the others, nor on its layout."""
    if not values.null_count:
        cut_all = _cutter_of_valid(values)

        def cut(start: int, stop: int) -> Iterator[bytes]:
            yield b"\1"
            yield from cut_all(start, stop)

        return cut
    valid = values.is_valid().to_numpy(zero_copy_only=False)
    before = _offsets(valid)
    cut_valid = _cutter_of_valid(values.drop_null())

    def cut_some(start: int, stop: int) -> Iterator[bytes]:
        yield b"\1" if valid[start:stop].all() else b"\0" + valid[start:stop].tobytes()
        yield from cut_valid(before[start], before[stop])

    return cut_some


def _cutter_of_valid(values: pa.Array) -> _Cut:
    kind = values.type
    if pa.types.is_struct(kind):
        fields = [_cutter(field) for field in values.flatten()]
        return lambda start, stop: (piece for cut in fields for piece in cut(start, stop))
    if pa.types.is_fixed_size_list(kind):
        cut_items, size = _cutter(values.flatten()), kind.list_size
        return lambda start, stop: cut_items(start * size, stop * size)
    if pa.types.is_list(kind):
        return _cutter_of_lists(values.value_lengths().to_numpy(), _cutter(values.flatten()))
    if pa.types.is_string(kind):
        text = _text(values)
        return _cutter_of_lists(
            pc.binary_length(values).to_numpy(), lambda start, stop: iter((text[start:stop],))
        )
    if not pa.types.is_primitive(kind):
        raise TypeError(f"no digest of {kind}")
    numbers = values.to_numpy(zero_copy_only=False)
    return lambda start, stop: iter((numbers[start:stop].tobytes(),))


def _text(strings: pa.StringArray) -> bytes:
    """Strings, none of them null, as UTF-8 without a gap."""
    _, ends, text = strings.buffers()
    if not len(strings) or text is None:
        return b""
    first, last = np.frombuffer(ends, np.int32)[[strings.offset, strings.offset + len(strings)]]
    return bytes(text.slice(int(first), int(last - first)).to_pybytes())


def _cutter_of_lists(lengths: NDArray[np.int32], cut_items: _Cut) -> _Cut:
    offsets = _offsets(lengths)

    def cut(start: int, stop: int) -> Iterator[bytes]:
        yield lengths[start:stop].tobytes()
        yield from cut_items(offsets[start], offsets[stop])

    return cut


def _offsets(lengths: NDArray[np.generic]) -> list[int]:
    """Where each of things of these lengths begins, and where the last one ends."""
    offsets: list[int] = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]).tolist()
    return offsets


def _all_differences(a: Database, b: Database, tolerance: float) -> Iterator[str]:
    for table in _TABLES:
        yield from _compare(_stored(a, table), _stored(b, table))
    yield from _compare(_statistics(a), _statistics(b))
    ours, theirs = _stored_vectors(a), _stored_vectors(b)
    for key, mine, other in _unequal_rows(ours, theirs, *_indexes(ours, theirs)):
        if problem := _vectors_differ(mine, other, tolerance):
            yield f"{Table.PATCHES} {key}: vectors: {problem}"


def _compare(a: _Part, b: _Part) -> Iterator[str]:
    ours, theirs = _indexes(a, b)
    for part, index in ((a, ours), (b, theirs)):
        if index.rows != len(index.at):
            yield f"{part.name}: {index.rows} rows, but {len(index.at)} keys"
    for one, other, where in ((ours, theirs, "first"), (theirs, ours, "second")):
        for key in sorted(one.at.keys() - other.at.keys()):
            yield f"{a.name} {key}: only in the {where}"
    for key, mine, their in _unequal_rows(a, b, ours, theirs):
        for name in a.columns:
            x, y = mine[name].to_pylist()[0], their[name].to_pylist()[0]
            if repr(x) != repr(y):  # what is not a number is not equal to itself
                yield f"{a.name} {key}: {name}: {_told_apart(x, y)}"


@dataclass(frozen=True, slots=True)
class _Index:
    """Of the rows of a part: key -> position and SHA-256, and how many there are."""

    at: Mapping[str, tuple[int, bytes]]
    rows: int


def _indexes(a: _Part, b: _Part) -> tuple[_Index, _Index]:
    return _index(a), _index(b)


def _index(part: _Part) -> _Index:
    rows, at = 0, {}
    for key, value in _digests(part):
        at[key] = (rows, value)
        rows += 1
    return _Index(at, rows)


def _unequal_rows(
    a: _Part, b: _Part, ours: _Index, theirs: _Index
) -> Iterator[tuple[str, pa.Table, pa.Table]]:
    """Key, and both rows, of what is in both parts and not the same."""
    unequal = iter(
        sorted(
            key for key in ours.at.keys() & theirs.at.keys() if ours.at[key][1] != theirs.at[key][1]
        )
    )
    while keys := list(islice(unequal, _BATCH_ROWS)):
        mine = a.take([ours.at[key][0] for key in keys])
        other = b.take([theirs.at[key][0] for key in keys])
        for position, key in enumerate(keys):
            yield key, mine.slice(position, 1), other.slice(position, 1)


def _told_apart(x: object, y: object) -> str:
    """Two values that differ; of lists the first items that do, of structs the first fields."""
    if isinstance(x, dict) and isinstance(y, dict):
        name = next(name for name in x if repr(x[name]) != repr(y[name]))
        return f"{name}: {_told_apart(x[name], y[name])}"
    if isinstance(x, list) and isinstance(y, list):
        if len(x) != len(y):
            return f"{len(x)} items and {len(y)}"
        at = next(i for i, (p, q) in enumerate(zip(x, y, strict=True)) if repr(p) != repr(q))
        return f"item {at}: {_told_apart(x[at], y[at])}"
    return " and ".join(shortened(repr(value), _SHOWN_CHARACTERS) for value in (x, y))


def _vectors_differ(mine: pa.Table, other: pa.Table, tolerance: float) -> str | None:
    a, b = _values(mine), _values(other)
    if a.shape != b.shape:
        return f"{a.shape[0]} of {a.shape[1]} values and {b.shape[0]} of {b.shape[1]}"
    off = float(np.abs(a - b).max(initial=0.0))
    return None if tolerance > 0 and off <= tolerance else f"off by up to {off:.3g}"


def _values(row: pa.Table) -> NDArray[np.float32]:
    """A page's vectors as they are scored."""
    vectors = row["vectors"].combine_chunks().flatten()
    flat: NDArray[np.float32] = vectors.flatten().to_numpy().astype(np.float32)
    values = flat.reshape(-1, vectors.type.list_size)
    scales = row["scales"].combine_chunks().flatten().to_numpy().astype(np.float32)
    return values * scales[:, None] if len(scales) else values
