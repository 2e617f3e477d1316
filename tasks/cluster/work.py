"""What runs on Ray workers: inspecting files, reading and drawing shards, encoding, packing.

The functions are plain and do not know Ray; the modules beside this one make Ray tasks and actors
of them. Each isolates its pages: one that cannot be done becomes a fault, and the others go on.

An encoder that reads words takes one step after reading. One that sees pictures has a path of
its own, so that a GPU does not wait for OCR::

    read_shard    words and regions, OCR ----+
                                             +--> pack_shard: rows for the tables
    render_shard  pictures --> encode (GPU) -+
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from patchlight.storage.convert import PageTables, concat_page_tables, page_tables
from patchlight.storage.pages import Page, PageInput
from patchlight.storage.records import (
    PageEncoding,
    QueryEncoding,
    RegionKind,
    StoredPage,
    TermStatistics,
    VectorForm,
)
from patchlight.storage.regions import Regions
from patchlight.tasks.common import tracebacks
from patchlight.tasks.common.errors import (
    CorruptSource,
    DeviceLost,
    EncodingFailed,
    Fault,
    SourceChanged,
    SourceError,
    Stage,
    TooLarge,
    fault_of,
)
from patchlight.tasks.common.limits import MEBIBYTE, Limits
from patchlight.tasks.common.modes import LayoutMode
from patchlight.tasks.common.terms import terms
from patchlight.tasks.documents.protocol import PageShape
from patchlight.tasks.documents.sources import SourceFile, sha256_of, shown, stamp_of
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import Encoder, EncoderInfo
from patchlight.tasks.kernels import pooling
from patchlight.tasks.reading import sandboxwork
from patchlight.tasks.reading.fingerprints import Stages
from patchlight.tasks.reading.looking import regions_made
from patchlight.tasks.reading.messages import (
    EncodedShard,
    EncoderInputs,
    Encodings,
    InspectionFault,
    PageKey,
    ReadShard,
    StoredAs,
)
from patchlight.tasks.reading.pages import ReadOptions, ReadPage
from patchlight.tasks.reading.sandboxwork import Where
from patchlight.tasks.reading.shardplan import InspectedFile, Shard, ShardPart
from patchlight.tasks.regions import hierarchy
from patchlight.tasks.regions.arrangement import arrangement_of
from patchlight.tasks.sandbox import calling

if TYPE_CHECKING:
    from patchlight.storage.database import Database

logger = logging.getLogger("patchlight.worker")

_T = TypeVar("_T")

_MOST_TOLD = 100
_told: set[str] = set()
"""Tracebacks that this process has logged in full: a fault may have a thousand pages."""


def inspect_file(
    file: SourceFile,
    password: str | None,
    limits: Limits | None = None,
    given_up: InspectionFault | None = None,
) -> InspectedFile | InspectionFault:
    """Hash a file, open it and count its pages.

    Args:
        file: which.
        password: for an encrypted PDF.
        limits: what it may take; None for the defaults.
        given_up: what opening the file did too often; returned if its bytes are still the same.
    """
    limits = limits or Limits()
    doc_id = ""
    try:
        stamp = stamp_of(file.path)
        _check_size(file, stamp[0], limits)
        doc_id, size = sha256_of(file.path)
        if given_up and given_up.doc_id == doc_id:
            return given_up
        where = Where(file.path, password, limits)
        found = calling.call(sandboxwork.inspect, where, label=file.source.name, limits=limits)
        _check_unchanged(file.path, stamp)
        return InspectedFile(
            doc_id=doc_id,
            path=file.path,
            sources=(file.source,),
            media_type=found.media_type,
            bytes=size,
            page_count=found.page_count,
            stamp=stamp,
            password=password,
        )
    except Exception as error:  # whatever a damaged file raises must not end the run
        fault = _fault(error, Stage.OPEN)
        _log_cause(fault, error, file.source.name)
        return InspectionFault(file.source, doc_id, fault)


def read_shard(shard: Shard, options: ReadOptions) -> ReadShard:
    """Read the words and regions of a shard's pages."""

    def read(where: Where, part: ShardPart, page: int) -> ReadPage:
        name = part.file.label
        args = where, part.file.doc_id, page, options, name
        began = time.perf_counter()
        words = calling.call(
            sandboxwork.read_page, *args, label=_label(part, page), limits=options.limits
        )
        words = replace(words, words_ms=1000 * (time.perf_counter() - began))
        return _with_regions(words, where, options)

    pages, faults = _each_page(shard, options.limits, read, Stage.WORDS)
    return ReadShard(tuple(pages.values()), faults)


def recall_shard(shard: Shard, options: ReadOptions, stored_as: StoredAs) -> ReadShard:
    """Take a shard's words from the database; make regions anew, if that is the shard's work."""
    database = _database(stored_as)
    doc_ids = [part.file.doc_id for part in shard.parts]
    pages_of = [part.pages for part in shard.parts]
    rows = {d: database.page_rows(d, p) for d, p in zip(doc_ids, pages_of, strict=True)}
    known = {d: database.words(d, p) for d, p in zip(doc_ids, pages_of, strict=True)}

    def recall(where: Where, part: ShardPart, page: int) -> ReadPage:
        doc_id, label = part.file.doc_id, _label(part, page)
        row = rows[doc_id][page]
        words = ReadPage(
            doc_id=doc_id,
            page=page,
            label=label,
            shape=PageShape(row.width_pt, row.height_pt, row.rotation),
            words_source=row.words_source,
            ocr_dpi=row.ocr_dpi,
            regions=known[doc_id][page],
            words_made=row.fingerprints["words"],
            scale=row.scale,
        )
        return _with_regions(words, where, options) if shard.work.regions else words

    pages, faults = _each_page(shard, options.limits, recall, Stage.WORDS)
    return ReadShard(tuple(pages.values()), faults)


def _with_regions(page: ReadPage, where: Where, options: ReadOptions) -> ReadPage:
    """Make the regions of a page that has its words.

    A page that cannot be drawn has regions from what else is known of it.
    """
    args = where, page.page, page.regions, options
    call = partial(calling.call, sandboxwork.read_regions, *args)
    began = time.perf_counter()
    try:
        drawn, regions = True, call(True, label=page.label, limits=options.limits)
    except SourceError as error:
        if options.layout is LayoutMode.NEVER or error.stage is not Stage.RENDER:
            raise
        logger.warning("%s; the layout model does not see it", error)
        drawn, regions = False, call(False, label=page.label, limits=options.limits)
    made = regions_made(options.layout, drawn=drawn)
    regions_ms = 1000 * (time.perf_counter() - began)
    return replace(page, regions=regions, regions_made=made, regions_ms=regions_ms)


def render_shard(shard: Shard, options: ReadOptions) -> EncoderInputs:
    """Draw a shard's pages for an encoder that sees pictures."""
    labels: dict[PageKey, str] = {}

    def draw(where: Where, part: ShardPart, page: int) -> PageInput:
        label = labels[part.file.doc_id, page] = _label(part, page)
        args = where, page, options
        return calling.call(sandboxwork.read_picture, *args, label=label, limits=options.limits)

    pages, faults = _each_page(shard, options.limits, draw, Stage.RENDER)
    return EncoderInputs(pages, labels, faults)


def inputs_of(read: ReadShard) -> EncoderInputs:
    """Take from read pages what an encoder that reads words is given."""
    return EncoderInputs(
        {
            (page.doc_id, page.page): PageInput(
                page.regions.only(RegionKind.WORD), None, page.shape.width_pt, page.shape.height_pt
            )
            for page in read.pages
        },
        {(page.doc_id, page.page): page.label for page in read.pages},
    )


def encode(encoder: Encoder, inputs: EncoderInputs, form: VectorForm) -> Encodings:
    """Encode the pages of a shard."""
    pages: dict[PageKey, PageEncoding] = {}
    faults = dict(inputs.faults)
    began = time.perf_counter()
    results = encoder.encode_pages(list(inputs.pages.values()))
    took_ms = 1000 * (time.perf_counter() - began)
    for (key, page), result in zip(inputs.pages.items(), results, strict=True):
        if isinstance(result, Exception):
            faults[key] = _encoder_fault(result, inputs.labels[key])
        elif form.drop_blank and page.image is not None:
            blank = pooling.blank_cells(page.image, result.rows, result.cols)
            pages[key] = pooling.drop_blank(result, blank)
        else:
            pages[key] = result
    return Encodings(pages, faults, took_ms / max(1, len(inputs.pages)))


def pack_shard(read: ReadShard, encoded: Encodings | None, stored_as: StoredAs) -> EncodedShard:
    """Make the rows of a shard's pages from what was read and what was encoded.

    Args:
        read: words and regions, or words alone to keep the regions that are stored.
        encoded: vectors; None to keep those that are stored.
        stored_as: what the rows carry.
    """
    faults = {**(encoded.faults if encoded else {}), **read.faults}
    parts: list[PageTables] = [page_tables([], stored_as.dim, stored_as.form.type)]
    stored: list[PageKey] = []
    whole = encoded is not None and all(page.regions_made for page in read.pages)
    kept = {} if whole else _stored_rows(read, stored_as)
    encoder_ms = encoded.page_ms if encoded else None
    for page in read.pages:
        key = (page.doc_id, page.page)
        if key in faults:
            continue
        try:
            encoding = pooling.pool(encoded.pages[key], stored_as.form.pool) if encoded else None
            row = _page(page, encoding, encoder_ms, stored_as.stages, kept.get(key))
            parts.append(page_tables([row], stored_as.dim, stored_as.form.type, terms))
            stored.append(key)
        except ValueError as error:  # a box off the page, text that is no Unicode
            wrapped = CorruptSource(f"{page.label}: cannot be stored ({error})", Stage.ENCODE)
            logger.debug("%s: cannot be stored", page.label, exc_info=error)
            faults[key] = fault_of(wrapped, Stage.ENCODE)
    return EncodedShard(concat_page_tables(parts), tuple(stored), faults)


def _stored_rows(read: ReadShard, stored_as: StoredAs) -> dict[PageKey, StoredPage]:
    """What is stored of the pages of a shard."""
    database = _database(stored_as)
    pages = defaultdict(list)
    for page in read.pages:
        pages[page.doc_id].append(page.page)
    return {
        (doc_id, number): row
        for doc_id, numbers in pages.items()
        for number, row in database.page_rows(doc_id, numbers).items()
    }


def _database(stored_as: StoredAs) -> Database:
    # Imported here: the engine takes a second and 100 MB that few workers need.
    from patchlight.storage.database import Database

    return Database.open(stored_as.uri)


class EncoderWorker:
    """An encoder, loaded once; runs as a Ray actor, whose methods may be called from threads.

    Args:
        info: which encoder.
        device: ``cuda`` or ``cpu``.
        gpu_share: part of the GPU's memory that it may take.
        threads: CPU threads its arithmetic may use; None for the library's choice.
        batch_tokens: most tokens of a batch; None to find out.
    """

    def __init__(
        self,
        info: EncoderInfo,
        device: str,
        gpu_share: float,
        threads: int | None,
        batch_tokens: int | None,
    ) -> None:
        self._info = info
        self._device = device
        self._gpu_share = gpu_share
        self._threads = threads
        self._batch_tokens = batch_tokens
        self._lock = threading.Lock()
        self._encoder: Encoder | None = None

    def load(self) -> None:
        """Load the encoder, unless it is.

        Raises:
            EncoderUnavailable: it cannot be loaded on this machine.
        """
        self._loaded()

    def encode(self, inputs: EncoderInputs, form: VectorForm) -> Encodings:
        """Encode the pages of a shard; see ``encode``."""
        with _process_ends_with_device():
            return encode(self._loaded(), inputs, form)

    def encode_shard(self, read: ReadShard, stored_as: StoredAs) -> EncodedShard:
        """Encode a shard by its words, and make its rows."""
        return pack_shard(read, self.encode(inputs_of(read), stored_as.form), stored_as)

    def encode_queries(
        self, queries: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding | Exception]:
        """Encode queries; see ``Encoder.encode_queries``."""
        with _process_ends_with_device():
            return self._loaded().encode_queries(queries, statistics)

    def _loaded(self) -> Encoder:
        # Not in __init__: what it raises there, Ray turns into the death of the actor.
        with self._lock:
            if self._encoder is None:
                self._encoder = registry.load(
                    self._info,
                    device=self._device,
                    gpu_share=self._gpu_share,
                    threads=self._threads,
                    batch_tokens=self._batch_tokens,
                )
            return self._encoder


@contextmanager
def _process_ends_with_device() -> Iterator[None]:
    """End the process where the GPU computes no more in it: Ray starts another, which may."""
    try:
        yield
    except DeviceLost as error:
        logger.critical("%s; the process ends", error)
        os._exit(1)


def _each_page(
    shard: Shard, limits: Limits, do: Callable[[Where, ShardPart, int], _T], stage: Stage
) -> tuple[dict[PageKey, _T], dict[PageKey, Fault]]:
    """Do something with each page of a shard; what fails is a fault of that page."""
    done: dict[PageKey, _T] = {}
    faults: dict[PageKey, Fault] = {}
    for part in shard.parts:
        doc_id = part.file.doc_id
        mine: dict[PageKey, _T] = {}
        where = Where(part.file.path, part.file.password, limits)
        try:
            for page in part.pages:
                try:
                    mine[doc_id, page] = do(where, part, page)
                except Exception as error:  # one page must not take the others with it
                    faults[doc_id, page] = _page_fault(error, part, page, stage)
            # Other bytes must not be stored under the hash of these.
            _check_unchanged(part.file.path, part.file.stamp)
            done |= mine
        except Exception as error:  # the file went away, or was written to
            for page in part.pages:
                faults[doc_id, page] = _page_fault(error, part, page, Stage.OPEN)
    return done, faults


def _encoder_fault(error: Exception, label: str) -> Fault:
    if isinstance(error, SourceError):
        failed = type(error)(f"{label}: {error}", Stage.ENCODE)
    else:
        detail = tracebacks.summary(error)
        failed = EncodingFailed(f"{label}: the encoder failed ({detail})", Stage.ENCODE)
        failed.__cause__ = error
    fault = fault_of(failed, Stage.ENCODE)
    _log_cause(fault, failed, label)
    return fault


def _page(
    page: ReadPage,
    encoding: PageEncoding | None,
    encoder_ms: float | None,
    stages: Stages,
    kept: StoredPage | None,
) -> Page:
    regions: Regions | None = page.regions
    text, made = hierarchy.page_text(page.regions), page.regions_made
    if not made and kept is not None:
        regions, text, made = None, kept.text, kept.fingerprints["regions"]
    arrangement = None if regions is None else arrangement_of(regions)
    return Page(
        doc_id=page.doc_id,
        page=page.page,
        width_pt=page.shape.width_pt,
        height_pt=page.shape.height_pt,
        rotation=page.shape.rotation,
        words_source=page.words_source,
        ocr_dpi=page.ocr_dpi,
        text=text,
        fingerprints=stages.made(page.words_made, made),
        regions=regions,
        encoding=encoding,
        scale=page.scale,
        kept=kept,
        arrangement=arrangement,
        words_ms=page.words_ms,
        regions_ms=page.regions_ms,
        encoder_ms=encoder_ms,
    )


def _fault(error: BaseException, stage: Stage) -> Fault:
    """Describe an error; the paths in its message need not be UTF-8, what is stored must be."""
    fault = fault_of(error, stage)
    return replace(fault, message=shown(fault.message))


def _log_cause(fault: Fault, error: BaseException, label: str) -> None:
    """Log where a fault comes from; in full once, if that is nothing we know."""
    if not fault.traceback or fault.traceback in _told:
        logger.debug("%s: %s at %s", label, fault.category, fault.stage, exc_info=error)
        return
    if len(_told) < _MOST_TOLD:
        _told.add(fault.traceback)
    logger.error(
        "%s: %s at %s, for a reason that is not known; report it with this:",
        shown(label),
        fault.category,
        fault.stage,
        exc_info=error,
    )


def _check_size(file: SourceFile, size: int, limits: Limits) -> None:
    if size > limits.max_file_mb * MEBIBYTE:
        raise TooLarge(
            f"{file.source.name}: {size / MEBIBYTE:,.1f} MiB are more than the limit of "
            f"{limits.max_file_mb:,}; cut it into parts, or raise PATCHLIGHT_MAX_FILE_MB"
        )


def _check_unchanged(path: str, stamp: tuple[int, int]) -> None:
    if stamp_of(path) != stamp:
        raise SourceChanged(f"{shown(path)}: was written to while it was read; ingest it again")


def _label(part: ShardPart, page: int) -> str:
    return f"{part.file.label}, page {page}"


def _page_fault(error: BaseException, part: ShardPart, page: int, stage: Stage) -> Fault:
    fault = _fault(error, stage)
    _log_cause(fault, error, _label(part, page))
    if part.file.label in fault.message:
        return fault
    return replace(fault, message=f"{_label(part, page)}: {fault.message}")
