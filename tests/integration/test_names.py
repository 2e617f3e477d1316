"""A user's own Python files in the current folder are never taken for ours, or for a library."""

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


OURS = ("tasks", "storage", "flows")
LIBRARIES = (
    "patchlight",
    "pypdfium2",
    "numpy",
    "lancedb",
    "prefect",
    "fastapi",
    "uvicorn",
    "anyio",
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder to work in, whose files end every process that imports them."""
    return shadowed(tmp_path, OURS)


def shadowed(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        (folder / f"{name}.py").write_text(
            f"open({str(folder / 'imported')!r}, 'a').write({name!r} + '\\n')\n"
            f"raise SystemExit('the user\\'s own {name}.py')\n"
        )
    return folder


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
    """``python -m`` puts the current folder first on the path."""
    ingest_and_ask(folder, sys.executable, "-m", "patchlight")


def test_files_named_like_libraries(tmp_path: Path) -> None:
    """Ray wants to put the current folder first on its workers' path, Uvicorn on its own."""
    script = Path(sys.executable).parent / "patchlight"
    ingest_and_ask(shadowed(tmp_path, OURS + LIBRARIES), str(script))


def ingest_and_ask(folder: Path, *patchlight: str) -> None:
    run(folder, *patchlight, "ingest", str(DOCUMENT), "--db", "db", "--workers", "1")
    printed = run(folder, *patchlight, "ask", "harbour dues", "--db", "db")
    assert "harbour-annual-report.pdf, page" in printed
    assert not (folder / "imported").exists(), (folder / "imported").read_text()


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
