"""What crosses between the flow's process and Ray workers: shards, read, encoded and packed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from patchlight.storage.convert import PageTables
from patchlight.storage.pages import PageInput
from patchlight.storage.records import PageEncoding, Source, VectorForm
from patchlight.tasks.common.errors import Fault
from patchlight.tasks.reading.fingerprints import Stages
from patchlight.tasks.reading.pages import ReadPage

PageKey = tuple[str, int]
"""(doc_id, 1-based page)."""


@dataclass(frozen=True, slots=True)
class InspectionFault:
    """A file that could not be opened.

    Attributes:
        source: which.
        doc_id: SHA-256 of its bytes, empty if they could not be read.
        fault: why.
        tried: whether it was tried now; else the fault is what an earlier run found.
    """

    source: Source
    doc_id: str
    fault: Fault
    tried: bool = True


@dataclass(frozen=True, slots=True)
class ReadShard:
    """A shard, read: every page of it is in one of the two.

    Attributes:
        pages: pages with their words and regions.
        faults: pages that could not be read.
    """

    pages: tuple[ReadPage, ...]
    faults: Mapping[PageKey, Fault]


@dataclass(frozen=True, slots=True)
class EncoderInputs:
    """What an encoder is to encode of a shard: every page of it is in one of the two.

    Attributes:
        pages: what it sees of each page.
        labels: file and page, for messages.
        faults: pages of which it sees nothing.
    """

    pages: Mapping[PageKey, PageInput]
    labels: Mapping[PageKey, str]
    faults: Mapping[PageKey, Fault] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Encodings:
    """A shard, encoded: every page of it is in one of the two.

    Attributes:
        pages: encodings; cells without ink are dropped already, where the form asks for it.
        faults: pages that could not be drawn or encoded.
        page_ms: what encoding took, milliseconds a page, averaged; None if it was not timed.
    """

    pages: Mapping[PageKey, PageEncoding]
    faults: Mapping[PageKey, Fault]
    page_ms: float | None = None


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


@dataclass(frozen=True, slots=True)
class StoredAs:
    """What the rows of a run's pages carry.

    Attributes:
        stages: that make a page.
        dim: length of a vector.
        form: of the stored vectors.
        uri: the database, for pages of which something is kept.
    """

    stages: Stages
    dim: int
    form: VectorForm
    uri: str
