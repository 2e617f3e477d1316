"""Two runs at once, stages apart, files that go: every page once, and no document half."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from patchlight.storage.committer import Committer
from patchlight.storage.database import Database
from patchlight.storage.errors import EncoderMismatch, LeaseLost, StorageUnavailable
from patchlight.storage.leases import Lease, abandon_expired
from patchlight.storage.records import VISIBLE, DocumentStatus, Run
from patchlight.tasks.common.errors import Category, Fault, PageTimeout, Stage
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.documents import ocr
from patchlight.tasks.encoders import textpatch
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.ingest.ingestrun import IngestRun
from patchlight.tasks.reading.fingerprints import WHOLE, Redo, Work
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.shardplan import Shard
from patchlight.tasks.regions import hierarchy
from patchlight.tasks.sandbox import calling
from tests import fixtures
from tests.ingest_examples import InProcess, ingest, write


@pytest.fixture
def database(empty_db: Database) -> Database:
    return empty_db


@pytest.fixture
def encoder(text_patch: Encoder) -> Encoder:
    return text_patch


def texts(database: Database) -> list[str]:
    return sorted(text for batch in database.page_texts() for text in batch)


def states(database: Database) -> list[DocumentStatus]:
    return sorted(document.status for document in database.documents())


class Other:
    """Another process's run on the database: alive, and with a document in work."""

    def __init__(self, database: Database, run_id: str = "other") -> None:
        self._database = database
        self._run = Run(run_id, "ingest", "running", datetime.now(UTC))
        self.lease = Lease(database, self._run, heartbeat_s=0.2, lease_s=60)

    def die(self) -> None:
        """Leave the row as a killed process on another machine does, its lease run out."""
        self.lease.update(self._run)
        self.lease.__exit__(None, None, None)
        later = datetime.now(UTC).replace(year=datetime.now(UTC).year + 1)
        abandon_expired(self._database, "somebody", later)


# ------------------------------------------------------------------------------ stages apart


def mixed(folder: Path) -> None:
    """A document with a text page and a scanned one."""

    def draw(canvas: Any) -> None:
        fixtures.prose(canvas)
        canvas.showPage()
        fixtures.draw_image(canvas, fixtures.scan(["Plain scan"]), (0.0, 0.0, 612.0, 792.0))

    fixtures.make_pdf(folder / "a.pdf", draw)


def test_another_resolution_reads_scanned_pages_again_and_no_others(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    mixed(folder)
    options = ReadOptions(OcrMode.AUTO, "eng", 150, ocr.find_tesseract(None), 60, image_pixels=0)
    assert ingest(folder, database, encoder, options=options).pages_added == 2
    pool = InProcess(encoder)
    finer = replace(options, dpi=200)
    report = ingest(folder, database, encoder, options=finer, pool=pool)
    assert (report.pages_added, pool.work) == (1, [WHOLE])
    (document,) = database.documents()
    rows = database.page_rows(document.doc_id, [1, 2])
    assert (rows[1].ocr_dpi, rows[2].ocr_dpi) == (0, 200)
    again = ingest(folder, database, encoder, options=finer)
    assert (again.documents_unchanged, again.pages_added) == (1, 0)


def test_new_regions_are_made_from_stored_words_and_vectors_stay(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixtures.make_pdf(folder / "a.pdf", fixtures.prose)
    ingest(folder, database, encoder)
    tables = ["pages", "regions", "patches"]
    before = [database.table(name).to_table() for name in tables]  # type: ignore[arg-type]
    monkeypatch.setattr(hierarchy, "REGIONS_VERSION", 99)
    pool = InProcess(encoder)
    report = ingest(folder, database, encoder, pool=pool)
    assert report.pages_added == 1
    assert report.made_by == {"patchlight": version("patchlight")}
    assert json.loads(database.runs()[-1].summary)["made_by"] == report.made_by
    assert pool.work == [Work(words=False, regions=True, encode=False)]
    after = [database.table(name).to_table() for name in tables]  # type: ignore[arg-type]
    for old, new in zip(before[1:], after[1:], strict=True):
        assert old.equals(new)
    assert before[0].drop_columns("fingerprints").equals(after[0].drop_columns("fingerprints"))
    assert after[0]["fingerprints"][0].as_py()["regions"] == "regions-99:never"


def test_the_layout_model_makes_regions_anew_and_words_and_vectors_stay(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    mixed(folder)
    never = ReadOptions(
        OcrMode.AUTO,
        "eng",
        150,
        ocr.find_tesseract(None),
        60,
        image_pixels=0,
        layout=LayoutMode.NEVER,
    )
    auto = replace(never, layout=LayoutMode.AUTO)
    ingest(folder, database, encoder, options=never)
    before = _by_page(database)
    pool = InProcess(encoder)
    report = ingest(folder, database, encoder, options=auto, pool=pool)
    assert report.pages_added == 2 and pool.work == [Work(False, True, False)] * 2
    after = _by_page(database)
    for page in (1, 2):
        # Words to blocks keep their places; the model's regions come after them.
        assert after[page][: len(before[page])] == before[page]
    assert {r["kind"] for r in after[2]} > {"word", "line", "paragraph", "block"}
    assert ingest(folder, database, encoder, options=auto).documents_unchanged == 1

    # Made in one go, they are the same.
    again = ingest(folder, database, encoder, options=auto, redo=Redo.ALL, run_id="again")
    assert again.pages_added == 2 and _by_page(database) == after
    assert ingest(folder, database, encoder, options=never).pages_added == 2
    assert _by_page(database) == before


def _by_page(database: Database) -> dict[int, list[dict[str, Any]]]:
    rows = database.table("regions").to_table().to_pylist()  # type: ignore[arg-type]
    return {row["page"]: row["regions"] for row in rows}


def test_new_vectors_leave_regions_alone(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixtures.make_pdf(folder / "a.pdf", fixtures.prose)
    ingest(folder, database, encoder)
    tables = ["pages", "regions", "patches"]
    before = [database.table(name).to_table() for name in tables]  # type: ignore[arg-type]
    monkeypatch.setattr(
        "patchlight.tasks.ingest.ingestrun.encoder_stage", lambda encoder, form: "encoder-next"
    )
    pool = InProcess(encoder)
    assert ingest(folder, database, encoder, pool=pool).pages_added == 1
    assert pool.work == [Work(words=False, regions=False, encode=True)]
    after = [database.table(name).to_table() for name in tables]  # type: ignore[arg-type]
    for old, new in zip(before[1:], after[1:], strict=True):
        assert old.equals(new)
    assert before[0].drop_columns("fingerprints").equals(after[0].drop_columns("fingerprints"))
    assert after[0]["fingerprints"][0].as_py()["encoder"] == "encoder-next"


def test_a_page_of_which_nothing_is_left_to_keep_is_made_whole(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when a shard is repeated whose first attempt ended between two commits."""
    write(folder / "a.pdf", "apples", "bananas")
    ingest(folder, database, encoder)
    (document,) = database.documents()
    monkeypatch.setattr(hierarchy, "REGIONS_VERSION", 99)
    pool = InProcess(encoder)

    def lose_a_row() -> None:
        dataset = database.table("pages")  # type: ignore[arg-type]
        dataset.delete("page = 2")

    report = ingest(folder, database, encoder, pool=pool, before_shards=lose_a_row)
    assert sorted(pool.work, key=str) == [Work(False, True, False), WHOLE]
    assert report.failures == [] and texts(database) == ["apples", "bananas"]
    assert len(database.stored_pages([document.doc_id])) == 2


def test_a_raised_version_does_its_stage_again_and_no_other(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each version is raised in turn and stays so; an ingest without a change does nothing."""
    mixed(folder)
    tesseract = ocr.find_tesseract(None)
    here = Limits(sandbox=False)  # the process that reads documents would not see the versions
    options = ReadOptions(OcrMode.AUTO, "eng", 100, tesseract, 60, image_pixels=0, limits=here)

    def work() -> list[Work]:
        """What is done of the text page and of the scanned one, in this order."""
        pool = InProcess(encoder)
        report = ingest(folder, database, encoder, options=options, pool=pool)
        assert report.failures == []
        return sorted(pool.work, key=str)

    assert work() == [WHOLE, WHOLE]
    regions = Work(words=False, regions=True, encode=False)
    for constant, expected in (
        ("patchlight.tasks.regions.proposals.PROPOSALS_VERSION", [regions, regions]),
        ("patchlight.tasks.regions.hierarchy.REGIONS_VERSION", [regions, regions]),
        ("patchlight.tasks.regions.layoutmodel.LAYOUT_VERSION", [regions, regions]),
        # What the layout model and Tesseract see was drawn.
        ("patchlight.tasks.documents.opening.RENDER_VERSION", [regions, WHOLE]),
        ("patchlight.tasks.reading.pages.WORDS_VERSION", [WHOLE, WHOLE]),
    ):
        assert work() == []
        monkeypatch.setattr(constant, 99)
        assert work() == expected, constant
    assert work() == []


def test_vectors_of_a_raised_encoder_go_into_a_database_of_their_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("patchlight.tasks.encoders.textpatch.VERSION", 99)
    with pytest.raises(EncoderMismatch):
        Database.create_or_open(database.uri, textpatch.describe().identity)


# --------------------------------------------------------------------------- two runs at once


def test_two_runs_on_overlapping_folders_double_nothing(
    tmp_path: Path, database: Database, encoder: Encoder
) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for number, place in enumerate(folders):
        place.mkdir()
        for name in range(6):
            write(place / f"same{name}.pdf", f"apples {name}", f"bananas {name}")
        write(place / "own.pdf", f"cherries {number}")
    reports, errors = {}, []

    def run(number: int) -> None:
        try:
            name = f"run{number}"
            reports[number] = ingest(folders[number], database, encoder, run_id=name)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    documents = database.documents()
    assert states(database) == [DocumentStatus.COMPLETE] * 8
    assert database.table("pages").count_rows() == 14  # type: ignore[arg-type]
    assert sum(report.pages_added for report in reports.values()) == 14
    assert all(report.documents_elsewhere == [] for report in reports.values())
    # Whoever made a document, it is known at both its places.
    assert sorted(len(document.sources) for document in documents) == [1, 1] + [2] * 6


def test_what_a_live_run_has_in_work_is_left_to_it_and_reported(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    write(folder / "b.pdf", "bananas")
    ingest(folder, database, encoder)
    first = database.documents()[0]
    other = Other(database)
    with other.lease:
        _take(database, first.doc_id, "other")
        report = ingest(folder, database, encoder, redo=Redo.ALL)
    assert [first.sources[0].name] == report.documents_elsewhere
    assert (report.documents_added, report.failures) == (1, [])
    assert database.document_rows([first.doc_id])[first.doc_id].run_id == "other"


def test_what_a_dead_run_left_is_done_by_the_next(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    ingest(folder, database, encoder)
    (document,) = database.documents()
    other = Other(database)
    with other.lease:
        _take(database, document.doc_id, "other")
        other.die()
    assert texts(database) == []
    report = ingest(folder, database, encoder)
    assert report.documents_elsewhere == []
    assert texts(database) == ["apples"] and states(database) == [DocumentStatus.COMPLETE]


def test_a_run_that_was_taken_for_dead_stops(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples", "bananas")
    pool = InProcess(encoder)
    far = datetime.now(UTC).replace(year=datetime.now(UTC).year + 1)
    pool.meanwhile = lambda: _lost(database, far)
    with pytest.raises(LeaseLost, match="took over"):
        ingest(folder, database, encoder, pool=pool)
    assert texts(database) == []
    assert ingest(folder, database, encoder, run_id="next").pages_added == 2
    assert texts(database) == ["apples", "bananas"]


def _lost(database: Database, far: datetime) -> None:
    """Let another run write this one off, and this one's lease be old enough to be looked at."""
    from patchlight.storage import leases

    abandon_expired(database, "somebody", far)
    leases._Moment.seconds_ago = lambda self: 1000.0  # type: ignore[method-assign]


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    from patchlight.storage import leases

    monkeypatch.setattr(leases._Moment, "seconds_ago", leases._Moment.seconds_ago)


def _take(database: Database, doc_id: str, run_id: str) -> None:
    def take(_: str, row: Any) -> Any:
        return replace(row, status=DocumentStatus.UNFINISHED, run_id=run_id)

    Committer(database, run_id).change_documents([doc_id], take)


# --------------------------------------------------------------------- what is tried again


def fails(page: int, *, retryable: bool) -> dict[int, Fault]:
    category = Category.TIMEOUT if retryable else Category.CORRUPT
    return {page: Fault(Stage.WORDS, category, retryable, f"a.pdf, page {page}: no")}


def tried(database: Database, encoder: Encoder, folder: Path, faulty: dict[int, Fault]) -> Any:
    pool = InProcess(encoder, faulty)

    def again(redo: Redo = Redo.MISSING) -> tuple[int, int]:
        pool.work.clear()
        report = ingest(folder, database, encoder, pool=pool, redo=redo)
        return len(pool.work), report.pages_failed

    return again


def test_what_may_go_well_is_tried_three_times_and_then_when_asked_to(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples", "bananas", "cherries")
    again: Callable[..., tuple[int, int]] = tried(
        database, encoder, folder, fails(2, retryable=True)
    )
    assert [again(), again(), again(), again()] == [(3, 1), (1, 1), (1, 1), (0, 1)]
    assert database.failures()[0].attempts == 3
    assert again(Redo.FAILED) == (1, 1)
    assert database.failures()[0].attempts == 4
    assert ingest(folder, database, encoder, redo=Redo.FAILED).pages_added == 1
    assert database.failures() == [] and states(database) == [DocumentStatus.COMPLETE]


def test_what_cannot_go_well_is_tried_once_and_then_when_asked_to(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples", "bananas")
    again: Callable[..., tuple[int, int]] = tried(
        database, encoder, folder, fails(1, retryable=False)
    )
    assert [again(), again(), again(Redo.FAILED)] == [(2, 1), (0, 1), (1, 1)]
    assert texts(database) == ["bananas"]


def test_a_file_that_hangs_is_opened_three_times_and_then_when_it_changed_or_when_asked_to(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder / "a.pdf", "apples")
    opened = []

    def hangs(function: Any, *args: Any, label: str, limits: Any) -> Any:
        opened.append(label)
        raise PageTimeout(f"{label}: opening it took longer than 60 s")

    with monkeypatch.context() as patch:
        patch.setattr(calling, "call", hangs)
        reports = [ingest(folder, database, encoder) for _ in range(4)]
        assert len(opened) == 3
        assert [(r.documents_failed, len(r.failures)) for r in reports] == [(1, 1)] * 4
        assert database.failures()[0].attempts == 3
        ingest(folder, database, encoder, redo=Redo.FAILED)
        assert len(opened) == 4
        write(folder / "a.pdf", "bananas")
        ingest(folder, database, encoder)
        assert len(opened) == 5
    assert ingest(folder, database, encoder, redo=Redo.FAILED).pages_added == 1
    assert database.failures() == []


def test_force_makes_everything_named_anew(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples", "bananas")
    ingest(folder, database, encoder)
    report = ingest(folder, database, encoder, redo=Redo.ALL)
    assert (report.pages_added, report.documents_added) == (2, 1)
    assert texts(database) == ["apples", "bananas"]


# --------------------------------------------------------------------------- files that go


def test_files_that_are_gone_are_reported_and_leave_when_asked_to(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    write(folder / "b.pdf", "bananas")
    write(folder / "moved.pdf", "cherries")
    ingest(folder, database, encoder)
    (folder / "b.pdf").unlink()
    (folder / "moved.pdf").rename(folder / "here.pdf")
    report = ingest(folder, database, encoder)
    assert [uri.rpartition("/")[2] for uri in report.gone] == ["b.pdf", "moved.pdf"]
    assert texts(database) == ["apples", "bananas", "cherries"]
    report = ingest(folder, database, encoder, sync=True)
    assert (report.documents_removed, report.gone) == (1, [])
    assert texts(database) == ["apples", "cherries"]
    assert sorted(d.sources[0].name.rpartition("/")[2] for d in database.documents()) == [
        "a.pdf",
        "here.pdf",
    ]
    statistics = database.latest_statistics()
    assert statistics is not None and "bananas" not in statistics.document_frequency
    assert ingest(folder, database, encoder).gone == []


def names(database: Database) -> dict[str, str]:
    """File names of visible documents -> text of their first page."""
    visible = [d for d in database.documents() if d.status in VISIBLE]
    return {
        source.name.rpartition("/")[2]: database.page_rows(d.doc_id, [1])[1].text
        for d in visible
        for source in d.sources
    }


@pytest.mark.parametrize("redo", [Redo.MISSING, Redo.ALL])
def test_files_that_change_names_with_each_other_all_stay(
    folder: Path, database: Database, encoder: Encoder, redo: Redo
) -> None:
    """As logs are rotated; none of them may take the place of one that was only moved."""
    for name, text in (("a", "apples"), ("b", "bananas"), ("c", "cherries"), ("d", "dates")):
        write(folder / f"{name}.pdf", text)
    ingest(folder, database, encoder)
    (folder / "a.pdf").rename(folder / "x.pdf")
    (folder / "b.pdf").rename(folder / "a.pdf")  # a and b change names
    (folder / "x.pdf").rename(folder / "b.pdf")
    (folder / "d.pdf").rename(folder / "e.pdf")  # c and d move on
    (folder / "c.pdf").rename(folder / "d.pdf")
    ingest(folder, database, encoder, redo=redo, sync=True)
    assert names(database) == {
        "a.pdf": "bananas",
        "b.pdf": "apples",
        "d.pdf": "cherries",
        "e.pdf": "dates",
    }


def test_a_new_version_that_fails_leaves_the_old_one_in_sight(
    folder: Path, database: Database, encoder: Encoder
) -> None:
    write(folder / "a.pdf", "apples")
    ingest(folder, database, encoder)
    write(folder / "a.pdf", "bananas")
    report = ingest(folder, database, encoder, pool=InProcess(encoder, fails(1, retryable=True)))
    assert report.documents_failed == 1 and texts(database) == ["apples"]
    ingest(folder, database, encoder)
    assert texts(database) == ["bananas"]


def test_a_shard_that_is_repeated_keeps_what_it_stored(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away when the document is to be finished; then the page would fail."""
    write(folder / "a.pdf", "apples")
    real, calls = Committer.change_documents, []

    def away_once(self: Committer, doc_ids: Any, change: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise StorageUnavailable("away for a moment")
        return real(self, doc_ids, change)

    monkeypatch.setattr(Committer, "change_documents", away_once)
    pool = InProcess(encoder)

    def with_a_retry(run: IngestRun, shards: list[Shard], pool: Any) -> None:
        for shard in shards:
            with pytest.raises(StorageUnavailable):
                run.run_shard(shard, pool)
            run.run_shard(shard, InProcess(encoder, fails(1, retryable=True)))

    report = ingest(folder, database, encoder, pool=pool, run_shards=with_a_retry)
    assert (report.pages_added, report.pages_failed, report.failures) == (1, 0, [])
    assert texts(database) == ["apples"] and database.failures() == []


def test_failures_of_other_bytes_are_not_counted(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hangs(function: Any, *args: Any, label: str, limits: Any) -> Any:
        raise PageTimeout(f"{label}: opening it took longer than 60 s")

    with monkeypatch.context() as patch:
        patch.setattr(calling, "call", hangs)
        for _ in range(3):
            write(folder / "a.pdf", "apples")
            ingest(folder, database, encoder)
        assert database.failures()[0].attempts == 3
        write(folder / "a.pdf", "bananas")
        ingest(folder, database, encoder)
        assert database.failures()[0].attempts == 1
    assert ingest(folder, database, encoder).pages_added == 1
