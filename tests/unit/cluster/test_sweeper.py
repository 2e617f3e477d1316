"""The sweeper ends what a Ray session has left, once its owner is gone, and nothing else."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from patchlight.tasks.cluster import rayfolder, sweeper

OWNER = 4_000_000
"""No process of this machine."""


@contextmanager
def process_with_open(file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A Python process that has a file open."""
    file.parent.mkdir(parents=True, exist_ok=True)
    code = "import sys; held = open(sys.argv[1], 'w'); print(flush=True); sys.stdin.read()"
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", code, str(file)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == b"\n"  # it has opened the file
            yield process
        finally:
            process.kill()


def started(owner: int, folder: Path) -> subprocess.Popen[bytes]:
    """The sweeper, as a Ray session starts it."""
    command = [sys.executable, "-I", "-S", sweeper.__file__, str(owner), str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def test_it_ends_processes_of_the_session_and_no_others(tmp_path: Path) -> None:
    with (
        process_with_open(tmp_path / f"session_1_{OWNER}" / "agent.log") as left,
        process_with_open(tmp_path / f"session_1_{OWNER}9" / "agent.log") as anothers,
        process_with_open(tmp_path / "notes.log") as bystander,
    ):
        with started(OWNER, tmp_path / "ray") as sweep:
            assert left.poll() is None  # the owner still holds the sweeper's input
        assert sweep.returncode == 0
        assert left.wait(10) == -9
        assert anothers.poll() is None
        assert bystander.poll() is None


def test_it_spares_the_owner_itself(tmp_path: Path) -> None:
    """An owner that has closed the sweeper's input may still be at its own end."""
    place = tmp_path / f"session_1_{os.getpid()}"
    place.mkdir()
    with (place / "driver.log").open("w"), started(os.getpid(), tmp_path / "ray") as sweep:
        pass
    assert sweep.returncode == 0


def test_it_removes_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / f"{sweeper.PREFIX}a"
    (folder / "ray" / "sockets").mkdir(parents=True)
    with started(OWNER, folder):
        assert folder.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def short() -> Iterator[Path]:
    """A folder whose path leaves room for Ray's sockets."""
    with tempfile.TemporaryDirectory(prefix="pl-", dir="/tmp") as folder:
        yield Path(folder)


def test_it_removes_what_a_killed_run_and_its_sweeper_have_left(short: Path) -> None:
    """A folder is left alone while its lock is held, and before it has one."""
    abandoned, young, bystander = (short / f"{sweeper.PREFIX}{n}" for n in "abc")
    for folder in (abandoned, young):
        folder.mkdir()
    (abandoned / sweeper.LOCK).touch()
    bystander.symlink_to(abandoned)
    with rayfolder.private_folder(str(short)) as held:
        with started(OWNER, short / "ended"):
            assert abandoned.exists()
        assert set(short.iterdir()) == {held.parent, young, bystander}
    assert set(short.iterdir()) == {young, bystander}


def test_it_removes_what_was_killed_before_it_had_a_lock(short: Path) -> None:
    """But no folder that may be about to get one, that has anything in it, or that is locked."""
    long_ago = time.time() - 3700
    empty, unlocked, young, full, locked = (short / f"{sweeper.PREFIX}{n}" for n in "abcde")
    for folder in (empty, unlocked, young, full, locked):
        folder.mkdir()
    for folder in (unlocked, locked):
        (folder / sweeper.NEW_LOCK).touch()
    (full / "ray").mkdir()
    for folder in (empty, unlocked, full, locked):
        os.utime(folder, (long_ago, long_ago))
    with (locked / sweeper.NEW_LOCK).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with started(OWNER, short / "ended"):
            pass
    assert set(short.iterdir()) == {young, full, locked}
    assert (full / "ray").exists() and (locked / sweeper.NEW_LOCK).exists()
