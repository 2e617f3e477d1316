"""Guards that documents are found by their bytes, and that what is missing is counted."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from patchlight.storage.records import Document, DocumentStatus, Failure, Source
from patchlight.tasks.common.errors import DatasetError, DocumentsMissing, UsageError
from patchlight.tasks.evaluation import matching, protocols
from patchlight.tasks.evaluation.choices import Protocol, Protocols, Within
from patchlight.tasks.evaluation.records import Dataset, EvidencePage, Question
from patchlight.tasks.retrieval.scope import Catalog
from tests.storage_examples import NOW

BOXES = np.array([[0.1, 0.1, 0.2, 0.2]])


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def question(name: str, file: str, *pages: int) -> Question:
    evidence = tuple(EvidencePage(file, page, BOXES, (600.0, 800.0), None, page) for page in pages)
    return Question(name, f"{name}?", file, evidence, frozenset((file, p) for p in pages), "", "")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Two documents of two pages each, and a question on either."""
    for file in ("a.pdf", "b.pdf"):
        (tmp_path / file).write_text(file)
    questions = question("qa", "a.pdf", 1, 2), question("qb", "b.pdf", 2)
    return Dataset("set", tmp_path, tmp_path / "questions.jsonl", "", "rows", questions, False)


def document(file: str, status: DocumentStatus = DocumentStatus.COMPLETE) -> Document:
    source = Source(f"file:///{file}", file)
    return Document(sha(file), status, "application/pdf", 1, 2, 2, 0, (source,), {}, "run", NOW)


def catalog(*pages: tuple[str, int], width: float = 600.0) -> Catalog:
    ordered = sorted((sha(file), page, file) for file, page in pages)
    count = len(ordered)
    return Catalog(
        page_ids=[f"{doc}:{page}" for doc, page, _ in ordered],
        doc_ids=[doc for doc, _, _ in ordered],
        names=[file for _, _, file in ordered],
        uris=[f"file:///{file}" for _, _, file in ordered],
        pages=np.array([page for _, page, _ in ordered], np.int64),
        width_pt=np.full(count, width),
        page_keys=np.arange(count),
        height_pt=np.full(count, 800.0),
        patch_rows=np.arange(count),
    )


ALL_PAGES = [("a.pdf", 1), ("a.pdf", 2), ("b.pdf", 1), ("b.pdf", 2)]
BOTH = [document("a.pdf"), document("b.pdf")]


def failure(file: str, page: int) -> Failure:
    uri = f"file:///{file}"
    return Failure(uri, sha(file), page, "open", "corrupt", False, "broken", 1, "run", NOW)


def test_rows_are_the_pages_of_evidence_found_by_their_bytes(dataset: Dataset) -> None:
    pages = catalog(*ALL_PAGES)
    found = matching.match(dataset, pages, BOTH, [], partial=False)
    assert [row.row_id for row in found.rows] == ["qa, page 1", "qa, page 2", "qb, page 2"]
    assert [row.question for row in found.rows] == [0, 0, 1]
    assert [row.place for row in found.rows] == [
        (sha("a.pdf"), 1), (sha("a.pdf"), 2), (sha("b.pdf"), 2)
    ]  # fmt: skip
    assert all(
        pages.page_ids[row.position] == f"{row.place[0]}:{row.place[1]}"
        for row in found.rows
        if row.position is not None
    )
    assert found.places == [
        {(sha("a.pdf"), 1), (sha("a.pdf"), 2)}, {(sha("b.pdf"), 2)}
    ]  # fmt: skip
    assert not (found.not_ingested or found.other_shape or found.questions_left_out)


def test_documents_that_are_not_there_are_named_or_left_out(dataset: Dataset) -> None:
    pages = catalog(*ALL_PAGES[:2])
    with pytest.raises(DocumentsMissing, match=r"1 documents are not in the database: b\.pdf"):
        matching.match(dataset, pages, BOTH[:1], [], partial=False)
    found = matching.match(dataset, pages, BOTH[:1], [], partial=True)
    assert [q.question_id for q in found.questions] == ["qa"]
    assert (found.documents, found.questions_left_out) == ({"b.pdf": 1}, 1)
    with pytest.raises(DocumentsMissing, match=r"a\.pdf, b\.pdf"):
        matching.match(dataset, catalog(), [], [], partial=True)


def test_a_document_that_is_in_work_is_not_there(dataset: Dataset) -> None:
    busy = [BOTH[0], document("b.pdf", DocumentStatus.UNFINISHED)]
    with pytest.raises(DocumentsMissing, match=r"b\.pdf"):
        matching.match(dataset, catalog(*ALL_PAGES[:2]), busy, [failure("b.pdf", 1)], partial=False)


def test_pages_that_could_not_be_ingested_are_rows_without_a_page(dataset: Dataset) -> None:
    """Of a document with a failed page, and of one that could not be opened at all."""
    partial = [document("a.pdf", DocumentStatus.PARTIAL)]
    failed = [failure("a.pdf", 2), failure("b.pdf", 0)]
    found = matching.match(dataset, catalog(("a.pdf", 1)), partial, failed, partial=False)
    assert found.not_ingested == ["qa, page 2", "qb, page 2"]
    rows = protocols.queries(found, catalog(("a.pdf", 1)), Protocol.GIVEN, Within.DATABASE)
    assert [(row.query_id, row.pages) for row in rows] == [("0", (1,))]


def test_a_page_beyond_the_document_is_an_error_of_its_line(dataset: Dataset) -> None:
    longer = replace(dataset, questions=(question("q", "a.pdf", 7),))
    with pytest.raises(DatasetError, match=r"questions\.jsonl, line 7: a\.pdf has 2 pages"):
        matching.match(longer, catalog(*ALL_PAGES), BOTH, [], partial=False)


def test_a_page_of_another_shape_is_told(dataset: Dataset) -> None:
    wide = catalog(*ALL_PAGES, width=800.0)
    found = matching.match(dataset, wide, BOTH, [], partial=False)
    assert found.other_shape == ["qa, page 1", "qa, page 2", "qb, page 2"]


def test_what_is_asked_names_pages_documents_or_nothing(dataset: Dataset) -> None:
    pages = catalog(*ALL_PAGES)
    found = matching.match(dataset, pages, BOTH, [], partial=False)
    given = protocols.queries(found, pages, Protocol.GIVEN, Within.DATABASE)
    assert [(r.query, r.doc, r.pages) for r in given] == [
        ("qa?", sha("a.pdf"), (1,)),
        ("qa?", sha("a.pdf"), (2,)),
        ("qb?", sha("b.pdf"), (2,)),
    ]
    anywhere = protocols.queries(found, pages, Protocol.END_TO_END, Within.DATABASE)
    assert [(r.query, r.doc, r.pages) for r in anywhere] == [
        ("qa?", None, None), ("qb?", None, None)
    ]  # fmt: skip
    within = protocols.queries(found, pages, Protocol.END_TO_END, Within.DOCUMENT)
    assert [(r.doc, r.pages) for r in within] == [(sha("a.pdf"), None), (sha("b.pdf"), None)]


def test_one_page_files_have_no_document_to_look_in(dataset: Dataset) -> None:
    pages = replace(dataset, one_page_files=True)
    with pytest.raises(UsageError, match="a document of its own"):
        protocols.check_scope(pages, Protocols.BOTH, Within.DOCUMENT)
    protocols.check_scope(pages, Protocols.GIVEN, Within.DOCUMENT)
    protocols.check_scope(pages, Protocols.BOTH, Within.DATABASE)
