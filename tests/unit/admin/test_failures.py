"""Choosing failures and counting them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.records import Failure
from patchlight.tasks.admin.failures import (
    CategoryCount,
    FailureFilter,
    by_category,
    choose,
    next_steps,
)
from patchlight.tasks.common.errors import Category, InputError, Stage
from tests.storage_examples import ENCODER, doc_id, document, failure, put


def failed(
    name: str, page: int, stage: Stage, category: Category, retryable: bool = False
) -> Failure:
    about = doc_id(name) if page else ""
    return replace(
        failure(f"file:///{name}", page),
        doc_id=about,
        stage=stage,
        category=category,
        retryable=retryable,
    )


OCR = failed("a", 1, Stage.WORDS, Category.OCR, True)
LARGE = failed("a", 2, Stage.RENDER, Category.TOO_LARGE)
LOCKED = failed("locked%0A.pdf", 0, Stage.OPEN, Category.ENCRYPTED)
GONE = failed("gone.pdf", 0, Stage.OPEN, Category.MISSING, True)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Database:
    database = Database.create_or_open(tmp_path_factory.mktemp("failures") / "db", ENCODER)
    committer = Committer(database, "run")
    put(committer, document("a", 3), document("b", 1))
    committer.commit_failures([OCR, LARGE, LOCKED, GONE])
    return database


@pytest.mark.parametrize(
    ("choice", "chosen"),
    [
        (FailureFilter(), [OCR, LARGE, GONE, LOCKED]),
        (FailureFilter(categories=(Category.OCR, Category.MISSING)), [OCR, GONE]),
        (FailureFilter(stages=(Stage.OPEN,)), [GONE, LOCKED]),
        (FailureFilter(retryable=True), [OCR, GONE]),
        (FailureFilter(retryable=False), [LARGE, LOCKED]),
        (FailureFilter(doc=doc_id("a")[:8]), [OCR, LARGE]),
        (FailureFilter(doc="/locked\n.pdf"), [LOCKED]),
        (FailureFilter(doc="gone.pdf", retryable=True), [GONE]),
        (FailureFilter(doc="b"), []),
        (FailureFilter(categories=(Category.OCR,), stages=(Stage.OPEN,)), []),
    ],
)
def test_failures_are_chosen_by_all_that_is_asked(
    database: Database, choice: FailureFilter, chosen: list[Failure]
) -> None:
    assert [named.failure for named in choose(database, choice)] == chosen


def test_a_failure_has_the_name_of_its_document_or_the_path_of_its_file(database: Database) -> None:
    names = [named.name for named in choose(database, FailureFilter())]
    assert names == ["a", "a", "/gone.pdf", "/locked\n.pdf"]


def test_a_document_that_is_not_there_is_an_error(database: Database) -> None:
    with pytest.raises(InputError, match="no document and no failure is called 'c'"):
        choose(database, FailureFilter(doc="c"))


def test_failures_are_counted_by_category() -> None:
    assert by_category([OCR, LARGE, LOCKED, replace(OCR, retryable=False)]) == [
        CategoryCount("ocr", 2, 1),
        CategoryCount("encrypted", 1, 0),
        CategoryCount("too_large", 1, 0),
    ]
    assert by_category([]) == []


def test_what_to_do_depends_on_what_failed() -> None:
    assert next_steps([], "db") == []
    locked, delete = next_steps(by_category([LOCKED]), "my db")
    assert locked == "patchlight retry --category encrypted --passwords FILE --db 'my db'"
    assert delete.startswith("patchlight delete DOC --db 'my db'")
    assert len(next_steps(by_category([LOCKED, OCR]), "db")) == 3
