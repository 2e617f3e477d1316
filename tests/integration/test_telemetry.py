"""Prefect's private server of a run sends nothing home, when a flow is called from Python too."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Engines start here, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(600)

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "examples" / "documents" / "harbour-annual-report.pdf"
OURS = ("PREFECT_", "RAY_", "ORT_", "DO_NOT_TRACK")
"""What the variables that this test must not inherit from the test run begin with."""

INGEST = f"""
import json
from pathlib import Path
import prefect
from patchlight.flows.ingest import ingest
state = ingest(source=[{str(DOCUMENT)!r}], db="db", workers=1, return_state=True)
assert state.is_completed(), state
children = Path("/proc/self/task").glob("*/children")  # of all threads
for pid in {{pid for listed in children for pid in listed.read_text().split()}}:
    process = Path("/proc", pid)
    if b"uvicorn" in process.joinpath("cmdline").read_bytes():
        pairs = process.joinpath("environ").read_text().split("\\0")
        Path("server.json").write_text(json.dumps(dict(p.split("=", 1) for p in pairs if p)))
"""


def test_a_flow_called_from_python(tmp_path: Path) -> None:
    """Prefect starts its server before the body of the flow runs: too early for a call in there.

    Prefect is imported first, as users may do: too late for what it has read by then, but not for
    what its server will read.
    """
    home = {
        "PREFECT_HOME": str(tmp_path / "prefect"),
        "PREFECT_LOGGING_LEVEL": "DEBUG",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
    }
    done = subprocess.run(
        [sys.executable, "-c", INGEST],
        cwd=tmp_path,
        env={**{k: v for k, v in os.environ.items() if not k.startswith(OURS)}, **home},
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, done.stderr
    server = json.loads((tmp_path / "server.json").read_text())
    assert server["PREFECT_SERVER_ANALYTICS_ENABLED"].lower() == "false"
    assert server["DO_NOT_TRACK"] == "1"
    assert "telemetry" not in (done.stdout + done.stderr).lower()
