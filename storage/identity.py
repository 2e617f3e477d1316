"""What a database is: its schema version and its encoder, claimed once and checked ever after.

Making a database is safe against other processes and against being killed: under a lock, the
``meta`` table, one row made in one commit, claims the place for one schema version and one
encoder. The other tables follow from it; what is missing of them, the next writer makes.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa

from storage import convert
from storage.errors import EncoderMismatch, SchemaMismatch
from storage.records import EncoderIdentity
from storage.schema import SCHEMA_VERSION, Table, schema_of
from storage.tables import StorageOptions, connect, engine_errors, open_table


def read_identity(uri: str, storage_options: StorageOptions | None) -> EncoderIdentity | None:
    """The encoder a database belongs to; None if there is no database.

    Raises:
        SchemaMismatch: it has another schema version, or is not patchlight's.
        StorageUnavailable: it cannot be read.
    """
    meta = open_table(uri, Table.META, storage_options=storage_options)
    if meta is None:
        return None
    with engine_errors(uri, Table.META):
        rows = meta.to_table().to_pylist()
    if len(rows) != 1 or rows[0].get("name") != convert.META_NAME:
        raise _foreign(uri, Table.META)
    row = rows[0]
    if row["schema_version"] != SCHEMA_VERSION:
        raise SchemaMismatch(
            f"database {uri} has schema version {row['schema_version']}, and this patchlight "
            f"reads and writes version {SCHEMA_VERSION}. Make a new database with --db, or use "
            "the version of patchlight that made this one."
        )
    return EncoderIdentity(row["encoder"], row["fingerprint"], row["dim"])


def claim(uri: str, encoder: EncoderIdentity, storage_options: StorageOptions | None) -> None:
    """Make a database for the encoder, or complete or check the one that is there.

    Raises:
        SchemaMismatch: it has another schema version, or the place holds other tables.
        EncoderMismatch: it belongs to another encoder.
        StorageUnavailable: it cannot be read or written.
    """
    with _alone(uri):
        stored = read_identity(uri, storage_options)
        if stored is None:
            for table in Table:
                if open_table(uri, table, storage_options=storage_options) is not None:
                    raise _foreign(uri, table)
            _create(uri, Table.META, storage_options, data=convert.meta_table(encoder))
            stored = encoder
        if stored != encoder:
            raise EncoderMismatch(
                f"database {uri} holds vectors of {_named(stored)}, not of {_named(encoder)}. "
                f"Use --encoder {stored.name}, exactly as it was then, or a new database with --db."
            )
        for table in Table:
            if open_table(uri, table, storage_options=storage_options) is None:
                _create(uri, table, storage_options, schema=schema_of(table, stored.dim))


@contextmanager
def _alone(uri: str) -> Iterator[None]:
    """Let one process at a time make tables: of two at once, the engine may keep the second.

    Holds a lock on the database's folder, which the system frees however the process ends. In
    an object store there is none: do not make one database there from two places at once.
    """
    if "://" in uri:
        yield
        return
    with engine_errors(uri, "(all)"):
        Path(uri).mkdir(parents=True, exist_ok=True)
        folder = os.open(uri, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _create(
    uri: str,
    table: Table,
    storage_options: StorageOptions | None,
    data: pa.Table | None = None,
    schema: pa.Schema | None = None,
) -> None:
    """Make a table in one commit, with rows or empty."""
    connection = connect(uri, storage_options)
    with engine_errors(uri, table):
        connection.create_table(table.value, data=data, schema=schema)


def _foreign(uri: str, table: Table) -> SchemaMismatch:
    return SchemaMismatch(
        f"{uri} holds a table {table} that patchlight did not make. "
        "Name another place for the database with --db."
    )


def _named(encoder: EncoderIdentity) -> str:
    return f"{encoder.name} ({encoder.dim} values, fingerprint {encoder.fingerprint[:12]})"
