"""Whatever is seen of a page, its proposals are regions that can be stored, and always the same."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from patchlight.storage.convert import page_tables
from patchlight.storage.pages import Page
from patchlight.storage.records import PageEncoding, RegionKind, Word, WordsSource
from patchlight.storage.regions import Regions
from patchlight.tasks.common.pageobjects import PageObjects
from patchlight.tasks.regions import hierarchy
from patchlight.tasks.regions.detections import Detection, Label
from patchlight.tasks.regions.proposals import LEAST, MOST, BesideWords, propose
from patchlight.tasks.regions.ruledlines import Rules
from tests.region_examples import Region, record_of, rows_of

WIDTH, HEIGHT = 612.0, 792.0
TEXT = list(RegionKind)[:4]
UNCOUNTED = {RegionKind.WORD, RegionKind.LINE, RegionKind.CELL}
PARENTS = {
    RegionKind.HEADING: {RegionKind.SECTION},
    RegionKind.CAPTION: {
        RegionKind.FIGURE,
        RegionKind.PICTURE,
        RegionKind.DRAWING,
        RegionKind.TABLE,
    },
    RegionKind.FIGURE: {RegionKind.EXHIBIT},
    RegionKind.PICTURE: {RegionKind.EXHIBIT},
    RegionKind.DRAWING: {RegionKind.EXHIBIT},
    RegionKind.TABLE: {RegionKind.EXHIBIT},
    RegionKind.ROW: {RegionKind.TABLE},
    RegionKind.COLUMN: {RegionKind.TABLE},
    RegionKind.CELL: {RegionKind.ROW, RegionKind.TABLE, RegionKind.EXHIBIT},
}


@st.composite
def boxes(draw: st.DrawFn, least: float = 0.0, most: int = 8) -> list[tuple[float, ...]]:
    side = st.floats(0, 1, width=32)
    found = draw(st.lists(st.tuples(side, side, side, side), max_size=most))
    low = [(min(a, c), min(b, d), max(a, c), max(b, d)) for a, b, c, d in found]
    return [b for b in low if b[2] - b[0] >= least and b[3] - b[1] >= least]


@st.composite
def words(draw: st.DrawFn) -> list[Word]:
    """Words on a few lines and columns, so that they make lines, blocks and tables."""
    texts = st.sampled_from(["Harbour", "12", "Figure 3", "Table 2:", "depth", "of", "1,204"])
    places = draw(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 20)), max_size=60))
    found = []
    for col, row in dict.fromkeys(places):
        text = draw(texts)
        x, y = 0.05 + col * 0.15, 0.05 + row * 0.04
        found.append(Word(text, x, y, x + 0.01 * len(text), y + 0.012, draw(st.floats(0, 1))))
    return found


def array(rows: list[tuple[float, ...]]) -> NDArray[np.float64]:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


@st.composite
def seen(draw: st.DrawFn) -> BesideWords:
    found = [
        Detection(draw(st.sampled_from(list(Label))), draw(st.floats(0.15, 1)), (a, b, c, d))
        for a, b, c, d in draw(boxes(least=1e-3))
    ]
    objects = PageObjects(array(draw(boxes())), array(draw(boxes())))
    rules = Rules(array(draw(boxes())), array(draw(boxes())))
    found.sort(key=lambda d: -d.score)
    return BesideWords(found, objects, rules, array(draw(boxes(least=0.05))))


def proposed(some: list[Word], look: BesideWords) -> tuple[Region, ...]:
    return rows_of(
        propose(hierarchy.regions_of(Regions.of_words(some), WIDTH, HEIGHT), look, WIDTH, HEIGHT)
    )


@settings(max_examples=60, deadline=None)
@given(words(), seen())
def test_proposals_can_be_stored_and_their_links_are_right(
    some: list[Word], look: BesideWords
) -> None:
    text = rows_of(hierarchy.regions_of(Regions.of_words(some), WIDTH, HEIGHT))
    regions = proposed(some, look)
    assert regions[: len(text)] == text
    encoding = PageEncoding(1, 1, np.zeros((0, 4), np.float32), np.array([-1], np.int32))
    whole = (
        "",
        dict.fromkeys(("render", "words", "regions", "encoder"), "x"),
        record_of(regions),
        encoding,
    )
    page = Page("d", 1, WIDTH, HEIGHT, 0, WordsSource.OCR, 100, *whole)
    tables = page_tables([page], 4)  # refuses boxes and links that cannot be
    packed = sum(map(len, (tables.words["words"][0], tables.words["lines"][0])))
    assert tables.regions.num_rows + packed == len(regions)
    for region in regions[len(text) :]:
        assert region.kind not in TEXT
        if region.parent >= 0:
            assert regions[region.parent].kind in PARENTS[region.kind]
    orders: dict[RegionKind, list[int]] = {}
    for region in regions:
        orders.setdefault(region.kind, []).append(region.order)
    assert all(order == list(range(len(order))) for order in orders.values())


@settings(max_examples=40, deadline=None)
@given(words(), seen(), st.randoms(use_true_random=False))
def test_the_order_of_what_is_seen_does_not_matter(  # type: ignore[no-untyped-def]
    some: list[Word], look: BesideWords, random
) -> None:
    def shuffled(rows: NDArray[np.float64]) -> NDArray[np.float64]:
        order = list(range(len(rows)))
        random.shuffle(order)
        return rows[order]

    objects = PageObjects(shuffled(look.objects.pictures), shuffled(look.objects.graphics))
    rules = Rules(shuffled(look.rules.across), shuffled(look.rules.down))
    words_again = list(some)
    random.shuffle(words_again)
    other = BesideWords(look.detections, objects, rules, look.inked)
    assert proposed(words_again, other) == proposed(some, look)


def test_a_page_has_no_more_proposals_than_it_may() -> None:
    """A table of 240 rows: cells stay, and belong to the table where their row is left out."""
    some = [
        Word("12", 0.05 + col * 0.2, 0.01 + row * 0.004, 0.08 + col * 0.2, 0.0125 + row * 0.004)
        for row in range(240)
        for col in range(4)
    ]
    look = BesideWords([Detection(Label.TABLE, 0.9, (0.04, 0.005, 0.75, 0.98))])
    regions = proposed(some, look)
    kinds = Counter(region.kind for region in regions)
    text = kinds[RegionKind.PARAGRAPH] + kinds[RegionKind.BLOCK]
    counted = sum(count for kind, count in kinds.items() if kind not in UNCOUNTED)
    assert counted <= max(MOST, text + LEAST)
    assert kinds[RegionKind.TABLE] == 1 and kinds[RegionKind.CELL] == 960
    assert 0 < kinds[RegionKind.ROW] < 240
    parents = {regions[r.parent].kind for r in regions if r.kind is RegionKind.CELL}
    assert parents == {RegionKind.ROW, RegionKind.TABLE}
