"""What a database is, claimed once and checked ever after: schema version, encoder, vector form.

Making a database is safe against other processes and against being killed: under a lock, the
``meta`` table, one row made in one commit, claims the place for one schema version, one encoder
and one form of its vectors. The other tables follow from it; what is missing of them, the next
writer makes. In a database that is made of one of an older schema the row comes last.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from patchlight.storage import convert
from patchlight.storage.engine import connect, engine_errors, open_table
from patchlight.storage.errors import (
    EncoderMismatch,
    FormMismatch,
    MigrationUnfinished,
    SchemaMismatch,
)
from patchlight.storage.locks import making
from patchlight.storage.moving import is_half_moved
from patchlight.storage.records import EncoderIdentity, VectorForm, VectorType
from patchlight.storage.schema import (
    MIGRATED_VERSION,
    SCHEMA_MINOR,
    SCHEMA_VERSION,
    Table,
    schema_of,
)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a database was made for.

    Attributes:
        encoder: the encoder it belongs to, by the name it was made with.
        form: what it stores of a page's vectors.
    """

    encoder: EncoderIdentity
    form: VectorForm


def read_identity(uri: str) -> Identity | None:
    """What a database was made for; None if there is no database.

    Raises:
        SchemaMismatch: it has another schema version, or is not patchlight's.
        MigrationUnfinished: it is being made of one of an older schema.
        StorageUnavailable: it cannot be read.
    """
    row = read_meta(uri)
    if row is None:
        if is_half_moved(uri, MIGRATED_VERSION):
            raise unfinished(uri)
        return None
    if row["schema_version"] != SCHEMA_VERSION:
        raise other_version(uri, row["schema_version"])
    if row["schema_minor"] > SCHEMA_MINOR:
        raise SchemaMismatch(
            f"database {uri} has schema {SCHEMA_VERSION}.{row['schema_minor']}, written by a newer "
            f"patchlight; this one reads up to {SCHEMA_VERSION}.{SCHEMA_MINOR}. Update patchlight."
        )
    return identity_of(row)


def read_meta(uri: str) -> Mapping[str, Any] | None:
    """The row of ``meta`` of a database of any schema; None if there is no database.

    Raises:
        SchemaMismatch: the database is not patchlight's.
        MigrationUnfinished: it is being made of one of an older schema.
        StorageUnavailable: it cannot be read.
    """
    meta = open_table(uri, Table.META)
    if meta is None:
        return None
    with engine_errors(uri, Table.META):
        rows: list[dict[str, Any]] = meta.to_table().to_pylist()
    if not rows:  # its last row to be written
        raise unfinished(uri)
    if len(rows) != 1 or rows[0].get("name") != convert.META_NAME:
        raise _foreign(uri, Table.META)
    return rows[0]


def identity_of(row: Mapping[str, Any]) -> Identity:
    """What a row of ``meta`` says, of this schema or the one that is migrated."""
    return Identity(
        EncoderIdentity(row["encoder"], row["fingerprint"], row["dim"], row["visual_tokens"]),
        VectorForm(VectorType(row["vector_type"]), row["pool"], row["drop_blank"]),
    )


def unfinished(uri: str) -> MigrationUnfinished:
    """The error of a database that is not whole yet."""
    return MigrationUnfinished(
        f"database {uri} is being made of one of an older schema, or that was interrupted. "
        "Wait for 'patchlight migrate', or run it again as before: it goes on where it was."
    )


def other_version(uri: str, version: int) -> SchemaMismatch:
    """The error of a database of another schema version."""
    advice = (
        f"Run 'patchlight migrate --db {shlex.quote(uri)}', which reads no document again, or use "
        "the version of patchlight that made it"
        if version == MIGRATED_VERSION
        else "Make a new database with --db, or use the version of patchlight that made this one: "
        f"'patchlight migrate' takes version {MIGRATED_VERSION} only"
    )
    return SchemaMismatch(
        f"database {uri} has schema version {version}, and this patchlight reads and writes "
        f"version {SCHEMA_VERSION}. {advice}."
    )


def claim(uri: str, encoder: EncoderIdentity, form: VectorForm | None) -> Identity:
    """Make a database for the encoder, or complete or check the one that is there.

    Encoders are the same if their fingerprints and vector lengths are; their names may differ,
    as one set of weights is loaded from a hub or from a folder.

    Args:
        uri: the database.
        encoder: whose vectors it is to hold.
        form: what it is to store of them; None for what is stored there, or the default for a
            new database.

    Returns:
        What the database was made for.

    Raises:
        SchemaMismatch: it has another schema version, or the place holds other tables.
        EncoderMismatch: it belongs to another encoder.
        FormMismatch: it stores vectors in another form.
        StorageUnavailable: it cannot be read or written.
    """
    with making(uri):
        stored = read_identity(uri)
        if stored is None:
            _check_empty(uri)
            stored = Identity(encoder, form or VectorForm())
            data = convert.meta_table(stored.encoder, stored.form)
            _create(uri, Table.META, data=data)
        theirs = stored.encoder
        if (theirs.fingerprint, theirs.dim) != (encoder.fingerprint, encoder.dim):
            raise EncoderMismatch(
                f"database {uri} holds vectors of {_named(theirs)}, not of {_named(encoder)}. "
                f"Use --encoder {theirs.name}, exactly as it was then, or a new database with --db."
            )
        if form is not None and form != stored.form:
            raise FormMismatch(
                f"database {uri} stores vectors as {_described(stored.form)}, not as "
                f"{_described(form)}, and a database has one form. Leave the form out to keep "
                "to it, or make a new database with --db."
            )
        _complete(uri, stored)
        return stored


def prepare(uri: str, identity: Identity) -> None:
    """Make the tables of a database that nobody may use before `finish`; ``meta`` stays empty.

    What is there of them stays. The caller holds the lock of `locks.making_alone`.

    Args:
        uri: the database.
        identity: what it is made for.

    Raises:
        SchemaMismatch: the place holds other tables.
        StorageUnavailable: it cannot be read or written.
    """
    if open_table(uri, Table.META) is None:
        _check_empty(uri)
        _create(uri, Table.META, schema=schema_of(Table.META, dim=1))
    _complete(uri, identity)


def finish(uri: str, identity: Identity) -> None:
    """Let a database that `prepare` made be used, in one commit.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    connection = connect(uri)
    with engine_errors(uri, Table.META):
        row = convert.meta_table(identity.encoder, identity.form)
        connection.open_table(Table.META.value).add(row)


def withdraw(uri: str) -> None:
    """Undo `finish`: there is more to do.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    connection = connect(uri)
    with engine_errors(uri, Table.META):
        connection.open_table(Table.META.value).delete("true")


def discard(uri: str) -> None:
    """Remove the tables of a database that is being made; killed, it is to be called again.

    Raises:
        StorageUnavailable: it cannot be written.
    """
    connection = connect(uri)
    withdraw(uri)
    last = (Table.RUNS, Table.META)  # of what it was being made, and that it was
    for table in (*(table for table in Table if table not in last), *last):
        if open_table(uri, table) is not None:
            with engine_errors(uri, table):
                connection.drop_table(table.value)


def _check_empty(uri: str) -> None:
    for table in Table:
        if open_table(uri, table) is not None:
            raise _foreign(uri, table)


def _complete(uri: str, identity: Identity) -> None:
    """Make the tables that are missing."""
    for table in Table:
        if open_table(uri, table) is None:
            schema = schema_of(table, identity.encoder.dim, identity.form.type)
            _create(uri, table, schema=schema)


def _create(
    uri: str,
    table: Table,
    data: pa.Table | None = None,
    schema: pa.Schema | None = None,
) -> None:
    """Make a table in one commit, with rows or empty."""
    connection = connect(uri)
    with engine_errors(uri, table):
        connection.create_table(table.value, data=data, schema=schema)


def _foreign(uri: str, table: Table) -> SchemaMismatch:
    return SchemaMismatch(
        f"{uri} holds a table {table} that patchlight did not make. "
        "Name another place for the database with --db."
    )


def _described(form: VectorForm) -> str:
    pooled = f"pooled {form.pool} to 1" if form.pool > 1 else "not pooled"
    return f"{form.type}, {pooled}, blank cells {'dropped' if form.drop_blank else 'kept'}"


def _named(encoder: EncoderIdentity) -> str:
    return f"{encoder.name} ({encoder.dim} values, fingerprint {encoder.fingerprint[:12]})"
