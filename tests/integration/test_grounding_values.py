"""Lines and cells of stored pages as values: kinds that are named, order, words, independence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from patchlight.storage.reader import read_patches
from patchlight.storage.records import QueryEncoding, RegionKind
from patchlight.tasks.grounding.places import WORDS_A_REGION, ground
from patchlight.tasks.grounding.records import FoundPage, PagePlaces
from patchlight.tasks.grounding.selection import Selection, SelectionRule, selection_of
from patchlight.tasks.grounding.spanweights import SpanSignals
from tests.grounding_examples import (
    COLS,
    ROWS,
    Placed,
    Stored,
    options,
    query,
    shown,
    store,
)

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")

WORD, LINE, CELL = RegionKind.WORD, RegionKind.LINE, RegionKind.CELL
TABLE, PARAGRAPH = RegionKind.TABLE, RegionKind.PARAGRAPH

Box = tuple[float, float, float, float]

FORM: tuple[tuple[Box, str], ...] = (
    ((0.1, 0.1, 0.3, 0.12), "Invoice date"),
    ((0.5, 0.1, 0.7, 0.12), "3 May 2020"),
    ((0.1, 0.2, 0.3, 0.22), "Total due"),
    ((0.5, 0.2, 0.7, 0.22), "40.00"),
)
GRID = (("", "2019", "2020"), ("Profit", "11", "12"), ("Loss", "21", "22"))
CELLS: tuple[tuple[Box, str], ...] = tuple(
    ((0.1 + x * 0.3, 0.5 + y * 0.1, 0.3 + x * 0.3, 0.52 + y * 0.1), text)
    for y, texts in enumerate(GRID)
    for x, text in enumerate(texts)
)
EVERY = Selection(SelectionRule.SPANS, 1e-300)
QUESTIONS = ("What is the invoice date?", "How much is the total due?", "the loss of 2020", "")


def words() -> list[Placed]:
    """Each as wide as the others of its line or cell."""
    found: list[Placed] = []
    for (x0, y0, x1, y1), text in (*FORM, *CELLS):
        parts = text.split()
        wide = (x1 - x0) / max(len(parts), 1)
        for i, part in enumerate(parts):
            box = (x0 + i * wide, y0, x0 + (i + 1) * wide, y1)
            found.append((WORD, len(found), box, part))
    return found


def placed(kind: RegionKind, texts: Sequence[tuple[Box, str]]) -> list[Placed]:
    return [(kind, order, box, text) for order, (box, text) in enumerate(texts)]


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A form over a table; its lines alone, its cells alone, without a patch; and a blank page."""
    lines, cells = placed(LINE, FORM), placed(CELL, CELLS)
    others: list[Placed] = [
        (PARAGRAPH, 0, (0.1, 0.1, 0.7, 0.22), "a form"),
        (TABLE, 0, (0.1, 0.5, 0.9, 0.72), "a table"),
    ]
    blank = np.full(ROWS * COLS, -1, np.int32)
    lit = np.array([0, 1, 2, -1, 3, 4, 5, 6, 7, -1, 8, -1], np.int32)
    every = [*words(), *lines, *others, *cells]
    pages = [(every, lit), (lines, lit), (cells, lit), (every, blank), ([], blank)]
    return store(tmp_path_factory.mktemp("values") / "db", "v", pages)


def asked() -> tuple[QueryEncoding, ...]:
    return tuple(query(seed, 5) for seed in range(len(QUESTIONS)))


def places(stored: Stored, *kinds: RegionKind, **chosen: object) -> list[list[PagePlaces]]:
    """By page and question; all there are, unless otherwise chosen."""
    how = options(**{"selection": EVERY, "top_regions": 50, "kinds": kinds} | chosen)
    found = {name: FoundPage(*row, asked(), QUESTIONS) for name, row in stored.rows.items()}
    return list(ground(stored.snapshot, found, how).values())


@pytest.mark.parametrize("kinds", [(LINE,), (CELL,), (LINE, CELL), (TABLE,), (TABLE, PARAGRAPH)])
def test_only_kinds_that_are_named_are_returned(
    printed: Stored, kinds: tuple[RegionKind, ...]
) -> None:
    every, lines, cells, no_patch, nothing = (
        [{hit.kind for hit in answer.regions} for answer in page]
        for page in places(printed, *kinds)
    )
    named = {kind.value for kind in kinds}
    assert every == no_patch == [named] * len(QUESTIONS)
    assert lines == [named & {LINE.value}] * len(QUESTIONS)
    assert cells == [named & {CELL.value}] * len(QUESTIONS)
    assert nothing == [set()] * len(QUESTIONS)


def test_without_a_kind_neither_lines_nor_cells_are_returned(printed: Stored) -> None:
    every, lines, cells, *_ = places(printed)
    assert {hit.kind for answer in every for hit in answer.regions} == {"table", "paragraph"}
    assert not any(answer.regions for answer in (*lines, *cells))


@pytest.mark.parametrize("signals", [SpanSignals.ALL, SpanSignals.WORDS])
def test_the_value_that_is_asked_for_is_first(printed: Stored, signals: SpanSignals) -> None:
    for kinds in ((LINE, CELL), (LINE,), (CELL,)):
        usual = selection_of(None, 3, kinds)
        every, *_, no_patch, _ = places(
            printed, *kinds, selection=usual, top_regions=3, span_signals=signals
        )
        for date, total, loss, _ in (every, no_patch):
            if LINE in kinds:
                assert (date.regions[0].text, date.regions[0].kind) == ("3 May 2020", "line")
                assert (total.regions[0].text, total.regions[0].kind) == ("40.00", "line")
            if CELL in kinds:
                assert (loss.regions[0].text, loss.regions[0].kind) == ("22", "cell")
                assert loss.regions[0].box == pytest.approx(CELLS[-1][0])


def test_values_are_scored_and_keep_their_keys(printed: Stored) -> None:
    names = list(printed.rows)
    for name, page in zip(names, places(printed, LINE, CELL), strict=True):
        for answer in page:
            scores = [hit.score for hit in answer.regions]
            assert scores == sorted(scores, reverse=True)
            assert not scores or sum(scores) == pytest.approx(1)
            keys = [hit.region_id for hit in answer.regions]
            assert len(set(keys)) == len(keys)
            assert all(key.startswith(f"{name}:") and "+" not in key for key in keys)


def test_words_that_carried_a_value_are_named(printed: Stored) -> None:
    every, *_, no_patch, _ = places(printed, LINE, CELL)
    hits = [hit for answer in every for hit in answer.regions]
    assert any(hit.words for hit in hits)
    for one, answer in zip(asked(), every, strict=True):
        for hit in answer.regions:
            gives = [word.score for word in hit.words]
            assert gives == sorted(gives, reverse=True) and len(gives) <= WORDS_A_REGION
            assert all(0 < score <= 1 for score in gives)
            for word in hit.words:
                assert one.meaning[word.index] and one.tokens[word.index] == word.token
    assert not any(hit.words for answer in no_patch for hit in answer.regions)


def test_the_values_on_a_lit_patch_are_carried_by_its_token(printed: Stored) -> None:
    """By the patch in the third row and column, where the last column of the table is."""
    name, row = next(iter(printed.rows.items()))
    patches = read_patches(printed.snapshot, [row[1]])
    vector = patches.vectors[[patches.cell_to_vector[2 * COLS + 2]]].astype(np.float32)
    one = QueryEncoding(("t",), vector, np.ones(1, np.float32), np.ones(1, bool))
    how = options(selection=EVERY, top_regions=50, kinds=(LINE, CELL))
    (answer,) = ground(printed.snapshot, {name: FoundPage(*row, (one,), ("",))}, how)[name]
    carried = {hit.box: sum(word.score for word in hit.words) for hit in answer.regions}
    assert len(carried) == len(FORM) + len(CELLS)
    best = sorted(carried, key=lambda box: -carried[box])[:3]
    assert sorted(best) == [pytest.approx(box) for (box, _) in CELLS[2::3]]
    assert min(carried[box] for box in best) > 0


def test_values_do_not_depend_on_the_pages_and_questions_beside_them(printed: Stored) -> None:
    how = options(selection=EVERY, top_regions=50, kinds=(LINE, CELL))
    together = places(printed, LINE, CELL)
    for (name, row), answers in zip(printed.rows.items(), together, strict=True):
        for one, question, among in zip(asked(), QUESTIONS, answers, strict=True):
            found = FoundPage(*row, (one,), (question,))
            (alone,) = ground(printed.snapshot, {name: found}, how)[name]
            assert shown(alone) == shown(among)
