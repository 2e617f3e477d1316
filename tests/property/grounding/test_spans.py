"""Spans of any page, with any question: valid, scored, and chosen the same each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding.evidence import cells_held, evidence, patch_mass
from patchlight.tasks.grounding.questionwords import question_words
from patchlight.tasks.grounding.spans import COMPETING, MOST, SAME, spans_of
from patchlight.tasks.grounding.spansignals import PageSpans
from patchlight.tasks.grounding.spanweights import SpanSignals, choose_spans, span_scores
from patchlight.tasks.kernels import geometry
from patchlight.tasks.kernels.geometry import Doubles
from tests.page_examples import SIXTEENTHS, Case, boxes, cases, pages

pytestmark = pytest.mark.filterwarnings("error")  # numpy says what became NaN or infinite

CASES = cases([tuple(RegionKind), COMPETING, (RegionKind.WORD,)])


def signals_of(case: Case) -> Doubles:
    return PageSpans(case.regions).signals(question_words(case.question), case.seen)


@settings(deadline=None)
@given(pages())
def test_spans_are_made_of_regions_and_differ(page: Regions) -> None:
    spans = spans_of(page)
    assert len(spans) == len(spans.members) == len(spans.boxes) <= MOST
    if len(spans):
        geometry.check_boxes(spans.boxes)
    for kind, box, members in zip(spans.kinds, spans.boxes, spans.members, strict=True):
        assert kind in COMPETING and {page.kind(row) for row in members} == {kind}
        assert [page.order[row] for row in members] == sorted(page.order[row] for row in members)
        own = page.boxes[list(members)]
        assert box.tolist() == [*own[:, :2].min(axis=0), *own[:, 2:].max(axis=0)]
    if len(page.rows(*COMPETING)):
        alike = geometry.iou(spans.boxes, spans.boxes) - np.eye(len(spans))
        assert len(spans) and alike.max() < SAME
    assert spans.runs.tolist() == [len(members) > 1 for members in spans.members]


@settings(deadline=None)
@given(pages())
def test_every_region_that_answers_is_a_span_or_nearly_one(page: Regions) -> None:
    spans = spans_of(page)
    for box in page.boxes[page.rows(*COMPETING)]:
        assert geometry.iou(box[None], spans.boxes).max() >= SAME


@settings(deadline=None)
@given(CASES, st.sampled_from(SpanSignals))
def test_scores_add_up_to_one(case: Case, by: SpanSignals) -> None:
    signals = signals_of(case)
    assert np.isfinite(signals).all()
    scores = span_scores(signals, by)
    assert (scores >= 0).all()
    assert scores.sum() == pytest.approx(1 if len(scores) else 0)


@settings(deadline=None)
@given(CASES, st.floats(0.1, 10), st.floats(-10, 10))
def test_scale_and_shift_of_similarities_do_not_matter(
    case: Case, scale: float, shift: float
) -> None:
    other = replace(case, token_scores=scale * case.token_scores + shift)
    for by in SpanSignals:
        one, same = span_scores(signals_of(case), by), span_scores(signals_of(other), by)
        assert same == pytest.approx(one, abs=1e-6)


@settings(deadline=None)
@given(CASES)
def test_tokens_carry_no_more_than_their_share(case: Case) -> None:
    page = PageSpans(case.regions)
    rows = np.arange(len(page.spans))
    carried = page.carried(rows, case.seen)
    assert carried.shape == (len(rows), len(case.weights))
    assert (np.abs(carried) <= case.weights / case.weights.sum() + 1e-9).all()
    if not len(case.token_scores):
        assert not carried.any()


@st.composite
def scored(draw: st.DrawFn) -> tuple[Doubles, Doubles]:
    places = draw(boxes())
    values = st.integers(0, 8).map(lambda i: i / 8)
    return np.array(draw(st.lists(values, min_size=len(places), max_size=len(places)))), places


@settings(deadline=None)
@given(scored(), st.floats(0.01, 1), st.integers(1, 6))
def test_chosen_spans_lie_apart_and_are_nearly_as_good(
    some: tuple[Doubles, Doubles], ratio: float, most: int
) -> None:
    scores, places = some
    chosen = choose_spans(scores, places, ratio, most).tolist()
    assert chosen == choose_spans(scores.copy(), places.copy(), ratio, most).tolist()
    assert bool(chosen) is bool(len(scores)) and len(chosen) <= most
    keys = [(-scores[row], row) for row in chosen]
    assert keys == sorted(keys)
    if chosen:
        assert scores[chosen[0]] == scores.max()
        assert all(scores[row] >= ratio * scores.max() for row in chosen)
    areas = (places[:, 2:] - places[:, :2]).prod(axis=1)

    def apart(a: int, b: int) -> bool:
        low, high = np.maximum(places[a], places[b])[:2], np.minimum(places[a], places[b])[2:]
        return bool(np.clip(high - low, 0, None).prod() <= 0.1 * min(areas[a], areas[b]) + 1e-18)

    assert all(apart(a, b) for a in chosen for b in chosen if a < b)
    if len(chosen) < most:  # whoever was left out was too weak, or in the way of a better one
        for row in set(range(len(scores))) - set(chosen):
            better = [other for other in chosen if (-scores[other], other) < (-scores[row], row)]
            weak = scores[row] < ratio * scores.max()
            assert weak or not all(apart(row, other) for other in better)


@settings(deadline=None)
@given(
    arrays.arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 4)), elements=SIXTEENTHS)
)
def test_mass_is_spread_whole_and_evenly_where_nothing_differs(
    scores: NDArray[np.float32],
) -> None:
    mass = patch_mass(scores)
    assert (mass > 0).all() and mass.sum(axis=0) == pytest.approx(1)
    for column, spread in zip(scores.T, mass.T, strict=True):
        assert (spread == spread[0]).all() == (column == column[0]).all()
        order = np.argsort(column, kind="stable")
        assert (np.diff(spread[order]) >= 0).all()


@settings(deadline=None)
@given(st.integers(1, 6), st.integers(1, 6), boxes(), st.floats(0.01, 0.99), st.integers(1, 3))
def test_the_page_as_a_whole_is_the_background(
    rows: int, cols: int, some: Doubles, background: float, tokens: int
) -> None:
    rng = np.random.default_rng(rows * 100 + cols * 10 + tokens)
    held = cells_held(np.concatenate([some, [[0.0, 0.0, 1.0, 1.0]]]), rows, cols)
    assert held.shape == (len(some) + 1, rows * cols) and ((held >= 0) & (held <= 1)).all()
    assert held[:-1].mean(axis=1) == pytest.approx(
        (some[:, 2:] - some[:, :2]).prod(axis=1), abs=1e-12
    )
    mass = np.minimum(held @ patch_mass(rng.standard_normal((rows * cols, tokens))), 1)
    share = held.mean(axis=1)
    found = evidence(mass, share, np.full(tokens, 1 / tokens), background)
    assert found.density[-1] == pytest.approx(0, abs=1e-9)
    assert found.coverage[-1] == pytest.approx(0, abs=1e-9)
    assert (found.coverage <= 0).all()
    assert (found.density <= -np.log(np.maximum(share, 1e-6)) + 1e-9).all()
