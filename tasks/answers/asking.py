"""One question, answered in this process: no Ray, no Prefect."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np

from patchlight.storage.database import Database
from patchlight.tasks.answers import overlays
from patchlight.tasks.answers.options import RetrievalOptions
from patchlight.tasks.answers.queryfile import QueryRow
from patchlight.tasks.answers.querysession import QuerySession
from patchlight.tasks.answers.results import Answer
from patchlight.tasks.common.errors import InputError
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.grounding.places import ground
from patchlight.tasks.retrieval.ranking import PagesToRank, rank_pages, read_pages

_T = TypeVar("_T")


@dataclass(slots=True)
class Asked:
    """An answer and what it took.

    Attributes:
        session: what it was answered from.
        answer: the answer.
        pictures: paths of the pictures drawn.
        problems: path of a picture that was not drawn -> why.
        seconds: step -> time it took.
    """

    session: QuerySession
    answer: Answer
    pictures: list[str] = field(default_factory=list)
    problems: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)


class Asker:
    """Answers questions one after the other. Loads the encoder once, when it is needed.

    Args:
        database: the database; from a `State` of one all questions are answered alike.
        encoder: where to take its encoder from; None for where it was at ingest.
    """

    def __init__(self, database: Database, encoder: str | None = None) -> None:
        self._database, self._source = database, encoder
        self._encoder: Encoder | None = None
        self._opened: tuple[str | None, QuerySession] | None = None

    def ask(
        self,
        query: str,
        options: RetrievalOptions,
        doc: str | None = None,
        where: str | None = None,
        clock: _Clock | None = None,
    ) -> Asked:
        """Answer a question, without pictures; the rest is as for `ask`."""
        clock = clock or _Clock()
        session = self._session(options, where)
        clock.lap("opening")
        if self._encoder is None:
            described = registry.for_queries(self._database.encoder, self._source)
            self._encoder = registry.load(described)
        clock.lap("loading the encoder")
        encode = self._encoder.encode_queries
        block, bad = session.block([QueryRow(1, "ask", query, doc, None)], encode)
        if block is None:
            raise InputError(bad[0].message)
        clock.lap("encoding the question")
        everything = np.concatenate(session.shards(block, len(session.catalog)))
        wanted = PagesToRank.of(session.catalog, everything)
        pages = clock.each("reading vectors", read_pages(session.snapshot, wanted))
        hits = rank_pages(pages, block.encodings, block.scopes, options.ranking)
        clock.lap("scoring pages")
        places = {}
        for group in session.page_groups(block, hits):
            places.update(ground(session.snapshot, group, options.grounding))
        (answer,) = session.answers(block, hits, places)
        clock.lap("scoring regions")
        return Asked(session, answer, seconds=clock.laps)

    def _session(self, options: RetrievalOptions, where: str | None) -> QuerySession:
        """What a question is answered from; that of the question before where it is the same."""
        if self._opened is None or self._opened[0] != where:
            self._opened = where, QuerySession(self._database, options, where)
        return self._opened[1].with_options(options)


def ask(
    db: str,
    query: str,
    options: RetrievalOptions,
    *,
    encoder: str | None = None,
    doc: str | None = None,
    where: str | None = None,
    pictures: str | None = None,
    passwords: Mapping[str, str] | None = None,
) -> Asked:
    """Answer one question.

    Args:
        db: URI of the database.
        query: the question.
        options: how pages and regions are chosen.
        encoder: where to take the database's encoder from; None for where it was at ingest.
        doc: document to look in: an id, a URI or a file name; None for all.
        where: SQL condition over documents joined to pages; None for all.
        pictures: folder for a picture of each returned page; None for none.
        passwords: pattern -> password, for pictures of encrypted documents.

    Raises:
        InputError: the question holds nothing to search for, or there is nothing to look at.
    """
    clock = _Clock()
    asked = Asker(Database.open(db), encoder).ask(query, options, doc, where, clock)
    if pictures is not None:
        folder = Path(pictures)
        documents, (asked.answer,) = asked.session.pictures([asked.answer], folder, passwords or {})
        for document in documents:
            asked.problems |= overlays.draw(document)
        paths = [str(folder / path) for path in asked.answer.overlays.values()]
        asked.pictures = [path for path in paths if path not in asked.problems]
        clock.lap("drawing")
    return asked


class _Clock:
    """Adds up where the time goes; each moment is counted once."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """Count the time since the last lap under a name."""
        now = time.perf_counter()
        self.laps[name] = self.laps.get(name, 0.0) + now - self._last
        self._last = now

    def each(self, name: str, source: Iterable[_T]) -> Iterator[_T]:
        """Pass items through; count what the source takes, and the rest as the caller's."""
        for item in source:
            self.lap(name)
            yield item
            self.lap("scoring pages")
