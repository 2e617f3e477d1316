"""Lines and cells of any page, with any question: valid, scored, and the same each time."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding.evidence import Seen
from patchlight.tasks.grounding.questionwords import question_words
from patchlight.tasks.grounding.spans import SAME, VALUES, values_of
from patchlight.tasks.grounding.spanweights import SpanSignals
from patchlight.tasks.grounding.surroundings import next_lines
from patchlight.tasks.grounding.valuesignals import SIGNALS, PageValues
from patchlight.tasks.grounding.valueweights import value_scores
from patchlight.tasks.kernels import geometry
from patchlight.tasks.kernels.geometry import Doubles
from tests.page_examples import Case, boxes, cases, pages
from tests.region_examples import page_of

pytestmark = pytest.mark.filterwarnings("error")  # numpy says what became NaN or infinite

WORD, LINE, CELL = RegionKind.WORD, RegionKind.LINE, RegionKind.CELL
CASES = cases([(WORD, LINE, CELL), (WORD, LINE), (LINE, CELL), tuple(RegionKind), (WORD,)])
KINDS = st.sampled_from([VALUES, (LINE,), (CELL,)])


def signals_of(case: Case) -> Doubles:
    return PageValues(case.regions).signals(question_words(case.question), case.seen)


@settings(deadline=None)
@given(pages((WORD, LINE, CELL, RegionKind.TABLE)), KINDS)
def test_values_are_the_regions_of_the_kinds_and_differ(
    page: Regions, kinds: tuple[RegionKind, ...]
) -> None:
    values = values_of(page, kinds)
    rows = [row for (row,) in values.members]
    assert rows == sorted(rows)
    assert set(values.kinds) <= set(kinds)
    assert values.kinds == tuple(page.kind(row) for row in rows)
    assert values.boxes.tolist() == page.boxes[rows].tolist()
    alike = geometry.iou(values.boxes, values.boxes) - np.eye(len(values))
    assert alike.max(initial=0.0) < SAME
    for row in set(page.rows(*kinds).tolist()) - set(rows):
        earlier = [other for other in rows if other < row]
        assert geometry.iou(page.boxes[[row]], page.boxes[earlier]).max() >= SAME


@settings(deadline=None)
@given(CASES)
def test_signals_are_in_their_ranges(case: Case) -> None:
    signals = signals_of(case)
    assert signals.shape[1] == len(SIGNALS) and np.isfinite(signals).all()
    found = dict(zip(SIGNALS, signals.T, strict=True))
    for name in ("digits", "own", "left", "next", "crossing"):
        assert (found[name] >= 0).all() and (found[name] <= 1 + 1e-9).all()
    assert (found["own"] <= found["next"] + 1e-9).all()
    assert set(found["type"].tolist()) <= {0, 1}
    assert set(found["again"].tolist()) <= {0, 1, 2, 3}
    if not (case.cells >= 0).any():
        assert not found["patches"].any()


@settings(deadline=None)
@given(CASES, st.sampled_from(SpanSignals))
def test_scores_add_up_to_one(case: Case, by: SpanSignals) -> None:
    scores = value_scores(signals_of(case), by)
    assert np.isfinite(scores).all() and (scores >= 0).all()
    assert scores.sum() == pytest.approx(1 if len(scores) else 0)


@settings(deadline=None, max_examples=40)
@given(CASES, st.floats(0.1, 10), st.floats(-10, 10))
def test_scale_and_shift_of_similarities_do_not_matter(
    case: Case, scale: float, shift: float
) -> None:
    other = replace(case, token_scores=scale * case.token_scores + shift)
    for by in SpanSignals:
        one, same = value_scores(signals_of(case), by), value_scores(signals_of(other), by)
        assert same == pytest.approx(one, abs=1e-6)


@settings(deadline=None, max_examples=40)
@given(CASES, CASES)
def test_what_was_asked_before_does_not_matter(case: Case, before: Case) -> None:
    page = PageValues(case.regions)
    page.signals(question_words(before.question), before.seen)
    again = page.signals(question_words(case.question), case.seen)
    assert again.tolist() == signals_of(case).tolist()


@settings(deadline=None, max_examples=40)
@given(CASES)
def test_tokens_carry_their_share_of_what_they_would_alone(case: Case) -> None:
    page = PageValues(case.regions)
    rows = np.arange(len(page.spans))[::-1]
    carried = page.carried(rows, case.seen)
    assert carried.shape == (len(rows), len(case.weights))
    for token, share in enumerate(case.weights / case.weights.sum()):
        own = Seen(case.token_scores[:, [token]], np.ones(1), case.cells, case.grid)
        alone = page.carried(rows, own)[:, 0]
        assert (np.abs(alone) <= 1).all()
        assert carried[:, token] == pytest.approx(share * alone, abs=1e-9)
    if not len(case.token_scores):
        assert not carried.any()


@settings(deadline=None)
@given(boxes(), boxes())
def test_next_lines_are_left_of_a_place_or_above_it(places: Doubles, lines: Doubles) -> None:
    there = lines.tolist()
    for place, before, over in zip(places, *next_lines(places, lines), strict=True):
        for line, side in ((before, 0), (over, 1)):
            if line.any():
                assert line.tolist() in there
                assert line[side] < place[side]
            else:
                assert not line.any()


LABELS = ("Date", "Invoice no.", "Total due", "Signed by")
ANSWERS = ("3 May 2020", "A-2041", "40.00", "Ada Byron")
QUESTIONS = (
    "What is the date?",
    "What is the invoice number?",
    "How much is the total due?",
    "Who signed it?",
)


def form(under: bool, dx: float, dy: float) -> Regions:
    """Labels in a column, with their values on the right or under them, and all words."""
    rows: list[tuple[RegionKind, tuple[float, ...], str]] = []
    for at, (label, answer) in enumerate(zip(LABELS, ANSWERS, strict=True)):
        y = 0.1 + at * 0.2
        second = (0.1, y + 0.03) if under else (0.5, y)
        for (x, top), text in (((0.1, y), label), (second, answer)):
            parts = text.split()
            wide = 0.24 / len(parts)
            rows.append((LINE, (x, top, x + 0.24, top + 0.02), text))
            rows += [
                (WORD, (x + i * wide, top, x + (i + 1) * wide, top + 0.02), part)
                for i, part in enumerate(parts)
            ]
    kinds, places, texts = zip(*rows, strict=True)
    moved = np.array(places) + np.array([dx, dy, dx, dy])
    return page_of(kinds, moved, texts=texts)


@settings(deadline=None)
@given(
    st.booleans(),
    st.floats(-0.05, 0.05),
    st.floats(-0.05, 0.05),
    st.sampled_from(range(len(QUESTIONS))),
    st.integers(0, 15),
)
def test_the_value_of_a_form_that_is_shifted_stays_the_first(
    under: bool, dx: float, dy: float, asked: int, lit: int
) -> None:
    """As scans are; whatever patch is lit a little more than the others."""
    page = PageValues(form(under, dx, dy))
    similar = np.tile([0.0, 1.0], 8)
    similar[lit] += 0.5
    seen = Seen(similar[:, None], np.ones(1), np.arange(16), (4, 4))
    signals = page.signals(question_words(QUESTIONS[asked]), seen)
    (first,) = page.spans.members[int(value_scores(signals, SpanSignals.ALL).argmax())]
    assert page.regions.texts[first] == ANSWERS[asked]
