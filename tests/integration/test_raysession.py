"""A private Ray obeys its own processes alone, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.fixtures import scan

pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parent.parent.parent
SECRET = "not-for-a-document"

SESSIONS = """
import json, os, sys
from patchlight.tasks.common.settings import Settings, set_environment_defaults
set_environment_defaults()
import ray
from patchlight.tasks.cluster import raysession

def mine():
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_AUTH")}

def say(**what):
    print(json.dumps(what), flush=True)

before = mine()
for _ in range(int(sys.argv[1])):
    with raysession.ray_session(Settings(), workers=1):
        theirs = ray.get(ray.remote(mine).remote())
        say(token=theirs["RAY_AUTH_TOKEN"], mode=theirs["RAY_AUTH_MODE"], kept=mine() == before,
            address=ray.get_runtime_context().gcs_address,
            folder=ray._private.worker.global_worker.node.get_temp_dir_path())
        sys.stdin.readline()
    say(kept=mine() == before)
"""
"""Holds sessions one after the other, each until it is given a line."""

ATTACK = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("RAN", ray.get(ray.remote(lambda: 6 * 7).remote()))
"""
"""What another user of the machine would try: to have code run by the cluster."""


class Sessions:
    """A process that holds private Rays one after the other."""

    def __init__(self, temporary: Path, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SESSIONS, str(count)],
            cwd=ROOT,
            env={**outside(), "TMPDIR": str(temporary)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def said(self) -> dict[str, Any]:
        """What it says next."""
        assert self.process.stdout is not None
        said: dict[str, Any] = json.loads(self.process.stdout.readline())
        return said

    def go_on(self) -> None:
        """Let it end the session that it holds."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()


def outside() -> dict[str, str]:
    """The environment of a process that has no part in a session of this one."""
    return {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "PATCHLIGHT_"))}


def attack(address: str, **environment: str) -> str:
    """Try to run code in a cluster; returns what was printed, errors too."""
    done = subprocess.run(
        [sys.executable, "-c", ATTACK, address],
        env={**outside(), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=180,
        check=False,
    )
    return done.stdout


def wait_until(true: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short path: Ray's sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="pl-", dir="/tmp") as folder:
        yield Path(folder)


def test_only_who_knows_its_token_is_served(temporary: Path) -> None:
    sessions = Sessions(temporary, 2)
    with sessions.process:
        first = sessions.said()
        assert len(first["token"]) == 64 and first["mode"] == "token" and first["kept"]
        known = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": first["token"]}
        assert "RAN 42" in attack(first["address"], **known)
        for unknown in ({}, {"RAY_AUTH_MODE": "disabled"}, {**known, "RAY_AUTH_TOKEN": "0" * 64}):
            said = attack(first["address"], **unknown)
            assert "RAN" not in said and "Failed to connect to Ray cluster" in said
        sessions.go_on()
        assert sessions.said()["kept"]
        second = sessions.said()
        assert second["token"] != first["token"]
        sessions.go_on()
        assert sessions.said()["kept"]
    assert sessions.process.returncode == 0


@pytest.mark.parametrize("killed", [False, True], ids=["ends", "killed"])
def test_its_folder_is_the_users_alone_and_removed(temporary: Path, killed: bool) -> None:
    sessions = Sessions(temporary, 1)
    with sessions.process:
        folder = Path(sessions.said()["folder"])
        assert list(folder.glob("session_*/logs/gcs_server*"))
        closed = folder.parent
        assert closed.stat().st_mode & 0o777 == 0o700 and closed.stat().st_uid == os.getuid()
        if killed:
            sessions.process.send_signal(signal.SIGKILL)
        else:
            sessions.go_on()
    wait_until(lambda: not closed.exists(), 0.0 if not killed else 20.0)


def test_what_opens_documents_finds_no_secret(temporary: Path) -> None:
    """Neither Ray's token nor credentials of an object store: in a real ingest, with OCR."""
    scan(["The harbour", "has no secret."]).save(temporary / "scan.png")
    ingest = psutil.Popen(
        [sys.executable, "-m", "patchlight", "ingest", "scan.png", "--db", "db", "--workers", "1"],
        cwd=temporary,
        env={
            **outside(),
            "PYTHONPATH": str(ROOT),
            "PREFECT_HOME": str(temporary / "prefect"),
            "TMPDIR": str(temporary),
            "AWS_SECRET_ACCESS_KEY": SECRET,
        },
    )
    seen: dict[str, list[dict[str, str]]] = {}
    end = time.monotonic() + 300
    while ingest.poll() is None:
        assert time.monotonic() < end
        for process in (ingest, *ingest.children(recursive=True)):
            look(process, seen)
        time.sleep(0.02)
    assert ingest.wait() == 0
    assert set(seen) == {"flow", "documents", "tesseract", "sweeper", "prefect"}
    # That there is something to be found.
    assert all(found["AWS_SECRET_ACCESS_KEY"] == SECRET for found in seen["flow"])
    for kind in ("documents", "tesseract", "sweeper", "prefect"):
        for found in seen[kind]:
            assert not any(name.startswith(("RAY_AUTH", "AWS_")) for name in found), kind
            assert SECRET not in found.values() and found["PATH"]


def look(process: psutil.Process, seen: dict[str, list[dict[str, str]]]) -> None:
    """Note the environment of a process, by what it is for."""
    marks = {
        "patchlight ingest": "flow",
        "sandbox/boot.py": "documents",
        "tesseract ": "tesseract",
        "sweeper.py": "sweeper",
        "-m uvicorn": "prefect",
    }
    try:
        command, environment = " ".join(process.cmdline()), process.environ()
    except psutil.Error:  # it has ended meanwhile
        return
    kind = next((kind for mark, kind in marks.items() if mark in command), None)
    # One that was just forked still has its parent's, for a moment.
    if kind and environment and process.is_running():
        seen.setdefault(kind, []).append(environment)
