"""Mistakes that can be told before Prefect and Ray are started, which takes many seconds."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from patchlight.storage import metadata
from patchlight.storage.database import Database
from patchlight.tasks.common import rowfiles
from patchlight.tasks.common.errors import QueryFileError
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.common.settings import Settings
from patchlight.tasks.documents import ocr
from patchlight.tasks.documents.passwords import read_passwords
from patchlight.tasks.documents.sources import expand
from patchlight.tasks.encoders import checkpoints, registry
from patchlight.tasks.evaluation import datasets
from patchlight.tasks.ingest import vectorform
from patchlight.tasks.ingest.metadatafile import read_metadata, typed
from patchlight.tasks.regions import layoutmodel
from patchlight.tasks.requests.evaluate import EvaluateRequest
from patchlight.tasks.requests.ingest import IngestRequest
from patchlight.tasks.requests.query import QueryRequest


def check_ingest(request: IngestRequest, settings: Settings) -> None:
    """Raise what the ingest flow would raise at its start for a wrong argument.

    The encoder's checkpoint is fetched here, where its progress can be seen.

    Raises:
        InputError: there is no file to read.
        EncoderUnavailable: there is no such encoder, or it cannot be had here.
        EncoderMismatch, FormMismatch, SchemaMismatch: the database does not fit.
        LayoutUnavailable: the layout model is not installed.
        MetadataFileError: a metadata file that cannot be read, or does not fit the database.
        UsageError: no Tesseract, no data for the language, or a bad password file.
    """
    expand(request.source)
    if request.passwords:
        read_passwords(request.passwords)
    if request.metadata:
        database = Database.find(request.db)
        stored = metadata.columns(database) if database else pa.schema([])
        exact = metadata.exact_as_numbers(database) if database else ()
        typed(read_metadata(request.metadata), stored, exact)
    with_ocr = request.ocr is not OcrMode.NEVER
    ocr.tesseract_for(with_ocr, settings.tesseract, request.lang)
    if (request.layout or settings.layout) is not LayoutMode.NEVER:
        layoutmodel.check()
    info = registry.for_ingest(request.db, request.encoder, request.visual_tokens, settings.encoder)
    if info.wants_gpu and not settings.ray_address:  # a cluster's nodes may have what we lack
        checkpoints.needs_engine()
    vectorform.asked(request.db, request.vectors, request.pool, request.drop_blank)


def check_evaluation(request: EvaluateRequest) -> None:
    """Raise what the evaluation flow would raise at its start for a wrong argument.

    Raises:
        DatasetError: there is no such data set, or it is not in a supported format.
        StorageError: the database is not there or does not fit.
        EncoderUnavailable: its encoder cannot be had here.
        SelectionError: a selection is wrong.
        UsageError: a bad setting or password file.
    """
    request.settings()
    if request.passwords:
        read_passwords(request.passwords)
    datasets.load(request.dataset)
    registry.for_queries(Database.open(request.db).encoder, request.encoder)


def check_query(request: QueryRequest) -> None:
    """Raise what the query flow would raise at its start for a wrong argument.

    Raises:
        QueryFileError: there is no such file, or it is a folder.
        SelectionError: the selection is wrong.
        StorageError: the database is not there or does not fit.
        EncoderUnavailable: its encoder cannot be had here.
        UsageError: a bad password file.
    """
    request.options()
    if request.passwords:
        read_passwords(request.passwords)
    if request.file != rowfiles.STDIN and not Path(request.file).is_file():
        folder = Path(request.file).is_dir()
        problem = "is a folder, not a query file" if folder else "no such file"
        raise QueryFileError(f"{request.file}: {problem}")
    registry.for_queries(Database.open(request.db).encoder, request.encoder)
