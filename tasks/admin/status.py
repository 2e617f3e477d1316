"""What ``patchlight status`` tells of a database."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from patchlight.storage import statistics
from patchlight.storage.database import Database
from patchlight.storage.processes import is_alive
from patchlight.storage.records import VISIBLE, Document, DocumentStatus, Run
from patchlight.storage.schema import Table
from patchlight.storage.watching import RUNNING, may_live, process_of
from patchlight.tasks.admin.failures import CategoryCount, by_category
from patchlight.tasks.documents.lookup import name_of

_LATEST_RUNS = 5


@dataclass(slots=True)
class Status:
    """What is in a database, for people.

    Attributes:
        facts: name -> value.
        live: the runs that are at work, or may be: one look does not tell of another machine's.
            run_id, kind, host, pid, whether the process lives, and when they were last heard of.
        unfinished: documents that queries do not see yet, with the run that has them in work, or
            that was cut off.
        failures: how many there are of each category.
        runs: the latest runs, newest first.
    """

    facts: dict[str, Any]
    live: list[dict[str, Any]]
    unfinished: list[dict[str, Any]]
    failures: list[CategoryCount]
    runs: list[dict[str, Any]]


def status(db: str) -> Status:
    """Count what is in a database."""
    database = Database.open(db)
    documents = database.documents()
    states = Counter(document.status.value for document in documents)
    newest = statistics.newest(database)
    visible = [document for document in documents if document.status in VISIBLE]
    facts = {
        "database": database.uri,
        "schema version": database.schema_version,
        "encoder": f"{database.encoder.name} ({database.encoder.dim} values a vector)",
        "encoder fingerprint": database.encoder.fingerprint,
        "vectors": str(database.form),
        "documents": ", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "none",
        "pages visible": sum(document.pages_stored for document in visible),
        "pages failed": sum(document.pages_failed for document in documents),
        "statistics": f"{newest.snapshot} ({newest.n_pages} pages)" if newest else "none",
    }
    facts |= {
        f"rows in {table}": database.table(table).count_rows()
        for table in (Table.PAGES, Table.PATCHES, Table.RETRIEVALS)
    }
    runs = database.runs()
    live = {run.run_id: run for run in runs if may_live(run)}
    return Status(
        facts,
        [_at_work(run) for run in live.values()],
        [
            _unfinished(document, live)
            for document in documents
            if document.status is DocumentStatus.UNFINISHED
        ],
        by_category(database.failures()),
        [_summary(run, live) for run in reversed(runs[-_LATEST_RUNS:])],
    )


def _at_work(run: Run) -> dict[str, Any]:
    heard = f"at {_time(run.heartbeat_at)} by its clock" if run.heartbeat_at else ""
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "host": run.host,
        "pid": run.pid,
        "process": "lives" if is_alive(process_of(run)) else "may be dead",
        "last heard of": heard,
        "started_at": _time(run.started_at),
    }


def _unfinished(document: Document, live: Collection[str]) -> dict[str, Any]:
    return {
        "document": name_of(document),
        "run_id": document.run_id,
        "state": "in work" if document.run_id in live else "cut off",
    }


def _summary(run: Run, live: Collection[str]) -> dict[str, Any]:
    cut_off = run.status == RUNNING and run.run_id not in live
    return {
        "run_id": run.run_id,
        "kind": run.kind,
        "status": "cut off" if cut_off else run.status,
        "started_at": _time(run.started_at),
        "ended_at": _time(run.ended_at) if run.ended_at else "",
        "unknown faults": _unknown(run),
    }


def _unknown(run: Run) -> int:
    """How many faults of a run have a traceback in its summary, for a reason that is not known."""
    summary = json.loads(run.summary or "{}")
    ended = 1 if summary.get("traceback") else 0
    return ended + sum(int(found["count"]) for found in summary.get("tracebacks", ()))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
