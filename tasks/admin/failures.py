"""What could not be done: choosing among the failures of a database, and what to do about them."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from patchlight.storage.database import Database
from patchlight.storage.records import Document, Failure, Source
from patchlight.tasks.common.errors import Category, InputError, Stage
from patchlight.tasks.documents.lookup import fits
from patchlight.tasks.documents.sources import shown, to_path


@dataclass(frozen=True, slots=True)
class FailureFilter:
    """Which failures are looked at.

    Attributes:
        categories: those of these categories; empty for all.
        stages: those at these stages; empty for all.
        retryable: those that may go well when tried again, or the others; None for both.
        doc: those of this document, as ``lookup.fits`` takes it; None for all.
    """

    categories: Collection[Category] = ()
    stages: Collection[Stage] = ()
    retryable: bool | None = None
    doc: str | None = None


@dataclass(frozen=True, slots=True)
class NamedFailure:
    """A failure, and what people call its source.

    Attributes:
        name: as given at ingest; the path of a file that never became a document.
        failure: what failed.
    """

    name: str
    failure: Failure


@dataclass(frozen=True, slots=True)
class CategoryCount:
    """How many failures of a category there are.

    Attributes:
        category: which.
        failures: of documents and pages.
        retryable: how many of them may go well when tried again as they are.
    """

    category: str
    failures: int
    retryable: int


def choose(database: Database, choice: FailureFilter) -> list[NamedFailure]:
    """Return the failures that are looked at, by source and page.

    Raises:
        InputError: there is no such document.
    """
    documents = database.documents()
    by_id = {document.doc_id: document for document in documents}
    names = {source.uri: source.name for document in documents for source in document.sources}
    chosen = [
        NamedFailure(names.get(failure.uri, shown(to_path(failure.uri))), failure)
        for failure in database.failures()
        if _is_chosen(failure, choice, by_id.get(failure.doc_id))
    ]
    known = choice.doc is None or any(fits(choice.doc, d.doc_id, d.sources) for d in documents)
    if not known and not chosen:
        raise InputError(
            f"no document and no failure is called {shown(choice.doc or '')!r}; give its id, URI, "
            "path or name as in 'patchlight failures' or the table documents"
        )
    return chosen


def by_category(failures: Iterable[Failure]) -> list[CategoryCount]:
    """Count failures by category, the most frequent first."""
    counts: dict[str, CategoryCount] = {}
    for failure in failures:
        known = counts.get(failure.category, CategoryCount(failure.category, 0, 0))
        counts[failure.category] = CategoryCount(
            failure.category, known.failures + 1, known.retryable + failure.retryable
        )
    return sorted(counts.values(), key=lambda count: (-count.failures, count.category))


def next_steps(counts: Sequence[CategoryCount], db: str) -> list[str]:
    """Return the commands that can be of use, one a line."""
    where = f"--db {shlex.quote(db)}"
    categories = {count.category for count in counts}
    steps = []
    if Category.ENCRYPTED in categories:
        steps.append(f"patchlight retry --category encrypted --passwords FILE {where}")
    if categories - {Category.ENCRYPTED}:
        steps.append(f"patchlight retry {where}  # when the cause is gone, see docs/errors.md")
    if categories:
        steps.append(f"patchlight delete DOC {where}  # to be rid of a document")
    return steps


def _is_chosen(failure: Failure, choice: FailureFilter, document: Document | None) -> bool:
    sources = (Source(failure.uri, ""), *(document.sources if document else ()))
    return (
        (not choice.categories or failure.category in choice.categories)
        and (not choice.stages or failure.stage in choice.stages)
        and (choice.retryable is None or failure.retryable == choice.retryable)
        and (choice.doc is None or fits(choice.doc, failure.doc_id, sources))
    )


def failure_listing(failures: Iterable[NamedFailure]) -> pa.Table:
    """Lay failures out: what failed, why, and how often it was tried."""
    names = ("page", "stage", "category", "retryable", "attempts", "message", "uri", "doc_id")
    kinds = [pa.string(), pa.int32(), *[pa.string()] * 2, pa.bool_(), pa.int32()]
    schema = pa.schema(zip(("source", *names), [*kinds, *[pa.string()] * 3], strict=True))
    rows = [
        {"source": named.name} | {name: getattr(named.failure, name) for name in names}
        for named in failures
    ]
    return pa.Table.from_pylist(rows, schema=schema)
