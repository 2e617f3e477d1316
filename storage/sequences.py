"""Numbers that the database gives out: each once, and later ones larger.

What is numbered has an order that no clock has a say in. A number that was taken and not used,
because the process was killed, is left out; none is given twice.
"""

from __future__ import annotations

import random
import time

import pyarrow as pa

from patchlight.storage.database import Database
from patchlight.storage.engine import engine_errors, quoted
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.schema import Table, schema_of
from patchlight.storage.writer import Writer

RUNS = "runs"
"""Numbers of runs, in the order in which they began."""

PAGE_KEYS = "page_keys"
"""Keys of pages."""

_ATTEMPTS = 100
"""Eight threads in two processes that took 400 numbers without a pause needed 2 on average and 14
at most."""
_LONGEST_PAUSE_S = 0.3


def take(database: Database, name: str, count: int = 1) -> int:
    """Take the next numbers of a sequence, which begins with 1.

    Safe for several processes and threads, in a folder or in an object store. One small read and
    one small commit, however many numbers are taken.

    Args:
        database: who gives them out.
        name: which sequence; a new one begins with its first number.
        count: how many, at least 1.

    Returns:
        The first of them; the others follow it without a gap.

    Raises:
        ValueError: fewer than one was asked for.
        StorageUnavailable: the database cannot be read or written, or others take numbers of
            this sequence all the time.
    """
    if count < 1:
        raise ValueError(f"{count} numbers of the sequence {name}; take at least 1")
    writer = Writer(database)
    for attempt in range(_ATTEMPTS):
        last = _last(database, name)
        rows = pa.table({"name": [name], "value": [last + count]}, schema_of(Table.SEQUENCES, 1))
        if writer.upsert_where(Table.SEQUENCES, rows, f"target.value = source.value - {count}"):
            return last + 1
        time.sleep(random.uniform(0, min(0.01 * 2**attempt, _LONGEST_PAUSE_S)))
    raise StorageUnavailable(
        f"table {Table.SEQUENCES} of database {database.uri}: others took numbers of {name} "
        f"{_ATTEMPTS} times first. Wait until they are done, then try again."
    )


def _last(database: Database, name: str) -> int:
    """The last number that was taken; 0 for none."""
    dataset = database.table(Table.SEQUENCES)
    with engine_errors(database.uri, Table.SEQUENCES):
        values = dataset.to_table(["value"], filter=f"name = {quoted(name)}")["value"].to_pylist()
    return max(values, default=0)
