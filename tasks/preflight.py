"""Mistakes that can be told before Prefect and Ray are started, which takes many seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage.database import Database
from storage.records import VectorType
from tasks import forms, ocr, queryfile
from tasks.encoders import checkpoints, registry
from tasks.errors import QueryFileError
from tasks.selection import selection_of
from tasks.settings import Settings
from tasks.sources import expand, read_passwords


def check_ingest(
    source: Sequence[str],
    db: str,
    encoder: str | None,
    visual_tokens: int | None,
    form: tuple[VectorType | None, int | None, bool | None],
    lang: str,
    settings: Settings,
    *,
    with_ocr: bool,
    passwords: str | None,
) -> None:
    """Raise what the ingest flow would raise at its start for a wrong argument.

    The encoder's checkpoint is fetched here, where its progress can be seen.

    Raises:
        InputError: there is no file to read.
        EncoderUnavailable: there is no such encoder, or it cannot be had here.
        EncoderMismatch, FormMismatch, SchemaMismatch: the database does not fit.
        UsageError: no Tesseract, no data for the language, or a bad password file.
    """
    expand(source)
    if passwords:
        read_passwords(passwords)
    ocr.tesseract_for(with_ocr, settings.tesseract, lang)
    info = registry.for_ingest(db, encoder, visual_tokens, settings.encoder)
    if info.wants_gpu and not settings.ray_address:  # a cluster's nodes may have what we lack
        checkpoints.needs_engine()
    forms.asked(db, *form)


def check_query(
    file: str, db: str, select: str | None, passwords: str | None, encoder: str | None
) -> None:
    """Raise what the query flow would raise at its start for a wrong argument.

    Raises:
        QueryFileError: there is no such file.
        SelectionError: the selection is wrong.
        StorageError: the database is not there or does not fit.
        EncoderUnavailable: its encoder cannot be had here.
        UsageError: a bad password file.
    """
    selection_of(select, 1)
    if passwords:
        read_passwords(passwords)
    if file != queryfile.STDIN and not Path(file).is_file():
        raise QueryFileError(f"{file}: no such file")
    registry.for_queries(Database.open(db).encoder, encoder)
