"""A database of schema 3 becomes one of the present schema: all of it, whatever cuts it off."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import pytest

from patchlight.flows.mending import migrate_command
from patchlight.storage import digest, identity, moving, reader, statistics
from patchlight.storage.committer import Committer
from patchlight.storage.convert import runs_table
from patchlight.storage.database import Database
from patchlight.storage.engine import table_uri
from patchlight.storage.errors import (
    DatabaseInUse,
    DatabaseNotFound,
    ExitCode,
    MigrationUnfinished,
    SchemaMismatch,
    StorageUnavailable,
)
from patchlight.storage.leases import ABANDONED
from patchlight.storage.locks import making_alone
from patchlight.storage.records import Run, WordsSource
from patchlight.storage.schema import SCHEMA_VERSION, Table
from patchlight.storage.schema3 import OldDatabase
from patchlight.storage.sql import run_sql
from patchlight.tasks.admin import carrying, migrating
from patchlight.tasks.admin.carrying import MigrationReport
from patchlight.tasks.answers.asking import ask
from patchlight.tasks.answers.results import result_line
from patchlight.tasks.common.errors import InputError, UsageError
from patchlight.tasks.common.modes import LayoutMode
from patchlight.tasks.common.terms import terms
from patchlight.tasks.documents import opening
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.ingest import termcounts
from patchlight.tasks.reading import pages
from patchlight.tasks.requests.migrate import MigrateRequest
from patchlight.tasks.requests.query import AskRequest
from tests import fixtures, schema3
from tests.faults.comparing import half_documents
from tests.ingest_examples import OPTIONS, InProcess, ingest
from tests.integration.conftest import EXAMPLES
from tests.region_examples import rows_of
from tests.schema3.disturbing import count_pages, fail_at

AS_READ = replace(OPTIONS, layout=LayoutMode.AUTO)
"""How the documents of the database were read."""
PAGES, DOCUMENTS = 14, 5
"""What of the database is carried over."""


def migrate(db: str, to: str | None = None) -> MigrationReport:
    return migrating.migrate(MigrateRequest(db=db, to=to))


@pytest.fixture
def db(tmp_path: Path) -> str:
    """A database of schema 3."""
    return schema3.unpacked(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What becomes of it, undisturbed."""
    db = schema3.unpacked(tmp_path_factory.mktemp("undisturbed"))
    migrate(db)
    return db


@pytest.fixture
def by_few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four pages are migrated at once."""
    monkeypatch.setattr(carrying, "_PAGES_AT_ONCE", 4)


def old_of(db: str) -> OldDatabase:
    return OldDatabase.open(f"{db}.schema-3")


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_questions_are_answered_as_the_old_version_answered_them(
    undisturbed: str, text_patch: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages, scores, boxes, texts, tokens: every value of the result file."""
    monkeypatch.setattr(registry, "load", lambda _: text_patch)  # once for all questions
    asked, expected = lines(schema3.QUESTIONS), lines(schema3.RESULTS)
    assert len(expected) == 12 and all(line["pages"] for line in expected)
    for question, line in zip(asked, expected, strict=True):
        options = AskRequest(query=question["query"], db=undisturbed).options()
        found = ask(undisturbed, question["query"], options, doc=question.get("doc"))
        result = json.loads(json.dumps(result_line(found.answer, found.session.catalog, "", "")))
        assert [page.pop("metadata") for page in result["pages"]] == [{}] * len(line["pages"])
        assert result["query"] == line["query"] == question["query"]
        for what in ("pages", "tokens", "query_tokens"):
            assert result[what] == line[what], question["query_id"]


def test_rows_are_those_of_the_old_tables(undisturbed: str) -> None:
    """Column by column; vectors bit by bit."""
    old, new = old_of(undisturbed), Database.open(undisturbed)
    gone = "status = 'replaced'"
    assert old.columns(Table.DOCUMENTS, "doc_id").num_rows == DOCUMENTS + 1
    compare = [
        (Table.DOCUMENTS, f"NOT ({gone})"),
        (Table.PAGES, None),
        (Table.PATCHES, None),
        (Table.FAILURES, None),
        (Table.RETRIEVALS, None),
    ]
    for table, condition in compare:
        before = lance.dataset(table_uri(old.uri, table)).to_table(filter=condition)
        after = new.table(table).to_table()
        key = before.schema.names[0]
        kept = set(after[key].to_pylist())
        before = pa.Table.from_pylist(
            [row for row in before.to_pylist() if row[key] in kept], schema=before.schema
        )
        names = before.schema.names
        assert after.select(names).sort_by(key).to_pylist() == before.sort_by(key).to_pylist()
    assert new.table(Table.PAGES).count_rows() == PAGES


def test_regions_are_those_of_the_old_lists(undisturbed: str) -> None:
    """But for their order, which is one over all kinds now, and rises with that of each kind."""
    old, new = old_of(undisturbed), Database.open(undisturbed)
    rows = lance.dataset(table_uri(old.uri, Table.REGIONS)).to_table().to_pylist()
    expected = {row["page_id"]: row["regions"] for row in rows}
    pages = new.table(Table.PAGES).to_table(["page_id", "page_key"]).to_pylist()
    keys = {row["page_id"]: row["page_key"] for row in pages}
    assert len(keys) == PAGES
    for page_id, regions in reader.read_regions(new.snapshot(), keys).items():
        found = rows_of(regions)
        assert [
            (r.index, r.kind, r.parent, r.x0, r.y0, r.x1, r.y1, r.text, r.confidence) for r in found
        ] == [
            (
                *(r["index"], r["kind"], r["parent"], r["x0"], r["y0"], r["x1"], r["y1"]),
                *(r["text"], r["confidence"]),
            )
            for r in expected[page_id]
        ]
        assert sorted(r.order for r in found) == list(range(len(found)))
        for kind in {r.kind for r in found}:
            before = [r["reading_order"] for r in expected[page_id] if r["kind"] == kind]
            now = [r.order for r in found if r.kind == kind]
            assert np.array_equal(np.argsort(now), np.argsort(before))


def test_what_is_new_is_made(undisturbed: str) -> None:
    """Shapes, bytes and terms of pages, terms and tables of regions; what is not known is null."""
    rows = Database.open(undisturbed).table(Table.PAGES).to_table().to_pylist()
    dim = Database.open(undisturbed).encoder.dim
    for row in rows:
        assert row["rows"] > 0 and row["cols"] > 0
        assert row["vector_bytes"] == row["n_vectors"] * (dim + 2)  # int8 and a scale
        assert row["terms"] == " ".join(terms(row["text"]))
        assert row["words_ms"] is row["regions_ms"] is row["encoder_ms"] is None
        assert row["words_source"] == WordsSource.TEXT_LAYER
    cells = "SELECT count(*) AS n FROM regions WHERE kind = 'cell' AND row >= 0 AND table_id <> ''"
    assert run_sql(undisturbed, cells).read_all()["n"][0].as_py() > 20
    found = "SELECT count(*) AS n FROM regions WHERE terms LIKE '%harbour master%'"
    assert run_sql(undisturbed, found).read_all()["n"][0].as_py() > 0


def test_nothing_is_left_out_silently(db: str) -> None:
    report = migrate(db)
    assert report.left_out == {
        "documents whose files hold other bytes now": 1,
        "pages of these": 1,
        "pages of no document": 1,
        "rows of regions or vectors without a page": 2,
        "counts of terms that no run names": 3,
    }
    assert report.carried["documents"] == DOCUMENTS and report.carried["pages"] == PAGES
    assert report.carried["failures"] == 2 and report.carried["retrievals"] == 38
    assert [name.rpartition("/")[2] for name in report.unfinished] == ["cut-off.pdf"]
    assert report.old == f"{db}.schema-3" and report.db == db
    assert sorted(path.name for path in Path(db).parent.iterdir()) == ["db", "db.schema-3"]


def test_the_new_database_is_whole_and_at_rest(undisturbed: str) -> None:
    database = Database.open(undisturbed)
    assert half_documents(database.snapshot()) == []
    assert database.table(Table.PAGE_KEYS).count_rows() == 0
    assert [i.field_names for i in database.table(Table.REGIONS).describe_indices()]
    states = {run.run_id: run.status for run in database.runs() if run.kind != "migrate"}
    assert states.pop("ingest-3") == ABANDONED
    assert set(states.values()) == {"completed", "completed_with_failures"}
    [own] = [run for run in database.runs() if run.kind == "migrate"]
    assert [run.run_id for run in database.runs()] == [
        "ingest-3",  # as its date says, which is all that is known
        "ingest-1",
        "ingest-2",
        "ingest-partial",
        "query-1",
        own.run_id,
    ]
    assert own.status == "completed" and json.loads(own.summary)["carried"]["pages"] == PAGES


def test_terms_are_counted_as_before_and_named_counts_stay(undisturbed: str) -> None:
    database = Database.open(undisturbed)
    [snapshot] = {line["statistics"] for line in lines(schema3.RESULTS)}
    before, now = statistics.named(database, snapshot), statistics.latest(database)
    assert before is not None and now is not None
    assert now.document_frequency == before.document_frequency and now.n_pages == before.n_pages
    counted = set(statistics.counted_in(database).values())
    step = statistics.newest(database)
    assert step is not None and counted == {step.revision} and step.revision == 2
    termcounts.bring_up_to_date(database, Committer(database, "next"), terms)
    assert statistics.newest(database) == step


def test_the_old_database_is_not_written_to(db: str, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in Path(db).rglob("*") if path.is_file()}
    migrate(db, str(tmp_path / "new"))
    after = {path: path.read_bytes() for path in Path(db).rglob("*") if path.is_file()}
    assert before == after


def test_the_next_ingest_goes_on_where_the_old_one_was_cut_off(
    db: str, folder: Path, text_patch: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages that are whole are not read again, neither of it nor of the other documents."""
    for module, name in ((opening, "RENDER_VERSION"), (pages, "WORDS_VERSION")):
        monkeypatch.setattr(module, name, 1)  # by the version that read them
    migrate(db)
    fixtures.make_text_pdf(folder / "cut-off.pdf", schema3.CUT_OFF)
    shutil.copy(EXAMPLES / "documents" / "two-column-paper.pdf", folder)
    database = Database.open(db)
    pool = InProcess(text_patch)
    report = ingest(folder, database, text_patch, options=AS_READ, pool=pool)
    assert (report.pages_added, len(pool.work)) == (1, 1)
    assert (report.documents_added, report.documents_unchanged) == (1, 1)
    assert half_documents(database.snapshot()) == []


@pytest.mark.usefixtures("by_few")
@pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 9, 14, 17, 19, 20, 21, 22, 23, 24, 25, 26])
def test_cut_off_at_any_write_it_goes_on_and_comes_to_the_same(
    db: str, undisturbed: str, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    """Between parts of a page, between pages and the other tables, before and after each."""
    with monkeypatch.context() as patch:
        writes = fail_at(patch, number)
        with pytest.raises(StorageUnavailable, match="away"):
            migrate(db)
        assert writes["count"] >= number
    with pytest.raises(MigrationUnfinished, match="patchlight migrate"):
        Database.open(f"{db}.schema-4")
    assert identity.read_meta(db) is not None  # the old one has its place
    stored = Database(f"{db}.schema-4", old_identity(db)).table(Table.PAGES).count_rows()
    done = count_pages(monkeypatch)
    report = migrate(db)
    assert report.went_on and sum(done) == PAGES - stored
    assert digest.digest(db, vectors=True) == digest.digest(undisturbed, vectors=True)
    assert Database.open(db).table(Table.PAGE_KEYS).count_rows() == 0


def old_identity(db: str) -> identity.Identity:
    return OldDatabase.open(db).identity


def test_killed_it_goes_on_and_comes_to_the_same(db: str, undisturbed: str) -> None:
    """By SIGKILL, among the pages; nobody can use what it left, and the old one is untouched."""
    command = (
        "from patchlight.tasks.admin import carrying, migrating;"
        "from patchlight.tasks.requests.migrate import MigrateRequest;"
        "carrying._PAGES_AT_ONCE = 1;"
        f"migrating.migrate(MigrateRequest(db={db!r}))"
    )
    process = subprocess.Popen([sys.executable, "-c", command])
    pages = Path(table_uri(f"{db}.schema-4", Table.PAGES)) / "_versions"
    end = time.monotonic() + 60
    while len(list(pages.glob("*.manifest")) if pages.is_dir() else ()) < 5:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(MigrationUnfinished):
        Database.find(f"{db}.schema-4")
    assert migrate(db).went_on
    assert digest.digest(db, vectors=True) == digest.digest(undisturbed, vectors=True)
    runs = {run.status for run in Database.open(db).runs() if run.kind == "migrate"}
    assert runs == {ABANDONED, "completed"}


@pytest.mark.parametrize("rename", ["put_aside", "put_in_place"])
def test_cut_off_before_a_rename_it_goes_on_and_says_so(
    db: str, undisturbed: str, monkeypatch: pytest.MonkeyPatch, rename: str
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(moving, rename, cut_off)
        with pytest.raises(KeyboardInterrupt):
            migrate(db)
    if rename == "put_in_place":
        # Nothing is there, but neither may anything be made there.
        text_patch = Database.open(undisturbed).encoder
        for use in (Database.open, lambda uri: Database.create_or_open(uri, text_patch)):
            with pytest.raises(MigrationUnfinished, match="run it again"):
                use(db)
    done = count_pages(monkeypatch)
    report = migrate(db)
    assert report.went_on and report.old == f"{db}.schema-3" and not done
    assert digest.digest(db, vectors=True) == digest.digest(undisturbed, vectors=True)


def test_to_another_place(db: str, undisturbed: str, tmp_path: Path) -> None:
    new = str(tmp_path / "elsewhere" / "new")
    report = migrate(db, new)
    assert (report.db, report.old, report.done) == (new, db, True)
    assert digest.digest(new, vectors=True) == digest.digest(undisturbed, vectors=True)
    with pytest.raises(SchemaMismatch, match=f"patchlight migrate --db {db}"):
        Database.open(db)
    assert not migrate(db, new).done  # once more
    change_failures(db)
    with pytest.raises(InputError, match="was changed since"):
        migrate(db, new)


def test_a_database_of_the_present_schema_has_nothing_to_do(
    undisturbed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert migrate_command(db=undisturbed, to=None) is ExitCode.OK
    said = capsys.readouterr().out
    assert said.startswith(f"nothing to do: {undisturbed} has the present schema\n")
    assert f"rm -r {undisturbed}.schema-3" in said


def test_the_command_says_what_it_did(db: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert migrate_command(db=db, to=None) is ExitCode.OK
    printed = capsys.readouterr().out
    for said in (
        f"migrated: {db} has the present schema",
        "documents whose files hold other bytes now: 1",
        "cut-off.pdf",
        f"rm -r {db}.schema-3",
    ):
        assert said in printed


@pytest.mark.parametrize("version", [1, 2, SCHEMA_VERSION + 1])
def test_other_schemas_are_refused(db: str, version: int) -> None:
    place = table_uri(db, Table.META)
    rows = lance.dataset(place).to_table()
    at = rows.schema.get_field_index("schema_version")
    other = rows.set_column(at, rows.schema.field(at), pa.array([version], pa.int32()))
    lance.write_dataset(other, place, mode="overwrite")
    with pytest.raises(SchemaMismatch, match=rf"schema version {version}.*takes version 3 only"):
        migrate(db)
    assert not Path(f"{db}.schema-4").exists()


def test_a_newer_minor_version_is_refused(undisturbed: str, tmp_path: Path) -> None:
    db = str(shutil.copytree(undisturbed, tmp_path / "db"))
    lance.dataset(table_uri(db, Table.META)).update({"schema_minor": "99"})
    with pytest.raises(SchemaMismatch, match="a newer patchlight"):
        migrate(db)


def put_running(db: str, **changes: Any) -> None:
    """Store a run that is at work on a database of schema 3, as its version would."""
    now = datetime.now(UTC)
    run = Run("busy", "ingest", "running", now, heartbeat_at=now, lease_s=60, pid=1, host="other")
    stored = lance.dataset(table_uri(db, Table.RUNS))
    stored.delete("run_id = 'busy'")
    row = runs_table([replace(run, **changes)]).select(stored.schema.names)
    lance.write_dataset(row.cast(stored.schema), stored.uri, mode="append")


def test_a_run_at_work_is_waited_for(db: str) -> None:
    put_running(db)
    with pytest.raises(DatabaseInUse, match="run busy is at work") as caught:
        migrate(db)
    assert not Path(f"{db}.schema-4").exists()
    assert caught.value.exit_code is ExitCode.DATABASE
    put_running(db, status="completed")
    assert migrate(db).done


def test_another_migration_is_waited_for(db: str) -> None:
    with making_alone(f"{db}.schema-4") as alone:
        assert alone
        with pytest.raises(DatabaseInUse, match="another migration"):
            migrate(db)
    assert migrate(db).done


@pytest.mark.parametrize("name", ["db.schema-3", "db.schema-4"])
@pytest.mark.parametrize("migrated", [True, False])
def test_what_is_in_the_way_stays(
    db: str, tmp_path: Path, undisturbed: str, name: str, migrated: bool
) -> None:
    shutil.copytree(undisturbed if migrated else db, tmp_path / name)
    with pytest.raises(InputError, match="is in the way"):
        migrate(db)
    assert identity.read_meta(str(tmp_path / name)) is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["db", name]


def test_places_that_cannot_be_are_refused(db: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--to is needed"):
        migrate("s3://bucket/db")
    for to in (db, f"{db}/new", str(tmp_path)):
        with pytest.raises(UsageError, match="in the place of the old database"):
            migrate(db, to)
    with pytest.raises(DatabaseNotFound):
        migrate(str(tmp_path / "none"))
    assert [path.name for path in tmp_path.iterdir()] == ["db"]


def change_failures(db: str) -> None:
    lance.dataset(table_uri(db, Table.FAILURES)).delete("page = 0")


def change_pages(db: str) -> None:
    lance.dataset(table_uri(db, Table.PAGES)).delete("page = 8")


@pytest.mark.parametrize(("change", "again"), [(change_failures, 0), (change_pages, PAGES - 1)])
def test_changed_while_it_is_migrated_it_is_done_again(
    db: str, monkeypatch: pytest.MonkeyPatch, change: Callable[[str], None], again: int
) -> None:
    """A change of other tables leaves the pages; one of pages lets all begin anew."""
    real = Committer.optimize

    def optimize(self: Committer, keep: Any) -> None:
        real(self, keep)
        change(db)

    with monkeypatch.context() as patch:
        patch.setattr(Committer, "optimize", optimize)
        with pytest.raises(StorageUnavailable, match="was changed while it was migrated"):
            migrate(db)
    done = count_pages(monkeypatch)
    report = migrate(db)
    assert sum(done) == again
    database = Database.open(db)
    if change is change_failures:
        assert [failure.page for failure in database.failures()] == [2]
        return
    # A document that is not whole is in no answer, and the next ingest makes it whole.
    assert "harbour-annual-report.pdf" in "".join(report.unfinished)
    assert half_documents(database.snapshot()) == []


def test_a_damaged_page_is_named(db: str) -> None:
    """Rather than left out, or stored as it is."""
    place = table_uri(db, Table.REGIONS)
    rows = lance.dataset(place).to_table()
    lists = rows["regions"].to_pylist()
    largest = max(lists, key=len)
    largest[0]["x1"] = 7.0
    at = rows.schema.get_field_index("regions")
    field = rows.schema.field(at)
    damaged = rows.set_column(at, field, pa.array(lists, field.type))
    lance.write_dataset(damaged, place, mode="overwrite")
    with pytest.raises(StorageUnavailable, match=r"a page is damaged \(region 0 is off the page"):
        migrate(db)
