"""Regions that cross processes: the same on the other side, and not unpacked on the way."""

from __future__ import annotations

import pickle

import pytest

from storage.records import Region, Word, WordsSource
from tasks.documents.opening import PageShape
from tasks.reading.pages import ReadPage
from tasks.regions import hierarchy, packed
from tasks.regions.packed import PackedRegions

WORDS = [
    Word(text, 0.1 + 0.2 * i, 0.1, 0.2 + 0.2 * i, 0.12, 0.9)
    for i, text in enumerate(["Harbour", "Straße", "報告"])
]
REGIONS = hierarchy.regions_of(WORDS, 612, 792)


def page(regions: tuple[Region, ...]) -> ReadPage:
    shape = PageShape(612, 792, 0)
    where = ("d", 1, "a.pdf, page 1", shape)
    return ReadPage(*where, WordsSource.OCR, 150, regions, "words-1", "regions-1", 0.5)


@pytest.mark.parametrize("regions", [REGIONS, ()], ids=["some", "none"])
def test_a_page_is_the_same_after_crossing(regions: tuple[Region, ...]) -> None:
    crossed = pickle.loads(pickle.dumps(page(regions)))
    assert crossed == page(regions) and hash(crossed) == hash(page(regions))
    assert tuple(crossed.regions) == regions and len(crossed.regions) == len(regions)
    assert all(isinstance(region, Region) for region in crossed.regions)
    assert [word.text for word in crossed.words()] == [w.text for w in WORDS[: len(regions)]]


def test_regions_look_like_what_they_were_made_of() -> None:
    packed = PackedRegions(REGIONS)
    assert packed == REGIONS and packed == REGIONS and packed != REGIONS[1:] and packed != 3
    assert packed[0] == REGIONS[0] and packed[-2:] == REGIONS[-2:] and list(packed) == [*REGIONS]
    assert repr(packed) == repr(REGIONS)


def test_regions_are_not_unpacked_where_nobody_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker that only passes pages on must not pay for their regions."""
    arrived = pickle.loads(pickle.dumps(PackedRegions(REGIONS)))
    monkeypatch.setattr(packed, "_unpack", lambda packed: pytest.fail("was unpacked"))
    again = pickle.dumps(arrived)
    monkeypatch.undo()
    assert pickle.loads(again) == REGIONS
