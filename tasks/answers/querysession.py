"""What queries are answered from: a pinned database; and what is answered together."""

from __future__ import annotations

import copy
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from patchlight.storage import reader, statistics
from patchlight.storage.database import Database
from patchlight.storage.errors import PatchlightError, StorageUnavailable
from patchlight.storage.reader import Snapshot
from patchlight.storage.records import QueryEncoding, TermStatistics
from patchlight.tasks.answers import results
from patchlight.tasks.answers.options import RetrievalOptions
from patchlight.tasks.answers.overlays import DocumentOverlays, Overlay
from patchlight.tasks.answers.queryfile import BadRow, QueryRow
from patchlight.tasks.answers.results import Answer, PageAnswer, QueryToken
from patchlight.tasks.answers.wording import score_and_words
from patchlight.tasks.common.errors import InputError
from patchlight.tasks.common.rowvalues import values_of
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.documents.passwords import password_for
from patchlight.tasks.documents.sources import to_path
from patchlight.tasks.encoders.protocol import EncodeQueries
from patchlight.tasks.grounding.records import FoundPage, PagePlaces
from patchlight.tasks.retrieval.ranking import Hits
from patchlight.tasks.retrieval.scope import Catalog, Positions, Scopes

_PAGES_GROUNDED_AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class Block:
    """Queries that are answered together.

    Attributes:
        rows: the queries.
        encodings: their vectors.
        scopes: positions each may look at; None for all.
    """

    rows: tuple[QueryRow, ...]
    encodings: tuple[QueryEncoding, ...]
    scopes: tuple[Positions | None, ...]


@dataclass(frozen=True, slots=True)
class ReadBefore:
    """What an earlier run has read.

    Attributes:
        snapshot: versions of the tables.
        statistics: the corpus statistics; None for none.
    """

    snapshot: Snapshot
    statistics: TermStatistics | None


def read_by(database: Database, run_id: str) -> ReadBefore:
    """Find what a query run or an evaluation has read.

    Args:
        database: the database.
        run_id: the run.

    Raises:
        InputError: there is no such run, or it has read nothing that was kept.
        StorageUnavailable: what it has read was removed.
    """
    run = next((run for run in database.runs() if run.run_id == run_id), None)
    if run is None or not run.pins:
        what = "is not there" if run is None else f"is of the kind {run.kind} and kept nothing"
        raise InputError(
            f"--as-of {run_id}: that run {what}; runs of the kinds query and evaluate keep what "
            "they have read, and 'patchlight sql \"SELECT run_id, kind FROM runs\"' lists them"
        )
    snapshot = Snapshot(database.uri, dict(run.pins))
    named = json.loads(run.summary).get("statistics") or None
    counted = statistics.named(database, named) if named else None
    if not reader.still_there(snapshot) or (named and counted is None):
        raise StorageUnavailable(
            f"--as-of {run_id}: what that run has read was removed from {database.uri}; it stays "
            "for PATCHLIGHT_KEEP_READ_H hours after the run. Ask without --as-of."
        )
    return ReadBefore(snapshot, counted)


class QuerySession:
    """What queries are answered from: a pinned database, and how.

    Args:
        database: the database.
        options: how pages and regions are chosen.
        where: SQL condition over documents joined to pages; None for all.
        earlier: what an earlier run has read, to answer from that; None for the newest state.

    Raises:
        InputError: there is no page to search.
        SqlError: the condition is wrong.
    """

    def __init__(
        self,
        database: Database,
        options: RetrievalOptions,
        where: str | None,
        earlier: ReadBefore | None = None,
    ) -> None:
        self.database = database
        self.options = options
        self.snapshot: Snapshot = earlier.snapshot if earlier else database.snapshot()
        pages = reader.catalog(self.snapshot, where, load_settings().sql_memory_mb)
        self.catalog = Catalog.of(pages)
        self.statistics = earlier.statistics if earlier else statistics.latest(database)
        if not len(self.catalog):
            raise InputError(
                f"--where {where!r} matches no page of {database.uri}"
                if where
                else f"{database.uri} has no page to search; run 'patchlight ingest' first"
            )
        self._documents = {d.doc_id: d for d in reader.documents(self.snapshot)}
        self._scopes = Scopes(self.catalog, list(self._documents.values()))

    def with_options(self, options: RetrievalOptions) -> QuerySession:
        """Return a session that answers from the same pinned state in another way."""
        other = copy.copy(self)
        other.options = options
        return other

    def check_snapshot(self) -> None:
        """Make sure that what is pinned was not removed before anybody knew of the pin.

        Raises:
            StorageUnavailable: it was, or it cannot be read.
            DatabaseNotFound: a table is gone.
        """
        if not reader.still_there(self.snapshot):
            raise StorageUnavailable(
                f"database {self.database.uri} was cleaned while this run started; start it again"
            )

    def block(
        self, rows: Sequence[QueryRow], encode: EncodeQueries
    ) -> tuple[Block | None, list[BadRow]]:
        """Find each query's scope and encode it; rows for which that fails come back."""
        good: list[tuple[QueryRow, QueryEncoding, Positions | None]] = []
        bad: list[BadRow] = []
        encodings = encode([row.query for row in rows], self.statistics)
        for row, encoding in zip(rows, encodings, strict=True):
            try:
                if isinstance(encoding, Exception):
                    raise InputError(_said(encoding))
                good.append((row, encoding, self._scopes.positions(row.doc, row.pages)))
            except InputError as error:
                bad.append(BadRow(row.line, row.query_id, f"{row.place}: {error}"))
        if not good:
            return None, bad
        kept, encoded, scopes = zip(*good, strict=True)
        return Block(kept, encoded, scopes), bad

    def shards(self, block: Block, shard_pages: int) -> list[Positions]:
        """Cut the pages that any query of a block may look at into shards, rising."""
        if any(scope is None for scope in block.scopes):
            positions: Positions = np.arange(len(self.catalog), dtype=np.int64)
        else:
            positions = np.unique(np.concatenate([s for s in block.scopes if s is not None]))
        return [
            positions[start : start + shard_pages]
            for start in range(0, len(positions), shard_pages)
        ]

    def page_groups(self, block: Block, hits: Hits) -> Iterator[dict[str, FoundPage]]:
        """Yield the found pages with the queries that found each, some pages at a time.

        Args:
            block: the queries.
            hits: their pages.
        """
        positions = {hit.page_id: hit.position for found in hits for hit in found}
        asked: dict[str, list[int]] = {page: [] for page in positions}
        for number, found in enumerate(hits):
            for hit in found:
                asked[hit.page_id].append(number)
        keys = sorted(positions)
        for start in range(0, len(keys), _PAGES_GROUNDED_AT_ONCE):
            yield {
                key: FoundPage(
                    int(self.catalog.page_keys[positions[key]]),
                    int(self.catalog.patch_rows[positions[key]]),
                    tuple(block.encodings[number] for number in asked[key]),
                    tuple(block.rows[number].query for number in asked[key]),
                )
                for key in keys[start : start + _PAGES_GROUNDED_AT_ONCE]
            }

    def answers(
        self,
        block: Block,
        hits: Hits,
        places: Mapping[str, Sequence[PagePlaces]],
    ) -> list[Answer]:
        """Put ranked pages and the places on them together, query by query.

        Args:
            block: the queries.
            hits: their pages.
            places: page_id -> places for each query that found it, in the order of
                ``page_groups``.
        """
        positions = {hit.position for found in hits for hit in found}
        texts = reader.page_texts(self.snapshot, self.catalog.keys(positions))
        known = self._metadata_of({self.catalog.doc_ids[at] for at in positions})
        next_of = dict.fromkeys(places, 0)
        answers = []
        for row, query, found in zip(block.rows, block.encodings, hits, strict=True):
            pages = []
            for hit in found:
                mine = places[hit.page_id][next_of[hit.page_id]]
                next_of[hit.page_id] += 1
                about = known.get(self.catalog.doc_ids[hit.position], {})
                pages.append(PageAnswer(hit, mine, texts[hit.page_id], about))
            tokens = zip(query.tokens, query.weights, query.meaning, strict=True)
            asked = tuple(QueryToken(t, float(w), bool(m)) for t, w, m in tokens)
            answers.append(Answer(row, tuple(pages), query_tokens=asked))
        return answers

    def _metadata_of(self, doc_ids: Iterable[str]) -> dict[str, dict[str, Any]]:
        """What people gave to documents, by doc_id; only what is not null."""
        rows = reader.metadata_of(self.snapshot, sorted(doc_ids))
        keys = rows["doc_id"].to_pylist()
        found: dict[str, dict[str, Any]] = {key: {} for key in keys}
        for name in rows.column_names:
            if name != "doc_id":
                for key, value in zip(keys, values_of(rows[name].combine_chunks()), strict=True):
                    if value is not None:
                        found[key][name] = value
        return found

    def pictures(
        self, answers: Sequence[Answer], folder: Path, passwords: Mapping[str, str]
    ) -> tuple[list[DocumentOverlays], list[Answer]]:
        """Plan the pictures of answers, by document.

        Returns:
            What is to be drawn, and the answers with the paths of their pictures.
        """
        jobs: dict[str, list[Overlay]] = {}
        named = []
        for answer in answers:
            paths = {}
            for rank, page in enumerate(answer.pages, 1):
                at = page.hit.position
                name = f"{_file_safe(answer.row.query_id)}-{rank:02d}.png"
                paths[rank] = f"{results.OVERLAYS}/{name}"
                place = f"{self.catalog.names[at]}, page {self.catalog.pages[at]}"
                overlay = Overlay(
                    page=int(self.catalog.pages[at]),
                    rows=page.places.rows,
                    cols=page.places.cols,
                    cell_scores=page.places.cell_scores,
                    boxes=tuple(region.box for region in page.regions),
                    caption=(
                        answer.row.query,
                        f"rank {rank} - {place} - score {page.hit.score:.2f}",
                    ),
                    out=str(folder / results.OVERLAYS / name),
                    notes=tuple(f"{r.kind} {score_and_words(r)}" for r in page.regions),
                )
                jobs.setdefault(self.catalog.doc_ids[at], []).append(overlay)
            named.append(replace(answer, overlays=paths))
        return self.drawn_from(jobs, passwords), named

    def drawn_from(
        self, jobs: Mapping[str, Sequence[Overlay]], passwords: Mapping[str, str]
    ) -> list[DocumentOverlays]:
        """Return pictures by doc_id with where their documents are, and how these are opened."""
        documents = []
        for doc_id, overlays in jobs.items():
            paths = tuple(to_path(source.uri) for source in self._documents[doc_id].sources)
            secret = next(filter(None, (password_for(p, passwords) for p in paths)), None)
            documents.append(DocumentOverlays(doc_id, paths, tuple(overlays), secret))
        return documents


def _said(error: Exception) -> str:
    """What is wrong with a query; an error that was not made for people is named by its type."""
    if isinstance(error, ValueError | PatchlightError):
        return str(error)
    return f"the encoder failed ({type(error).__name__}: {error})"


def _file_safe(query_id: str) -> str:
    """A query id as part of a file name; ids that differ only in odd characters stay apart."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", query_id)[:80]
    if safe == query_id and not safe.startswith("."):
        return safe
    return f"{safe.lstrip('.')}-{zlib.crc32(query_id.encode(errors='surrogatepass')):08x}"
