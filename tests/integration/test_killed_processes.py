"""What an ingest prints, and leaves on the disk, when processes of it are killed or interrupted."""

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

import psutil
import pytest

from patchlight.storage.errors import ExitCode
from tests.integration.conftest import EXAMPLES

pytestmark = pytest.mark.timeout(600)

DOCUMENT = EXAMPLES / "documents" / "harbour-annual-report.pdf"


@pytest.fixture
def temporary() -> Iterator[Path]:
    """A folder with a short path: Ray's sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="pl-", dir="/tmp") as folder:
        yield Path(folder)


def start(temporary: Path, db: Path) -> subprocess.Popen[str]:
    """Start an ingest as a terminal does, in a process group of its own."""
    command = [sys.executable, "-m", "patchlight", "ingest", str(DOCUMENT), "--db", str(db)]
    return subprocess.Popen(
        [*command, "--ocr", "always", "--workers", "1", "--json"],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def started(process: subprocess.Popen[str], what: Callable[[str], bool]) -> psutil.Process:
    """Wait for a process among those that it has started, by the command line."""
    end = time.monotonic() + 240
    while time.monotonic() < end and process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            try:
                if what(" ".join(child.cmdline())):
                    return child
            except psutil.Error:  # it has ended meanwhile
                continue
        time.sleep(0.05)
    pytest.fail("it was not seen")


def in_ocr(process: subprocess.Popen[str]) -> None:
    started(process, lambda line: line.split(" ")[0].endswith("tesseract"))


def test_ctrl_c_in_a_terminal_ends_an_ingest_at_once(temporary: Path, tmp_path: Path) -> None:
    """It reaches the whole process group; an end took minutes while Prefect's server was in it."""
    with start(temporary, tmp_path / "db") as process:
        in_ocr(process)
        os.killpg(process.pid, signal.SIGINT)
        began = time.monotonic()
        out, said = process.communicate(timeout=300)
    assert process.returncode == ExitCode.INTERRUPTED
    assert time.monotonic() - began < 75, "the flow has waited for Prefect's server"
    assert said.endswith("interrupted; what was committed stays\n") and not out


def test_a_killed_encoder_is_in_the_log_and_not_among_the_results(
    temporary: Path, tmp_path: Path
) -> None:
    with start(temporary, tmp_path / "db") as process:
        encoder = started(process, lambda line: line.startswith("ray::EncoderWorker"))
        in_ocr(process)
        encoder.kill()
        out, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    assert json.loads(out)["pages_added"] == 8
    assert "WARNING Ray: A worker died or was killed" in said


def test_a_killed_raylet_leaves_no_pictures(temporary: Path, tmp_path: Path) -> None:
    with start(temporary, tmp_path / "db") as process:
        raylet = started(process, lambda line: "/raylet/raylet " in line)
        in_ocr(process)
        raylet.kill()
        out, said = process.communicate(timeout=300)
    assert process.returncode == 1 and "Ray is gone" in said and not out
    end = time.monotonic() + 30  # what sweeps outlives the ingest a little
    while left := list(temporary.iterdir()):
        assert time.monotonic() < end, left
        time.sleep(0.2)
