"""The cause of a fault is found: in the log in full, in the run's summary without any text."""

from __future__ import annotations

import json
import logging
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import ray

from patchlight.flows import ingest as flow
from patchlight.storage.database import Database
from patchlight.tasks.cluster import waiting, work
from patchlight.tasks.cluster.shardpool import EncoderPool
from patchlight.tasks.cluster.telling import telling
from patchlight.tasks.reading import sandboxwork
from patchlight.tasks.reading.messages import ReadShard
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.shardplan import Shard
from tests import fixtures, poison

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("engines")]


def read_revealing(shard: Shard, options: ReadOptions) -> ReadShard:
    """Read a shard by a function that fails; runs on a Ray worker."""
    original = sandboxwork.read_page
    sandboxwork.read_page = poison.reveal  # type: ignore[assignment]
    try:
        return work.read_shard(shard, options)
    finally:
        sandboxwork.read_page = original


def test_a_fault_nobody_knows_is_in_the_log_and_without_text_in_the_summary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fixtures.make_text_pdf(tmp_path / "letter.pdf", ["one", "two", "three"])
    monkeypatch.setattr(flow, "EncoderPool", partial(EncoderPool, read=read_revealing))
    db = str(tmp_path / "db")
    with caplog.at_level(logging.WARNING, logger="patchlight"):
        report: Any = flow.ingest(source=[str(tmp_path / "letter.pdf")], db=db)
    assert report["pages_failed"] == 3

    (run,) = [run for run in Database.open(db).runs() if run.kind == "ingest"]
    summary = json.loads(run.summary)
    (found,) = summary["tracebacks"]
    assert (found["count"], found["category"], found["stage"]) == (3, "internal", "words")
    assert "RuntimeError" in found["traceback"] and "tests/poison.py:" in found["traceback"]
    assert "tasks/cluster/work.py:" in found["traceback"]  # that it was, and where, in the worker
    assert "Harker" not in run.summary
    assert all("Harker" not in failure.message for failure in Database.open(db).failures())

    told = [record for record in caplog.records if "a reason that is not known" in record.message]
    assert len(told) == 1 and told[0].message.startswith("worker ")
    assert "Harker" in (told[0].exc_text or "") and "in reveal" in (told[0].exc_text or "")


def speak(text: str) -> str:
    logging.getLogger("patchlight.worker").warning("said: %s", text)
    return text


def speak_and_fail(text: str) -> None:
    speak("the end")
    raise RuntimeError(text)


def test_what_workers_said_before_one_fails_is_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    start = ray.remote(num_cpus=1, max_retries=0)
    first = start(telling(speak)).remote("the start")
    with caplog.at_level(logging.WARNING, logger="patchlight"), pytest.raises(RuntimeError):
        waiting.get(start(telling(speak_and_fail)).remote(first))
    said = [record.message.partition(": ")[2] for record in caplog.records]
    assert said == ["said: the start", "said: the end"]
