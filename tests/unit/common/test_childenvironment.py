"""The environment of processes that open documents."""

from __future__ import annotations

import pytest

from patchlight.tasks.common import childenvironment

SECRETS = (
    "RAY_AUTH_TOKEN",
    "AWS_SECRET_ACCESS_KEY",
    "PATCHLIGHT_STORAGE_OPTIONS",
    "PREFECT_API_KEY",
    "HF_TOKEN",
    "SOME_OTHER",
)


def test_what_is_not_on_the_list_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.setenv(name, "secret")
    assert "secret" not in childenvironment.with_more({}).values()


def test_what_programs_need_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    needed = {
        "PATH": "/bin",
        "LC_ALL": "C.UTF-8",
        "TESSDATA_PREFIX": "/data",
        "LD_LIBRARY_PATH": "/lib",
        "PATCHLIGHT_LAYOUT": "never",
        "OMP_THREAD_LIMIT": "1",
    }
    for name, value in needed.items():
        monkeypatch.setenv(name, value)
    there = childenvironment.with_more({"TMPDIR": "/there", "PATH": "/other"})
    assert {**needed, "TMPDIR": "/there", "PATH": "/other"}.items() <= there.items()
