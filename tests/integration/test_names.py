"""A user's own ``tasks.py``, ``storage.py`` and ``flows.py`` are never taken for ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Engines start here, which takes minutes on a busy machine.
pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).parent.parent.parent
DOCUMENT = ROOT / "examples" / "documents" / "harbour-annual-report.pdf"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to work in, whose files end every process that imports them."""
    for name in ("tasks", "storage", "flows"):
        (tmp_path / f"{name}.py").write_text(f"raise SystemExit('the user\\'s own {name}.py')\n")
    return tmp_path


def run(folder: Path, *command: str) -> str:
    """Run a command there; return what it prints."""
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PREFECT_LOGGING_LEVEL": "CRITICAL"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_line_and_its_ray_workers(folder: Path) -> None:
    """Ray puts the current folder on the path of its workers, as ``python -m`` does on ours."""
    patchlight = (sys.executable, "-m", "patchlight")
    run(folder, *patchlight, "ingest", str(DOCUMENT), "--db", "db", "--workers", "1")
    printed = run(folder, *patchlight, "ask", "harbour dues", "--db", "db")
    assert "harbour-annual-report.pdf, page" in printed


def test_a_notebook(folder: Path) -> None:
    """In a notebook the current folder comes first on the path."""
    code = (
        "import sys; assert sys.path[0] == ''\n"
        "from patchlight.tasks.answers.asking import ask\n"
        "from patchlight.storage.database import Database\n"
        "import patchlight.tasks; print(patchlight.tasks.__file__)"
    )
    printed = run(folder, sys.executable, "-c", code)
    assert Path(printed.strip()).resolve() == ROOT / "tasks" / "__init__.py"


def test_a_ray_worker(folder: Path) -> None:
    """A worker imports our modules by their one name, wherever it stands."""
    code = (
        "import ray\n"
        "from patchlight.tasks.cluster.raysession import ray_session\n"
        "from patchlight.tasks.common.settings import Settings\n"
        "def where():\n"
        "    import patchlight.storage, patchlight.tasks\n"
        "    return patchlight.tasks.__file__, patchlight.storage.__file__\n"
        "with ray_session(Settings(), 1):\n"
        "    print(*ray.get(ray.remote(where).remote()), sep='\\n')\n"
    )
    found = run(folder, sys.executable, "-c", code).splitlines()[-2:]
    places = [Path(line).resolve().parent for line in found]
    assert places == [ROOT / "tasks", ROOT / "storage"]


@pytest.mark.parametrize("flow", ["ingest", "query", "evaluate"])
def test_a_prefect_entrypoint(folder: Path, flow: str) -> None:
    """Prefect puts the entrypoint's folder and the current one first on the path."""
    code = (
        "from prefect.flows import load_flow_from_entrypoint\n"
        f"print(load_flow_from_entrypoint({f'{ROOT}/flows/{flow}.py:{flow}'!r}).name)"
    )
    assert run(folder, sys.executable, "-c", code).strip() == f"patchlight-{flow}"
