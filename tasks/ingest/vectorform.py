"""The form of stored vectors that an ingest asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from patchlight.storage.database import Database
from patchlight.storage.errors import FormMismatch
from patchlight.storage.records import VectorForm, VectorType


def asked(
    db: str, vectors: VectorType | None, pool: int | None, drop_blank: bool | None
) -> VectorForm:
    """Fill what was not asked for with what the database has, or the defaults of a new one.

    Args:
        db: the database.
        vectors: how numbers are kept, or None.
        pool: patches a stored vector stands for, at least 1, or None.
        drop_blank: whether cells without ink go without a vector, or None.

    Raises:
        FormMismatch: the database that is there has another form.
    """
    given: dict[str, Any] = {"type": vectors, "pool": pool, "drop_blank": drop_blank}
    changes = {name: value for name, value in given.items() if value is not None}
    database = Database.find(db)
    if database is None:
        return replace(VectorForm(), **changes)
    known = database.form
    if replace(known, **changes) != known:
        raise FormMismatch(
            f"the database {db} stores its vectors with --vectors {known.type} --pool {known.pool}"
            f" {'--drop-blank' if known.drop_blank else '--keep-blank'}, and a database has one "
            "form; leave these options out, or ingest into a new --db"
        )
    return known


def encoder_stage(database: Database) -> str:
    """Fingerprint of the stage that makes stored vectors: the encoder, and their form."""
    form = database.form
    parts = [database.encoder.fingerprint, form.type.value]
    if form.pool > 1:
        parts.append(f"pool {form.pool}")
    if form.drop_blank:
        parts.append("no blank cells")
    return "/".join(parts)
