"""What an ingest run has to do: documents to units of work. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from patchlight.storage.records import Source
from patchlight.tasks.reading.fingerprints import WHOLE, Work


@dataclass(frozen=True, slots=True)
class InspectedFile:
    """A file that could be opened.

    Attributes:
        doc_id: SHA-256 of its bytes.
        path: where it is on this machine.
        sources: where these bytes were found; never empty.
        media_type: what the bytes are.
        bytes: size of the file.
        page_count: pages it has.
        stamp: size and time of the last change when its bytes were hashed.
        password: for an encrypted PDF; never shown.
    """

    doc_id: str
    path: str
    sources: tuple[Source, ...]
    media_type: str
    bytes: int
    page_count: int
    stamp: tuple[int, int] = (0, 0)
    password: str | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """Name of the file for messages."""
        return self.sources[0].name


@dataclass(frozen=True, slots=True)
class ShardPart:
    """Some pages of one document.

    Attributes:
        file: the document.
        pages: 1-based numbers, ascending.
    """

    file: InspectedFile
    pages: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Shard:
    """A unit of ingest work: one Prefect task, one Ray task.

    Attributes:
        index: 0-based number within the run.
        parts: pages of one or several documents.
        work: what is done of each page.
    """

    index: int
    parts: tuple[ShardPart, ...]
    work: Work = WHOLE

    @property
    def page_count(self) -> int:
        """Pages in all parts."""
        return sum(len(part.pages) for part in self.parts)

    def single_pages(self) -> list[Shard]:
        """Cut into shards of one page each."""
        return [
            Shard(self.index, (ShardPart(part.file, (page,)),), self.work)
            for part in self.parts
            for page in part.pages
        ]


def merge_by_content(files: Iterable[InspectedFile]) -> list[InspectedFile]:
    """Make one file of all that hold the same bytes, with all their sources, in first order."""
    merged: dict[str, InspectedFile] = {}
    for file in files:
        known = merged.get(file.doc_id)
        if known is None:
            merged[file.doc_id] = file
        else:
            merged[file.doc_id] = InspectedFile(
                known.doc_id,
                known.path,
                known.sources + tuple(s for s in file.sources if s not in known.sources),
                known.media_type,
                known.bytes,
                known.page_count,
                known.stamp,
                known.password,
            )
    return list(merged.values())


def cut_shards(
    todo: Sequence[tuple[InspectedFile, Mapping[int, Work]]], shard_pages: int
) -> list[Shard]:
    """Cut documents into shards of at most ``shard_pages`` pages, in order.

    A shard may hold several small documents, and a large document takes several shards. All its
    pages have the same work.

    Args:
        todo: documents, each with the pages to do (1-based) and what is to be done of them.
        shard_pages: at least 1.

    Raises:
        ValueError: ``shard_pages`` is below 1.
    """
    if shard_pages < 1:
        raise ValueError(f"a shard holds at least 1 page, got {shard_pages}")
    kinds = dict.fromkeys(work for _, pages in todo for work in pages.values())
    shards: list[Shard] = []
    for kind in kinds:
        parts: list[ShardPart] = []
        room = shard_pages
        for file, pages in todo:
            left = sorted(page for page, work in pages.items() if work == kind)
            while left:
                taken, left = left[:room], left[room:]
                parts.append(ShardPart(file, tuple(taken)))
                room -= len(taken)
                if room == 0:
                    shards.append(Shard(len(shards), tuple(parts), kind))
                    parts, room = [], shard_pages
        if parts:
            shards.append(Shard(len(shards), tuple(parts), kind))
    return shards
