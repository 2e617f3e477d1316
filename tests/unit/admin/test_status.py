"""What ``patchlight status`` counts and tells."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.leases import Lease
from patchlight.storage.records import DocumentStatus, Run
from patchlight.tasks.admin.status import status
from tests.storage_examples import ENCODER, NOW, doc_id, document, failure, put, put_run


def running(run_id: str, kind: str = "ingest") -> Run:
    return Run(run_id, kind, "running", NOW)


def in_work(database: Database, name: str, run_id: str) -> None:
    row = replace(document(name, 2, DocumentStatus.UNFINISHED), run_id=run_id)
    put(Committer(database, run_id), row)


def test_status_tells_who_is_at_work_and_what_was_cut_off(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    committer = Committer(database, "run")
    committer.commit_failures(
        [
            failure("file:///a", 1),
            replace(failure("file:///b", 1), retryable=True, doc_id=doc_id("b")),
        ]
    )
    in_work(database, "a", "busy")
    in_work(database, "b", "dead")
    being_removed = replace(document("c", 2, DocumentStatus.UNFINISHED), sources=(), run_id="dead")
    put(Committer(database, "dead"), being_removed)
    put_run(Committer(database, "dead"), running("dead", "delete"))
    with Lease(database, running("busy")):
        found = status(database.uri)
    [live] = found.live
    assert live["run_id"] == "busy" and live["pid"] and live["host"]
    assert live["process"] == "lives"
    assert re.fullmatch(r"at \d{4}-\d\d-\d\d \d\d:\d\d:\d\d by its clock", live["last heard of"])
    assert found.facts["documents"] == "3 unfinished"
    assert {(row["document"], row["run_id"], row["state"]) for row in found.unfinished} == {
        ("a", "busy", "in work"),
        ("b", "dead", "cut off"),
        (f"{doc_id('c')[:12]} (being removed)", "dead", "cut off"),
    }
    assert [(c.category, c.failures, c.retryable) for c in found.failures] == [("corrupt", 2, 1)]
    assert {run["run_id"]: run["status"] for run in found.runs} == {
        "busy": "running",
        "dead": "cut off",
    }
