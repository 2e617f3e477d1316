"""The record of a page's regions: what it refuses, what it gives, and that it crosses processes."""

from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from patchlight.storage import regionrows
from patchlight.storage.records import RegionKind, Word, WordsSource
from patchlight.storage.regions import KINDS, Regions
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


def test_lists_of_the_table_give_the_record_again() -> None:
    rounded = replace(
        REGIONS,
        boxes=REGIONS.boxes.astype(np.float32).astype(np.float64),
        confidence=REGIONS.confidence.astype(np.float32).astype(np.float64),
    )
    lists = regionrows.lists_of([REGIONS, NOTHING, REGIONS.part(0, 1), REGIONS])
    assert regionrows.regions_of(lists) == [rounded, NOTHING, rounded.part(0, 1), rounded]
    assert regionrows.regions_of(lists.slice(2, 1)) == [rounded.part(0, 1)]
    kinds = RegionKind.LINE, RegionKind.BLOCK
    assert regionrows.regions_of(lists, kinds)[3] == rounded.only(*kinds)
    assert regionrows.regions_of(regionrows.lists_of([])) == []
    words = replace(rounded.only(RegionKind.WORD), parent=np.full(3, -1, np.int32))
    assert regionrows.words_of(lists)[0] == words


def test_a_kind_that_is_not_known_is_named() -> None:
    lists = regionrows.lists_of([REGIONS])
    [rows] = lists.to_pylist()
    rows[4]["kind"] = "cartouche"
    with pytest.raises(ValueError, match="unknown kinds: cartouche"):
        regionrows.regions_of(pa.array([rows], lists.type))
