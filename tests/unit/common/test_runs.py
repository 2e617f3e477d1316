"""What a run's row says of how it ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.database import Database
from patchlight.storage.errors import StorageUnavailable
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.runs import leased
from tests.storage_examples import ENCODER


def summary_after(error: BaseException, folder: Path) -> dict[str, Any]:
    """Let a run break off; return the summary in its row."""
    database = Database.create_or_open(folder / "db", ENCODER)
    with (
        pytest.raises(type(error)),
        leased(database, "ingest", "run", {}, lambda: (True, {"pages": 1})),
    ):
        raise error
    (run,) = database.runs()
    assert run.status == "failed"
    found: dict[str, Any] = json.loads(run.summary or "")
    assert found["pages"] == 1
    return found


def test_a_fault_that_is_not_known_has_its_traceback(tmp_path: Path) -> None:
    found = summary_after(RuntimeError("text of a document"), tmp_path)
    assert "RuntimeError" in found["error"] and "test_runs.py" in found["traceback"]
    assert "text of a document" not in json.dumps(found)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyboardInterrupt(), "interrupted by the user"),
        (UsageError("--gpus 9 is too many"), "UsageError: --gpus 9 is too many"),
    ],
)
def test_what_is_known_is_no_fault_to_report(
    error: BaseException, said: str, tmp_path: Path
) -> None:
    """``patchlight status`` counts tracebacks, and asks for a report of them."""
    found = summary_after(error, tmp_path)
    assert found["error"] == said and "traceback" not in found


def test_what_broke_a_run_off_is_raised_though_its_report_fails(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)

    def no_report() -> tuple[bool, Mapping[str, Any]]:
        raise RuntimeError("of the report")

    with (
        caplog.at_level(logging.WARNING, logger="patchlight.runs"),
        pytest.raises(UsageError, match="came first") as caught,
        leased(database, "ingest", "run", {}, no_report),
    ):
        raise UsageError("came first")
    assert "of the report" in caplog.text
    assert any("RuntimeError" in note for note in caught.value.__notes__)
    (run,) = database.runs()
    assert run.status == "failed"
    assert json.loads(run.summary)["error"] == "UsageError: came first"


def test_what_broke_a_run_off_is_raised_though_its_end_is_not_stored(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)

    def away(*_: object) -> None:
        raise StorageUnavailable("away for a moment")

    with (
        caplog.at_level(logging.WARNING, logger="patchlight.runs"),
        pytest.raises(UsageError, match="came first") as caught,
        leased(database, "ingest", "run", {}, lambda: (True, {})) as lease,
    ):
        monkeypatch.setattr(lease, "end", away)
        raise UsageError("came first")
    assert "its end was not stored: away for a moment" in caplog.text
    assert any("StorageUnavailable" in note for note in caught.value.__notes__)
