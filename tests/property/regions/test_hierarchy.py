"""Words into lines, paragraphs and blocks: the laws, and the pages a reader would agree on."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchlight.storage.records import RegionKind, Word
from patchlight.storage.regions import Regions
from patchlight.tasks.kernels.geometry import check_boxes
from patchlight.tasks.regions import hierarchy
from tests.region_examples import Region, rows_of

KINDS = (RegionKind.WORD, RegionKind.LINE, RegionKind.PARAGRAPH, RegionKind.BLOCK)
WIDTH, HEIGHT = 612.0, 792.0
BOX = tuple[float, float, float, float]


# ------------------------------------------------------------------------------ made-up pages


def set_line(text: str, x: float, base: float, em: float = 10.0, space: float = 0.3) -> list[Word]:
    """Words as printed from x on a base line, points; boxes fit the ink as in a real file."""
    words = []
    for token in text.split():
        width = 0.5 * em * len(token)
        top = base - (0.48 if set(token) <= set("acemnorsuvwxzgpqy.,;") else 0.72) * em
        bottom = base + (0.21 * em if set(token) & set("gjpqy,;") else 0.0)
        words.append(Word(token, x / WIDTH, top / HEIGHT, (x + width) / WIDTH, bottom / HEIGHT))
        x += width + space * em
    return words


def set_text(
    lines: Sequence[str], x: float, base: float, em: float = 10, pitch: float = 1.2
) -> list[Word]:
    return [w for i, line in enumerate(lines) for w in set_line(line, x, base + i * pitch * em, em)]


def of_kind(regions: Sequence[Region], kind: RegionKind) -> list[Region]:
    return [r for r in regions if r.kind is kind]


def texts(regions: Sequence[Region], kind: RegionKind) -> list[str]:
    return [r.text for r in of_kind(regions, kind)]


def regions_of(words: Sequence[Word]) -> tuple[Region, ...]:
    return rows_of(hierarchy.regions_of(Regions.of_words(words), WIDTH, HEIGHT))


# -------------------------------------------------------------------------------------- laws

TEXTS = st.sampled_from(
    ["the", "Quay", "pilot,", "•", "1.", "—", "$", "12,5", "船", "a", "(b)", "."]
)


@st.composite
def any_word(draw: st.DrawFn) -> Word:
    """Anything a reader may give: on a grid, so that edges and boxes coincide, or anywhere."""
    grid = st.integers(0, 24).map(lambda i: i / 24)
    place = st.one_of(grid, st.floats(0, 1, allow_nan=False, width=32))
    x0, x1 = sorted((draw(place), draw(place)))
    y0, y1 = sorted((draw(place), draw(place)))
    confidence = draw(st.floats(0, 1, allow_nan=False))
    return Word(draw(TEXTS), x0, y0, x1, y1, confidence)


@st.composite
def typed_words(draw: st.DrawFn) -> list[Word]:
    """Lines of print of several sizes, some in columns."""
    words: list[Word] = []
    for _ in range(draw(st.integers(1, 8))):
        em = draw(st.sampled_from([8.0, 10.0, 16.0]))
        x, base = draw(st.sampled_from([40, 54, 320])), draw(st.integers(60, 700))
        line = " ".join(draw(st.lists(TEXTS, min_size=1, max_size=6)))
        words += set_text([line] * draw(st.integers(1, 4)), x, base, em)
    return words


PAGES = st.one_of(st.lists(any_word(), min_size=1, max_size=40), typed_words())
SHAPES = st.sampled_from([(612.0, 792.0), (792.0, 612.0), (100.0, 3000.0), (0.5, 0.4)])


@settings(deadline=None, max_examples=150)
@given(PAGES, SHAPES)
def test_every_word_is_in_one_line_paragraph_and_block(
    words: list[Word], shape: tuple[float, float]
) -> None:
    regions = rows_of(hierarchy.regions_of(Regions.of_words(words), *shape))
    assert [r.index for r in regions] == list(range(len(regions)))
    assert Counter(texts(regions, RegionKind.WORD)) == Counter(w.text for w in words)
    for small, large in pairwise(KINDS):
        parents = [r.parent for r in of_kind(regions, small)]
        # Each has one parent, of the next kind, and no parent is without a child.
        assert set(parents) == {r.index for r in of_kind(regions, large)}
    assert {r.parent for r in of_kind(regions, RegionKind.BLOCK)} == {-1}


@settings(deadline=None, max_examples=150)
@given(PAGES, SHAPES)
def test_parents_fit_their_children(words: list[Word], shape: tuple[float, float]) -> None:
    regions = rows_of(hierarchy.regions_of(Regions.of_words(words), *shape))
    for kind, separator in zip(KINDS[1:], (" ", "\n", "\n"), strict=True):
        for parent in of_kind(regions, kind):
            children = [r for r in regions if r.parent == parent.index]
            assert (parent.x0, parent.y0) == (
                min(r.x0 for r in children),
                min(r.y0 for r in children),
            )
            assert (parent.x1, parent.y1) == (
                max(r.x1 for r in children),
                max(r.y1 for r in children),
            )
            assert parent.text == separator.join(r.text for r in children)
            assert 0.0 <= parent.confidence <= 1.0 + 1e-12


@settings(deadline=None, max_examples=100)
@given(PAGES, SHAPES)
def test_orders_are_permutations_and_children_follow_parents(
    words: list[Word], shape: tuple[float, float]
) -> None:
    regions = rows_of(hierarchy.regions_of(Regions.of_words(words), *shape))
    for kind in KINDS:
        assert [r.order for r in of_kind(regions, kind)] == list(range(len(of_kind(regions, kind))))
    for small in KINDS[:-1]:
        parents = [regions[r.parent].order for r in of_kind(regions, small)]
        assert parents == sorted(parents)


@settings(deadline=None, max_examples=150)
@given(PAGES, SHAPES)
def test_boxes_have_an_area_the_kernels_take(words: list[Word], shape: tuple[float, float]) -> None:
    regions = rows_of(hierarchy.regions_of(Regions.of_words(words), *shape))
    boxes = np.array([(r.x0, r.y0, r.x1, r.y1) for r in regions], dtype=np.float32)
    check_boxes(boxes)  # as they come back from the database
    exact = np.array([(r.x0, r.y0, r.x1, r.y1) for r in regions])
    assert (exact[:, 2:] - exact[:, :2]).min() >= hierarchy.MIN_SIDE
    assert (boxes[:, 2:] - boxes[:, :2]).min() > 0.99 * hierarchy.MIN_SIDE


@settings(deadline=None, max_examples=100)
@given(PAGES, st.randoms(use_true_random=False))
def test_the_order_of_the_words_does_not_matter(words: list[Word], random: object) -> None:
    shuffled = list(words)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert regions_of(shuffled) == regions_of(words)


@given(PAGES, st.tuples(st.floats(50, 2000), st.floats(50, 2000)))
def test_words_as_they_are_stored_give_the_same_regions_again(
    words: list[Word], shape: tuple[float, float]
) -> None:
    """So that regions can be made anew without the document, and be those of a clean run."""
    first = hierarchy.regions_of(Regions.of_words(words), *shape)
    stored = [
        Word(r.text, *(float(np.float32(v)) for v in (r.x0, r.y0, r.x1, r.y1, r.confidence)))
        for r in of_kind(rows_of(first), RegionKind.WORD)
    ]
    assert hierarchy.regions_of(Regions.of_words(stored), *shape) == first


@settings(deadline=None, max_examples=60)
@given(PAGES, st.sampled_from([0.25, 2.0, 8.0]))
def test_the_size_of_the_page_does_not_matter(words: list[Word], scale: float) -> None:
    """By powers of two, which change no digit."""
    scaled = hierarchy.regions_of(Regions.of_words(words), WIDTH * scale, HEIGHT * scale)
    assert rows_of(scaled) == regions_of(words)


def test_no_words_no_regions() -> None:
    assert regions_of([]) == ()
    assert hierarchy.page_text(Regions.of_words(())) == ""


@pytest.mark.parametrize(
    "box",
    [(0.5, 0.5, 0.5, 0.5), (1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 1.0), (0.2, 0.3, 0.9, 0.3)],
)
def test_a_word_without_area_is_grown_inside_the_page(box: BOX) -> None:
    for region in regions_of([Word("x", *box)]):
        assert 0 <= region.x0 < region.x1 <= 1 and 0 <= region.y0 < region.y1 <= 1
        assert region.x0 <= box[0] + 1e-4 and region.x1 >= box[2] - 1e-4


def test_boxes_on_top_of_each_other_stay_apart() -> None:
    """Bold print made by writing twice; nothing may be lost."""
    regions = regions_of([Word("Harbour", 0.1, 0.1, 0.3, 0.12)] * 3)
    assert texts(regions, RegionKind.WORD) == ["Harbour"] * 3


# ------------------------------------------------------------------------------------- pages

LEFT = ["Harbour dues are paid by", "every vessel that stays", "longer than one tide at", "quay"]
RIGHT = ["Pilots are taken outside", "the mole from a tender", "that waits in all weather", "too"]


def test_two_columns_are_read_one_after_the_other() -> None:
    gutter = 16  # points; 1.6 times the size of the print
    left_width = max(w.x1 for w in set_text(LEFT, 60, 100)) * WIDTH
    # Side by side, line by line on the same base lines, with the same gap in both columns.
    words = set_text(LEFT, 60, 100) + set_text(LEFT, 60, 166)
    words += set_text(RIGHT, left_width + gutter, 100) + set_text(RIGHT, left_width + gutter, 166)
    regions = regions_of(words)
    assert texts(regions, RegionKind.LINE) == [*LEFT, *LEFT, *RIGHT, *RIGHT]
    left, right = "\n".join(LEFT), "\n".join(RIGHT)
    assert texts(regions, RegionKind.PARAGRAPH) == [left, left, right, right]


def test_a_title_over_two_columns_is_read_first_and_joins_neither() -> None:
    words = set_text(["Rules of the harbour for the year"], 60, 80, em=20)
    words += set_text(LEFT, 60, 110) + set_text(RIGHT, 320, 110)
    regions = regions_of(words)
    assert texts(regions, RegionKind.BLOCK) == [
        "Rules of the harbour for the year",
        "\n".join(LEFT),
        "\n".join(RIGHT),
    ]


def test_paragraphs_part_at_gaps_and_share_a_block() -> None:
    words = set_text(LEFT, 60, 100) + set_text(LEFT, 60, 100 + 4 * 12 + 8)
    regions = regions_of(words)
    assert texts(regions, RegionKind.PARAGRAPH) == ["\n".join(LEFT)] * 2
    assert len(of_kind(regions, RegionKind.BLOCK)) == 1


def test_paragraphs_part_at_an_indent() -> None:
    """As most books and papers set them: no gap, but an indent after a short line."""
    first = [*LEFT[:3], "quay for dues."]
    words = set_text(first, 60, 100) + set_line("Pilots wait outside the", 75, 148)
    words += set_text(RIGHT, 60, 160)
    assert texts(regions_of(words), RegionKind.PARAGRAPH) == [
        "\n".join(first),
        "\n".join(["Pilots wait outside the", *RIGHT]),
    ]


def test_double_spaced_lines_are_one_paragraph() -> None:
    regions = regions_of(set_text(LEFT * 3, 60, 100, pitch=2.2))
    assert len(of_kind(regions, RegionKind.PARAGRAPH)) == 1


def test_a_block_begins_at_a_heading() -> None:
    words = set_text(LEFT, 60, 100)
    words += set_line("Harbour Dues", 60, 100 + 4 * 12 + 10)  # in the print of the text
    words += set_text(LEFT, 60, 100 + 5 * 12 + 20)
    words += set_text(["Pilots"], 60, 100 + 9 * 12 + 40, em=16)
    words += set_text(RIGHT, 60, 100 + 10 * 12 + 50)
    text, other = "\n".join(LEFT), "\n".join(RIGHT)
    assert texts(regions_of(words), RegionKind.BLOCK) == [
        text,
        f"Harbour Dues\n{text}",
        f"Pilots\n{other}",
    ]


def test_items_of_a_list_are_paragraphs_of_one_block() -> None:
    words: list[Word] = []
    for i, marker in enumerate(["•", "•", "2.", "(c)"]):
        words += set_line(marker, 60, 100 + i * 24)
        words += set_text(["Vessels keep to the", "right hand side"], 84, 100 + i * 24)
    regions = regions_of(words)
    item = "Vessels keep to the\nright hand side"
    assert texts(regions, RegionKind.PARAGRAPH) == [f"{m} {item}" for m in ("•", "•", "2.", "(c)")]
    assert len(of_kind(regions, RegionKind.BLOCK)) == 1


def test_a_letter_that_ends_a_sentence_does_not_begin_a_list() -> None:
    lines = ["a reasoner which we call here", "R. We begin with a context that"]
    assert len(of_kind(regions_of(set_text(lines, 60, 100)), RegionKind.PARAGRAPH)) == 1


def test_the_number_of_a_heading_belongs_to_it_but_a_cell_not_to_the_text_beside() -> None:
    words = set_line("5", 60, 88) + set_line("Dues", 84, 88) + set_text(LEFT, 60, 100)
    assert texts(regions_of(words), RegionKind.LINE)[0] == "5 Dues"
    words = set_text(LEFT, 120, 100)
    for i, name in enumerate(["Dues", "Pilots", "Tides"]):
        words += set_line(name, 20, 100 + 12 * i) + set_line(str(i), 95, 100 + 12 * i)
    assert set(LEFT) < set(texts(regions_of(words), RegionKind.LINE))


def test_a_line_stretched_to_the_margin_stays_one_line() -> None:
    words = set_text(["the register of all vessels is kept"], 60, 100)
    stretched = set_line("shown at the office", 60, 112, space=2.2)
    words += stretched + set_text(["by the harbour master of the port"], 60, 124)
    assert texts(regions_of(words), RegionKind.LINE)[1] == "shown at the office"


def test_signs_above_and_on_the_line_belong_to_it() -> None:
    """Superscripts, commas and dashes have odd boxes; a footnote mark must not cut a line."""
    words = set_line("Harbour", 60, 100) + set_line("a", 95.5, 96, em=6)
    words += [Word(",", 99 / WIDTH, 99 / HEIGHT, 101 / WIDTH, 102 / HEIGHT)]
    words += set_line("pilot", 104, 100)
    words += [Word("—", 131 / WIDTH, 97 / HEIGHT, 140 / WIDTH, 97.6 / HEIGHT)]
    words += set_line("quay", 142, 100)
    assert texts(regions_of(words), RegionKind.LINE) == ["Harbour a , pilot — quay"]


def test_a_large_initial_does_not_join_the_lines_beside_it() -> None:
    words = set_line("L", 60, 117, em=30) + set_line("ARGE harbours have", 80, 100)
    words += set_line("able pilots who work", 80, 112) + set_text(LEFT, 60, 129)
    lines = texts(regions_of(words), RegionKind.LINE)
    assert "able pilots who work" in lines


def test_cells_of_a_table_are_one_block_and_rows_are_not_joined_to_text() -> None:
    rows = [("Dues", "2019", "2020"), ("Quay dues", "3,114", "3,592"), ("Pilots", "$ 9", "17")]
    words = set_text(LEFT, 60, 60)
    for i, row in enumerate(rows):
        for x, cell in zip((60, 300, 420), row, strict=True):
            words += set_line(cell, x, 150 + 16 * i)
    words += set_text(RIGHT, 60, 240)
    regions = regions_of(words)
    blocks = texts(regions, RegionKind.BLOCK)
    assert blocks[0] == "\n".join(LEFT) and blocks[2] == "\n".join(RIGHT)
    assert len(blocks) == 3
    assert sorted(blocks[1].split()) == sorted(" ".join(" ".join(r) for r in rows).split())
    # A line never runs over from one cell into the next.
    assert "Quay dues" in texts(regions, RegionKind.LINE)


def test_running_text_beside_short_lines_is_no_table() -> None:
    """What once made a page of two columns one block: a listing beside a paragraph."""
    prose = ["The master of a vessel answers to every word"] * 8
    words = set_text(prose, 40, 100) + set_text(["Claim =", "We know", "Can we"], 300, 112)
    blocks = texts(regions_of(words), RegionKind.BLOCK)
    assert blocks == ["\n".join(prose), "Claim =\nWe know\nCan we"]


def test_text_along_the_margin_is_a_block_of_its_own() -> None:
    """The stamp of a preprint: it must not tie the lines beside it together."""
    words = set_text(LEFT * 4, 100, 300)
    bottom = 480.0
    for token in ["Harbour", "notes", "27", "March"]:
        top = bottom - (40 if len(token) > 2 else 16)
        words.append(Word(token, 40 / WIDTH, top / HEIGHT, 55 / WIDTH, bottom / HEIGHT))
        bottom = top - 5
    assert texts(regions_of(words), RegionKind.BLOCK) == [
        "Harbour notes 27 March",
        "\n".join(LEFT * 4),
    ]


def test_a_full_page_is_grouped_in_well_under_a_second() -> None:
    line = "harbour dues are paid by every vessel that stays longer than"
    words = [
        w
        for column in range(5)
        for row in range(60)
        for w in set_line(line, 10 + 120 * column, 30 + 12.5 * row, em=3.6)
    ]
    assert len(words) == 3300
    started = time.process_time()
    regions = regions_of(words)
    assert time.process_time() - started < 1.0
    assert len(of_kind(regions, RegionKind.LINE)) == 300


def test_a_page_of_boxes_over_each_other_ends_too() -> None:
    """Every pair of words overlaps: work and memory must stay bounded."""
    rng = np.random.default_rng(1)
    words = [
        Word("word", *np.sort(rng.uniform(0, 1, (2, 2)), axis=0).ravel().tolist())
        for _ in range(2000)
    ]
    started = time.process_time()
    assert len(of_kind(regions_of(words), RegionKind.WORD)) == 2000
    assert time.process_time() - started < 10.0
