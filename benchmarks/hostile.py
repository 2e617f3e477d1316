"""What becomes of damaged, encrypted, enormous and hostile files, ingested as a new user would.

Run from the repository's root::

    python -m benchmarks.hostile FOLDER --db NEW_DB

FOLDER holds folders of files, and beside each folder a listing of the same name
(``NAME.jsonl``; rows with ``file``, ``category`` and ``password``, which may be null). Runs
``patchlight ingest 'FOLDER/*/*'`` with a password file made from the listings, and prints how
files of each category ended, whether each is accounted for, and the most memory that any single
process had (resident, sampled ten times a second). Of the PDFs that were quarantined as a whole,
it lists those that PDFium can open.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks import pdfium
from benchmarks.command import PATCHLIGHT
from benchmarks.report import print_table
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from patchlight.storage.records import Failure
from patchlight.tasks.common.errors import SourceError
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.documents.sources import to_uri
from patchlight.tasks.sandbox import calling

_SAMPLE_S = 0.1
_MEBIBYTE = 1 << 20
_NOT_LISTED = "(not listed)"
_OPENED = ("complete", "partial")


@dataclass(frozen=True, slots=True)
class Listed:
    """A file of the collection.

    Attributes:
        path: where it is.
        category: what its listing says of it.
        password: that opens it, or None.
    """

    path: Path
    category: str
    password: str | None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a file ended.

    Attributes:
        state: ``complete``, ``partial``, or the category of the failure that kept it out.
        message: why, if it did not end complete.
    """

    state: str
    message: str = ""


def collection(folder: Path) -> list[Listed]:
    """Find all files of the collection, in order."""
    found = []
    for listing in sorted(folder.glob("*.jsonl")):
        rows = [json.loads(line) for line in listing.read_text("utf-8").splitlines()]
        known = {row["file"]: row for row in rows}
        for path in sorted((folder / listing.stem).iterdir()):
            row = known.get(path.name, {"category": _NOT_LISTED, "password": None})
            found.append(Listed(path, row["category"], row["password"]))
    return found


def write_passwords(files: list[Listed], path: Path) -> None:
    """Write a password file for the files that have one."""
    lines = [f"{file.path}\t{file.password}\n" for file in files if file.password is not None]
    path.write_text("".join(lines), encoding="utf-8")


def kind_of(process: psutil.Process) -> str:
    """Say what a process is, for people."""
    line = " ".join(process.cmdline())
    if "tasks/sandbox/boot.py" in line:
        return "document reader"
    first = line.split(" ")[0]
    return first if first.startswith("ray::") else Path(first).name


def watched(command: list[str]) -> tuple[int, float, dict[str, float]]:
    """Run a command; return its exit code, seconds, and kind of process -> most MiB of one."""
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    most: dict[str, float] = defaultdict(float)

    def watch() -> None:
        main = psutil.Process(process.pid)
        while process.poll() is None:
            for one in [main, *main.children(recursive=True)]:
                try:
                    kind, resident = kind_of(one), one.memory_info().rss / _MEBIBYTE
                except psutil.Error:
                    continue
                most[kind] = max(most[kind], resident)
            time.sleep(_SAMPLE_S)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    code = process.wait()
    seconds = time.perf_counter() - start
    watcher.join(5)
    return code, seconds, dict(most)


def endings(db: str) -> dict[str, Ending]:
    """Return how each source ended, by its URI, as the database tells it."""
    database = Database.open(db)
    found: dict[str, Ending] = {}
    of_pages: dict[str, list[Failure]] = defaultdict(list)
    for failure in database.failures():
        if failure.page == 0:
            found[failure.uri] = Ending(failure.category, failure.message)
        else:
            of_pages[failure.doc_id].append(failure)
    for document in database.documents():
        state, failures = document.status.value, of_pages[document.doc_id]
        if state not in _OPENED and failures:  # not one page is there
            state = failures[0].category
        for source in document.sources:
            found[source.uri] = Ending(state, "; ".join(failure.message for failure in failures))
    return found


def pages_that_open(file: Listed) -> int:
    """Ask PDFium in a process that can be killed; 0 where it was."""
    args = pdfium.pages_that_open, str(file.path), file.password
    try:
        return calling.call(*args, label=file.path.name, limits=Limits())
    except SourceError:
        return 0


def print_endings(files: list[Listed], ended: Mapping[str, Ending]) -> list[Listed]:
    """Print a row a category; return the files that are not accounted for."""
    lost = [file for file in files if to_uri(str(file.path)) not in ended]
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for file in files:
        ending = ended.get(to_uri(str(file.path)), Ending("LOST"))
        counts[file.category][ending.state] += 1
    rows = []
    for category, states in sorted(counts.items()):
        quarantined = [f"{n} {s}" for s, n in sorted(states.items()) if s not in _OPENED]
        opened = [str(states[state]) for state in _OPENED]
        rows.append([category, str(states.total()), *opened, ", ".join(quarantined) or "-"])
    total = sum(counts.values(), Counter[str]())
    opened = [str(total[state]) for state in _OPENED]
    others = total.total() - sum(total[state] for state in _OPENED)
    rows.append(["all", str(total.total()), *opened, str(others)])
    print_table(
        "How files ended", ["listed as", "files", "complete", "partial", "quarantined"], rows
    )
    return lost


def main() -> int:
    """Ingest, account, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--db", required=True, help="a database that is not there yet")
    args = parser.parse_args()
    folder = args.folder.resolve()
    files = collection(folder)
    with tempfile.TemporaryDirectory() as scratch:
        passwords = Path(scratch) / "passwords.txt"
        write_passwords(files, passwords)
        command = [str(PATCHLIGHT), "ingest", f"{folder}/*/*", "--db", args.db]
        code, seconds, most = watched([*command, "--passwords", str(passwords), "--json"])
    if code not in (ExitCode.OK, ExitCode.DONE_WITH_FAILURES):
        raise SystemExit(f"patchlight ingest ended with {code}")
    ended = endings(args.db)
    lost = print_endings(files, ended)
    rows = [[kind, f"{mb:.0f}"] for kind, mb in sorted(most.items(), key=lambda item: -item[1])]
    print_table("Most memory of a single process", ["process", "MiB"], rows)
    print(
        f"\n{len(files)} files in {seconds:.0f} s, exit code {code}; not accounted for: {len(lost)}"
    )
    for file in lost:
        print(f"- LOST {file.path}")
    print("\nQuarantined or partial though PDFium opens them:\n")
    for file in files:
        ending = ended.get(to_uri(str(file.path)), Ending("LOST"))
        pdf = file.path.suffix.lower() == ".pdf"
        if ending.state != "complete" and pdf and (pages := pages_that_open(file)):
            print(f"- {file.path.name} ({pages} pages, {ending.state}): {ending.message}")
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
