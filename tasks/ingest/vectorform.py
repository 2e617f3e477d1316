"""The form of stored vectors that an ingest asks for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from patchlight.storage import quantise
from patchlight.storage.database import Database
from patchlight.storage.errors import FormMismatch
from patchlight.storage.records import EncoderIdentity, VectorForm, VectorType
from patchlight.tasks.kernels import pooling

_FIRST = 1
"""Version that fingerprints do not name: those of pages stored with it never did."""


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


def encoder_stage(encoder: EncoderIdentity, form: VectorForm) -> str:
    """Fingerprint of the stage that makes stored vectors: the encoder, and their form."""
    of_type = quantise.QUANTISE_VERSION if form.type is VectorType.INT8 else _FIRST
    parts = [encoder.fingerprint, _made(form.type.value, of_type)]
    if form.pool > 1:
        parts.append(_made(f"pool {form.pool}", pooling.POOLING_VERSION))
    if form.drop_blank:
        parts.append(_made("no blank cells", pooling.BLANK_VERSION))
    return "/".join(parts)


def _made(what: str, version: int) -> str:
    return what if version == _FIRST else f"{what}-{version}"
