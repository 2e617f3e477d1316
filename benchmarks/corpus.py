"""What a database holds of a data set, checked against the files themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pypdfium2

from benchmarks.datasets import Dataset, Question
from storage.database import Database
from storage.reader import Snapshot, catalog

Page = tuple[str, int]
"""doc_id and 1-based page."""


@dataclass(frozen=True, slots=True)
class Corpus:
    """The visible pages of a database.

    Attributes:
        database: it.
        snapshot: its state when it was opened; the measurements read from this.
        page_ids: of every visible page -> its key, by document and page.
        sizes: the same pages -> width and height in points.
        failed: pages in the table ``failures``; page 0 stands for the document as a whole.
    """

    database: Database
    snapshot: Snapshot
    page_ids: dict[Page, str]
    sizes: dict[Page, tuple[float, float]]
    failed: frozenset[Page]

    @classmethod
    def open(cls, db: str) -> Corpus:
        """Open a database."""
        database = Database.open(db)
        snapshot = database.snapshot()
        table = catalog(snapshot).to_pydict()
        pages = list(zip(table["doc_id"], table["page"], strict=True))
        sizes = zip(table["width_pt"], table["height_pt"], strict=True)
        return cls(
            database,
            snapshot,
            dict(zip(pages, table["page_id"], strict=True)),
            dict(zip(pages, sizes, strict=True)),
            frozenset((failure.doc_id, failure.page) for failure in database.failures()),
        )

    @property
    def documents(self) -> frozenset[str]:
        """The doc_ids that have a visible page or a failure."""
        return frozenset(doc_id for doc_id, _ in self.page_ids.keys() | self.failed)

    def questions(self, dataset: Dataset, partial: bool) -> list[Question]:
        """Return the questions on documents of the database.

        Raises:
            SystemExit: a document is not in it and not ``partial``, or none is.
        """
        here = self.documents
        kept = [q for q in dataset.questions if dataset.doc_ids.get(q.doc) in here]
        missing = {q.doc for q in dataset.questions} - {q.doc for q in kept}
        if (missing and not partial) or not kept:
            raise SystemExit(
                f"{len(missing)} documents are not in the database, e.g. {min(missing)}; "
                "ingest them, or leave their questions out with --partial"
            )
        if missing:
            print(
                f"LEFT OUT: {len(dataset.questions) - len(kept)} questions on {len(missing)} "
                "documents that the database does not have"
            )
        return kept


@dataclass(frozen=True, slots=True)
class Accounting:
    """Whether ingest accounted for every page of the documents of a data set.

    Attributes:
        documents: files that the database knows, by a page or a failure.
        pages: pages they have, counted with pypdfium2.
        stored: of these, visible in the table ``pages``.
        failed: of these, in the table ``failures``, alone or with their document.
        lost: in neither, ``file name, page``; must be empty.
    """

    documents: int
    pages: int
    stored: int
    failed: int
    lost: Sequence[str]

    def __str__(self) -> str:
        lost = f"{len(self.lost)} LOST: {', '.join(self.lost[:10])}" if self.lost else "none lost"
        return (
            f"{self.documents} documents with {self.pages} pages: {self.stored} in pages, "
            f"{self.failed} in failures, {lost}"
        )


def account(dataset: Dataset, corpus: Corpus) -> Accounting:
    """Count the pages of the files and look for each in the tables."""
    known = corpus.documents
    documents = pages = stored = failed = 0
    lost = []
    for name, doc_id in dataset.doc_ids.items():
        if doc_id not in known:
            continue
        documents += 1
        with pypdfium2.PdfDocument(dataset.path(name)) as file:
            count = len(file)
        pages += count
        for page in range(1, count + 1):
            if (doc_id, page) in corpus.page_ids:
                stored += 1
            elif corpus.failed & {(doc_id, page), (doc_id, 0)}:
                failed += 1
            else:
                lost.append(f"{name}, {page}")
    return Accounting(documents, pages, stored, failed, lost)
