"""Trying again what failed, under the options it failed under."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from patchlight.storage.records import Run
from patchlight.tasks.common.errors import Category, Stage
from patchlight.tasks.common.modes import OcrMode
from patchlight.tasks.ingest import retrying
from patchlight.tasks.ingest.retrying import ReadAs
from tests.storage_examples import NOW, doc_id, failure

PAGE = replace(
    failure("file:///a", 1),
    doc_id=doc_id("a"),
    stage=Stage.WORDS,
    category=Category.OCR,
    retryable=True,
)
GONE = replace(
    failure("file:///gone.pdf", 0),
    doc_id="",
    stage=Stage.OPEN,
    category=Category.MISSING,
    retryable=True,
)


def run(run_id: str, **parameters: object) -> Run:
    return Run(run_id, "ingest", "completed", NOW, parameters=json.dumps(parameters))


def test_sources_are_grouped_by_the_options_they_failed_under(tmp_path: Path) -> None:
    uris = []
    for name in ("a.pdf", "b.pdf", "c.pdf"):
        (tmp_path / name).write_bytes(b"x")
        uris.append((tmp_path / name).as_uri())
    runs = [run("one", ocr="always", lang="deu", dpi=300), run("two", lang="deu"), run("three")]
    failures = [
        replace(PAGE, uri=uris[0], run_id="one"),
        replace(PAGE, page=2, uri=uris[0], run_id="one"),
        replace(PAGE, uri=uris[1], run_id="one"),
        replace(PAGE, uri=uris[1], run_id="two"),
        replace(PAGE, uri=uris[2], run_id="three"),
        replace(PAGE, uri=uris[0], run_id="unknown"),
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


def test_a_blank_language_of_an_older_run_is_the_usual_one(tmp_path: Path) -> None:
    """Without OCR it was taken; a request does not take it any more."""
    (tmp_path / "a.pdf").write_bytes(b"x")
    uri = (tmp_path / "a.pdf").as_uri()
    for lang in ("", " "):
        groups, _ = retrying.plan(
            [replace(PAGE, uri=uri, run_id="one")], [run("one", ocr="never", lang=lang)]
        )
        assert groups == {ReadAs(OcrMode.NEVER): [uri]}


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
