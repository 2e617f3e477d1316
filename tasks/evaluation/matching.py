"""Finding a data set's documents and pages in a database."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from patchlight.storage.records import VISIBLE, Document, DocumentStatus, Failure
from patchlight.tasks.common.errors import DatasetError, DocumentsMissing, SourceError
from patchlight.tasks.documents.sources import sha256_of
from patchlight.tasks.evaluation.records import Dataset, EvidencePage, Question
from patchlight.tasks.retrieval.scope import Catalog

Place = tuple[str, int]
"""doc_id and 1-based page."""

_SHAPE_TOLERANCE = 0.02
"""Relative difference of the sides' ratio from which on a page counts as of another shape."""

_NAMED = 10


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A page of evidence of a question; what is scored.

    Attributes:
        row_id: unique in the data set.
        question: position of its question in `Matched.questions`.
        evidence: the page and its true boxes.
        place: the page in the database.
        position: of the page in the catalog; None where it could not be ingested.
    """

    row_id: str
    question: int
    evidence: EvidencePage
    place: Place
    position: int | None


@dataclass(frozen=True, slots=True)
class Matched:
    """A data set on a database.

    Attributes:
        questions: those on documents of the database.
        places: for each of them its pages of evidence, in the database.
        rows: their pages of evidence with boxes, question by question.
        documents: name of a document that was left out -> questions on it.
        questions_left_out: how many that are.
        other_shape: ``row_id`` of pages whose sides have another ratio than in the data set: the
            true boxes may lie elsewhere.
    """

    questions: list[Question]
    places: list[frozenset[Place]]
    rows: list[Row]
    documents: dict[str, int]
    questions_left_out: int
    other_shape: list[str]

    @property
    def not_ingested(self) -> list[str]:
        """``row_id`` of the rows on pages that could not be ingested."""
        return [row.row_id for row in self.rows if row.position is None]


def match(
    dataset: Dataset,
    catalog: Catalog,
    documents: Sequence[Document],
    failures: Sequence[Failure],
    *,
    partial: bool,
    done: Callable[[int], None] = lambda amount: None,
) -> Matched:
    """Find the documents of a data set by their bytes, and its pages.

    Args:
        dataset: the data set.
        catalog: pages that queries see.
        documents: all documents of the database.
        failures: all its failures.
        partial: whether questions on documents that it does not have are left out.
        done: called with 1 for each file that was hashed.

    Raises:
        DocumentsMissing: documents are not in the database, and not ``partial``; or all are not.
        DatasetError: a document cannot be read, or has fewer pages than the data set says.
    """
    doc_ids = {}
    for file in dataset.files:
        try:
            doc_ids[file], _ = sha256_of(str(dataset.folder / file))
        except SourceError as error:
            raise DatasetError(str(error)) from error
        done(1)
    known = _known(documents, failures)
    kept: list[Question] = []
    left_out: list[Question] = []
    for question in dataset.questions:
        there = all(doc_ids[file] in known for file, _ in question.pages)
        (kept if there else left_out).append(question)
    if left_out and (not partial or not kept):
        raise DocumentsMissing(_missing(left_out, doc_ids, known))
    positions = {
        (doc_id, int(page)): at
        for at, (doc_id, page) in enumerate(zip(catalog.doc_ids, catalog.pages, strict=True))
    }
    rows: list[Row] = []
    for number, question in enumerate(kept):
        for at in question.evidence:
            place = doc_ids[at.file], at.page
            most = known[place[0]]
            if most is not None and at.page > most:
                raise DatasetError(
                    f"{dataset.file}, line {at.line}: {at.file} has {most} pages, there is no "
                    f"page {at.page}"
                )
            where = at.file if dataset.one_page_files else f"page {at.page}"
            name = f"{question.question_id}, {where}"
            rows.append(Row(name, number, at, place, positions.get(place)))
    names: dict[str, int] = {}
    for question in left_out:
        names[question.doc] = names.get(question.doc, 0) + 1
    return Matched(
        questions=kept,
        places=[frozenset((doc_ids[file], page) for file, page in q.pages) for q in kept],
        rows=rows,
        documents=names,
        questions_left_out=len(left_out),
        other_shape=[row.row_id for row in rows if _other_shape(row, catalog)],
    )


def _known(documents: Sequence[Document], failures: Sequence[Failure]) -> Mapping[str, int | None]:
    """Return doc_id -> pages of what an ingest dealt with; None for what could not be opened."""
    known: dict[str, int | None] = {failure.doc_id: None for failure in failures if failure.doc_id}
    there = (*VISIBLE, DocumentStatus.FAILED)
    known |= {d.doc_id: d.page_count for d in documents if d.status in there}
    # A document that is in work has failures of pages, but is not there yet.
    others = {d.doc_id for d in documents if d.status not in there}
    return {doc_id: pages for doc_id, pages in known.items() if doc_id not in others}


def _missing(
    questions: Sequence[Question], doc_ids: Mapping[str, str], known: Mapping[str, int | None]
) -> str:
    files = sorted({f for q in questions for f, _ in q.pages if doc_ids[f] not in known})
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return (
        f"{len(files)} documents are not in the database: {', '.join(files[:_NAMED])}{more}. "
        "Ingest them, or leave their questions out with --partial"
    )


def _other_shape(row: Row, catalog: Catalog) -> bool:
    if row.position is None or row.evidence.size is None:
        return False
    width, height = row.evidence.size
    stored = catalog.width_pt[row.position] / catalog.height_pt[row.position]
    return abs(math.log(width / height / stored)) > _SHAPE_TOLERANCE
