"""Hostile names and texts, and passwords, through a whole ingest in a process of its own.

What is in a document, and what it is called, must not steer a terminal, pass for a line of the
log, or leave a folder; and no password may be found anywhere afterwards, or while it runs.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from patchlight.flows.__main__ import _run, app
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from patchlight.storage.records import DocumentStatus
from patchlight.storage.sql import run_sql
from patchlight.tasks.documents.sources import to_path
from tests.fixtures import make_pdf, make_text_pdf, place_words

pytestmark = pytest.mark.timeout(600)

RIGHT, WRONG = "Tr0ub4dor-gehe1m", "c0rrect-h0rse-batt3ry"
FAKE = b"2026-01-01 00:00:00,000 ERROR   fake"
GOOD_NAMES = [
    b"a..b.pdf",
    b"..hidden.pdf",
    b"new\nline.pdf",
    b"latin-\xe9.pdf",
    b"\x1b[31mred\x1b[0m.pdf",
    "\u202efdp.exe.pdf".encode(),
    b"tab\tquote'\"[bold].pdf",
    b"--option.pdf",
]
BAD_NAME = b"bad\n" + FAKE + b"\x1b[2J\xff.pdf"


@dataclass(frozen=True, slots=True)
class Ran:
    """An ingest that has ended, with all that it left."""

    root: Path
    db: str
    stdout: str
    stderr: str
    leaks: list[str]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Ran:
    """Two encrypted documents, one with its password and one with another, among odd names."""
    root = tmp_path_factory.mktemp("safety")
    folder = root / "docs"
    folder.mkdir()
    for number, raw in enumerate(GOOD_NAMES):
        made = make_text_pdf(root / "made.pdf", [f"harbour number{number} \x1b[31m <b>*bold*</b>"])
        Path(made).rename(folder / os.fsdecode(raw))
    (folder / os.fsdecode(BAD_NAME)).write_bytes(b"%PDF-1.4 nothing")
    for name, password in (("right.pdf", RIGHT), ("wrong.pdf", "another")):
        make_pdf(
            folder / name,
            lambda canvas: place_words(canvas, [("mooring", 100, 700)]),
            password=password,
        )
    (root / "secrets").write_text(f"right.pdf:{RIGHT}\n*/wrong.pdf\t{WRONG}\n")
    # Ray's sockets are in it: its path must be short.
    with tempfile.TemporaryDirectory(prefix="pl-", dir="/tmp", ignore_cleanup_errors=True) as ray:
        leaks = ingest(root, Path(ray)) | in_files(root)
        assert not list(Path(ray).iterdir())
    stdout, stderr = (
        (root / name).read_bytes().decode(errors="surrogateescape") for name in ("stdout", "stderr")
    )
    return Ran(root, str(root / "db"), stdout, stderr, sorted(leaks))


def ingest(root: Path, ray: Path) -> set[str]:
    """Ingest the folder ``docs``; returns where a password was seen meanwhile."""
    sources: list[str | bytes] = ["docs", "docs/../docs/..hidden.pdf", b"docs/latin-\xe9.pdf"]
    options = ["--db", "db", "--passwords", "secrets", "--workers", "1", "--ocr", "never"]
    environment = {
        "PREFECT_HOME": str(root / "prefect"),
        "RAY_TMPDIR": str(ray),
    }
    leaks: set[str] = set()
    with (root / "stdout").open("wb") as out, (root / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [sys.executable, "-m", "patchlight", "-v", "ingest", *sources, *options],
            cwd=root,
            env={**os.environ, **environment},
            stdout=out,
            stderr=err,
        )
        logged = False
        while process.poll() is None:
            leaks |= in_processes() | in_files(ray)
            logged |= bool(list(ray.glob("*/ray/session_*/logs/worker*")))
            time.sleep(0.5)
    assert process.returncode == ExitCode.DONE_WITH_FAILURES, (root / "stderr").read_bytes()
    assert logged
    return leaks


def in_processes() -> set[str]:
    """Where a password is seen from outside of a process."""
    found = set()
    for place in Path("/proc").glob("[0-9]*"):
        for name in ("cmdline", "environ"):
            try:
                text = (place / name).read_bytes()
            except OSError:  # it has ended, or is another user's
                continue
            if any(secret.encode() in text for secret in (RIGHT, WRONG)):
                found.add(f"{name} of {text[:80]!r}")
    return found


def in_files(folder: Path) -> set[str]:
    """Files below a folder that hold a password, but for the one it was given in."""
    found = set()
    for path in folder.rglob("*"):
        with suppress(OSError):  # Ray removes some of its own
            if path.is_file() and path.name != "secrets":
                text = path.read_bytes()
                if any(secret.encode() in text for secret in (RIGHT, WRONG)):
                    found.add(str(path))
    return found


def run(*arguments: str) -> int:
    return _run(lambda: app(list(arguments), standalone_mode=False))


def check_harmless(text: str) -> None:
    for line in text.splitlines():
        assert line.isprintable(), repr(line)
        assert not line.startswith(FAKE.decode())


def test_no_password_is_found_anywhere(ran: Ran) -> None:
    assert ran.leaks == []
    [right] = [d for d in Database.open(ran.db).documents() if "right" in d.sources[0].name]
    assert right.status is DocumentStatus.COMPLETE  # it was used
    assert "wrong.pdf: the PDF is encrypted and the password given is wrong" in ran.stdout
    assert (ran.root / "prefect" / "prefect.db").stat().st_size  # it was looked at


def test_every_name_comes_back_as_it_was(ran: Ran) -> None:
    documents = Database.open(ran.db).documents()
    stored = {os.fsencode(to_path(document.sources[0].uri)) for document in documents}
    folder = os.fsencode(ran.root / "docs")
    assert stored == {folder + b"/" + name for name in [*GOOD_NAMES, b"right.pdf"]}
    names = {document.sources[0].name for document in documents}
    assert {"docs/new\nline.pdf", "docs/../docs/..hidden.pdf"} <= names
    failed = {os.fsencode(to_path(f.uri)) for f in Database.open(ran.db).failures()}
    assert failed == {folder + b"/" + BAD_NAME, folder + b"/wrong.pdf"}


def test_no_name_or_text_steers_the_terminal_or_the_log(
    ran: Ran, capsys: pytest.CaptureFixture[str]
) -> None:
    check_harmless(ran.stdout)
    check_harmless(ran.stderr)
    assert any("bad\\n" in line for line in ran.stderr.splitlines())
    for command in (
        ("status",),
        ("failures",),
        ("failures", "--format", "json"),
        ("sql", "SELECT name, uri FROM documents"),
        ("sql", "SELECT text FROM pages", "--format", "json"),
        ("sql", "SELECT '\x1b[31m\x9b' FROM nothing"),
        ("ask", "harbour", "--top-pages", "20"),
        ("ask", "harbour", "--doc", os.fsdecode(b"latin-\xe9.pdf")),
        ("ask", "harbour", "--doc", "\x1b[31m\n" + FAKE.decode()),
        ("delete", "new\nline.pdf"),
        ("delete", "\x1b[31m\nnone"),
        ("ingest", "\x1b[31m\n" + FAKE.decode()),
        ("ingest", "--\x1b[31m"),
    ):
        run(*command, "--db", ran.db)
        printed = capsys.readouterr()
        check_harmless(printed.out)
        check_harmless(printed.err)
        assert printed.out or printed.err


def test_pictures_of_odd_documents_lie_in_their_folder(ran: Ran, tmp_path: Path) -> None:
    before = {path for path in ran.root.rglob("*") if "prefect" not in path.parts}
    out = tmp_path / "out"
    arguments = ("--top-pages", "20", "--overlays", "--out", str(out), "--db", ran.db)
    (tmp_path / "secrets").write_text(f"right.pdf:{RIGHT}\n")
    code = run("ask", "mooring harbour", *arguments, "--passwords", str(tmp_path / "secrets"))
    assert code == ExitCode.OK
    drawn = sorted(path.name for path in out.rglob("*") if path.is_file())
    pages = run_sql(ran.db, "SELECT * FROM pages").read_all().num_rows
    assert drawn == [f"ask-{rank:02d}.png" for rank in range(1, pages + 1)]
    assert {path for path in ran.root.rglob("*") if "prefect" not in path.parts} == before
