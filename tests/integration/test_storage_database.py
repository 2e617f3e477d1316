"""What a database is, and that it is never mistaken for another: on the real LanceDB."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import lance
import lancedb
import numpy as np
import pyarrow as pa
import pytest

from patchlight.storage import statistics
from patchlight.storage.committer import Committer
from patchlight.storage.convert import meta_table, page_tables
from patchlight.storage.database import Database
from patchlight.storage.errors import (
    DatabaseNotFound,
    EncoderMismatch,
    ExitCode,
    FormMismatch,
    SchemaMismatch,
    StorageUnavailable,
)
from patchlight.storage.records import (
    DocumentStatus,
    Run,
    TermStatistics,
    VectorForm,
    VectorType,
    Word,
    WordsSource,
)
from patchlight.storage.regions import Regions
from patchlight.storage.schema import KEYS, SCHEMA_VERSION, Table
from tests.region_examples import record_of, rows_of
from tests.storage_examples import (
    DIM,
    ENCODER,
    NOW,
    doc_id,
    document,
    failure,
    fill,
    page,
    put,
    put_run,
    put_statistics,
    stored_page,
)


def test_opening_what_is_not_there_says_where_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatabaseNotFound, match=rf"{tmp_path}/none.*patchlight ingest.*--db"):
        Database.open(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_path_and_a_file_uri_name_the_same_database(tmp_path: Path) -> None:
    # '#', '%20' and spaces in a name must survive both spellings.
    place = tmp_path / "döc s#%20?'"
    Database.create_or_open(place, ENCODER)
    by_uri = Database.open(place.as_uri())
    assert (by_uri.uri, by_uri.encoder) == (str(place), ENCODER)


def test_every_key_is_declared_to_the_engine(tmp_path: Path) -> None:
    # Without it, two processes that upsert the same new key at once store it twice.
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    for table in Table:
        field = database.table(table).schema.field(KEYS[table])
        assert not field.nullable
        assert field.metadata[b"lance-schema:unenforced-primary-key"] == b"true"


def test_an_interrupted_creation_is_completed(tmp_path: Path) -> None:
    # Killed after the claim: readers say so, the next writer finishes it.
    lancedb.connect(tmp_path).create_table("meta", data=meta_table(ENCODER, VectorForm()))
    with pytest.raises(DatabaseNotFound, match="no table documents: making it was interrupted"):
        Database.open(tmp_path).snapshot()
    assert Database.create_or_open(tmp_path, ENCODER).documents() == []


def test_another_encoder_is_refused_and_both_are_named(tmp_path: Path) -> None:
    Database.create_or_open(tmp_path / "db", ENCODER)
    other = replace(ENCODER, name="colsmol", dim=128)
    with pytest.raises(EncoderMismatch, match=r"text-patch \(8 .*colsmol \(128 .*--encoder text-p"):
        Database.create_or_open(tmp_path / "db", other)
    with pytest.raises(EncoderMismatch):
        Database.create_or_open(tmp_path / "db", replace(ENCODER, fingerprint="new"))


def test_the_same_weights_under_another_name_are_the_same_encoder(tmp_path: Path) -> None:
    # Ingested from a hub, asked from a folder: the database stays what it is.
    stored = replace(ENCODER, name="owner/model@abc", visual_tokens=768)
    Database.create_or_open(tmp_path / "db", stored)
    by_folder = Database.create_or_open(tmp_path / "db", replace(stored, name="/models/model"))
    assert by_folder.encoder == stored
    assert Database.open(tmp_path / "db").encoder == stored


def test_a_database_keeps_its_form(tmp_path: Path) -> None:
    form = VectorForm(VectorType.INT8, pool=3, drop_blank=True)
    made = Database.create_or_open(tmp_path / "db", ENCODER, form)
    for again in (
        made,
        Database.create_or_open(tmp_path / "db", ENCODER),
        Database.create_or_open(tmp_path / "db", ENCODER, form=form),
        Database.open(tmp_path / "db"),
    ):
        assert again.form == form
    default = Database.create_or_open(tmp_path / "default", ENCODER)
    assert default.form == Database.open(tmp_path / "default").form == VectorForm()


@pytest.mark.parametrize(
    "other", [{"type": VectorType.FLOAT16}, {"pool": 2}, {"drop_blank": True}], ids=str
)
def test_another_form_is_refused_and_both_are_named(tmp_path: Path, other: dict[str, Any]) -> None:
    # Vectors of two forms side by side would be scored by two measures.
    form = VectorForm(VectorType.INT8, pool=3)
    Database.create_or_open(tmp_path / "db", ENCODER, form)
    message = r"as int8, pooled 3 to 1, blank cells kept, not as .*new database with --db"
    with pytest.raises(FormMismatch, match=message) as caught:
        Database.create_or_open(tmp_path / "db", ENCODER, replace(form, **other))
    assert caught.value.exit_code is ExitCode.DATABASE


@pytest.mark.parametrize("version", [SCHEMA_VERSION - 1, SCHEMA_VERSION + 1])
def test_a_database_of_an_older_or_a_later_schema_is_refused(tmp_path: Path, version: int) -> None:
    Database.create_or_open(tmp_path, ENCODER)
    meta = lance.dataset(tmp_path / "meta.lance")
    meta.update({"schema_version": str(version)})
    said = rf"{tmp_path} has schema version {version}, .*version {SCHEMA_VERSION}\. .*--db.*or use"
    for call in (Database.open, lambda uri: Database.create_or_open(uri, ENCODER)):
        with pytest.raises(SchemaMismatch, match=said) as caught:
            call(tmp_path)
        assert caught.value.exit_code is ExitCode.DATABASE


def test_a_database_of_version_1_is_refused_and_says_so(tmp_path: Path) -> None:
    # It has no columns for the form; reading must not stumble over them.
    meta = meta_table(ENCODER, VectorForm()).select(
        ["name", "schema_version", "encoder", "fingerprint", "dim"]
    )
    meta = meta.set_column(1, "schema_version", pa.array([1], pa.int32()))
    lancedb.connect(tmp_path).create_table("meta", data=meta)
    for call in (Database.open, lambda uri: Database.create_or_open(uri, ENCODER)):
        with pytest.raises(SchemaMismatch, match=r"version 1, .*version 4\. .*--db"):
            call(tmp_path)


def test_a_database_of_a_newer_minor_version_is_refused_and_says_so(tmp_path: Path) -> None:
    Database.create_or_open(tmp_path / "db", ENCODER)
    meta = lancedb.connect(tmp_path / "db").open_table("meta")
    meta.update(values={"schema_minor": 1})
    with pytest.raises(SchemaMismatch, match=rf"schema {SCHEMA_VERSION}\.1, .*newer"):
        Database.open(tmp_path / "db")


def test_tables_of_another_program_are_left_alone(tmp_path: Path) -> None:
    connection = lancedb.connect(tmp_path)
    connection.create_table("documents", data=pa.table({"x": [1]}))
    with pytest.raises(SchemaMismatch, match="table documents that patchlight did not make"):
        Database.create_or_open(tmp_path, ENCODER)
    assert [path.name for path in tmp_path.iterdir()] == ["documents.lance"]


def test_a_foreign_meta_table_is_not_an_identity(tmp_path: Path) -> None:
    lancedb.connect(tmp_path).create_table("meta", data=pa.table({"name": ["x"]}))
    with pytest.raises(SchemaMismatch, match="did not make"):
        Database.open(tmp_path)


def test_two_processes_may_create_and_write_at_once(tmp_path: Path) -> None:
    # Both make the database and upsert the same pages: each page must be there once.
    script = """
import sys
from patchlight.storage.database import Database
from tests.storage_examples import ENCODER, fill
database = Database.create_or_open(sys.argv[1], ENCODER)
for round in range(3):
    for name in "abc":
        fill(database, name, 3)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "db")]
    running = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    database = Database.open(tmp_path / "db")
    Committer(database, "later").optimize()  # nobody owned the pages: parts of both may be there
    for table in (Table.PAGES, Table.WORDS, Table.PATCHES):
        keys = database.table(table).to_table(columns=["page_id"])["page_id"].to_pylist()
        assert len(keys) == len(set(keys)) == 9
    assert len(database.documents()) == 3


def test_of_two_encoders_claiming_at_once_one_wins_whole(tmp_path: Path) -> None:
    # The loser must not leave tables of its vector size in the winner's database.
    script = """
import sys
from dataclasses import replace
from patchlight.storage.database import Database
from patchlight.storage.errors import EncoderMismatch
from tests.storage_examples import ENCODER
try:
    Database.create_or_open(sys.argv[1], replace(ENCODER, dim=int(sys.argv[2])))
    print("won")
except EncoderMismatch:
    print("refused")
"""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "db"), dim],
            stdout=subprocess.PIPE,
            text=True,
        )
        for dim in ("8", "16")
    ]
    outcomes = [process.communicate(timeout=120)[0].strip() for process in running]
    assert sorted(outcomes) == ["refused", "won"]
    database = Database.open(tmp_path / "db")
    vectors = database.table(Table.PATCHES).schema.field("vectors").type
    assert vectors.value_type.list_size == database.encoder.dim


def test_damaged_files_are_reported_and_named(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    put(Committer(database, "run"), document("a", 1))
    for path in (tmp_path / "db" / "documents.lance").rglob("*.lance"):
        path.write_bytes(b"damaged")
    with pytest.raises(StorageUnavailable, match=r"table documents of database .*/db: .*try again"):
        database.documents()


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    committer = Committer(database, "run")
    documents = [document("b", 2, DocumentStatus.FAILED), document("a", 1)]
    put(committer, *documents)
    committer.commit_failures([failure()])
    running = Run(
        "r1",
        "query",
        "running",
        NOW,
        parameters='{"dpi": 150}',
        host="here",
        pid=7,
        process="boot/start",
        heartbeat_at=NOW,
        lease_s=60,
        pins={"pages": 3, "documents": 1 << 40},
    )
    put_run(committer, running)
    stored = [replace(d, revision=1, changed_by="run") for d in documents]
    assert database.documents() == sorted(stored, key=lambda d: d.doc_id)
    assert database.failures() == [failure()]
    assert database.runs() == [running]
    done = replace(running, status="completed", ended_at=NOW)
    put_run(committer, done)
    assert database.runs() == [done]


def test_the_latest_statistics_and_every_older_snapshot_can_be_read(tmp_path: Path) -> None:
    # A stored result names its snapshot; ingesting more must not take that away.
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    assert statistics.latest(database) is None
    committer = Committer(database, "run")
    first = put_statistics(committer, 3, {"wörd": 2, "x": 3})
    put_statistics(committer, 4, {})
    assert statistics.latest(database) == TermStatistics("00000002", 4, {})
    named = statistics.named(database, first.snapshot)
    assert named == TermStatistics("00000001", 3, {"wörd": 2, "x": 3})
    assert statistics.named(database, "it's none") is None


def test_documents_are_found_by_id(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    assert database.document_rows([doc_id("a")]) == {}
    fill(database, "a", 1)
    fill(database, "hidden", 1, DocumentStatus.UNFINISHED)
    found = database.document_rows([doc_id("hidden"), doc_id("x"), doc_id("a")])
    assert {key: row.doc_id for key, row in found.items()} == {
        doc_id(name): doc_id(name) for name in ("a", "hidden")
    }


def test_fingerprints_of_a_million_pages_take_little_room(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    committer = Committer(database, "run")
    pages = [page("a", 1), page("a", 2, fingerprint="two"), page("a", 3), page("b", 1)]
    pages.append(replace(page("c", 1), fingerprints={"words": "one"}))
    committer.commit_pages(page_tables(pages, DIM))
    stored = database.stored_pages([doc_id("a"), doc_id("c")])
    assert stored == {(p.doc_id, p.page): p.fingerprints for p in pages if p != pages[3]}
    assert stored[doc_id("a"), 1] is stored[doc_id("a"), 3]
    assert len({id(key[0]) for key in stored}) == 2


def test_what_is_stored_of_a_page_comes_back_without_its_source(tmp_path: Path) -> None:
    # Regions are made anew from these words; a box may be off by the rounding to float32.
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    first = replace(page("a", 1), scale=0.5, words_source=WordsSource.OCR, ocr_dpi=300)
    assert first.regions is not None
    w0, w1, w2, line = rows_of(first.regions)
    shuffled = (replace(w0, order=2), replace(w1, order=0), replace(w2, order=1), line)
    first = replace(first, regions=record_of(shuffled))
    blank = page("a", 2, words=0, vectors=0)
    Committer(database, "run").commit_pages(page_tables([first, blank, page("b", 1)], DIM))
    assert database.page_rows(doc_id("a"), [1, 2, 3]) == {
        1: stored_page(first, n_words=3, n_regions=4, n_vectors=4, page_key=1),
        2: stored_page(blank, n_words=0, n_regions=0, n_vectors=0, page_key=2),
    }
    assert database.words(doc_id("a"), [1, 2, 3]) == {
        1: Regions.of_words(
            [
                Word(w.text, float(np.float32(w.x0)), 0.0, float(np.float32(w.x1)), 0.5, 1.0)
                for w in (w1, w2, w0)
            ]
        ),
        2: Regions.of_words(()),
    }
    assert database.words(doc_id("b"), []) == {}
    assert database.page_rows(doc_id("b"), []) == {}
