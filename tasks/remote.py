"""What runs on Ray workers: inspecting files, reading shards, and the encoder actors.

The functions are plain; ``tasks.cluster`` wraps them for Ray. Each isolates its pages: one that
cannot be done becomes a fault, and the others go on.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from storage.convert import PageTables, concat_page_tables, page_tables
from storage.records import Page, PageEncoding, PageInput, Source
from tasks import layout
from tasks.documents import open_document
from tasks.encoders import registry
from tasks.encoders.protocol import Encoder
from tasks.errors import CorruptSource, EncodingFailed, Fault, SourceChanged, Stage, fault_of
from tasks.planning import InspectedFile, Shard, ShardPart
from tasks.reading import ReadOptions, ReadPage, read_page
from tasks.sources import SourceFile, sha256_of, shown, stamp_of

logger = logging.getLogger("patchlight.worker")

PageKey = tuple[str, int]
"""(doc_id, 1-based page)."""


@dataclass(frozen=True, slots=True)
class InspectionFault:
    """A file that could not be opened.

    Attributes:
        source: which.
        doc_id: SHA-256 of its bytes, empty if they could not be read.
        fault: why.
    """

    source: Source
    doc_id: str
    fault: Fault


@dataclass(frozen=True, slots=True)
class ReadShard:
    """A shard, read: every page of it is in one of the two.

    Attributes:
        pages: pages with their words and pictures.
        faults: pages that could not be read.
    """

    pages: tuple[ReadPage, ...]
    faults: Mapping[PageKey, Fault]


@dataclass(frozen=True, slots=True)
class EncodedShard:
    """A shard, ready to be stored: every page of it is in one of the two.

    Attributes:
        tables: rows of the pages that went well.
        stored: their keys.
        faults: pages that could not be read or encoded.
    """

    tables: PageTables
    stored: tuple[PageKey, ...]
    faults: Mapping[PageKey, Fault]


def inspect_file(file: SourceFile, password: str | None) -> InspectedFile | InspectionFault:
    """Hash a file, open it and count its pages."""
    doc_id = ""
    try:
        stamp = stamp_of(file.path)
        doc_id, size = sha256_of(file.path)
        with open_document(file.path, password) as document:
            _check_unchanged(file.path, stamp)
            return InspectedFile(
                doc_id=doc_id,
                path=file.path,
                sources=(file.source,),
                media_type=document.media_type,
                bytes=size,
                page_count=document.page_count,
                stamp=stamp,
                password=password,
            )
    except Exception as error:  # whatever a damaged file raises must not end the run
        return InspectionFault(file.source, doc_id, _fault(error, Stage.OPEN))


def read_shard(shard: Shard, options: ReadOptions) -> ReadShard:
    """Read the pages of a shard."""
    pages: list[ReadPage] = []
    faults: dict[PageKey, Fault] = {}
    for part in shard.parts:
        doc_id = part.file.doc_id
        read: list[ReadPage] = []
        try:
            with open_document(part.file.path, part.file.password) as document:
                for page in part.pages:
                    try:
                        read.append(read_page(document, doc_id, page, options, part.file.label))
                    except Exception as error:  # one page must not take the others with it
                        faults[doc_id, page] = _page_fault(error, part, page, Stage.WORDS)
            # Other bytes must not be stored under the hash of these.
            _check_unchanged(part.file.path, part.file.stamp)
            pages += read
        except Exception as error:  # the file went away, or was written to
            for page in part.pages:
                faults[doc_id, page] = _page_fault(error, part, page, Stage.OPEN)
    return ReadShard(tuple(pages), faults)


def encode_shard(encoder: Encoder, read: ReadShard, fingerprint: str) -> EncodedShard:
    """Encode the pages of a shard and make their rows.

    Args:
        encoder: the encoder.
        read: the pages.
        fingerprint: what the stored pages carry.
    """
    faults = dict(read.faults)
    parts: list[PageTables] = [page_tables([], encoder.dim)]
    stored: list[PageKey] = []
    for page, encoding in _encodings(encoder, read.pages):
        key = (page.doc_id, page.page)
        if isinstance(encoding, Fault):
            faults[key] = encoding
            continue
        try:
            parts.append(page_tables([_page(page, encoding, fingerprint)], encoder.dim))
            stored.append(key)
        except ValueError as error:  # a box off the page, text that is no Unicode
            wrapped = CorruptSource(f"{page.label}: cannot be stored ({error})", Stage.ENCODE)
            faults[key] = fault_of(wrapped, Stage.ENCODE)
    return EncodedShard(concat_page_tables(parts), tuple(stored), faults)


class EncoderWorker:
    """An encoder, loaded once; runs as a Ray actor."""

    def __init__(self, name: str) -> None:
        self._encoder = registry.load(name)

    def encode_shard(self, read: ReadShard, fingerprint: str) -> EncodedShard:
        """Encode the pages of a shard; see ``encode_shard``."""
        return encode_shard(self._encoder, read, fingerprint)


def _encodings(
    encoder: Encoder, pages: Sequence[ReadPage]
) -> list[tuple[ReadPage, PageEncoding | Fault]]:
    inputs = [
        PageInput(page.words(), page.image, page.shape.width_pt, page.shape.height_pt)
        for page in pages
    ]
    try:
        return list(zip(pages, encoder.encode_pages(inputs), strict=True))
    except Exception as error:  # of one page, as a rule: done alone, it is found and quarantined
        logger.warning("%d pages failed together (%r); encoding each alone", len(pages), error)
    results: list[tuple[ReadPage, PageEncoding | Fault]] = []
    for page, one in zip(pages, inputs, strict=True):
        try:
            results.append((page, encoder.encode_pages([one])[0]))
        except Exception as error:  # the page is quarantined; the others go on
            wrapped = EncodingFailed(
                f"{page.label}: the encoder failed ({type(error).__name__}: {error})",
                Stage.ENCODE,
            )
            results.append((page, fault_of(wrapped, Stage.ENCODE)))
    return results


def _page(page: ReadPage, encoding: PageEncoding, fingerprint: str) -> Page:
    return Page(
        doc_id=page.doc_id,
        page=page.page,
        width_pt=page.shape.width_pt,
        height_pt=page.shape.height_pt,
        rotation=page.shape.rotation,
        words_source=page.words_source,
        ocr_dpi=page.ocr_dpi,
        text=layout.page_text(page.regions),
        fingerprint=fingerprint,
        regions=page.regions,
        encoding=encoding,
    )


def _fault(error: BaseException, stage: Stage) -> Fault:
    """Describe an error; the paths in its message need not be UTF-8, what is stored must be."""
    fault = fault_of(error, stage)
    return replace(fault, message=shown(fault.message))


def _check_unchanged(path: str, stamp: tuple[int, int]) -> None:
    if stamp_of(path) != stamp:
        raise SourceChanged(f"{shown(path)}: was written to while it was read; ingest it again")


def _page_fault(error: BaseException, part: ShardPart, page: int, stage: Stage) -> Fault:
    fault = _fault(error, stage)
    if part.file.label in fault.message:
        return fault
    return replace(fault, message=f"{part.file.label}, page {page}: {fault.message}")
