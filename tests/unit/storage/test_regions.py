"""The record of a page's regions: what it refuses, what it gives, and that it crosses processes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from patchlight.storage import convert, regionrows
from patchlight.storage.records import RegionKind, Word, WordsSource, page_id
from patchlight.storage.regions import KINDS, Arrangement, Regions
from patchlight.tasks.documents.protocol import PageShape
from patchlight.tasks.reading.pages import ReadPage
from patchlight.tasks.regions import hierarchy
from tests.region_examples import record_of, rows_of

WORDS = [
    Word(text, 0.1 + 0.1 * i, 0.1, 0.195 + 0.1 * i, 0.12, 0.9)
    for i, text in enumerate(["Harbour", "Straße", "報告"])
]
REGIONS = hierarchy.regions_of(Regions.of_words(WORDS), 612, 792)
NOTHING = Regions.of_words(())


def page(regions: Regions) -> ReadPage:
    shape = PageShape(612, 792, 0)
    where = ("d", 1, "a.pdf, page 1", shape)
    return ReadPage(*where, WordsSource.OCR, 150, regions, "words-1", "regions-1", 0.5)


@pytest.mark.parametrize("regions", [REGIONS, NOTHING], ids=["some", "none"])
def test_a_page_is_the_same_after_crossing(regions: Regions) -> None:
    crossed = pickle.loads(pickle.dumps(page(regions)))
    assert crossed == page(regions)
    assert rows_of(crossed.regions) == rows_of(regions)
    assert crossed.regions.only(RegionKind.WORD) == regions.only(RegionKind.WORD)


def test_a_page_is_small_on_its_way() -> None:
    """Less than 60 bytes a region beside its text; as objects they took over 100."""
    many = Regions.joined([REGIONS] * 200)
    assert len(pickle.dumps(many)) < 60 * len(many) + sum(map(len, many.texts)) * 3


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"codes": REGIONS.codes.astype(np.int32)}, "codes of 6 regions must be .* uint8"),
        ({"codes": np.full(6, len(KINDS), np.uint8)}, "not the code of a kind"),
        ({"boxes": REGIONS.boxes[:, :3]}, r"boxes of 6 regions must be \(6, 4\) float64"),
        ({"boxes": REGIONS.boxes.astype(np.float32)}, "boxes .* got .* float32"),
        ({"texts": REGIONS.texts[1:]}, "codes of 5 regions"),
        ({"order": REGIONS.order[1:]}, r"order of 6 regions .* got \(5,\)"),
    ],
)
def test_columns_that_do_not_fit_are_refused(changed: dict[str, object], message: str) -> None:
    assert len(REGIONS) == 6
    with pytest.raises(ValueError, match=message):
        replace(REGIONS, **changed)  # type: ignore[arg-type]


def test_records_are_equal_when_all_columns_are() -> None:
    assert record_of(rows_of(REGIONS)) == REGIONS
    assert replace(REGIONS, confidence=REGIONS.confidence / 2) != REGIONS
    assert replace(REGIONS, texts=("x", *REGIONS.texts[1:])) != REGIONS
    assert REGIONS.part(0, 5) != REGIONS and rows_of(REGIONS) != REGIONS


def test_regions_are_taken_by_kind_and_by_row() -> None:
    line, words = REGIONS.only(RegionKind.LINE), REGIONS.rows(RegionKind.WORD, RegionKind.BLOCK)
    assert line.texts == ("Harbour Straße 報告",) and line.index.tolist() == [3]
    assert [REGIONS.kind(row) for row in words] == [RegionKind.WORD] * 3 + [RegionKind.BLOCK]
    backwards = REGIONS.take(words[::-1])
    assert backwards.texts == tuple(REGIONS.texts[row] for row in (5, 2, 1, 0))
    assert REGIONS.part(1, 3) == REGIONS.take(np.array([1, 2]))
    assert len(REGIONS.only()) == 0 and len(NOTHING.only(RegionKind.WORD)) == 0


def stored(*pages: Regions) -> tuple[pa.Table, pa.Table]:
    """Rows of pages 1, 2, ... of a document; their keys are ten times as much."""
    given = [(f"{7:064x}", n, page, Arrangement.unknown(page)) for n, page in enumerate(pages, 1)]
    keys = {page_id(doc, n): 10 * n for doc, n, _, _ in given}
    made = regionrows.region_rows(given, str.split), regionrows.packed_rows(given)
    rows, packed = (convert.with_page_keys(table, keys) for table in made)
    return rows, packed


def test_rows_of_the_tables_give_the_record_again() -> None:
    rounded = replace(
        REGIONS,
        boxes=REGIONS.boxes.astype(np.float32).astype(np.float64),
        confidence=REGIONS.confidence.astype(np.float32).astype(np.float64),
    )
    rows, packed = stored(REGIONS, NOTHING, REGIONS.part(0, 1), REGIONS)
    assert rows["kind"].to_pylist() == ["paragraph", "block"] * 2
    assert packed.num_rows == 4
    backwards = rows.take(np.arange(rows.num_rows)[::-1]), packed.take([3, 2, 1, 0])
    for given in ((rows, packed), backwards):
        made = regionrows.regions_of([10, 20, 30, 40], *given)
        assert made == [rounded, NOTHING, rounded.part(0, 1), rounded]
    kinds = RegionKind.LINE, RegionKind.BLOCK
    assert regionrows.regions_of([10, 20, 30, 40], rows, packed, kinds)[3] == rounded.only(*kinds)
    assert regionrows.regions_of([40], None, None) == [NOTHING]
    words = replace(rounded.only(RegionKind.WORD), parent=np.full(3, -1, np.int32))
    assert regionrows.words_of(packed)[0] == words


def test_rows_hold_what_others_ask_for() -> None:
    rows, _ = stored(REGIONS)
    block = rows.to_pylist()[1]
    assert block["region_id"] == f"{7:064x}:00001:00005"
    assert block["parent_id"] is None and block["table_id"] is None and block["row"] is None
    assert block["terms"] == "Harbour Straße 報告"
    assert rows["parent_id"][0].as_py() == block["region_id"]


def test_a_kind_that_is_not_known_is_named() -> None:
    rows, packed = stored(REGIONS)
    at = rows.schema.get_field_index("kind")
    rows = rows.set_column(at, rows.schema.field(at), pa.array(["cartouche", "block"]))
    with pytest.raises(ValueError, match="unknown kinds: cartouche"):
        regionrows.regions_of([10], rows, packed)
