"""Guards what is known of lines and cells as values, on a small form and a table by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding.evidence import Seen
from patchlight.tasks.grounding.questionwords import question_words
from patchlight.tasks.grounding.spanweights import SpanSignals
from patchlight.tasks.grounding.valuesignals import LAYOUT, SIGNALS, PageValues
from patchlight.tasks.grounding.valueweights import value_scores
from tests.region_examples import page_of

pytestmark = pytest.mark.filterwarnings("error")  # numpy says what became NaN or infinite

WORD, LINE, CELL = RegionKind.WORD, RegionKind.LINE, RegionKind.CELL
Box = tuple[float, float, float, float]
Placed = tuple[RegionKind, Box, str]

NOTHING = Seen(np.empty((0, 1)), np.ones(1), np.full(4, -1), (2, 2))


def page(*regions: Placed) -> Regions:
    kinds, boxes, texts = zip(*regions, strict=True) if regions else ((), (), ())
    return page_of(kinds, np.array(boxes), texts=texts)


def words(box: Box, text: str) -> list[Placed]:
    """The words of a line or cell, each as wide as the others."""
    x0, y0, x1, y1 = box
    parts = text.split()
    wide = (x1 - x0) / max(len(parts), 1)
    return [(WORD, (x0 + i * wide, y0, x0 + (i + 1) * wide, y1), p) for i, p in enumerate(parts)]


def named(signals: np.ndarray) -> dict[str, list[float]]:
    return dict(zip(SIGNALS, signals.T.tolist(), strict=True))


# A label with its value on the right, and far below one with its value under it.
FORM: list[tuple[Box, str]] = [
    ((0.1, 0.1, 0.3, 0.15), "Invoice date"),
    ((0.5, 0.1, 0.7, 0.15), "3 May 2020"),
    ((0.5, 0.6, 0.7, 0.65), "Total due"),
    ((0.5, 0.65, 0.7, 0.7), "40.00"),
]


def form() -> PageValues:
    lines = [(LINE, box, text) for box, text in FORM]
    return PageValues(page(*lines, *(word for box, text in FORM for word in words(box, text))))


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        (
            "What is the invoice date?",
            {
                "type": [0, 1, 0, 0],
                "own": [1, 0, 0, 0],
                "left": [0, 1, 0, 0],
                "next": [1, 1, 0, 0],
                "again": [0, 0, 0, 1],  # the last two hold nothing
            },
        ),
        (
            "What is the total of the invoice?",  # one of two words of each label
            {
                "type": [0, 0, 0, 1],
                "own": [0.5, 0, 0.5, 0],
                "left": [0, 0.5, 0, 0],
                "next": [0.5, 0.5, 0.5, 0.5],
                "again": [0, 0, 1, 0],
            },
        ),
        (
            "Who is the pilot?",  # not on the page
            {
                "type": [1, 0, 1, 0],  # both labels may be a name
                "own": [0] * 4,
                "left": [0] * 4,
                "next": [0] * 4,
                "again": [0, 0, 1, 1],
            },
        ),
        (
            "",
            {
                "type": [0] * 4,
                "own": [0] * 4,
                "left": [0] * 4,
                "next": [0] * 4,
                "again": [0, 1, 2, 3],
            },
        ),
    ],
)
def test_a_form_by_hand(question: str, expected: dict[str, list[float]]) -> None:
    found = named(form().signals(question_words(question), NOTHING))
    assert list(found) == list(SIGNALS)
    expected = expected | {
        "digits": [0, 5 / 10, 0, 4 / 5],
        "order": [0, math.log(2), math.log(3), math.log(4)],
        "crossing": [0] * 4,
        "patches": [0] * 4,
    }
    assert found == {signal: pytest.approx(values) for signal, values in expected.items()}
    assert LAYOUT == ("digits", "order")


@pytest.mark.parametrize(
    ("question", "value"), [("What is the invoice date?", 1), ("How much is the total due?", 3)]
)
def test_the_value_of_a_label_is_first(question: str, value: int) -> None:
    signals = form().signals(question_words(question), NOTHING)
    for by in (SpanSignals.ALL, SpanSignals.WORDS):
        assert value_scores(signals, by).argmax() == value


def test_words_count_by_their_rarity() -> None:
    lines = [(f"{word} due", (0.1, i / 10, 0.3, i / 10 + 0.02)) for i, word in enumerate("abc")]
    value = ((0.5, 0.0, 0.7, 0.02), "9")
    placed = [*((box, text) for text, box in lines), value]
    regions = [(LINE, box, text) for box, text in placed]
    regions += [word for box, text in placed for word in words(box, text)]
    found = named(PageValues(page(*regions)).signals(question_words("b due"), NOTHING))
    # On one and on three of four lines.
    b, due = math.log(1 + 3.5 / 1.5), math.log(1 + 1.5 / 3.5)
    b, due = b / (b + due), due / (b + due)
    assert found["own"] == pytest.approx([due, 1, due, 0])
    assert found["left"] == pytest.approx([0, 0, 0, due])


TABLE = [["", "2019", "2020"], ["Profit", "11", "12"], ["Loss", "21", "22"]]


def table() -> Regions:
    """Cells, and lines over their rows, as wide as their words."""
    boxes = [
        [(0.1 + x * 0.3, 0.1 + y * 0.1, 0.3 + x * 0.3, 0.14 + y * 0.1) for x in range(3)]
        for y in range(3)
    ]
    cells = [
        (CELL, box, text)
        for row, texts in zip(boxes, TABLE, strict=True)
        for box, text in zip(row, texts, strict=True)
    ]
    rows = [
        (LINE, (*row[not texts[0]][:2], *row[-1][2:]), " ".join(texts).strip())
        for row, texts in zip(boxes, TABLE, strict=True)
    ]
    return page(*cells, *rows, *(word for _, box, text in cells for word in words(box, text)))


def test_a_table_by_hand() -> None:
    asked = question_words("What was the loss in 2020?")
    found = named(PageValues(table(), [CELL]).signals(asked, NOTHING))
    assert found["digits"] == [0, 1, 1, 0, 1, 1, 0, 1, 1]
    assert found["own"] == [0, 0, 0.5, 0, 0, 0, 0.5, 0, 0]
    assert found["left"] == [0, 0, 0, 0, 0, 0, 0, 0.5, 0.5]
    # The line that is a cell's row is not left of it; the one above it holds all its columns.
    assert found["next"] == [0, 0, 0.5, 0, 0.5, 0.5, 0.5, 0, 0]
    # Row heading x column heading.
    assert found["crossing"] == [0, 0, 0, 0, 0, 0, 0, 0, 0.5]
    assert found["again"] == [0, 1, 0, 2, 0, 1, 1, 0, 0]


@pytest.mark.parametrize(
    ("question", "cell"),
    [
        ("What was the loss in 2020?", 8),
        ("What was the loss in 2019?", 7),
        ("What was the profit in 2020?", 5),
        ("What was the profit in 2019?", 4),
    ],
)
def test_a_question_crosses_at_one_cell(question: str, cell: int) -> None:
    signals = PageValues(table(), [CELL]).signals(question_words(question), NOTHING)
    assert np.flatnonzero(named(signals)["crossing"]).tolist() == [cell]
    assert value_scores(signals, SpanSignals.ALL).argmax() == cell


def test_a_heading_of_several_lines_names_the_middle_of_its_row() -> None:
    heading = [((0.1, y, 0.3, y + 0.02), text) for y, text in ((0.1, "Loss"), (0.14, "after"))]
    column, value = ((0.5, 0.0, 0.6, 0.02), "2020"), (0.5, 0.12, 0.6, 0.14)
    regions = [(LINE, value, "22")]
    regions += [
        word for box, text in (*heading, column, (value, "22")) for word in words(box, text)
    ]
    found = named(PageValues(page(*regions)).signals(question_words("loss after 2020"), NOTHING))
    assert found["left"] == [0]
    assert found["crossing"] == pytest.approx([1 / 3])  # two words on the left, one above


def test_lines_and_cells_of_a_page_or_one_kind() -> None:
    for kinds, count in (([LINE], 3), ([CELL], 9), ([LINE, CELL], 12)):
        values = PageValues(table(), kinds)
        assert set(values.spans.kinds) == set(kinds) and len(values.spans) == count
    assert PageValues(table()).spans.members == PageValues(table(), [LINE, CELL]).spans.members


def test_again_counts_equal_evidence_up_to_three() -> None:
    texts = ["1", "deep", "2", "3", "deep", "4", "5"]
    boxes = [(0.1, i / 10, 0.2, i / 10 + 0.01) for i in range(len(texts))]
    placed = list(zip(boxes, texts, strict=True))
    regions = [(LINE, box, text) for box, text in placed]
    regions += [word for box, text in placed for word in words(box, text)]
    found = named(PageValues(page(*regions)).signals(question_words("deep"), NOTHING))
    assert found["own"] == [0, 1, 0, 0, 1, 0, 0]
    assert found["again"] == [0, 0, 1, 2, 1, 3, 3]


@pytest.mark.parametrize("question", ["the depth of a harbour", "", "On what date?"])
@pytest.mark.parametrize(
    "regions",
    [
        (),
        ((WORD, (0.1, 0.1, 0.2, 0.2), "harbour"),),
        ((LINE, (0.1, 0.1, 0.2, 0.2), "harbour"),),  # without words
        ((CELL, (0.1, 0.1, 0.2, 0.2), ""),),  # without words and lines
        ((CELL, (0.1, 0.1, 0.2, 0.2), "harbour"), (WORD, (0.1, 0.1, 0.2, 0.2), "harbour")),
    ],
)
def test_pages_that_lack_something(regions: tuple[Placed, ...], question: str) -> None:
    values = PageValues(page(*regions))
    count = sum(kind is not WORD for kind, _, _ in regions)
    lit = Seen(np.array([[1.0], [0.0]]), np.ones(1), np.array([0, 1]), (1, 2))
    for seen in (NOTHING, lit):
        signals = values.signals(question_words(question), seen)
        assert signals.shape == (count, len(SIGNALS)) and np.isfinite(signals).all()
        assert values.carried(np.arange(count), seen).shape == (count, 1)
    signals = values.signals(question_words(question), NOTHING)
    assert not signals[:, SIGNALS.index("patches")].any()
    own = len(regions) == 2 and "harbour" in question  # the last page alone has the word
    assert signals[:, SIGNALS.index("own")].tolist() == [float(own)] * count


# A line in each quarter of the page, and a patch.
QUARTERS = [
    (LINE, (0.0, 0.0, 0.5, 0.5), "a"),
    (LINE, (0.5, 0.0, 1.0, 0.5), "b"),
    (LINE, (0.0, 0.5, 0.5, 1.0), "c"),
    (LINE, (0.5, 0.5, 1.0, 1.0), "d"),
]
CELLS, GRID = np.arange(4), (2, 2)
# Two cells of four lit: mean 0, deviation 1.
LIT = math.e / (2 * math.e + 2 / math.e)
DARK = 1 / math.e / (2 * math.e + 2 / math.e)
HIGH, LOW = math.log(0.9 * LIT / 0.25 + 0.1), math.log(0.9 * DARK / 0.25 + 0.1)


@pytest.mark.parametrize(
    ("lit", "patches"),
    [
        ([1, -1, 1, -1], [HIGH, HIGH, HIGH, HIGH]),  # on the left: in a and c, beside b and d
        ([1, 1, -1, -1], [HIGH, HIGH, HIGH, HIGH]),  # at the top: in a and b, above c and d
        ([-1, 1, -1, 1], [0, HIGH, 0, HIGH]),  # nothing beside a; c has a dark one above it
        ([-1, -1, 1, 1], [0, 0, HIGH, HIGH]),
    ],
)
def test_patches_are_the_best_of_inside_left_and_above(
    lit: list[float], patches: list[float]
) -> None:
    seen = Seen(np.array(lit, np.float32)[:, None], np.ones(1, np.float32), CELLS, GRID)
    found = named(PageValues(page(*QUARTERS)).signals(question_words(""), seen))
    assert found["patches"] == pytest.approx(patches)


def test_patches_all_around_may_speak_against_a_place() -> None:
    # Nine patches, and a place in the middle: lit is what lies neither in it nor left nor above.
    place = [(LINE, (1 / 3, 1 / 3, 2 / 3, 2 / 3), "a")]
    scores = np.ones((9, 1))
    scores[[1, 3, 4]] = -1
    seen = Seen(scores, np.ones(1), np.arange(9), (3, 3))
    found = named(PageValues(page(*place)).signals(question_words(""), seen))
    # Mean 1/3, deviation 0.9428: 0.7071 up and 1.4142 down.
    dark = math.exp(-(2**0.5)) / (3 * math.exp(-(2**0.5)) + 6 * math.exp(0.5**0.5))
    assert found["patches"] == pytest.approx([math.log(0.9 * dark / (1 / 9) + 0.1)])


def test_each_token_has_its_own_best_place_and_weight() -> None:
    # For d the heavy token lies on the left, the light one inside; for c the light one nowhere.
    scores = np.array([[1, -1], [-1, 1], [1, -1], [-1, 1]])
    seen = Seen(scores, np.array([3.0, 1.0]), CELLS, GRID)
    values = PageValues(page(*QUARTERS))
    found = named(values.signals(question_words(""), seen))
    assert found["patches"] == pytest.approx([0.75 * HIGH, HIGH, 0.75 * HIGH, HIGH])
    carried = values.carried(np.array([3, 2]), seen)
    most = LIT - 0.25
    assert carried == pytest.approx(np.array([[0.75 * most, 0.25 * most], [0.75 * most, 0]]))


def test_cells_without_a_vector_are_not_there() -> None:
    # Of the left column only: two patches, one lit. Above b and in it is none.
    cells, scores = np.array([0, -1, 1, -1]), np.array([[1.0], [-1.0]])
    seen = Seen(scores, np.ones(1), cells, GRID)
    lit = 1 / (1 + math.exp(-2))
    found = named(PageValues(page(*QUARTERS)).signals(question_words(""), seen))
    high, low = (math.log(0.9 * part / 0.5 + 0.1) for part in (lit, 1 - lit))
    assert found["patches"] == pytest.approx([high, high, high, max(low, 0)])
