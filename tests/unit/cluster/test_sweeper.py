"""The sweeper ends what a Ray session has left, once its owner is gone, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.cluster import sweeper

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


def started(owner: int) -> subprocess.Popen[bytes]:
    """The sweeper, as a Ray session starts it."""
    command = [sys.executable, "-I", "-S", sweeper.__file__, str(owner)]
    return subprocess.Popen(command, stdin=subprocess.PIPE)


def test_it_ends_processes_of_the_session_and_no_others(tmp_path: Path) -> None:
    with (
        process_with_open(tmp_path / f"session_1_{OWNER}" / "agent.log") as left,
        process_with_open(tmp_path / f"session_1_{OWNER}9" / "agent.log") as anothers,
        process_with_open(tmp_path / "notes.log") as bystander,
    ):
        with started(OWNER) as sweep:
            assert left.poll() is None  # the owner still holds the sweeper's input
        assert sweep.returncode == 0
        assert left.wait(10) == -9
        assert anothers.poll() is None
        assert bystander.poll() is None


def test_it_spares_the_owner_itself(tmp_path: Path) -> None:
    """An owner that has closed the sweeper's input may still be at its own end."""
    place = tmp_path / f"session_1_{os.getpid()}"
    place.mkdir()
    with (place / "driver.log").open("w"), started(os.getpid()) as sweep:
        pass
    assert sweep.returncode == 0
