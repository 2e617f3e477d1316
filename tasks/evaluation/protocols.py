"""What is asked of a data set, and what of the answers is scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from patchlight.storage.records import FloatArray, QueryEncoding, TermStatistics
from patchlight.tasks.answers.queryfile import QueryRow
from patchlight.tasks.answers.results import Answer, PageAnswer
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.encoders.protocol import EncodeQueries
from patchlight.tasks.evaluation.choices import Protocol, Protocols, Within
from patchlight.tasks.evaluation.matching import Matched, Place
from patchlight.tasks.evaluation.records import Dataset
from patchlight.tasks.kernels.geometry import Doubles
from patchlight.tasks.retrieval.scope import Catalog


@dataclass(frozen=True, slots=True, eq=False)
class Heat:
    """The heat map of a page.

    Attributes:
        rows, cols: its patch grid.
        cell_scores: (rows * cols,) float32.
    """

    rows: int
    cols: int
    cell_scores: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Returned:
    """What was returned for a row.

    Attributes:
        page_rank: rank of the row's page, from 1; 0 where it was not found.
        boxes: (n, 4) regions on it, best first.
        scores: (n,) theirs.
        kinds, texts: theirs.
        heat: the page's, where it was kept.
    """

    page_rank: int
    boxes: Doubles
    scores: Doubles
    kinds: tuple[str, ...]
    texts: tuple[str, ...]
    heat: Heat | None = None


NOTHING_RETURNED = Returned(0, np.zeros((0, 4)), np.zeros(0), (), ())


@dataclass(slots=True)
class Collected:
    """The answers of one setting under one protocol.

    Attributes:
        returned: for each row what came back.
        ranked: end to end: for each question its pages, best first.
        rejected: why questions could not be asked.
    """

    returned: list[Returned]
    ranked: list[list[Place]]
    rejected: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, matched: Matched) -> Collected:
        """Return one with no answer yet."""
        return cls(
            [NOTHING_RETURNED] * len(matched.rows), [[] for _ in range(len(matched.questions))]
        )


def check_scope(dataset: Dataset, protocols: Protocols, within: Within) -> None:
    """Refuse a scope that a data set cannot have.

    Raises:
        UsageError: it is within documents, and pages of one paper are documents of their own.
    """
    end_to_end = Protocol.END_TO_END in protocols.chosen
    if end_to_end and within is Within.DOCUMENT and dataset.one_page_files:
        raise UsageError(
            f"--within document: each page of {dataset.name} is a document of its own; leave it "
            "out, or ask with --protocol given"
        )


def remembering(encode: EncodeQueries) -> EncodeQueries:
    """Return an encoder of queries that encodes each text once, however often it is asked."""
    known: dict[str, QueryEncoding | Exception] = {}

    def encode_new(
        texts: Sequence[str], statistics: TermStatistics | None
    ) -> list[QueryEncoding | Exception]:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            known.update(zip(new, encode(new, statistics), strict=True))
        return [known[text] for text in texts]

    return encode_new


def queries(
    matched: Matched, catalog: Catalog, protocol: Protocol, within: Within
) -> list[QueryRow]:
    """Return what is asked; the ``query_id`` is the position of the row, or of the question.

    Nothing is asked about a page that is not there, or within a document of which no page is.
    """
    asked = []
    if protocol is Protocol.GIVEN:
        for number, row in enumerate(matched.rows):
            if row.position is not None:
                query = matched.questions[row.question].query
                doc, page = row.place
                asked.append(_row(number, row.evidence.line, query, row.row_id, doc, (page,)))
        return asked
    there = set(catalog.doc_ids)
    for number, question in enumerate(matched.questions):
        line, name = question.evidence[0].line, question.question_id
        scope = None
        if within is Within.DOCUMENT:
            (scope,) = {doc_id for doc_id, _ in matched.places[number]}
        if scope is None or scope in there:
            asked.append(_row(number, line, question.query, name, scope, None))
    return asked


def take(
    answers: Sequence[Answer],
    matched: Matched,
    catalog: Catalog,
    protocol: Protocol,
    into: Collected,
    *,
    keep_heat: bool,
) -> None:
    """Put what is scored of some answers to its rows.

    Args:
        answers: to ``queries`` of the same protocol.
        matched: the data set.
        catalog: of the session that answered.
        protocol: how it was asked.
        into: gets them.
        keep_heat: whether heat maps are kept, for pictures.
    """
    rows_of: dict[int, list[int]] = {}
    if protocol is Protocol.END_TO_END:
        for number, row in enumerate(matched.rows):
            rows_of.setdefault(row.question, []).append(number)
    for answer in answers:
        asked = int(answer.row.query_id)
        at = [page.hit.position for page in answer.pages]
        places = [(catalog.doc_ids[position], int(catalog.pages[position])) for position in at]
        pages = dict(zip(places, enumerate(answer.pages, 1), strict=True))
        if protocol is Protocol.END_TO_END:
            into.ranked[asked] = places
        for number in rows_of.get(asked, ()) if protocol is Protocol.END_TO_END else (asked,):
            found = pages.get(matched.rows[number].place)
            if found:
                into.returned[number] = _returned(*found, keep_heat=keep_heat)


def _row(
    number: int, line: int, query: str, name: str, doc: str | None, pages: tuple[int, ...] | None
) -> QueryRow:
    return QueryRow(line, str(number), query, doc, pages, place=name)


def _returned(rank: int, page: PageAnswer, *, keep_heat: bool) -> Returned:
    places, regions = page.places, page.regions
    return Returned(
        page_rank=rank,
        boxes=np.array([region.box for region in regions], np.float64).reshape(-1, 4),
        scores=np.array([region.score for region in regions], np.float64),
        kinds=tuple(str(region.kind) for region in regions),
        texts=tuple(region.text for region in regions),
        heat=Heat(places.rows, places.cols, places.cell_scores) if keep_heat else None,
    )
