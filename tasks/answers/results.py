"""Answers as records, and the files they are written to."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from patchlight.storage.convert import retrievals_table
from patchlight.storage.records import Retrieval
from patchlight.tasks.answers import tokencost
from patchlight.tasks.answers.queryfile import QueryRow
from patchlight.tasks.common import safetext
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.grounding.records import PagePlaces, RegionHit
from patchlight.tasks.kernels import geometry
from patchlight.tasks.retrieval.ranking import PageHit
from patchlight.tasks.retrieval.scope import Catalog

RESULTS_JSONL = "results.jsonl"
RESULTS_PARQUET = "results.parquet"
SUMMARY_JSON = "summary.json"
OVERLAYS = "overlays"


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """A returned page with its returned regions.

    Attributes:
        hit: the page.
        places: the map of its cells, and what was selected on it.
        text: all its text.
        metadata: column -> what people gave to its document, as JSON has it.
    """

    hit: PageHit
    places: PagePlaces
    text: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    @property
    def regions(self) -> tuple[RegionHit, ...]:
        """What was selected, best first; may be empty."""
        return self.places.regions


@dataclass(frozen=True, slots=True)
class QueryToken:
    """A token of a query.

    Attributes:
        token: as the encoder writes it; a word, a piece of one, or a mark of the prompt.
        weight: what its best match counts in the page score, above 0.
        meaning: whether it carries meaning.
    """

    token: str
    weight: float
    meaning: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """All that a query returned.

    Attributes:
        row: the query.
        pages: returned pages, best first.
        overlays: rank of a page -> path of its picture, relative to the results.
        query_tokens: what the encoder made of the query.
    """

    row: QueryRow
    pages: tuple[PageAnswer, ...]
    overlays: Mapping[int, str] = field(default_factory=dict)
    query_tokens: tuple[QueryToken, ...] = ()


def result_line(answer: Answer, catalog: Catalog, run_id: str, statistics: str) -> dict[str, Any]:
    """Return the line of ``results.jsonl`` for an answer; docs/results.md describes it.

    Args:
        answer: the answer.
        catalog: the pages it points to.
        run_id: the run that gave it.
        statistics: snapshot of the corpus statistics its scores were made with.
    """
    pages = []
    for rank, page in enumerate(answer.pages, 1):
        at = page.hit.position
        entry: dict[str, Any] = {
            "rank": rank,
            "doc_id": catalog.doc_ids[at],
            "source": catalog.uris[at],
            "page": int(catalog.pages[at]),
            "score": page.hit.score,
            "width_pt": float(catalog.width_pt[at]),
            "height_pt": float(catalog.height_pt[at]),
            "metadata": dict(page.metadata),
            "regions": [
                _region_json(i, region, catalog, at) for i, region in enumerate(page.regions, 1)
            ],
        }
        if rank in answer.overlays:
            entry["overlay"] = answer.overlays[rank]
        pages.append(entry)
    return {
        "query_id": answer.row.query_id,
        "query": answer.row.query,
        **answer.row.carried,
        "pages": pages,
        "tokens": tokens_of(answer, catalog),
        "query_tokens": [asdict(token) for token in answer.query_tokens],
        "run_id": run_id,
        "statistics": statistics,
    }


def tokens_of(answer: Answer, catalog: Catalog) -> dict[str, int]:
    """Count what an answer costs a language model, and what whole pages would.

    Returns:
        ``regions``: text of the returned regions; ``page_text``: all text of the returned
        pages; ``page_image``: their pictures. Source: arXiv 2512.02660, as docs/results.md.
    """
    regions = page_text = page_image = 0
    for page in answer.pages:
        regions += sum(tokencost.text_tokens(region.text) for region in page.regions)
        page_text += tokencost.text_tokens(page.text)
        at = page.hit.position
        page_image += tokencost.page_tokens(catalog.width_pt[at], catalog.height_pt[at])
    return {"regions": regions, "page_text": page_text, "page_image": page_image}


def as_retrievals(answer: Answer, catalog: Catalog, run_id: str) -> list[Retrieval]:
    """Return the rows of ``retrievals`` for an answer: one a region, one for a bare page."""
    rows = []
    carried = json.dumps(dict(answer.row.carried), ensure_ascii=False, default=str)
    bare = RegionHit("", "", (0.0, 0.0, 1.0, 1.0), "", 0.0)
    for page_rank, page in enumerate(answer.pages, 1):
        at = page.hit.position
        metadata = json.dumps(dict(page.metadata), ensure_ascii=False)
        for index, region in enumerate(page.regions or (bare,), 1):
            rows.append(
                Retrieval(
                    run_id=run_id,
                    query_id=answer.row.query_id,
                    query=answer.row.query,
                    page_rank=page_rank,
                    doc_id=catalog.doc_ids[at],
                    source=catalog.uris[at],
                    page=int(catalog.pages[at]),
                    page_score=page.hit.score,
                    width_pt=float(catalog.width_pt[at]),
                    height_pt=float(catalog.height_pt[at]),
                    region_rank=index if page.regions else 0,
                    region_id=region.region_id,
                    kind=region.kind,
                    text=region.text,
                    score=region.score,
                    x0=region.box[0],
                    y0=region.box[1],
                    x1=region.box[2],
                    y1=region.box[3],
                    carried=carried,
                    metadata=metadata,
                )
            )
    return rows


class ResultFiles:
    """Writes results under temporary names; they get their own names all at the end.

    Args:
        folder: made if it is not there.
        run_id: the run; keeps the temporary names of two runs apart.

    Raises:
        UsageError: the folder cannot be written.
    """

    def __init__(self, folder: str, run_id: str) -> None:
        self._mark = hashlib.sha256(run_id.encode(errors="surrogatepass")).hexdigest()[:8]
        self.folder = Path(folder).absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lines = self._part(RESULTS_JSONL).open("w", encoding="utf-8")
        except OSError as error:
            raise UsageError(
                f"--out {folder}: cannot be written ({error.strerror or error})"
            ) from error
        self._parquet: pq.ParquetWriter | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self._lines.close()
        if self._parquet is not None:
            self._parquet.close()
        for name in (RESULTS_JSONL, RESULTS_PARQUET):
            self._part(name).unlink(missing_ok=True)

    def write(self, lines: Sequence[Mapping[str, Any]], rows: pa.Table) -> None:
        """Add answers.

        Args:
            lines: one a query, for ``results.jsonl``.
            rows: the same as rows of ``retrievals``.
        """
        for line in lines:
            self._lines.write(safetext.as_json(line) + "\n")
        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._part(RESULTS_PARQUET), rows.schema)
        self._parquet.write_table(rows)

    def read_back(self) -> Iterator[pa.Table]:
        """Yield the rows written so far, in batches; nothing can be added afterwards."""
        if self._parquet is None:
            return
        self._parquet.close()
        file = pq.ParquetFile(self._part(RESULTS_PARQUET))
        for batch in file.iter_batches(batch_size=8192):
            yield pa.Table.from_batches([batch])

    def publish(self, summary: Mapping[str, Any]) -> None:
        """Give the files their names, ``summary.json`` last: when it is there, all is."""
        self._lines.flush()
        os.fsync(self._lines.fileno())
        self._lines.close()
        if self._parquet is None:
            pq.write_table(retrievals_table([]), self._part(RESULTS_PARQUET))
        else:
            self._parquet.close()
        # A summary of an earlier run must not stand beside this one's results.
        (self.folder / SUMMARY_JSON).unlink(missing_ok=True)
        for name in (RESULTS_JSONL, RESULTS_PARQUET):
            self._part(name).replace(self.folder / name)
        write_whole(self.folder / SUMMARY_JSON, json.dumps(summary, indent=2, default=str) + "\n")

    def _part(self, name: str) -> Path:
        return self.folder / f".{name}.{self._mark}.part"


def write_whole(path: Path, text: str) -> None:
    """Write a file so that it is there whole or not at all."""
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path that becomes ``path`` when the block ends well."""
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _region_json(rank: int, region: RegionHit, catalog: Catalog, at: int) -> dict[str, Any]:
    points = geometry.box_points(
        np.array([region.box]), float(catalog.width_pt[at]), float(catalog.height_pt[at])
    )[0]
    return {
        "rank": rank,
        "region_id": region.region_id,
        "kind": region.kind,
        "box": list(region.box),
        "box_pt": [round(float(value), 2) for value in points],
        "text": region.text,
        "score": region.score,
        "words": [asdict(word) for word in region.words],
    }
