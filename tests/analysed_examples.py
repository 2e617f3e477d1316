"""A database with what an analyst meets, for the tests of those who look at the tables.

Documents with tables and headings, a scan, one that lies at two places, one that is encrypted, one
of which a page failed, what people gave to two of them, and the answers of two query runs.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

from patchlight.storage.committer import Committer
from patchlight.storage.convert import retrievals_table
from patchlight.storage.database import Database
from patchlight.storage.records import Run
from patchlight.storage.schema import Table
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.documents import ocr
from patchlight.tasks.encoders.protocol import Encoder
from tests import fixtures
from tests.ingest_examples import OPTIONS, InProcess, fails, ingest
from tests.storage_examples import NOW, put_run, retrieval

KNOWN = (
    {
        "path": "harbour-annual-report.pdf",
        "team": "port",
        "signed": "2026-02-11",
        "access": ["public", "press"],
        "checked": True,
        "cost": 12.5,
        "seen": "2026-02-11T09:30:00+01:00",
    },
    {"path": "two-column-paper.pdf", "team": "research", "access": []},
)
"""What people gave to documents: a column of each type."""

SAMPLES = Path(__file__).parent.parent / "examples" / "documents"


def make(place: Path, encoder: Encoder) -> str:
    """Make the database, and say where it is.

    Args:
        place: an empty folder.
        encoder: the embedded one.
    """
    folder = place / "docs"
    shutil.copytree(SAMPLES, folder)
    shutil.copy(folder / "two-column-paper.pdf", folder / "again.pdf")
    fixtures.make_pdf(folder / "secret.pdf", fixtures.prose, password="secret")
    database = Database.create_or_open(place / "db", encoder.info.identity)
    tesseract = ocr.find_tesseract(None)
    options = replace(OPTIONS, ocr=OcrMode.AUTO, layout=LayoutMode.AUTO, tesseract=tesseract)
    pool = InProcess(encoder, fails(8, retryable=False))
    known = place / "known.jsonl"
    known.write_text("".join(json.dumps(row) + "\n" for row in KNOWN), encoding="utf-8")
    ingest(folder, database, encoder, options=options, pool=pool, run_id="ingest", metadata=known)
    _answer(database)
    return database.uri


def _answer(database: Database) -> None:
    """Store two query runs, each of which has found four cells."""
    committer = Committer(database, "answers")
    cells = database.table(Table.REGIONS).to_table(filter="kind = 'cell'").slice(0, 4).to_pylist()
    for number, run_id in enumerate(("query-old", "query-new"), 10):
        found = [
            replace(
                retrieval(run_id, f"q{at}"),
                **{name: row[name] for name in ("doc_id", "page", "region_id", "kind", "text")},
                **{name: row[name] for name in ("x0", "y0", "x1", "y1")},
                carried='{"team": "port"}',
            )
            for at, row in enumerate(cells)
        ]
        committer.replace_retrievals(run_id, [retrievals_table(found)])
        put_run(committer, Run(run_id, "query", "completed", NOW, NOW, summary="{}", number=number))
    committer.optimize()
