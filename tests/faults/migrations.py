"""Migrations that are killed and started again, until they get through; compared with a clean one.

``python -m tests.faults.run --migrate`` is the command; docs/faults.md describes it.
"""

from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from patchlight.storage.database import Database
from patchlight.storage.engine import table_uri
from patchlight.storage.schema import Table
from patchlight.storage.schema3 import OldDatabase
from tests import schema3
from tests.faults.comparing import differences, half_documents
from tests.faults.events import Event, Log
from tests.faults.running import ROOT

_CHILD = (
    "import sys; from patchlight.tasks.admin import carrying, migrating;"
    "from patchlight.tasks.requests.migrate import MigrateRequest;"
    "carrying._PAGES_AT_ONCE = 1; migrating.migrate(MigrateRequest(db=sys.argv[1]))"
)
"""A migration page by page: most kills shall land among the pages."""
_LONGEST_S = 300.0
_BEYOND = 1.05
"""Kills come within the time that a migration takes, and a little beyond."""


@dataclass(slots=True)
class Killed:
    """What a trial did and found.

    Attributes:
        landed: what was there after a kill -> kills.
        databases: that were finished and compared.
        seconds: that an undisturbed migration takes.
        findings: what should not be.
    """

    landed: Counter[str] = field(default_factory=Counter)
    databases: int = 0
    seconds: float = 0.0
    findings: list[str] = field(default_factory=list)


def trial(work: Path, log: Log, seed: int, kills: int) -> Killed:
    """Kill migrations, and compare what comes out.

    Args:
        work: folder for databases.
        log: has a line for each kill and each database.
        seed: of the moments.
        kills: how many must land.
    """
    done, rng = Killed(), random.Random(seed)
    clean = _unpacked(work / "clean")
    old = _sums(Path(clean))
    began = time.monotonic()
    _check(_start(clean).wait(_LONGEST_S), "clean", done)
    done.seconds = time.monotonic() - began
    while done.landed.total() < kills and not done.findings:
        db = _unpacked(work / f"round-{done.databases + 1}")
        while done.landed.total() < kills:
            process, at_s = _start(db), rng.uniform(0, _BEYOND * done.seconds)
            try:
                code = process.wait(at_s)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            else:
                _check(code, db, done)
                break
            where = _where(db)
            done.landed[where] += 1
            log.add(Event.KILL, number=done.landed.total(), at_s=round(at_s, 2), found=where)
            kept = Path(db if Path(db, "meta.lance").is_dir() else f"{db}.schema-3")
            if "the new one" not in where and _sums(kept) != old:
                done.findings.append(f"{db}: the old database was changed ({where})")
        _check(_start(db).wait(_LONGEST_S), db, done)  # what is left, or nothing
        found = differences(clean, db) + half_documents(Database.open(db).snapshot())
        if left := Database.open(db).table(Table.PAGE_KEYS).count_rows():
            found.append(f"page_keys: {left} blocks were not taken back")
        done.findings += [f"{db}: {line}" for line in found]
        done.databases += 1
        log.add(Event.ROUND, round=done.databases, differences=found)
        if not found:
            shutil.rmtree(Path(db).parent)
    return done


def report(done: Killed) -> str:
    """Say what a trial did, as Markdown."""
    lines = [
        "# Killed migrations",
        "",
        f"{done.landed.total()} kills, {done.databases} databases finished and compared; an "
        f"undisturbed migration took {done.seconds:.1f} s.",
        "",
        "| what was there after a kill | kills |",
        "| --- | --: |",
        *(f"| {where} | {count} |" for where, count in sorted(done.landed.items())),
        "",
        f"## Findings: {len(done.findings)}",
        "",
        *(f"- {finding}" for finding in done.findings),
    ]
    return "\n".join(lines) + "\n"


def _unpacked(folder: Path) -> str:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return schema3.unpacked(folder)


def _start(db: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", _CHILD, db], cwd=ROOT, stderr=subprocess.DEVNULL)


def _check(code: int, what: str, done: Killed) -> None:
    if code:
        done.findings.append(f"{what}: a migration that nobody killed ended with {code}")


def _sums(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _where(db: str) -> str:
    """Say how far a migration is, by what is on the disk."""
    place = f"{db}.schema-4"
    if not Path(table_uri(db, Table.META)).is_dir():
        return "5 nothing at its place, between the renames"
    if not Path(place).is_dir():
        return "6 the new one in its place" if Path(f"{db}.schema-3").is_dir() else "1 nothing new"
    if not Path(table_uri(place, Table.SEQUENCES)).is_dir():
        return "2 some of its tables"
    pages = Database(place, OldDatabase.open(db).identity).table(Table.PAGES).count_rows()
    whole = len(OldDatabase.open(db).contents().pages.page_ids)
    return "4 all of its pages" if pages == whole else "3 some of its pages, or none"
