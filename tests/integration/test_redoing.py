"""What a run does again: stages that are made in another way now, and what failed."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from patchlight.storage import reader
from patchlight.storage.database import Database
from patchlight.storage.errors import EncoderMismatch
from patchlight.storage.records import DocumentStatus, RegionKind
from patchlight.storage.regions import Regions
from patchlight.storage.schema import PARTS, Table
from patchlight.tasks.common.errors import Fault, PageTimeout
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.documents import ocr
from patchlight.tasks.encoders import textpatch
from patchlight.tasks.encoders.protocol import Encoder
from patchlight.tasks.reading.fingerprints import WHOLE, Redo, Work
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.regions import hierarchy
from patchlight.tasks.sandbox import calling
from tests import fixtures
from tests.ingest_examples import InProcess, fails, ingest, states, texts, write

# ------------------------------------------------------------------------------ stages apart


def mixed(folder: Path) -> None:
    """A document with a text page and a scanned one."""

    def draw(canvas: Any) -> None:
        fixtures.prose(canvas)
        canvas.showPage()
        fixtures.draw_image(canvas, fixtures.scan(["Plain scan"]), (0.0, 0.0, 612.0, 792.0))

    fixtures.make_pdf(folder / "a.pdf", draw)


def stored(database: Database) -> list[pa.Table]:
    """Rows of a page and of its parts, but for its key, which is new each time it is written."""
    return [
        database.table(name).to_table().drop_columns("page_key") for name in (Table.PAGES, *PARTS)
    ]


def only_fingerprints_changed(before: list[pa.Table], after: list[pa.Table]) -> dict[str, str]:
    """Check it of a database with one page; return that page's new ones."""
    for old, new in zip(before[1:], after[1:], strict=True):
        assert old.equals(new)
    old, new = (
        rows[0].drop_columns(["fingerprints", "words_ms", "regions_ms", "encoder_ms"])
        for rows in (before, after)
    )
    assert old.equals(new)
    fingerprints: dict[str, str] = after[0]["fingerprints"][0].as_py()
    return fingerprints


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
    before = stored(database)
    monkeypatch.setattr(hierarchy, "REGIONS_VERSION", 99)
    pool = InProcess(encoder)
    report = ingest(folder, database, encoder, pool=pool)
    assert report.pages_added == 1
    assert report.made_by == {"patchlight": version("patchlight")}
    assert json.loads(database.runs()[-1].summary)["made_by"] == report.made_by
    assert pool.work == [Work(words=False, regions=True, encode=False)]
    fingerprints = only_fingerprints_changed(before, stored(database))
    assert fingerprints["regions"] == "regions-99:never"


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
        # Their order among all has others in between now.
        kept = after[page].part(0, len(before[page]))
        assert replace(kept, order=before[page].order) == before[page]
        assert len(set(after[page].order.tolist())) == len(after[page])
    assert {after[2].kind(row) for row in range(len(after[2]))} > {
        *(RegionKind.WORD, RegionKind.LINE, RegionKind.PARAGRAPH, RegionKind.BLOCK)
    }
    assert ingest(folder, database, encoder, options=auto).documents_unchanged == 1

    # Made in one go, they are the same.
    again = ingest(folder, database, encoder, options=auto, redo=Redo.ALL, run_id="again")
    assert again.pages_added == 2 and _by_page(database) == after
    assert ingest(folder, database, encoder, options=never).pages_added == 2
    assert _by_page(database) == before


def _by_page(database: Database) -> dict[int, Regions]:
    snapshot = database.snapshot()
    found = reader.catalog(snapshot)
    keys = dict(zip(found["page_id"].to_pylist(), found["page_key"].to_pylist(), strict=True))
    regions = reader.read_regions(snapshot, keys)
    return dict(zip(found["page"].to_pylist(), regions.values(), strict=True))


def test_new_vectors_leave_regions_alone(
    folder: Path, database: Database, encoder: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    fixtures.make_pdf(folder / "a.pdf", fixtures.prose)
    ingest(folder, database, encoder)
    before = stored(database)
    monkeypatch.setattr(
        "patchlight.tasks.ingest.ingestrun.encoder_stage", lambda encoder, form: "encoder-next"
    )
    pool = InProcess(encoder)
    assert ingest(folder, database, encoder, pool=pool).pages_added == 1
    assert pool.work == [Work(words=False, regions=False, encode=True)]
    fingerprints = only_fingerprints_changed(before, stored(database))
    assert fingerprints["encoder"] == "encoder-next"


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


# --------------------------------------------------------------------- what is tried again


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
