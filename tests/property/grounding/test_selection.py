"""Selection of regions and pages: counts, order, ties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from patchlight.storage.records import RegionKind
from patchlight.tasks.common.errors import NotFiniteError, SelectionError, ShapeError
from patchlight.tasks.grounding.selection import (
    VALUE_RATIO,
    Selection,
    SelectionRule,
    parse_selection,
    select,
    selection_of,
)
from patchlight.tasks.retrieval.pageorder import best_pages, merge_top
from tests import reference

# Sixteenths: sums and percentiles of them are exact, so ties are real ties.
SCORES = st.lists(st.integers(-16, 16).map(lambda i: i / 16), max_size=30)
SELECTIONS = st.one_of(
    st.integers(0, 100).map(lambda p: Selection(SelectionRule.PERCENTILE, float(p))),
    st.integers(1, 40).map(lambda k: Selection(SelectionRule.TOP_K, float(k))),
    st.floats(-2, 2).map(lambda s: Selection(SelectionRule.THRESHOLD, s)),
    st.sampled_from([Selection(SelectionRule.MAX), Selection(SelectionRule.ADAPTIVE)]),
)


@settings(deadline=None, max_examples=300)
@given(SCORES, SELECTIONS, st.sampled_from([np.float32, np.float64]))
def test_equals_the_loop(
    scores: list[float], selection: Selection, dtype: type[np.floating]
) -> None:
    if selection.rule is SelectionRule.ADAPTIVE and scores:
        # Scores on the cut-off itself are a test of their own.
        cut = float(np.mean(scores) + np.std(scores))
        assume(all(abs(score - cut) > 1e-9 for score in scores))
    if selection.rule is SelectionRule.PERCENTILE and scores:
        cut = reference.percentile(scores, selection.value or 0.0)
        assume(all(score == cut or abs(score - cut) > 1e-9 for score in scores))
    ours = select(np.array(scores, dtype), selection)
    assert ours.tolist() == reference.select(scores, selection.rule.value, selection.value)


@settings(deadline=None)
@given(SCORES, SELECTIONS)
def test_order_is_by_score_then_index(scores: list[float], selection: Selection) -> None:
    chosen = select(np.array(scores), selection).tolist()
    keys = [(-scores[i], i) for i in chosen]
    assert keys == sorted(keys)
    assert len(set(chosen)) == len(chosen)
    worst = min((scores[i] for i in chosen), default=math.inf)
    if selection.rule not in (SelectionRule.TOP_K, SelectionRule.MAX):
        assert all(i in chosen for i, score in enumerate(scores) if score >= worst)


@settings(deadline=None)
@given(st.lists(st.integers(-99, 99), min_size=1, max_size=40, unique=True), st.integers(0, 100))
def test_percentile_keeps_its_share(scores: list[int], p: int) -> None:
    # Scores apart by more than rounding: between neighbours of 5e-324 nothing can lie.
    values = np.array(scores) / 99
    chosen = select(values, Selection(SelectionRule.PERCENTILE, float(p)))
    # Of n different scores, those from rank p/100 * (n - 1) up are kept.
    expected = len(scores) - math.ceil(round(p / 100 * (len(scores) - 1), 9))
    assert len(chosen) == expected >= 1
    assert chosen[0] == int(np.argmax(scores))


@settings(deadline=None)
@given(st.integers(1, 60), st.floats(-10, 10))
def test_equal_scores_are_all_kept_by_adaptive_and_percentile(n: int, score: float) -> None:
    # The mean of equal numbers is often off by one rounding; nobody may be lost to that.
    scores = np.full(n, score)
    for text in ("adaptive", "p0", "p50", "p100"):
        assert select(scores, parse_selection(text)).tolist() == list(range(n))


@settings(deadline=None)
@given(st.floats(-1, 1), st.floats(-1, 1))
def test_adaptive_keeps_the_better_of_two(a: float, b: float) -> None:
    # Of two scores the better one equals mean + std exactly.
    assume(abs(a - b) > 1e-9)
    chosen = select(np.array([a, b]), Selection(SelectionRule.ADAPTIVE))
    assert chosen.tolist() == [0 if a > b else 1]


def test_adaptive_may_choose_none() -> None:
    assert select(np.array([1.0, 1.0, 1.0, 0.0]), Selection(SelectionRule.ADAPTIVE)).size == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_not_finite_are_refused(bad: float) -> None:
    with pytest.raises(NotFiniteError):
        select(np.array([0.1, bad]), Selection(SelectionRule.MAX))


def test_nothing_to_choose_from() -> None:
    for text in ("p50", "adaptive", "max", "top-k:3", "threshold:0"):
        assert select(np.empty(0), parse_selection(text)).tolist() == []
    with pytest.raises(ShapeError):
        select(np.zeros((2, 2)), parse_selection("max"))


@pytest.mark.parametrize(
    ("text", "rule", "value"),
    [
        ("percentile:50", SelectionRule.PERCENTILE, 50),
        ("p50", SelectionRule.PERCENTILE, 50),
        (" P97.5 ", SelectionRule.PERCENTILE, 97.5),
        ("adaptive", SelectionRule.ADAPTIVE, None),
        ("max", SelectionRule.MAX, None),
        ("top-k:5", SelectionRule.TOP_K, 5),
        ("threshold:-0.4", SelectionRule.THRESHOLD, -0.4),
        ("spans", SelectionRule.SPANS, 0.5),
        ("Spans:0.2", SelectionRule.SPANS, 0.2),
        ("spans:1", SelectionRule.SPANS, 1),
    ],
)
def test_parsing(text: str, rule: SelectionRule, value: float | None) -> None:
    assert parse_selection(text) == Selection(rule, value)


@given(st.one_of(SELECTIONS, st.floats(1e-6, 1).map(lambda r: Selection(SelectionRule.SPANS, r))))
def test_text_of_a_selection_reads_back(selection: Selection) -> None:
    assert parse_selection(str(selection)) == selection


@pytest.mark.parametrize(
    "text",
    [
        "", "best", "p", "p101", "p50:1", "percentile", "percentile:-1", "percentile:nan",
        "top-k", "top-k:0", "top-k:2.5", "top-k:x", "threshold", "threshold:inf", "threshold:",
        "max:1", "adaptive:2", "spans:0", "spans:-0.5", "spans:1.01", "spans:nan", "spans:",
    ],
)  # fmt: skip
def test_bad_selections_are_refused(text: str) -> None:
    with pytest.raises(SelectionError):
        parse_selection(text)


def test_the_message_lists_what_is_possible() -> None:
    with pytest.raises(SelectionError, match=r"spans.*percentile.*adaptive.*max.*top-k.*threshold"):
        parse_selection("best")


@pytest.mark.parametrize(
    ("text", "kinds", "chosen"),
    [
        (None, (), Selection(SelectionRule.SPANS, 0.5)),
        (None, (RegionKind.TABLE, RegionKind.PARAGRAPH), Selection(SelectionRule.SPANS, 0.5)),
        (None, (RegionKind.LINE,), Selection(SelectionRule.SPANS, VALUE_RATIO)),
        (None, (RegionKind.CELL, RegionKind.LINE), Selection(SelectionRule.SPANS, VALUE_RATIO)),
        (None, (RegionKind.WORD,), Selection(SelectionRule.TOP_K, 7)),
        (None, (RegionKind.LINE, RegionKind.TABLE), Selection(SelectionRule.TOP_K, 7)),
        ("p50", (), Selection(SelectionRule.PERCENTILE, 50)),
        ("p50", (RegionKind.LINE,), Selection(SelectionRule.PERCENTILE, 50)),
        ("spans:0.2", (), Selection(SelectionRule.SPANS, 0.2)),
        ("spans:0.2", (RegionKind.CELL,), Selection(SelectionRule.SPANS, 0.2)),
    ],
)
def test_the_default_depends_on_the_kinds_that_are_named(
    text: str | None, kinds: tuple[RegionKind, ...], chosen: Selection
) -> None:
    assert selection_of(text, 7, kinds) == chosen


@pytest.mark.parametrize(
    "kinds", [(RegionKind.WORD,), (RegionKind.LINE, RegionKind.TABLE), (RegionKind.ROW,)]
)
def test_spans_of_kinds_that_do_not_compete_are_refused(kinds: tuple[RegionKind, ...]) -> None:
    with pytest.raises(SelectionError, match=r"line, cell.*or choose top-k"):
        selection_of("spans", 7, kinds)


def test_spans_are_not_selected_by_a_score_alone() -> None:
    for scores in (np.array([0.5, 0.25]), np.empty(0)):
        with pytest.raises(SelectionError):
            select(scores, parse_selection("spans"))


@settings(deadline=None)
@given(st.lists(st.one_of(st.integers(-3, 3).map(float), st.just(-math.inf))), st.integers(1, 12))
def test_top_pages_equal_the_loop(scores: list[float], k: int) -> None:
    expected = [i for i in reference.best_first(scores) if scores[i] != -math.inf][:k]
    assert best_pages(np.array(scores, np.float32), k).tolist() == expected


def test_top_pages_refuses_nonsense() -> None:
    for bad in (math.nan, math.inf):
        with pytest.raises(NotFiniteError):
            best_pages(np.array([0.0, bad]), 1)
    with pytest.raises(SelectionError):
        best_pages(np.zeros(3), 0)
    with pytest.raises(ShapeError):
        best_pages(np.zeros((3, 1)), 1)


@settings(deadline=None)
@given(
    st.dictionaries(st.text(max_size=4), st.integers(-3, 3).map(float), max_size=20),
    st.integers(1, 8),
    st.randoms(use_true_random=False),
    st.integers(1, 4),
)
def test_merging_shards_equals_one_list(
    pages: dict[str, float], k: int, random: object, shards: int
) -> None:
    expected = sorted(pages, key=lambda key: (-pages[key], key))[:k]
    keys = list(pages)
    random.shuffle(keys)  # type: ignore[attr-defined]
    kept: list[str] = []
    for shard in range(shards):
        part = keys[shard::shards]
        kept += [part[i] for i in merge_top([pages[key] for key in part], part, k)]
    merged = merge_top([pages[key] for key in kept], kept, k)
    assert [kept[i] for i in merged] == expected


def test_merging_refuses_nonsense() -> None:
    with pytest.raises(ShapeError):
        merge_top([1.0], [], 1)
    with pytest.raises(NotFiniteError):
        merge_top([math.nan], ["a"], 1)
    with pytest.raises(SelectionError):
        merge_top([1.0], ["a"], 0)
