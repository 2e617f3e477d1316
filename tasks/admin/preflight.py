"""Mistakes that can be told before Prefect and Ray are started, which takes many seconds."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storage.database import Database
from storage.records import VectorType
from tasks.answers import queryfile
from tasks.common.errors import QueryFileError
from tasks.common.modes import LayoutMode
from tasks.common.settings import Settings
from tasks.documents import ocr
from tasks.documents.sources import expand, read_passwords
from tasks.encoders import checkpoints, registry
from tasks.evaluation import datasets
from tasks.grounding.selection import parse_selection
from tasks.ingest import vectorform
from tasks.regions import layoutmodel


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
    layout: LayoutMode,
    passwords: str | None,
) -> None:
    """Raise what the ingest flow would raise at its start for a wrong argument.

    The encoder's checkpoint is fetched here, where its progress can be seen.

    Raises:
        InputError: there is no file to read.
        EncoderUnavailable: there is no such encoder, or it cannot be had here.
        EncoderMismatch, FormMismatch, SchemaMismatch: the database does not fit.
        LayoutUnavailable: the layout model is not installed.
        UsageError: no Tesseract, no data for the language, or a bad password file.
    """
    expand(source)
    if passwords:
        read_passwords(passwords)
    ocr.tesseract_for(with_ocr, settings.tesseract, lang)
    if layout is not LayoutMode.NEVER:
        layoutmodel.check()
    info = registry.for_ingest(db, encoder, visual_tokens, settings.encoder)
    if info.wants_gpu and not settings.ray_address:  # a cluster's nodes may have what we lack
        checkpoints.needs_engine()
    vectorform.asked(db, *form)


def check_evaluation(dataset: str, db: str, passwords: str | None, encoder: str | None) -> None:
    """Raise what the evaluation flow would raise at its start for a wrong argument.

    Raises:
        DatasetError: there is no such data set, or it is of no format that is read.
        StorageError: the database is not there or does not fit.
        EncoderUnavailable: its encoder cannot be had here.
        UsageError: a bad password file.
    """
    if passwords:
        read_passwords(passwords)
    datasets.load(dataset)
    registry.for_queries(Database.open(db).encoder, encoder)


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
    if select is not None:
        parse_selection(select)
    if passwords:
        read_passwords(passwords)
    if file != queryfile.STDIN and not Path(file).is_file():
        raise QueryFileError(f"{file}: no such file")
    registry.for_queries(Database.open(db).encoder, encoder)
