"""Choosing failures, counting them, and trying them again under the options they failed under."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from storage.committer import Committer
from storage.database import Database
from storage.records import Failure, Run
from tasks.admin.failures import CategoryCount, Choice, by_category, choose, next_steps
from tasks.common.errors import Category, InputError, Stage
from tasks.common.modes import OcrMode
from tasks.ingest import retrying
from tasks.ingest.retrying import ReadAs
from tests.storage_examples import ENCODER, NOW, doc_id, document, failure, put


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
        (Choice(), [OCR, LARGE, GONE, LOCKED]),
        (Choice(categories=(Category.OCR, Category.MISSING)), [OCR, GONE]),
        (Choice(stages=(Stage.OPEN,)), [GONE, LOCKED]),
        (Choice(retryable=True), [OCR, GONE]),
        (Choice(retryable=False), [LARGE, LOCKED]),
        (Choice(doc=doc_id("a")[:8]), [OCR, LARGE]),
        (Choice(doc="/locked\n.pdf"), [LOCKED]),
        (Choice(doc="gone.pdf", retryable=True), [GONE]),
        (Choice(doc="b"), []),
        (Choice(categories=(Category.OCR,), stages=(Stage.OPEN,)), []),
    ],
)
def test_failures_are_chosen_by_all_that_is_asked(
    database: Database, choice: Choice, chosen: list[Failure]
) -> None:
    assert [named.failure for named in choose(database, choice)] == chosen


def test_a_failure_has_the_name_of_its_document_or_the_path_of_its_file(database: Database) -> None:
    names = [named.name for named in choose(database, Choice())]
    assert names == ["a", "a", "/gone.pdf", "/locked\n.pdf"]


def test_a_document_that_is_not_there_is_an_error(database: Database) -> None:
    with pytest.raises(InputError, match="no document or failure of 'c'"):
        choose(database, Choice(doc="c"))


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


# ------------------------------------------------------------------------------------- retry


def run(run_id: str, **parameters: object) -> Run:
    return Run(run_id, "ingest", "completed", NOW, parameters=json.dumps(parameters))


def test_sources_are_grouped_by_the_options_they_failed_under(tmp_path: Path) -> None:
    uris = []
    for name in ("a.pdf", "b.pdf", "c.pdf"):
        (tmp_path / name).write_bytes(b"x")
        uris.append((tmp_path / name).as_uri())
    runs = [run("one", ocr="always", lang="deu", dpi=300), run("two", lang="deu"), run("three")]
    failures = [
        replace(OCR, uri=uris[0], run_id="one"),
        replace(LARGE, uri=uris[0], run_id="one"),
        replace(OCR, uri=uris[1], run_id="one"),
        replace(OCR, uri=uris[1], run_id="two"),
        replace(OCR, uri=uris[2], run_id="three"),
        replace(OCR, uri=uris[0], run_id="unknown"),
        replace(GONE, uri=(tmp_path / "gone.pdf").as_uri()),
        replace(GONE, uri=(tmp_path / "gone.pdf").as_uri(), run_id="one"),
    ]
    groups, problems = retrying.plan(failures, runs)
    assert groups == {
        ReadAs(OcrMode.ALWAYS, "deu", 300): [uris[0], uris[1]],
        ReadAs(OcrMode.AUTO, "deu", 200): [uris[1]],
        ReadAs(OcrMode.AUTO, "eng", 200): [uris[0], uris[2]],
    }
    [problem] = problems
    assert "gone.pdf" in problem and "no such file" in problem


def test_a_source_that_is_a_glob_counts_what_it_matches_now(tmp_path: Path) -> None:
    uri = (tmp_path / "*.pdf").as_uri()
    failures = [replace(GONE, uri=uri)]
    assert retrying.plan(failures, [])[0] == {}
    (tmp_path / "new.pdf").write_bytes(b"x")
    assert retrying.plan(failures, [])[0] == {ReadAs(): [uri]}


def test_reports_of_several_runs_are_one() -> None:
    reports = [
        {"run_id": "a", "pages_added": 1, "failures": ["x"], "skipped": {".txt": ["1"]}},
        {"run_id": "b", "pages_added": 2, "failures": [], "skipped": {".txt": ["2"]}},
    ]
    assert retrying.merged(reports, ["not there"]) == {
        "run_id": "a, b",
        "pages_added": 3,
        "documents_failed": 1,
        "failures": ["not there", "x"],
        "skipped": {".txt": ["1", "2"]},
    }
    assert retrying.merged([], []) == {"failures": [], "documents_failed": 0}
