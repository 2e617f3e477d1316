# mypy: ignore-errors
"""Makes ``database.tar.xz`` and ``results.jsonl``: a database of schema 3, and what it answered.

Run it with the last version that made such databases, from the root of its checkout::

    git worktree add ../schema-3 e0f2bfa
    cd ../schema-3
    PYTHONPATH=. unshare --uts sh -c 'hostname example; python .../tests/schema3/make.py FOLDER'

The documents are read from ``/tmp/patchlight-schema-3``, so that no place of its maker is in it.
What an ingest leaves only when it is cut off, and what older versions left behind, is written here
as they left it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tarfile
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from patchlight.storage.committer import Committer
from patchlight.storage.convert import runs_table
from patchlight.storage.database import Database
from patchlight.storage.records import Document, DocumentStatus, Run, VectorForm, VectorType
from patchlight.storage.schema import Table
from patchlight.storage.writer import Writer
from patchlight.tasks.answers.queryfile import QueryRow, read_queries
from patchlight.tasks.answers.queryrun import QueryRun
from patchlight.tasks.answers.querysession import QuerySession
from patchlight.tasks.common.modes import LayoutMode
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.grounding.places import ground
from patchlight.tasks.ingest.termcounts import bring_up_to_date
from patchlight.tasks.requests.query import AskRequest
from patchlight.tasks.retrieval.ranking import rank_pages, read_pages
from tests import fixtures
from tests.ingest_examples import OPTIONS, InProcess, fails, ingest

EXAMPLES = Path("examples")
PLACE = Path("/tmp/patchlight-schema-3")
AS_READ = replace(OPTIONS, layout=LayoutMode.AUTO)
"""How the documents are read; an ingest by other options reads them again."""
CUT_OFF = ["the first page is whole", "the second page was never stored"]
"""Texts of the document whose ingest was cut off."""


def answered(uri: str, encoder: Encoder, questions: Path, out: Path, run_id: str) -> None:
    """Answer questions as ``patchlight query`` does, in this process.

    Args:
        uri: the database.
        encoder: its encoder.
        questions: query file.
        out: folder for the results.
        run_id: id of the run.
    """
    session = QuerySession(Database.open(uri), AskRequest(query="-", db=uri).options(), None)
    run = QueryRun(session, run_id, str(out), {})
    with run.recorded():
        rows = [row for row in read_queries(str(questions)) if isinstance(row, QueryRow)]
        block, bad = session.block(rows, encoder.encode_queries)
        assert block is not None and not bad, bad
        options = session.options
        everything = session.shards(block, len(session.catalog))[0]
        pages = read_pages(session.snapshot, session.catalog, everything)
        hits = rank_pages(pages, block.encodings, block.scopes, options.ranking)
        places: dict[str, Any] = {}
        for group in session.page_groups(block, hits):
            places.update(ground(session.snapshot, group, options.grounding))
        run.write(session.answers(block, hits, places))
        run.end()


def make(out: Path) -> None:
    """Make the files."""
    documents, db = PLACE / "documents", PLACE / "db"
    shutil.rmtree(PLACE, ignore_errors=True)
    documents.mkdir(parents=True)
    encoder = registry.load(registry.describe("text-patch"))
    database = Database.create_or_open(
        db, encoder.info.identity, VectorForm(VectorType.INT8, pool=2, drop_blank=True)
    )
    for name in ("harbour-annual-report.pdf", "two-column-paper.pdf"):
        shutil.copy(EXAMPLES / "documents" / name, documents)
    (documents / "broken.pdf").write_bytes(b"%PDF-1.7 and nothing more")
    fixtures.make_text_pdf(documents / "cut-off.pdf", CUT_OFF)
    changing = documents / "changing.pdf"
    for run, text in enumerate(("as it was at first", "as it is now"), 1):
        fixtures.make_text_pdf(changing, [text])
        ingest(documents, database, encoder, options=AS_READ, run_id=f"ingest-{run}")
    (PLACE / "partial").mkdir()
    fixtures.make_text_pdf(PLACE / "partial" / "partial.pdf", ["a good page", "a bad page"])
    bad = InProcess(encoder, fails(2, retryable=False))
    ingest(PLACE / "partial", database, encoder, options=AS_READ, pool=bad, run_id="ingest-partial")
    questions = [
        line
        for line in (EXAMPLES / "questions.jsonl").read_text(encoding="utf-8").splitlines()
        if json.loads(line).get("doc") != "scanned-letter.tiff"
    ]
    (PLACE / "questions.jsonl").write_text("\n".join(questions) + "\n", encoding="utf-8")
    _leave_behind(database)
    assert encoder.info.terms is not None
    bring_up_to_date(database, Committer(database, "ingest-3"), encoder.info.terms)
    answered(str(db), encoder, PLACE / "questions.jsonl", PLACE / "out", "query-1")
    Committer(database, "end").optimize(keep=timedelta(0))
    began = datetime(2026, 12, 1, 5, tzinfo=UTC)  # last, for nothing is tidied beside a run
    dead = Run("ingest-3", "ingest", "running", began, heartbeat_at=began, lease_s=60)
    Writer(database).upsert(Table.RUNS, runs_table([dead]))
    out.mkdir(parents=True, exist_ok=True)
    for path in (PLACE / "questions.jsonl", PLACE / "out" / "results.jsonl"):
        shutil.copy(path, out)
    with tarfile.open(out / "database.tar.xz", "w:xz") as archive:
        archive.add(db, "db")


def _leave_behind(database: Database) -> None:
    """What is there besides whole documents: one that was cut off, and rows that belong to none."""
    writer = Writer(database)
    document = {d.sources[0].name.rpartition("/")[2]: d for d in database.documents()}
    cut_off = document["cut-off.pdf"]

    def unfinished(_: str, row: Document | None) -> Document | None:
        return row and replace(row, status=DocumentStatus.UNFINISHED, run_id="ingest-3")

    committer = Committer(database, "ingest-3")
    committer.change_documents([cut_off.doc_id], unfinished)
    committer.drop_pages(cut_off.doc_id, [2])
    for table, number in ((Table.PAGES, 90), (Table.REGIONS, 91), (Table.PATCHES, 92)):
        rows = database.table(table).to_table(limit=1)
        writer.upsert(table, _belonging_to_none(rows, number))


def _belonging_to_none(rows: pa.Table, number: int) -> pa.Table:
    key = f"{number:064d}:{number:05d}"
    for name, value in (("page_id", key), ("doc_id", key[:64]), ("page", number)):
        at = rows.schema.get_field_index(name)
        field = rows.schema.field(at)
        rows = rows.set_column(at, field, pa.array([value], field.type))
    return rows


if __name__ == "__main__":
    make(Path(sys.argv[1]))
