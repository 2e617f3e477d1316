"""What a database is, and that it is never mistaken for another: on the real LanceDB."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest

from storage.committer import Committer
from storage.convert import meta_table
from storage.database import Database
from storage.errors import (
    DatabaseNotFound,
    EncoderMismatch,
    ExitCode,
    FormMismatch,
    SchemaMismatch,
    StorageUnavailable,
)
from storage.records import DocumentStatus, Run, TermStatistics, VectorForm, VectorType
from storage.schema import KEYS, Table
from tests.storage_examples import ENCODER, NOW, document, failure, fill


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
def test_another_form_is_refused_and_both_are_named(
    tmp_path: Path, other: dict[str, object]
) -> None:
    # Vectors of two forms side by side would be scored by two measures.
    form = VectorForm(VectorType.INT8, pool=3)
    Database.create_or_open(tmp_path / "db", ENCODER, form)
    message = r"as int8, pooled 3 to 1, blank cells kept, not as .*new database with --db"
    with pytest.raises(FormMismatch, match=message) as caught:
        Database.create_or_open(tmp_path / "db", ENCODER, replace(form, **other))
    assert caught.value.exit_code is ExitCode.DATABASE


def test_another_schema_version_is_refused(tmp_path: Path) -> None:
    meta = meta_table(ENCODER, VectorForm())
    meta = meta.set_column(1, "schema_version", pa.array([99], pa.int32()))
    lancedb.connect(tmp_path).create_table("meta", data=meta)
    for call in (Database.open, lambda uri: Database.create_or_open(uri, ENCODER)):
        with pytest.raises(SchemaMismatch, match=r"version 99.*version 2\. .*--db"):
            call(tmp_path)


def test_a_database_of_version_1_is_refused_and_says_so(tmp_path: Path) -> None:
    # It has no columns for the form; reading must not stumble over them.
    meta = meta_table(ENCODER, VectorForm()).select(
        ["name", "schema_version", "encoder", "fingerprint", "dim"]
    )
    meta = meta.set_column(1, "schema_version", pa.array([1], pa.int32()))
    lancedb.connect(tmp_path).create_table("meta", data=meta)
    for call in (Database.open, lambda uri: Database.create_or_open(uri, ENCODER)):
        with pytest.raises(SchemaMismatch, match=r"version 1, .*version 2\. .*--db"):
            call(tmp_path)


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
from storage.database import Database
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
    for table in (Table.PAGES, Table.REGIONS, Table.PATCHES):
        keys = database.table(table).to_table(columns=["page_id"])["page_id"].to_pylist()
        assert len(keys) == len(set(keys)) == 9
    assert len(database.documents()) == 3


def test_of_two_encoders_claiming_at_once_one_wins_whole(tmp_path: Path) -> None:
    # The loser must not leave tables of its vector size in the winner's database.
    script = """
import sys
from dataclasses import replace
from storage.database import Database
from storage.errors import EncoderMismatch
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
    Committer(database).commit_documents([document("a", 1)])
    for path in (tmp_path / "db" / "documents.lance").rglob("*.lance"):
        path.write_bytes(b"damaged")
    with pytest.raises(StorageUnavailable, match=r"table documents of database .*/db: .*try again"):
        database.documents()


def test_records_come_back_as_they_were(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    committer = Committer(database)
    documents = [document("b", 2, DocumentStatus.FAILED), document("a", 1)]
    committer.commit_documents(documents)
    committer.commit_failures([failure()])
    running = Run("r1", "ingest", "running", NOW, parameters='{"dpi": 150}')
    committer.commit_run(running)
    assert database.documents() == sorted(documents, key=lambda d: d.doc_id)
    assert database.failures() == [failure()]
    assert database.runs() == [running]
    done = replace(running, status="completed", ended_at=NOW)
    committer.commit_run(done)
    assert database.runs() == [done]


def test_the_latest_statistics_and_every_older_snapshot_can_be_read(tmp_path: Path) -> None:
    # A stored result names its snapshot; ingesting more must not take that away.
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    assert database.latest_statistics() is None
    committer = Committer(database)
    first = TermStatistics("s2", 3, {"wörd": 2, "x": 3})
    second = TermStatistics("s1", 4, {})
    committer.commit_statistics(first)
    committer.commit_statistics(second)
    assert database.latest_statistics() == second
    assert database.statistics("s2") == first
    assert database.statistics("it's none") is None


def test_page_texts_are_of_visible_documents_and_come_in_batches(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "db", ENCODER)
    fill(database, "a", 5)
    fill(database, "hidden", 2, DocumentStatus.FAILED)
    batches = list(database.page_texts(batch_rows=2))
    assert max(map(len, batches)) <= 2
    assert sorted(text[:3] for batch in batches for text in batch) == [
        f"a-{n}" for n in range(1, 6)
    ]
