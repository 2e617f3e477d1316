"""Running the installed command line, as users do, in processes of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage.database import Database
from storage.errors import ExitCode

PATCHLIGHT = Path(sys.executable).with_name("patchlight")
"""The command of this environment."""


@dataclass(frozen=True, slots=True)
class QueryRun:
    """A batch of queries, answered.

    Attributes:
        pages: query_id -> its pages as ``results.jsonl`` has them, best first.
        report: what ``patchlight query --json`` says.
        wall_s: seconds from start to end of the process.
        run_s: of these, seconds from the start to the end of the run as recorded in the
            database: without starting Python and Ray.
    """

    pages: Mapping[str, Sequence[Mapping[str, Any]]]
    report: Mapping[str, Any]
    wall_s: float
    run_s: float


def run_query(
    db: str, rows: Iterable[Mapping[str, Any]], folder: Path, options: Sequence[str]
) -> QueryRun:
    """Answer queries with ``patchlight query``; log and progress go to stderr.

    Args:
        db: the database.
        rows: rows of the query file.
        folder: gets the query file ``queries.jsonl`` and the results.
        options: of ``patchlight query``.

    Raises:
        SystemExit: the command failed. Single rows that cannot be answered, for instance on a
            page that could not be ingested, are left out of the result instead.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "queries.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    command = [str(PATCHLIGHT), "-q", "query", str(file), "--db", db, "--out", str(folder)]
    start = time.perf_counter()
    done = subprocess.run([*command, *options, "--json"], stdout=subprocess.PIPE, text=True)
    wall = time.perf_counter() - start
    if done.returncode not in (ExitCode.OK, ExitCode.DONE_WITH_FAILURES):
        raise SystemExit(f"patchlight query ended with {done.returncode}")
    report = json.loads(done.stdout)
    with (folder / "results.jsonl").open(encoding="utf-8") as results:
        pages = {row["query_id"]: row["pages"] for row in map(json.loads, results)}
    (run,) = (run for run in Database.open(db).runs() if run.run_id == report["run_id"])
    assert run.ended_at is not None
    return QueryRun(pages, report, wall, (run.ended_at - run.started_at).total_seconds())
