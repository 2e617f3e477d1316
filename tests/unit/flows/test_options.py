"""Arguments that are not Unicode, which neither Prefect nor Ray can hold."""

from __future__ import annotations

import os
import sys

import pytest

from patchlight.flows.options import restart_in_unicode


@pytest.mark.parametrize(
    ("line", "restarted"),
    [
        (
            ["python", "-m", "patchlight", "ingest", "a\udce9", "b", "--db", "db"],
            ["-m", "patchlight", "ingest", "file:///a", "b", "--db", "db"],
        ),
        (
            ["python", "patchlight", "retry", "--doc=a\udce9"],
            ["patchlight", "retry", "--doc=file:///a"],
        ),
        (["python", "patchlight", "ingest", "b"], None),
        (["python", "patchlight", "ingest", "ba\udce9"], None),
    ],
)
def test_a_process_starts_anew_with_what_means_the_same(
    line: list[str], restarted: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(sys, "orig_argv", line)
    monkeypatch.setattr(os, "execv", lambda program, arguments: started.append(arguments))
    restart_in_unicode({"a\udce9": "file:///a", "b": "b"})
    assert started == ([[sys.executable, *restarted]] if restarted else [])
