"""The commands that list what failed, try it again, remove documents and compare databases."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from pathlib import Path

import pytest

from patchlight.flows.__main__ import _run, app
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from patchlight.storage.records import DocumentStatus
from tests.fixtures import make_pdf, make_text_pdf, place_words

PASSWORD = "spring tide"


def run(*arguments: str) -> int:
    """Run a command in this process, which the engines are open in; returns its exit code."""
    return _run(lambda: app(list(arguments), standalone_mode=False))


@pytest.fixture(scope="module")
def ingested(engines: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a good, an encrypted and a damaged document, and a database ``db`` of them."""
    root = tmp_path_factory.mktemp("mending")
    folder = root / "docs"
    folder.mkdir()
    make_text_pdf(folder / "good.pdf", ["harbour dues", "quay and berth"])
    make_pdf(
        folder / "locked.pdf",
        lambda canvas: place_words(canvas, [("mooring", 100, 700)]),
        password=PASSWORD,
    )
    (folder / "bad.pdf").write_text("text")
    code = run("ingest", str(folder), "--db", str(root / "db"), "--dpi", "150", "--ocr", "never")
    assert code == ExitCode.DONE_WITH_FAILURES
    return root


@pytest.fixture
def place(ingested: Path, tmp_path: Path) -> Path:
    """A copy of the database, to be changed, beside the folder ``docs`` it was made of."""
    shutil.copytree(ingested / "db", tmp_path / "db")
    (tmp_path / "docs").symlink_to(ingested / "docs")
    return tmp_path


def test_failures_are_listed_with_what_to_do(
    ingested: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db = str(ingested / "db")
    assert run("failures", "--db", db) == ExitCode.OK
    printed = capsys.readouterr().out
    assert "bad.pdf" in printed and "locked.pdf" in printed and "By category:" in printed
    assert f"patchlight retry --category encrypted --passwords FILE --db {db}" in printed
    assert run("failures", "--db", db, "--category", "ocr", "--category", "empty") == ExitCode.OK
    assert "no such failures" in capsys.readouterr().out
    assert run("failures", "--db", db, "--stage", "open", "--final", "--format", "json") == 0
    rows = json.loads(capsys.readouterr().out)
    assert sorted(row["category"] for row in rows) == ["corrupt", "encrypted"]
    assert run("failures", "--db", db, "--doc", "locked.pdf", "--format", "csv") == ExitCode.OK
    [row] = csv.DictReader(io.StringIO(capsys.readouterr().out))
    assert (row["category"], row["page"], row["attempts"]) == ("encrypted", "0", "1")
    assert run("failures", "--db", db, "--doc", "nothing.pdf") == ExitCode.BAD_INPUT


def test_what_failed_is_tried_again_under_the_same_options(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under others the good document would be read again too, and this one otherwise."""
    db, secrets = str(place / "db"), place / "passwords"
    secrets.write_text(f"locked.pdf:{PASSWORD}\n")
    arguments = ("--db", db, "--category", "encrypted", "--passwords", str(secrets), "--json")
    assert run("retry", *arguments) == ExitCode.OK
    report = json.loads(capsys.readouterr().out)
    assert (report["documents_added"], report["failures"]) == (1, [])
    database = Database.open(db)
    first, second = (json.loads(r.parameters) for r in database.runs())
    assert [second[name] for name in ("dpi", "ocr", "lang")] == [150, "never", "eng"]
    assert second["redo"] == "failed" and PASSWORD not in json.dumps([first, second])
    good, locked = sorted(database.documents(), key=lambda document: document.page_count)[::-1]
    assert good.fingerprints == locked.fingerprints
    [left] = database.failures()
    assert left.category == "corrupt"
    # The other one is tried too, and fails again; then there is nothing to try.
    assert run("retry", "--db", db) == ExitCode.BAD_INPUT
    assert "bad.pdf" in capsys.readouterr().out
    assert [failure.attempts for failure in database.failures()] == [2]
    assert run("retry", "--db", db, "--category", "encrypted") == ExitCode.OK
    assert capsys.readouterr().out.strip() == "nothing to try again"


def test_a_source_that_is_gone_is_said_without_a_run(
    engines: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, db = tmp_path / "bad.pdf", str(tmp_path / "db")
    bad.write_text("text")
    assert run("ingest", str(bad), "--db", db) == ExitCode.BAD_INPUT
    bad.unlink()
    assert run("retry", "--db", db) == ExitCode.BAD_INPUT
    assert "bad.pdf: no such file" in capsys.readouterr().out
    assert len(Database.open(db).runs()) == 1


class Terminal(io.StringIO):
    """A person who answers."""

    def isatty(self) -> bool:
        return True


def test_deleting_asks_a_person_and_needs_to_be_told_otherwise(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    db = str(place / "db")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    assert run("delete", "good.pdf", "--db", db) == ExitCode.USAGE
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    assert run("delete", "good.pdf", "--db", db) == ExitCode.OK
    shown = capsys.readouterr()
    assert "good.pdf" in shown.out and "nothing was removed" in shown.out and "--yes" in shown.err
    assert len(Database.open(db).documents()) == 1
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    assert run("delete", "good.pdf", "--db", db) == ExitCode.OK
    assert Database.open(db).documents() == []
    assert "what query runs have read of them 24 hours after these" in capsys.readouterr().out
    assert run("delete", "good.pdf", "--db", db, "--yes") == ExitCode.BAD_INPUT


def test_an_ingest_brings_a_deleted_document_back_as_it_was(
    ingested: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    db, before = str(place / "db"), str(ingested / "db")
    good = str(ingested / "docs" / "good.pdf")
    assert run("digest", "--db", db, "--against", before, "--vectors") == ExitCode.OK
    assert run("delete", good, "--db", db, "--yes") == ExitCode.OK
    capsys.readouterr()
    assert run("digest", "--db", db, "--against", before) == ExitCode.DONE_WITH_FAILURES
    printed = capsys.readouterr().out
    assert "only in the second" in printed and "statistics" in printed
    folder = str(ingested / "docs")
    run("ingest", folder, "--db", db, "--dpi", "150", "--ocr", "never")
    capsys.readouterr()
    assert run("digest", "--db", db, "--against", before, "--vectors") == 4
    # What was read again is the same; what failed was tried once more.
    lines = capsys.readouterr().out.splitlines()
    assert lines and all(line.startswith("failures ") and "attempts" in line for line in lines)


def test_a_digest_is_a_line_a_table(ingested: Path, capsys: pytest.CaptureFixture[str]) -> None:
    db = str(ingested / "db")
    assert run("digest", "--db", db) == ExitCode.OK
    lines = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert {"documents", "pages", "regions", "patches", "failures"} <= set(lines)
    assert all(len(value) == 64 for value in lines.values()) and "vectors" not in lines
    assert run("digest", "--db", db, "--vectors") == ExitCode.OK
    assert "vectors" in capsys.readouterr().out
    assert run("digest", "--db", db, "--against", "nowhere") == ExitCode.DATABASE


def test_files_that_are_gone_are_told_and_leave_when_asked(
    engines: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, db = tmp_path / "docs", str(tmp_path / "db")
    folder.mkdir()
    for name in ("a", "b"):
        make_text_pdf(folder / f"{name}.pdf", [f"harbour {name}"])
    assert run("ingest", str(folder), "--db", db, "--ocr", "never") == ExitCode.OK
    (folder / "b.pdf").unlink()
    capsys.readouterr()
    assert run("ingest", str(folder), "--db", db, "--ocr", "never") == ExitCode.OK
    printed = capsys.readouterr().out
    assert "b.pdf" in printed and "--sync" in printed
    assert run("ingest", str(folder), "--db", db, "--ocr", "never", "--sync") == ExitCode.OK
    assert "documents removed        1" in capsys.readouterr().out
    [left] = Database.open(db).documents()
    assert left.status is DocumentStatus.COMPLETE
    assert run("ingest", str(folder), "--db", db, "--ocr", "never", "--force") == ExitCode.OK
    assert "pages added              1" in capsys.readouterr().out
