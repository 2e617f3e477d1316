"""A ColVision checkpoint on Ray actors: ingest, query, and an actor that is killed.

The checkpoint is tiny and its weights are random, so its answers mean nothing; that they are the
ones its vectors give is what is tested.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

pytest.importorskip("colpali_engine", reason="the vision encoders are not installed")

from patchlight.flows.ingest import ingest
from patchlight.flows.query import query
from patchlight.storage import reader
from patchlight.storage.database import Database
from patchlight.storage.errors import EncoderMismatch, ExitCode
from patchlight.storage.records import PageEncoding, VectorForm, VectorType
from patchlight.storage.schema import KEYS, Table
from patchlight.tasks.answers.asking import ask
from patchlight.tasks.answers.results import as_retrievals
from patchlight.tasks.cluster import encoderactors, shardpool, work
from patchlight.tasks.common.modes import OcrMode
from patchlight.tasks.common.settings import Settings
from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.documents.sources import expand
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.ingest.ingestrun import IngestRun
from patchlight.tasks.reading import messages
from patchlight.tasks.reading.pages import ReadOptions, read_picture
from patchlight.tasks.requests.query import AskRequest
from tests import fixtures, tiny_checkpoints
from tests.integration.conftest import EXAMPLES, report_of, run

pytestmark = pytest.mark.usefixtures("engines")

FLOAT16_STEP = 5e-4
"""Two vectors that differ by float32 rounding may be stored one float16 step apart."""

REPORT = str(EXAMPLES / "documents" / "harbour-annual-report.pdf")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tiny_checkpoints.build("colqwen2_5", tmp_path_factory.mktemp("tiny") / "model"))


@pytest.fixture(scope="module")
def encoder(checkpoint: str) -> Encoder:
    return registry.load(registry.describe(checkpoint), threads=1)


@pytest.fixture(scope="module")
def db(checkpoint: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    place = str(tmp_path_factory.mktemp("vision") / "db")
    report = report_of(ingest(source=[str(EXAMPLES / "documents")], db=place, encoder=checkpoint))
    assert (report["pages_added"], report["failures"]) == (13, [])
    return place


def stored(db: str) -> dict[str, PageEncoding]:
    """All encodings, by page."""
    snapshot = Database.open(db).snapshot()
    catalog = reader.catalog(snapshot)
    batch = reader.read_patches(snapshot, catalog["patch_row"].to_numpy())
    found = {}
    for i, page in enumerate(batch.page_ids):
        vectors = slice(batch.vector_offsets[i], batch.vector_offsets[i + 1])
        cells = slice(batch.cell_offsets[i], batch.cell_offsets[i + 1])
        values = batch.vectors[vectors].astype(np.float32)
        if batch.scales is not None:
            values *= batch.scales[vectors].astype(np.float32)[:, None]
        found[page] = PageEncoding(
            int(batch.rows[i]), int(batch.cols[i]), values, batch.cell_to_vector[cells]
        )
    return found


def encode_report(encoder: Encoder) -> list[PageEncoding]:
    """The report's pages, encoded in this process."""
    pixels = encoder.info.image_pixels
    options = ReadOptions(OcrMode.NEVER, "eng", 200, "", 60, image_pixels=pixels)
    with open_document(REPORT) as document:
        pages = [read_picture(document, n, options) for n in range(1, document.page_count + 1)]
    encodings = []
    for result in encoder.encode_pages(pages):
        assert isinstance(result, PageEncoding), result
        encodings.append(result)
    return encodings


def report_pages(db: str) -> list[str]:
    """Keys of the report's pages, in order."""
    catalog = reader.catalog(Database.open(db).snapshot(), "name LIKE '%annual-report%'")
    return list(catalog["page_id"].to_pylist())


def database_columns(database: Database, table: Table, *but: str) -> list[str]:
    """Columns of a table that do not depend on how, when and in which order it was written."""
    names = database.table(table).schema.names
    return [n for n in names if n not in {"page_key", *but} and not n.endswith("_ms")]


def test_what_is_stored_is_what_the_encoder_gives(db: str, encoder: Encoder) -> None:
    found = stored(db)
    pages = report_pages(db)
    assert len(found) == 13 and len(pages) == 8
    for page, expected in zip(pages, encode_report(encoder), strict=True):
        got = found[page]
        assert (got.rows, got.cols) == (expected.rows, expected.cols)
        assert np.array_equal(got.cell_to_vector, np.arange(got.rows * got.cols))
        assert np.abs(got.vectors - expected.vectors).max() < FLOAT16_STEP


def test_words_and_regions_are_those_of_the_embedded_encoder(db: str, sample_db: str) -> None:
    """The words take a path of their own beside the pictures, OCR included."""
    ours, theirs = Database.open(db), Database.open(sample_db)
    for table in (Table.PAGES, Table.REGIONS):
        names = database_columns(
            ours, table, "fingerprints", "n_vectors", "rows", "cols", "vector_bytes"
        )
        rows = [d.table(table).to_table(names).sort_by(KEYS[table]) for d in (ours, theirs)]
        assert rows[0] == rows[1]


def test_a_query_ranks_pages_by_all_its_tokens(db: str, encoder: Encoder, tmp_path: Path) -> None:
    question = "How deep is the berth?"
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps({"query_id": "q", "query": question}) + "\n")
    report = report_of(query(file=str(file), db=db, out=str(tmp_path / "out"), top_pages=13))
    assert (report["queries"], report["bad_rows"]) == (1, [])
    (answer,) = map(json.loads, (tmp_path / "out" / "results.jsonl").read_text().splitlines())
    (encoded,) = encoder.encode_queries([question], None)
    assert not isinstance(encoded, Exception)
    expected = {
        page: float((encoding.vectors @ encoded.vectors.T).max(axis=0).sum())
        for page, encoding in stored(db).items()
    }
    found = {f"{p['doc_id']}:{p['page']:05d}": p["score"] for p in answer["pages"]}
    assert found == pytest.approx(expected, abs=1e-3)
    assert [p["score"] for p in answer["pages"]] == sorted(found.values(), reverse=True)
    meaning = "".join(t["token"] for t in answer["query_tokens"] if t["meaning"])
    assert meaning == "Howdeepistheberth"
    assert any(page["regions"] for page in answer["pages"])


def test_sql_finds_what_ask_finds(
    db: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the encoder that is named, too: it may have moved since the ingest."""
    copy = str(tiny_checkpoints.build("colqwen2_5", tmp_path / "copy"))
    request = AskRequest(query="How deep is the berth", db=db, top_pages=4)
    asked = ask(db, request.query, request.options())
    expected = [
        {"page_rank": row.page_rank, "page": row.page, "region_id": row.region_id}
        for row in as_retrievals(asked.answer, asked.session.catalog, "")
    ]
    assert len({row["page_rank"] for row in expected}) == 4
    query = f"SELECT page_rank, page, region_id FROM grounded('{request.query}', 4)"
    for more in ([], ["--encoder", copy]):
        assert run("sql", query, "--db", db, "--format", "json", *more) == ExitCode.OK
        assert json.loads(capsys.readouterr().out) == expected


def test_a_database_keeps_to_its_encoder(db: str, checkpoint: str, tmp_path: Path) -> None:
    """Another folder with the same weights is the same encoder; other weights are not."""
    copy = tiny_checkpoints.build("colqwen2_5", tmp_path / "copy")
    assert report_of(ingest(source=[REPORT], db=db, encoder=str(copy)))["documents_unchanged"] == 1
    other = tiny_checkpoints.build("colqwen2_5", tmp_path / "other", seed=5)
    with pytest.raises(EncoderMismatch, match="new --db"):
        ingest(source=[REPORT], db=db, encoder=str(other))
    with pytest.raises(EncoderMismatch, match="--visual-tokens"):
        ingest(source=[REPORT], db=db, visual_tokens=100)


@pytest.mark.parametrize(
    ("form", "bytes_a_value"),
    [
        ({"vectors": VectorType.INT8}, 1),
        ({"pool": 3, "drop_blank": True}, 2),
    ],
    ids=["int8", "pooled, blank cells dropped"],
)
def test_other_forms_keep_the_grid(
    db: str, checkpoint: str, tmp_path: Path, form: dict[str, Any], bytes_a_value: int
) -> None:
    place = str(tmp_path / "db")
    ingest(source=[REPORT], db=place, encoder=checkpoint, workers=1, **form)
    whole, formed = stored(db), stored(place)
    kind = Database.open(place).table(Table.PATCHES).schema.field("vectors").type
    assert kind.value_type.value_type.bit_width == 8 * bytes_a_value
    for page in report_pages(place):
        plain, other = whole[page], formed[page]
        assert (other.rows, other.cols) == (plain.rows, plain.cols)
        held = other.cell_to_vector >= 0
        near = other.vectors[other.cell_to_vector[held]]
        cosine = (near * plain.vectors[held]).sum(axis=1)
        if form.get("pool"):
            assert 0 < held.sum() < held.size  # the report has margins, and ink
            assert len(other.vectors) == max(held.sum() // 3, 1)
            assert cosine.mean() > 0.98
        else:
            assert held.all() and cosine.min() > 0.99


def test_more_gpus_than_there_are_is_told_before_anything_is_made(
    checkpoint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from patchlight.flows.__main__ import _run, app

    place = tmp_path / "db"
    arguments = ["ingest", REPORT, "--db", str(place), "--encoder", checkpoint, "--gpus", "3"]
    code = _run(lambda: app(arguments, standalone_mode=False))
    assert code == ExitCode.USAGE
    assert "3 GPUs are asked for" in capsys.readouterr().err
    assert not place.exists()


def actors() -> list[psutil.Process]:
    """The processes of encoder actors."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if "EncoderWorker" in " ".join(process.cmdline())
    ]


def test_an_actor_killed_in_mid_ingest_changes_nothing(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATCHLIGHT_SHARD_PAGES", "4")
    documents = tmp_path / "documents"
    documents.mkdir()
    for number in range(6):
        pages = [f"Document {number}, page {page}: berth and tide" for page in range(1, 9)]
        fixtures.make_text_pdf(documents / f"{number}.pdf", pages)
    ingest(source=[str(documents)], db=str(tmp_path / "whole"), encoder=checkpoint)
    place = str(tmp_path / "killed")
    killed: list[int] = []

    def kill_one_when_some_pages_are_there() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not killed:
            if Path(place, "patches.lance").exists():
                there = Database.open(place).table(Table.PATCHES).count_rows()
                for process in actors()[:1] if there else []:
                    killed.append(there)
                    os.kill(process.pid, signal.SIGKILL)
            time.sleep(0.02)

    killer = threading.Thread(target=kill_one_when_some_pages_are_there)
    killer.start()
    report = report_of(ingest(source=[str(documents)], db=place, encoder=checkpoint))
    killer.join()
    assert killed and 0 < killed[0] < 48, "no actor was at work"
    assert (report["pages_added"], report["failures"]) == (48, [])
    whole, redone = stored(str(tmp_path / "whole")), stored(place)
    assert whole.keys() == redone.keys()
    for page, expected in whole.items():
        assert np.abs(redone[page].vectors - expected.vectors).max() < FLOAT16_STEP
    for table in (Table.PAGES, Table.REGIONS):
        databases = [Database.open(d) for d in (str(tmp_path / "whole"), place)]
        names = database_columns(databases[0], table)
        tables = [d.table(table).to_table(names).sort_by(KEYS[table]) for d in databases]
        assert tables[0] == tables[1]


class Poisoned(work.EncoderWorker):
    """Stands for native code that some pages kill: ends its process over page 3 of a document."""

    def encode(self, inputs: messages.EncoderInputs, form: VectorForm) -> messages.Encodings:
        if any(page == 3 for _, page in inputs.pages):
            os._exit(139)
        return super().encode(inputs, form)


@pytest.mark.timeout(900)  # an actor that dies loads the model anew, four times
def test_pages_that_kill_the_actor_take_no_others_with_them(
    checkpoint: str, tmp_path: Path
) -> None:
    """Two such pages in two shards, and others in the actor beside them."""
    documents = tmp_path / "documents"
    documents.mkdir()
    for number, count in enumerate((4, 2, 2, 4, 2)):
        pages = [f"Document {number}, page {page}" for page in range(1, count + 1)]
        fixtures.make_text_pdf(documents / f"{number}.pdf", pages)
    info = registry.describe(checkpoint)
    database = Database.create_or_open(tmp_path / "db", info.identity)
    options = ReadOptions(OcrMode.NEVER, "eng", 200, "", 60, image_pixels=info.image_pixels)
    where = encoderactors.placement(info, Settings(), workers=1)
    pool = shardpool.EncoderPool(info, where, worker=Poisoned)
    with IngestRun.recorded(database, info, options, "poison", {}, shard_pages=4) as run:
        given = expand([str(documents)])
        shards = run.plan([work.inspect_file(f, None) for f in given.files], given)
        with ThreadPoolExecutor(4) as threads:
            assert sum(threads.map(lambda shard: run.run_shard(shard, pool), shards)) == 14
        report = run.end()
    assert (report.pages_added, report.pages_failed) == (12, 2)
    failures = Database.open(str(tmp_path / "db")).failures()
    assert [(Path(f.uri).name, f.page, f.category, f.stage) for f in failures] == [
        ("0.pdf", 3, "crashed", "encode"),
        ("3.pdf", 3, "crashed", "encode"),
    ]
