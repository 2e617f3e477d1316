"""Guards the layer rule and the import rules; see docs/architecture.md."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = ("storage", "tasks", "flows")
KERNELS = (
    "captions",
    "claims",
    "compaction",
    "detections",
    "drafts",
    "evaluation.areas",
    "evaluation.bootstrap",
    "evaluation.coverage",
    "evaluation.metrics",
    "evidence",
    "figures",
    "geometry",
    "grouping",
    "layout",
    "maxsim",
    "pageregions",
    "pagewords",
    "planning",
    "propagation",
    "proposals",
    "questionwords",
    "rules",
    "selection",
    "spanchoice",
    "spans",
    "spansignals",
    "stages",
    "surroundings",
    "tablegrid",
    "valuechoice",
    "valuesignals",
    "valuetypes",
)
KERNEL_IMPORTS = {
    "numpy",
    "scipy",
    "scipy.cluster.hierarchy",
    "scipy.optimize",
    "scipy.spatial.distance",
    "storage.records",
    "storage.errors",
    "tasks.common.errors",
} | {f"tasks.{name}" for name in KERNELS}
ONLY_IN = {
    "ray": {
        "tasks/cluster/raysession.py",
        "tasks/cluster/shardpool.py",
        "tasks/cluster/waiting.py",
    },
    "prefect": {
        "tasks/orchestration/prefectserver.py",
        "tasks/orchestration/steps.py",
        "flows/evaluate.py",
        "flows/ingest.py",
        "flows/query.py",
    },
    "pypdfium2": {
        f"tasks/{name}.py" for name in ("documents", "pageobjects", "pictures", "textlayer")
    },
    "pytesseract": {"tasks/documents/ocr.py"},
    # Other processes: they end with this one, or in time, only where that was thought of.
    "subprocess": {
        f"tasks/{name}.py"
        for name in ("childprocess", "cluster", "inspecting", "ocr", "prefectserver")
    },
    "multiprocessing": {"tasks/sandbox/parent.py", "tasks/sandbox/child.py"},
    "scipy": {
        f"tasks/{name}.py" for name in ("compaction", "evaluation/metrics", "figures", "rules")
    },
    "torch": {
        f"tasks/encoders/{name}.py"
        for name in ("colvision", "features", "memory", "querytokens", "weights")
    },
    "transformers": {"tasks/encoders/weights.py"},
    "colpali_engine": {"tasks/encoders/weights.py"},
    "peft": {"tasks/encoders/weights.py"},
    "onnxruntime": {
        "tasks/encoders/textpatch.py",
        "tasks/encoders/wordvectors.py",
        "tasks/regions/layoutmodel.py",
    },
}


def modules() -> list[Path]:
    return sorted(path for layer in LAYERS for path in (ROOT / layer).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Names of modules that a file imports, anywhere in it."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            yield module
            yield from (
                f"{module}.{alias.name}"
                for alias in node.names
                if (ROOT / module.replace(".", "/") / f"{alias.name}.py").exists()
            )


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_no_layer_imports_one_above_it(path: Path) -> None:
    above = LAYERS[LAYERS.index(relative(path).split("/")[0]) + 1 :]
    upward = [name for name in imports(path) if name.split(".")[0] in above]
    assert not upward, f"{relative(path)} imports {upward}"


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_import_only_numpy_and_each_other(name: str) -> None:
    path = ROOT / "tasks" / f"{name.replace('.', '/')}.py"
    foreign = [
        found
        for found in imports(path)
        if found.split(".")[0] not in sys.stdlib_module_names
        and found not in KERNEL_IMPORTS | {"numpy.typing", "tasks", "storage"}
    ]
    assert not foreign, f"kernel {name} imports {foreign}"


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_imported_by_its_adapter_only(library: str) -> None:
    users = {relative(p) for p in modules() if library in {n.split(".")[0] for n in imports(p)}}
    assert users <= ONLY_IN[library]


def test_documents_are_opened_only_where_that_can_be_killed() -> None:
    """PDFium, Pillow and Tesseract hang and crash; see tasks/sandbox/calling.py."""
    inside = {f"tasks/{name}.py" for name in ("documents", "ocr", "pagework", "reading")}
    for path in modules():
        if re.search(r"\b(open_document|read_words)\(", path.read_text(encoding="utf-8")):
            assert relative(path) in inside
        direct = re.findall(r"(?<!call\()\bpagework\.[a-z_]+\(", path.read_text(encoding="utf-8"))
        assert not direct, f"{relative(path)} calls {direct} in its own process"


def test_lancedb_is_imported_in_storage_only() -> None:
    users = {
        relative(p)
        for p in modules()
        if {"lancedb", "lance", "datafusion"} & {n.split(".")[0] for n in imports(p)}
    }
    assert all(user.startswith("storage/") for user in users), users


def test_files_in_flows_shadow_no_top_level_module() -> None:
    """Prefect puts flows/ first on the path when it loads an entrypoint by its file."""
    for path in (ROOT / "flows").glob("*.py"):
        if path.stem in {"__init__", "__main__"}:
            continue
        assert path.stem not in sys.stdlib_module_names
        found = importlib.util.find_spec(path.stem)
        # Prefect may have put flows/ on the path in this very process.
        assert found is None or found.origin == str(path), f"{path.name} shadows {found}"


def test_environment_is_read_in_settings_only() -> None:
    """Elsewhere it may be set for child processes, in the adapters that start them."""
    allowed = {
        "storage/objectstore.py",  # its one setting: it imports nothing of tasks
        "flows/__main__.py",
        "tasks/sandbox/parent.py",
        "tasks/cluster/raysession.py",
        "tasks/documents/ocr.py",
        "tasks/orchestration/prefectserver.py",
        "tasks/sandbox/child.py",
        "tasks/common/settings.py",
        "tasks/common/childenvironment.py",
    }
    for path in modules():
        if "os.environ" in path.read_text(encoding="utf-8"):
            assert relative(path) in allowed


def test_modules_stay_readable() -> None:
    """Long modules are not read in one sitting; 500 lines is the cap."""
    for path in modules():
        lines = len(path.read_text(encoding="utf-8").splitlines())
        assert lines <= 500, f"{relative(path)} has {lines} lines"


@pytest.mark.parametrize("path", modules(), ids=relative)
def test_every_module_says_what_it_is(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
