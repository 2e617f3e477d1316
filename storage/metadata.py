"""The table ``metadata``: a row a document, with the columns that people gave it.

It is made with its key alone. A column that comes is null for every row that is there, and no row
is written again. The one exception is a column that is to hold more than it does: numbers instead
of whole numbers, times instead of dates.
"""

from __future__ import annotations

import logging

import pyarrow as pa
from lance.commit import CommitConflictError

from patchlight.storage.database import Database
from patchlight.storage.engine import connect, engine_errors
from patchlight.storage.errors import StorageUnavailable
from patchlight.storage.locks import making, writing
from patchlight.storage.schema import KEYS, Table
from patchlight.storage.writer import Writer

logger = logging.getLogger("patchlight.storage")

_KEY = KEYS[Table.METADATA]
_WIDER = {
    (pa.int64(), pa.float64()),
    (pa.date32(), pa.timestamp("us", tz="UTC")),
}
"""From the type that is stored to the one that holds its values and more."""

_ATTEMPTS = 20
"""Another process may add columns, or merge files, at the same moment."""


def columns(database: Database) -> pa.Schema:
    """The columns that people gave, without the key."""
    schema = database.table(Table.METADATA).schema
    return pa.schema([field for field in schema if field.name != _KEY])


def exact_as_numbers(database: Database) -> set[str]:
    """The columns of whole numbers all of which 64-bit floating point holds exactly."""
    names = [field.name for field in columns(database) if field.type == pa.int64()]
    if not names:
        return set()
    table = database.table(Table.METADATA)
    with engine_errors(database.uri, Table.METADATA):
        stored = table.to_table(columns=names)
    return {
        name
        for name in names
        if stored[name].cast(pa.float64(), safe=False).cast(pa.int64(), safe=False) == stored[name]
    }


def make_room(database: Database, wanted: pa.Schema) -> None:
    """Add the columns that are not there, and widen those that are to hold more.

    Args:
        database: the database.
        wanted: columns to be stored, the key beside them; one that is there has its type, or a
            wider one.

    Raises:
        StorageUnavailable: the table cannot be written, or others change it all the time, such
            that a column has a type now that does not fit.
    """
    with making(database.uri):
        for _ in range(_ATTEMPTS):
            there = columns(database)
            new = [field for field in wanted if field.name not in (_KEY, *there.names)]
            known = [field for field in wanted if field.name in there.names]
            wider = [field for field in known if there.field(field.name).type != field.type]
            try:
                if wider:
                    _widen(database, wider)
                if new:
                    _add(database, new)
            except StorageUnavailable as error:
                if not isinstance(error.__cause__, CommitConflictError):
                    raise
                logger.debug("table %s was changed meanwhile: %s", Table.METADATA, error)
                continue
            return
    raise StorageUnavailable(
        f"table {Table.METADATA} of database {database.uri}: other runs changed it {_ATTEMPTS} "
        "times. Wait until they are done, then try again."
    )


def store(database: Database, rows: pa.Table) -> int:
    """Store some columns of documents; their other columns stay.

    Args:
        database: the database.
        rows: ``doc_id``, distinct, and columns that `make_room` was asked for.

    Returns:
        Of how many documents something is stored that was not before.

    Raises:
        StorageUnavailable: the table cannot be written.
    """
    names = [name for name in rows.column_names if name != _KEY]
    with making(database.uri):
        table = database.table(Table.METADATA)
        schema = pa.schema([table.schema.field(name) for name in (_KEY, *names)])
        given = rows.select([_KEY, *names]).cast(schema)
        with engine_errors(database.uri, Table.METADATA):
            stored = table.to_table(columns=[_KEY, *names])
        before = dict(zip(stored[_KEY].to_pylist(), stored.select(names).to_pylist(), strict=True))
        keys = given[_KEY].to_pylist()
        values = given.select(names).to_pylist()
        changed = [
            at for at, key in enumerate(keys) if key not in before or before[key] != values[at]
        ]
        Writer(database).upsert(Table.METADATA, given.take(pa.array(changed, pa.int64())))
    return len(changed)


def doc_ids(database: Database) -> set[str]:
    """The documents that have a row."""
    table = database.table(Table.METADATA)
    with engine_errors(database.uri, Table.METADATA):
        return set(table.to_table(columns=[_KEY])[_KEY].to_pylist())


def _add(database: Database, new: list[pa.Field]) -> None:
    with writing(database.uri), engine_errors(database.uri, Table.METADATA):
        database.table(Table.METADATA).add_columns([field.with_nullable(True) for field in new])


def _widen(database: Database, wider: list[pa.Field]) -> None:
    """Write the table anew with columns of another type, in one commit."""
    with writing(database.uri), engine_errors(database.uri, Table.METADATA):
        table = database.table(Table.METADATA)
        schema = table.schema
        for field in wider:
            if (schema.field(field.name).type, field.type) not in _WIDER:
                raise StorageUnavailable(
                    f"table {Table.METADATA} of database {database.uri}: another run has just made "
                    f"column {field.name!r} of type {schema.field(field.name).type}, and here it "
                    f"is {field.type}. Give one of the two another name, then try again."
                )
            schema = schema.set(schema.get_field_index(field.name), field.with_nullable(True))
        rows = table.to_table().cast(schema)
        connect(database.uri).create_table(
            Table.METADATA.value, rows, schema=schema, mode="overwrite"
        )
