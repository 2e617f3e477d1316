"""What queries read: pinned, of visible documents only, and exactly what was stored."""

import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import concat_page_tables, page_tables
from patchlight.storage.database import Database
from patchlight.storage.errors import SqlError, StorageUnavailable
from patchlight.storage.records import (
    DocumentStatus,
    RegionKind,
    VectorForm,
    VectorType,
    page_id,
)
from patchlight.storage.schema import Table
from tests.storage_examples import DIM, ENCODER, doc_id, document, fill, page, put, visible_texts


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database.create_or_open(tmp_path / "db", ENCODER)


def test_the_catalog_lists_visible_pages_in_order(database: Database) -> None:
    ids = fill(database, "a", 3) + fill(database, "b", 2, DocumentStatus.PARTIAL)
    fill(database, "failed", 2, DocumentStatus.FAILED)
    catalog = reader.catalog(database.snapshot())
    assert catalog["page_id"].to_pylist() == sorted(ids)
    first = next(row for row in catalog.to_pylist() if row["page_id"] == ids[0])
    del first["patch_row"], first["page_key"]
    assert first == {
        "page_id": ids[0],
        "doc_id": doc_id("a"),
        "page": 1,
        "width_pt": 612.0,
        "height_pt": 792.0,
        "n_vectors": 4,
        "name": "a",
        "uri": "file:///a",
    }


def test_an_empty_database_gives_empty_answers(database: Database) -> None:
    snapshot = database.snapshot()
    assert reader.catalog(snapshot).num_rows == 0
    assert reader.catalog(snapshot, "page = 1").num_rows == 0
    batch = reader.read_patches(snapshot, [])
    assert (batch.vectors.shape, batch.vector_offsets.tolist()) == ((0, DIM), [0])
    assert reader.page_keys(snapshot, ["unknown"]) == {}
    assert reader.read_regions(snapshot, {}) == {} == reader.page_texts(snapshot, {})
    assert len(reader.read_regions(snapshot, {"gone": 9})["gone"]) == 0


def test_a_pinned_snapshot_does_not_change(database: Database) -> None:
    # One batch of questions must be answered from one state, also in other processes.
    fill(database, "a", 2)
    pinned = pickle.loads(pickle.dumps(database.snapshot()))
    before = reader.catalog(pinned)
    committer = Committer(database, "run")
    committer.commit_pages(page_tables([page("a", 1, words=1, fingerprint="two")], DIM))
    put(committer, document("a", 2, DocumentStatus.FAILED))
    fill(database, "b", 2)
    assert reader.catalog(pinned).equals(before)
    keys = reader.page_keys(pinned, [page_id(doc_id("a"), 1), page_id(doc_id("b"), 1)])
    [before_it] = reader.read_regions(pinned, keys).values()
    assert len(before_it) == 4
    now = reader.catalog(database.snapshot())
    assert set(now["doc_id"].to_pylist()) == {doc_id("b")}


def test_pinning_fits_the_tables_together(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A page replaced while the tables are pinned one by one must not be a mix of both.
    key = fill(database, "a", 1)[0]
    version = reader._version
    replaced: list[bool] = []

    def busy(uri: str, table: Table) -> int:
        if table is Table.REGIONS and not replaced:
            new = page("a", 1, words=1, fingerprint="two")
            Committer(database, "run").commit_pages(page_tables([new], DIM))
            replaced.append(True)
        return version(uri, table)

    monkeypatch.setattr(reader, "_version", busy)
    snapshot = database.snapshot()
    keys = reader.page_keys(snapshot, [key])
    assert reader.page_texts(snapshot, keys) == {key: "a-1-0"}
    assert len(reader.read_regions(snapshot, keys)[key]) == 2


def test_pinning_shows_no_document_without_a_page_that_is_being_redone(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hidden after its row was pinned, and a page gone before the pages were.
    fill(database, "a", 2)
    stays = fill(database, "b", 1)
    version = reader._version
    redone: list[bool] = []

    def busy(uri: str, table: Table) -> int:
        if table is Table.PAGES and not redone:
            redone.append(True)
            committer = Committer(database, "other")
            put(committer, document("a", 2, DocumentStatus.UNFINISHED))
            committer.drop_pages(doc_id("a"), [1])
        return version(uri, table)

    monkeypatch.setattr(reader, "_version", busy)
    assert reader.catalog(database.snapshot())["page_id"].to_pylist() == stays
    assert len(visible_texts(database)) == 1


@pytest.mark.parametrize(
    ("where", "pages"),
    [
        ("name = 'a'", 3),
        ("name LIKE '%b%' AND page >= 2", 1),
        ("status = 'partial'", 2),
        ("fingerprints['render'] = 'r1' and n_words > 0", 5),
        ("status = 'failed'", 0),
        ("page = 1 -- the first", 2),
        (f"doc_id = '{doc_id('a')}'", 3),
    ],
)
def test_a_condition_chooses_among_visible_pages(
    database: Database, where: str, pages: int
) -> None:
    fill(database, "a", 3)
    fill(database, "b", 2, DocumentStatus.PARTIAL)
    fill(database, "failed", 1, DocumentStatus.FAILED)
    assert reader.catalog(database.snapshot(), where).num_rows == pages


@pytest.mark.parametrize(
    "where",
    [
        "",
        "page",
        "nope = 1",
        "page = 1; DROP VIEW pages",
        "page = 1 LIMIT 1",
        "1 = 1) OR (1 = 1",
        "page = 1 UNION SELECT 1",
        "DELETE FROM pages",
        "page IN (SELECT page FROM '/etc/passwd')",
        "page IN (SELECT page FROM pages)",
    ],
)
def test_what_is_not_a_condition_is_refused_and_named(database: Database, where: str) -> None:
    fill(database, "a", 1)
    with pytest.raises(SqlError, match="A condition is an expression") as caught:
        reader.catalog(database.snapshot(), where)
    assert repr(where) in str(caught.value)


def test_patches_are_exact_and_in_the_order_asked_for(database: Database) -> None:
    pages = [page("a", 1), page("a", 2, vectors=0), page("a", 3, vectors=7)]
    committer = Committer(database, "run")
    committer.commit_pages(page_tables(pages, DIM))
    put(committer, document("a", 3))
    snapshot = database.snapshot()
    rows = reader.catalog(snapshot)["patch_row"].to_pylist()
    batch = reader.read_patches(snapshot, [rows[2], rows[0], rows[1], rows[2]])
    chosen = [pages[2], pages[0], pages[1], pages[2]]
    assert batch.page_ids == [page_id(p.doc_id, p.page) for p in chosen]
    assert batch.vector_offsets.tolist() == [0, 7, 11, 11, 18]
    assert batch.cell_offsets.tolist() == [0, 6, 12, 18, 24]
    assert (batch.rows.tolist(), batch.cols.tolist()) == ([2] * 4, [3] * 4)
    for number, one in enumerate(chosen):
        vectors = slice(*batch.vector_offsets[number : number + 2])
        cells = slice(*batch.cell_offsets[number : number + 2])
        assert one.encoding is not None
        expected = one.encoding.vectors.astype(np.float16)
        np.testing.assert_array_equal(batch.vectors[vectors], expected)
        np.testing.assert_array_equal(batch.cell_to_vector[cells], one.encoding.cell_to_vector)


def test_int8_patches_come_with_a_scale_each(tmp_path: Path) -> None:
    database = Database.create_or_open(tmp_path / "int8", ENCODER, VectorForm(VectorType.INT8))
    pages = [page("a", 1), page("a", 2, vectors=0), page("a", 3, vectors=7)]
    committer = Committer(database, "run")
    parts = [page_tables([p], DIM, VectorType.INT8) for p in pages]
    committer.commit_pages(concat_page_tables(parts))
    put(committer, document("a", 3))
    snapshot = database.snapshot()
    empty = reader.read_patches(snapshot, [])
    assert empty.scales is not None
    assert (empty.vectors.shape, empty.scales.shape) == ((0, DIM), (0,))
    rows = reader.catalog(snapshot)["patch_row"].to_pylist()
    batch = reader.read_patches(snapshot, [rows[2], rows[1], rows[0]])
    assert batch.vector_offsets.tolist() == [0, 7, 7, 11]
    assert batch.vectors.dtype == np.int8
    assert batch.scales is not None
    exact = np.concatenate([p.encoding.vectors for p in (pages[2], pages[0]) if p.encoding])
    step = batch.scales.astype(np.float32)[:, None]
    assert (np.abs(batch.vectors * step - exact) <= step * 0.500001).all()


def test_float16_patches_have_no_scales(database: Database) -> None:
    fill(database, "a", 1)
    assert reader.read_patches(database.snapshot(), [0]).scales is None


def test_regions_come_page_by_page_and_by_kind(database: Database) -> None:
    ids = fill(database, "a", 2)
    snapshot = database.snapshot()
    keys = reader.page_keys(snapshot, [ids[1], ids[0]])
    regions = reader.read_regions(snapshot, {page: keys[page] for page in (ids[1], ids[0])})
    assert list(regions) == [ids[1], ids[0]]
    assert [page.index.tolist() for page in regions.values()] == [[0, 1, 2, 3]] * 2
    assert regions[ids[1]].texts[0] == "a-2-0"
    lines = reader.read_regions(snapshot, reader.page_keys(snapshot, ids), [RegionKind.LINE])
    texts = ("a-1-0 a-1-1 a-1-2",), ("a-2-0 a-2-1 a-2-2",)
    assert tuple(page.texts for page in lines.values()) == texts
    assert [(page.index.tolist(), page.parent.tolist()) for page in lines.values()] == [
        ([3], [-1])
    ] * 2


def test_pages_whose_patches_are_gone_are_not_passed_over(database: Database) -> None:
    fill(database, "a", 2)
    database.table(Table.PATCHES).delete(f"page_id = '{page_id(doc_id('a'), 1)}'")
    with pytest.raises(StorageUnavailable, match="1 pages without patches"):
        reader.catalog(database.snapshot())


def test_a_snapshot_whose_version_is_gone_says_so(database: Database) -> None:
    fill(database, "a", 1)
    snapshot = database.snapshot()
    gone = reader.Snapshot(snapshot.uri, snapshot.versions | {"patches": 99})
    with pytest.raises(StorageUnavailable, match="table patches"):
        reader.read_patches(gone, [0])


def test_reading_imports_neither_lancedb_nor_datafusion(database: Database) -> None:
    # Together they take seconds that the answer to one question does not have. PyArrow itself
    # imports pandas where that is installed.
    fill(database, "a", 1)
    script = """
import sys
from patchlight.storage import reader
from patchlight.storage.database import Database
snapshot = Database.open(sys.argv[1]).snapshot()
catalog = reader.catalog(snapshot)
reader.read_patches(snapshot, catalog["patch_row"].to_numpy())
print({"lancedb", "datafusion"} & set(sys.modules) or "light")
"""
    command = [sys.executable, "-c", script, database.uri]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "light"
