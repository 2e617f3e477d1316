"""Guards what settings and baselines score, on a page that is worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import NO_REGIONS
from patchlight.tasks.answers.tokencost import page_tokens, text_tokens
from patchlight.tasks.evaluation import baselines
from patchlight.tasks.evaluation.choices import Truth
from patchlight.tasks.evaluation.coverage import EvidencePieces
from patchlight.tasks.evaluation.protocols import NOTHING_RETURNED, Returned
from patchlight.tasks.evaluation.scoring import (
    MEASURES,
    NOTHING,
    Target,
    score_choices,
    score_returned,
)
from patchlight.tasks.evaluation.stored import MeasuredPage
from patchlight.tasks.kernels.geometry import Doubles
from tests.region_examples import page_of

# Three blocks of a page, in reading order: a heading, a paragraph, and a picture without words.
HEAD, TEXT, PICTURE = (0.1, 0.1, 0.9, 0.15), (0.1, 0.2, 0.9, 0.4), (0.1, 0.5, 0.9, 0.9)
WORDS = [(0.1, 0.1, 0.5, 0.15), *[(0.1 + 0.2 * i, 0.2, 0.3 + 0.2 * i, 0.3) for i in range(4)]]
REGIONS = page_of(
    [RegionKind.BLOCK] * 3,
    np.array([HEAD, TEXT, PICTURE]),
    texts=["Depths", "The berth is deep", ""],
)
LINES = page_of(
    [RegionKind.LINE] * 2,
    np.array([HEAD, (0.1, 0.2, 0.9, 0.3)]),
    texts=["Depths", "The berth is deep"],
)
PAGE = MeasuredPage(np.array(WORDS), "Depths\nThe berth is deep", REGIONS, LINES)
WIDTH, HEIGHT = 612.0, 792.0


def target(*true: tuple[float, float, float, float]) -> Target:
    return Target(np.array(true), PAGE, WIDTH, HEIGHT, seed=0)


def named(values: Doubles) -> dict[str, float]:
    return dict(zip(MEASURES, values.tolist(), strict=True))


def returned(*rows: int) -> Returned:
    boxes = REGIONS.boxes[list(rows)]
    texts = tuple(REGIONS.texts[row] for row in rows)
    return Returned(1, boxes, np.zeros(len(rows)), ("block",) * len(rows), texts)


def of(name: str, query: str, *true: tuple[float, float, float, float]) -> dict[str, float]:
    choices = baselines.choices(query, PAGE, {"ours": 2}, Truth.ALL)
    return named(score_choices(choices, target(*true))[name])


def test_a_setting_is_scored_as_a_whole_and_by_its_first_regions() -> None:
    found = named(score_returned(returned(1, 0, 2), target(TEXT)))
    # IoU 1 with the paragraph, 0 with the others: 1 / 3 of all, 1 of the first.
    assert found["official"] == pytest.approx(1 / 3)
    assert found["top1_official"] == 1.0
    assert found["top3_official"] == pytest.approx(1 / 3)
    assert (found["best"], found["boxes"], found["reach_1"]) == (1.0, 3.0, 1.0)
    assert found["share"] == pytest.approx(0.8 * (0.05 + 0.2 + 0.4))
    assert found["top1_share"] == pytest.approx(0.8 * 0.2)
    assert (found["hit_1"], found["hit_3"]) == (1.0, 1.0)


def test_the_order_decides_what_the_first_one_is() -> None:
    found = named(score_returned(returned(0, 2, 1), target(TEXT)))
    assert (found["top1_official"], found["reach_1"], found["hit_1"]) == (0.0, 0.0, 0.0)
    assert (found["reach_3"], found["hit_3"]) == (1.0, 1.0)


def test_context_costs_text_and_of_what_has_none_the_picture() -> None:
    found = named(score_returned(returned(2, 1), target(TEXT)))
    picture = page_tokens(0.8 * WIDTH, 0.4 * HEIGHT)
    text = text_tokens("The berth is deep")
    assert found["tokens"] == picture + text
    # The picture holds none of the paragraph; with it all is held.
    assert (found["coverage"], found["tokens_to_90"]) == (1.0, picture + text)
    alone = named(score_returned(returned(2), target(TEXT)))
    assert alone["coverage"] == 0.0 and np.isnan(alone["tokens_to_90"])


def test_a_picture_with_a_label_costs_the_picture_and_not_the_label() -> None:
    label = MeasuredPage(np.array([(0.1, 0.5, 0.14, 0.52)]), "Depth", REGIONS, LINES)
    shown = Returned(1, np.array([PICTURE]), np.zeros(1), ("figure",), ("Depth",))
    found = named(score_returned(shown, Target(np.array([PICTURE]), label, WIDTH, HEIGHT, 0)))
    assert found["tokens"] == page_tokens(0.8 * WIDTH, 0.4 * HEIGHT)


def test_nothing_returned_scores_nothing() -> None:
    found = score_returned(NOTHING_RETURNED, target(TEXT))
    assert np.array_equal(found, NOTHING, equal_nan=True)


def test_words_count_by_their_centres_and_pictures_by_area() -> None:
    # The left half of the paragraph holds 2 of its 4 words; that of the picture half its area.
    half_text, half_picture = (0.1, 0.2, 0.5, 0.4), (0.1, 0.5, 0.5, 0.9)
    boxes = np.array([half_text, half_picture])
    evidence = EvidencePieces(boxes, np.array([TEXT, PICTURE]), PAGE.words)
    assert evidence.along([0, 1]) == pytest.approx([0.25, 0.5])
    assert evidence.along([1]) == pytest.approx([0.25])
    assert len(evidence.along([])) == 0
    # One of the two at random: a quarter either way.
    assert evidence.expected(1, seed=0) == pytest.approx(0.25)
    assert evidence.expected(2, seed=0) == pytest.approx(0.5)


def test_where_any_true_box_is_enough_the_best_held_one_counts() -> None:
    half_text, most_of_picture = (0.1, 0.2, 0.5, 0.4), (0.1, 0.5, 0.7, 0.9)
    boxes = np.array([half_text, most_of_picture])
    evidence = EvidencePieces(boxes, np.array([TEXT, PICTURE]), PAGE.words, any_box=True)
    assert evidence.along([0, 1]) == pytest.approx([0.5, 0.75])
    assert evidence.expected(1, seed=0) == pytest.approx((0.5 + 0.75) / 2)
    assert evidence.expected(2, seed=0) == pytest.approx(0.75)
    assert evidence.expected(0, seed=0) == 0.0


def test_few_words_in_a_large_box_make_no_text_of_it() -> None:
    """An axis label in a chart: the chart is the evidence, and its area counts."""
    label = (0.1, 0.5, 0.14, 0.52)
    evidence = EvidencePieces(np.array([label]), np.array([PICTURE]), np.array([label]))
    assert evidence.along([0]) == pytest.approx([0.04 * 0.02 / (0.8 * 0.4)])


def test_blind_choices_are_those_of_the_area() -> None:
    assert of(baselines.LARGEST, "any", PICTURE)["official"] == 1.0
    assert of(baselines.LARGEST, "any", PICTURE)["boxes"] == 1.0
    two = of(baselines.k_largest("ours"), "any", PICTURE)
    assert (two["boxes"], two["official"], two["best"]) == (2.0, 0.5, 1.0)
    assert two["share"] == pytest.approx(0.8 * 0.6)
    everything = of(baselines.ALL, "any", PICTURE)
    assert (everything["boxes"], everything["top1_official"]) == (3.0, 0.0)
    page = of(baselines.WHOLE_PAGE, "any", PICTURE)
    assert page["official"] == pytest.approx(0.32)
    assert (page["share"], page["coverage"]) == (1.0, 1.0)
    assert page["tokens"] == text_tokens(PAGE.text)


def test_a_random_choice_is_an_expectation() -> None:
    one = of(baselines.RANDOM, "any", TEXT)
    assert one["official"] == pytest.approx(1 / 3)
    assert one["hit_1"] == pytest.approx(1 / 3)
    assert one["hit_3"] == pytest.approx(1.0)
    assert one["boxes"] == 1.0
    tokens = [text_tokens("Depths"), text_tokens("The berth is deep")]
    assert one["tokens"] == pytest.approx(
        (sum(tokens) + page_tokens(0.8 * WIDTH, 0.4 * HEIGHT)) / 3
    )
    two = of(baselines.k_random("ours"), "any", TEXT)
    # Two of three hold the paragraph in 2 of 3 draws, and it counts half there.
    assert (two["official"], two["best"]) == pytest.approx((1 / 3, 2 / 3))
    assert two["coverage"] == pytest.approx(2 / 3)


def test_bm25_takes_the_region_with_the_words_of_the_question() -> None:
    assert of(baselines.BEST_REGION, "How deep is the berth?", TEXT)["official"] == 1.0
    # Without a word of the question the first region in reading order is taken.
    assert of(baselines.BEST_REGION, "xyzzy", HEAD)["official"] == 1.0


def test_lines_are_asked_where_any_box_is_enough() -> None:
    choices = baselines.choices("deep berth", PAGE, {"ours": 1}, Truth.ANY)
    assert list(choices) == baselines.names(["ours"], Truth.ANY)
    found = named(score_choices(choices, target((0.3, 0.2, 0.5, 0.3)))[baselines.BEST_LINE])
    assert found["hit_1"] == 1.0
    assert found["top1_share"] == pytest.approx(0.8 * 0.1)


def test_a_page_without_regions_is_scored_too() -> None:
    empty = MeasuredPage(np.zeros((0, 4)), "", NO_REGIONS, NO_REGIONS)
    choices = baselines.choices("any", empty, {"ours": 0}, Truth.ANY)
    scores = score_choices(choices, Target(np.array([TEXT]), empty, WIDTH, HEIGHT, 0))
    for name, values in scores.items():
        if name != baselines.WHOLE_PAGE:
            assert np.nansum(values) == 0.0, name
    page = named(scores[baselines.WHOLE_PAGE])
    assert page["tokens"] == page_tokens(WIDTH, HEIGHT) and page["coverage"] == 1.0
