"""How the house is built: the floors, what is pure, and where each library may be known.

The one list that ``tests/test_architecture.py`` checks the code against and that
``python -m benchmarks.rooms`` draws. docs/architecture.md tells it to people. Paths are patterns
below the repository's root.
"""

from __future__ import annotations

FLOORS: tuple[tuple[str, ...], ...] = (
    ("flows",),
    ("tasks/admin", "tasks/orchestration"),
    ("tasks/requests",),
    ("tasks/cluster", "tasks/evaluation"),
    ("tasks/ingest", "tasks/answers"),
    ("tasks/retrieval", "tasks/grounding"),
    ("tasks/reading",),
    ("tasks/documents", "tasks/regions"),
    ("tasks/sandbox", "tasks/encoders"),
    ("tasks/kernels",),
    ("tasks/common",),
    ("storage",),
)
"""Rooms, top floor first. A room imports from floors below its own, and nothing beside it."""

PURE = (
    "tasks/kernels/*",
    "tasks/regions/*",
    "tasks/grounding/*",
    "tasks/retrieval/pageorder.py",
    "tasks/reading/fingerprints.py",
    "tasks/reading/shardplan.py",
    "tasks/ingest/transitions.py",
    "tasks/evaluation/areas.py",
    "tasks/evaluation/bootstrap.py",
    "tasks/evaluation/coverage.py",
    "tasks/evaluation/metrics.py",
)
"""Functions on arrays and records: no library but NumPy and SciPy, no input or output."""

NOT_PURE = (
    "tasks/grounding/places.py",  # reads from a snapshot
    "tasks/regions/layoutmodel.py",  # runs a model
)
"""What stands in a room of pure modules and is none."""

PURE_LIBRARIES = ("numpy", "scipy")

PURE_FROM_BELOW = (
    "storage.errors",
    "storage.records",
    "storage.regions",
    "tasks.common.errors",
    "tasks.common.modes",
    "tasks.common.pageobjects",
)
"""What is not pure by its place, and may be imported by what is."""

LIBRARIES: dict[str, tuple[str, ...]] = {
    "ray": (
        "tasks/cluster/encoderactors.py",
        "tasks/cluster/inspection.py",
        "tasks/cluster/queryworkers.py",
        "tasks/cluster/raymessages.py",
        "tasks/cluster/raysession.py",
        "tasks/cluster/shardpool.py",
        "tasks/cluster/waiting.py",
    ),
    "prefect": (
        "flows/evaluate.py",
        "flows/ingest.py",
        "flows/query.py",
        "tasks/orchestration/*",
    ),
    "typer": ("flows/*",),
    "pypdfium2": ("tasks/documents/*",),
    "pytesseract": ("tasks/documents/ocr.py",),
    "PIL": (
        "tasks/answers/overlays.py",
        "tasks/documents/*",
        "tasks/encoders/features.py",
        "tasks/evaluation/contactsheet.py",
        "tasks/regions/layoutmodel.py",
    ),
    "lance": ("storage/*",),
    "lancedb": ("storage/engine.py",),
    "datafusion": ("storage/sql.py", "storage/sqlcalls.py", "storage/sqlengine.py"),
    "torch": (
        "tasks/encoders/colvision.py",
        "tasks/encoders/features.py",
        "tasks/encoders/memory.py",
        "tasks/encoders/querytokens.py",
        "tasks/encoders/weights.py",
    ),
    "transformers": ("tasks/encoders/weights.py",),
    "colpali_engine": ("tasks/encoders/weights.py",),
    "peft": ("tasks/encoders/weights.py",),
    "huggingface_hub": ("tasks/encoders/hub.py",),
    "tokenizers": ("tasks/encoders/wordvectors.py",),
    "onnxruntime": (
        "tasks/encoders/wordvectors.py",
        "tasks/regions/layoutmodel.py",
    ),
    "scipy": (
        "tasks/evaluation/metrics.py",
        "tasks/kernels/pooling.py",
        "tasks/regions/figures.py",
        "tasks/regions/ruledlines.py",
    ),
    "pydantic_settings": ("tasks/common/settings.py",),
    "rich": (
        "tasks/common/console.py",
        "tasks/common/rowtables.py",
        "tasks/common/terminal.py",
    ),
    "bm25s": ("tasks/evaluation/bm25.py",),
    "bpe_openai": ("tasks/answers/tokencost.py",),
    # Other processes: they end with this one, or in time, only where that was thought of.
    "subprocess": (
        "tasks/admin/doctor.py",
        "tasks/cluster/raysession.py",
        "tasks/documents/ocr.py",
        "tasks/orchestration/prefectserver.py",
        "tasks/sandbox/parent.py",
    ),
    "multiprocessing": ("tasks/sandbox/child.py", "tasks/sandbox/parent.py"),
}
"""Library -> the only places that import it."""

ENVIRONMENT = (
    "storage/sqlmemory.py",  # the reader of tables takes its portions from there only
    "storage/objectstore.py",  # its one setting: it imports nothing of tasks
    "flows/__main__.py",
    "tasks/cluster/raysession.py",
    "tasks/common/childenvironment.py",
    "tasks/common/settings.py",
    "tasks/documents/ocr.py",
    "tasks/orchestration/prefectserver.py",
    "tasks/sandbox/child.py",
    "tasks/sandbox/parent.py",
)
"""What touches the environment: it is read in the settings; elsewhere set for other processes."""

OPENS_DOCUMENTS = (
    "tasks/documents/ocr.py",
    "tasks/documents/opening.py",
    "tasks/reading/pages.py",
    "tasks/reading/sandboxwork.py",
)
"""What calls PDFium, Pillow or Tesseract on a document, which may hang or crash over it."""

LONGEST = 500
"""Lines of a module: longer ones are not read in one sitting."""
