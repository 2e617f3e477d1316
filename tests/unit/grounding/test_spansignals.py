"""Guards what is known of a span by its place and a question, on a small page by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patchlight.storage.records import RegionKind
from patchlight.tasks.grounding.evidence import Seen
from patchlight.tasks.grounding.questionwords import question_words
from patchlight.tasks.grounding.spansignals import LAYOUT, SIGNALS, PageSpans
from tests.region_examples import page_of

# On the left two paragraphs under each other, on the right a figure. A line each, of two words.
UPPER, LOWER, FIGURE = (0.0, 0.0, 0.5, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.0, 1.0, 0.5)
ROWS = (
    (RegionKind.PARAGRAPH, UPPER, 1.0, "harbour depth"),
    (RegionKind.PARAGRAPH, LOWER, 1.0, "harbour master"),
    (RegionKind.FIGURE, FIGURE, 0.75, ""),
    (RegionKind.LINE, (0.0, 0.0, 0.5, 0.25), 1.0, "harbour depth"),
    (RegionKind.LINE, (0.0, 0.5, 0.5, 0.75), 1.0, "harbour master"),
    (RegionKind.WORD, (0.0, 0.0, 0.25, 0.25), 1.0, "harbour"),
    (RegionKind.WORD, (0.25, 0.0, 0.5, 0.25), 1.0, "depth"),
    (RegionKind.WORD, (0.0, 0.5, 0.25, 0.75), 1.0, "harbour"),
    (RegionKind.WORD, (0.25, 0.5, 0.5, 0.75), 1.0, "master"),
)
SPANS = ("figure", "upper", "lower", "both")
GRID = (2, 2)
CELLS = np.arange(4)
NOTHING = Seen(np.zeros((4, 1), np.float32), np.ones(1, np.float32), CELLS, GRID)


@pytest.fixture
def spans() -> PageSpans:
    kinds, boxes, confidence, texts = zip(*ROWS, strict=True)
    order = [0, 1, 0, 0, 1, 0, 1, 2, 3]
    page = PageSpans(page_of(kinds, np.array(boxes), order, confidence, texts))
    assert page.spans.members == ((2,), (0,), (1,), (0, 1))
    return page


def named(signals: np.ndarray) -> dict[str, dict[str, float]]:
    """By signal and span."""
    return {
        signal: dict(zip(SPANS, column, strict=True))
        for signal, column in zip(SIGNALS, signals.T.tolist(), strict=False)
    }


def test_signals_by_place(spans: PageSpans) -> None:
    found = named(spans.layout)
    assert list(found) == list(LAYOUT)
    assert found["paragraph"] == {"figure": 0, "upper": 1, "lower": 1, "both": 1}
    assert found["figure"] == {"figure": 1, "upper": 0, "lower": 0, "both": 0}
    assert found["run"] == {"figure": 0, "upper": 0, "lower": 0, "both": 1}
    assert found["confidence"] == {"figure": 0.75, "upper": 0, "lower": 0, "both": 0}
    assert found["filled"] == {"figure": 0, "upper": 0.5, "lower": 0.5, "both": 0.5}
    assert found["text"] == {"figure": 0, "upper": 1, "lower": 1, "both": 1}
    assert found["size"]["upper"] == pytest.approx((math.log(0.25 + 0.002) + 1.8) ** 2)
    assert found["size"]["both"] == pytest.approx((math.log(0.5 + 0.002) + 1.8) ** 2)


def test_words_count_by_their_rarity_and_where_they_are(spans: PageSpans) -> None:
    # "harbour" is on both lines, "depth" on one, "pilot" on none and says nothing.
    asked = question_words("How does depth matter in a harbour with a pilot?")
    found = named(spans.signals(asked, NOTHING))
    depth, harbour = math.log(1 + 1.5 / 1.5), math.log(1 + 0.5 / 2.5)
    depth, harbour = depth / (depth + harbour), harbour / (depth + harbour)
    assert found["words"] == pytest.approx({"figure": 0, "upper": 1, "lower": harbour, "both": 1})
    # Half of the mass of "harbour" lies in each paragraph: 0.8 * 0.5 + 0.2 = 0.6.
    assert found["text_word_coverage"] == pytest.approx(
        {
            "figure": 0,
            "upper": harbour * math.log(0.6),
            "lower": harbour * math.log(0.6) + depth * math.log(0.2),
            "both": 0,
        }
    )


def test_a_question_about_something_seen_speaks_for_figures(spans: PageSpans) -> None:
    seen, other = (
        named(spans.signals(question_words(text), NOTHING))["asks_visual"]
        for text in ("Which colour has the line?", "Who is the harbour master?")
    )
    assert seen == {"figure": 1, "upper": 0, "lower": 0, "both": 0}
    assert set(other.values()) == {0}


def test_patches_by_hand(spans: PageSpans) -> None:
    # Mean 0, deviation 1: two lit cells on the left, with e of 2e + 2/e each.
    scores = np.array([[1], [-1], [1], [-1]], np.float32)
    seen = Seen(scores, np.array([3], np.float32), CELLS, GRID)
    found = named(spans.signals(question_words(""), seen))
    lit, dark = math.e / (2 * math.e + 2 / math.e), 1 / math.e / (2 * math.e + 2 / math.e)
    density = {
        "figure": math.log(0.9 * dark / 0.25 + 0.1),
        "upper": math.log(0.9 * lit / 0.25 + 0.1),
        "lower": math.log(0.9 * lit / 0.25 + 0.1),
        "both": math.log(0.9 * 2 * lit / 0.5 + 0.1),
    }
    assert found["patch_density"] == pytest.approx(density)
    assert found["text_patch_density"] == pytest.approx(density | {"figure": 0})
    carried = spans.carried(np.array([0, 3]), seen)
    assert carried == pytest.approx(np.array([[dark - 0.25], [2 * lit - 0.5]]))


def test_cells_without_a_vector_are_not_there(spans: PageSpans) -> None:
    # Of the left column only: the upper and lower paragraph have half of all patches each.
    cells = np.array([0, -1, 1, -1])
    scores = np.array([[1], [-1]], np.float32)
    found = named(spans.signals(question_words(""), Seen(scores, np.ones(1), cells, GRID)))
    lit = 1 / (1 + math.exp(-2))
    assert found["patch_density"] == pytest.approx(
        {
            "figure": math.log(0.1),
            "upper": math.log(0.9 * lit / 0.5 + 0.1),
            "lower": math.log(0.9 * (1 - lit) / 0.5 + 0.1),
            "both": 0,
        }
    )


def test_heavier_tokens_say_more(spans: PageSpans) -> None:
    scores = np.array([[1, -1], [-1, -1], [-1, 1], [-1, -1]], np.float32)
    parts = spans.carried(np.array([1]), Seen(scores, np.array([3, 1], np.float32), CELLS, GRID))
    one, other = (
        spans.carried(np.array([1]), Seen(scores[:, [i]], np.ones(1), CELLS, GRID))[0, 0]
        for i in (0, 1)
    )
    assert parts[0] == pytest.approx([0.75 * one, 0.25 * other])
    assert one > 0 > other


def test_prose_is_the_share_of_long_lines() -> None:
    long, short = "one two three four five six", "one two"
    for texts, share in (((long,) * 4, 1.0), ((long, long, short, short), 0.5), ((short,) * 4, 0)):
        lines = [(0.1, 0.1 + i / 10, 0.9, 0.2 + i / 10) for i in range(4)]
        page = page_of(
            [RegionKind.PARAGRAPH, *[RegionKind.LINE] * 4],
            np.array([(0.1, 0.1, 0.9, 0.5), *lines]),
            [0, 0, 1, 2, 3],
            texts=["", *texts],
        )
        (prose,) = PageSpans(page).layout[:, LAYOUT.index("prose")]
        assert prose == pytest.approx(share)
