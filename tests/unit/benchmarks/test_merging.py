"""Guards the benchmark of merging: how rows are read, what they count, what is known of boxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.merging import (
    NAIVE,
    OURS,
    PAGE_PT,
    TOP,
    TUNED,
    Question,
    read_questions,
    row_of,
    systems,
    whole_question,
)
from benchmarks.rankedboxes import LAYOUT, SIGNALS, candidates, signals
from patchlight.tasks.common.errors import DatasetError
from patchlight.tasks.kernels.geometry import Doubles

ROW: dict[str, Any] = {
    "doc_name": "2401.00001",
    "gt_boxes": [[[255, 0, 510, 3508]], [[0, 0, 2550, 1754], [0, 1754, 1275, 3508]]],
    "ranked_boxes": {"small": [[0, 0, 1275.0, 877.0], [1275, 0, 2550, 877]], "large": []},
}
ABOVE, BELOW, FAR = (0.1, 0.1, 0.5, 0.2), (0.1, 0.25, 0.5, 0.35), (0.1, 0.6, 0.5, 0.7)
BESIDE = (0.6, 0.1, 0.9, 0.2)


def stacked(*boxes: tuple[float, ...]) -> Doubles:
    return np.array(boxes, dtype=np.float64).reshape(-1, 4)


def write(folder: Path, *rows: dict[str, Any]) -> str:
    file = folder / "samples.jsonl"
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    return str(folder)


def test_pixels_become_fractions_of_the_page_by_model(tmp_path: Path) -> None:
    place = write(tmp_path, ROW)
    (question,) = read_questions(place, "small")
    assert question.doc == "2401.00001"
    assert question.ranked.tolist() == [[0, 0, 0.5, 0.25], [0.5, 0, 1, 0.25]]
    first, second = question.true
    assert first.tolist() == [[0.1, 0, 0.2, 1]]
    assert second.tolist() == [[0, 0, 1, 0.5], [0, 0.5, 0.5, 1]]
    (question,) = read_questions(f"{place}/samples.jsonl", "large")
    assert question.ranked.shape == (0, 4)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ranked_boxes": {"other": []}}, "line 2: 'ranked_boxes' has no 'small', only 'other'"),
        ({"ranked_boxes": {"small": [[0, 0, 2700, 10]]}}, "line 2: 'ranked_boxes' holds a box"),
        ({"gt_boxes": []}, "line 2: 'gt_boxes' must hold the boxes of at least one page"),
        ({"gt_boxes": [[]]}, "line 2: 'gt_boxes' must hold at least one box"),
    ],
)
def test_a_row_that_is_not_as_expected_is_named(
    tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    with pytest.raises(DatasetError, match=said):
        read_questions(write(tmp_path, ROW, {**ROW, **changed}), "small")


def questions() -> list[Question]:
    """Ten documents where the first two boxes are the answer, and one without ranked boxes."""
    page = stacked(ABOVE, BELOW, FAR)
    answer = (stacked((0.1, 0.1, 0.5, 0.35)),)
    return [
        *(Question(f"doc {i}", page, answer) for i in range(10)),
        Question("empty", stacked(), answer),
        Question("two pages", page, (*answer, stacked(FAR))),
    ]


@pytest.fixture(scope="module")
def scores() -> dict[str, Doubles]:
    asked = questions()
    return systems(asked, [row_of(question) for question in asked])


def test_a_row_without_ranked_boxes_counts_0_for_every_system(scores: dict[str, Doubles]) -> None:
    assert all((found[:, 10] == 0).all() for found in scores.values())
    assert all((np.delete(found, 10, axis=1) > 0).all() for found in scores.values())


def test_scores_by_hand(scores: dict[str, Doubles]) -> None:
    assert scores[TOP][0, 0] == pytest.approx(0.1 / 0.25)
    assert scores["hull of top-3"][0, 0] == pytest.approx(0.25 / 0.6)
    assert scores[NAIVE][0, 0] == pytest.approx(0.4)  # 0.05 of a page is more than 60 pixels
    assert scores[TUNED][:, 0] == pytest.approx(1.0)
    assert scores[OURS][:, 0] == pytest.approx(1.0)
    whole = whole_question(questions(), scores[TOP])
    assert whole[0, [0, 10, 11]] == pytest.approx([0.4, 0, 0.2])


def test_candidates_are_boxes_hulls_and_runs() -> None:
    found = {tuple(np.round(box, 3)) for box in candidates(stacked(ABOVE, BELOW, FAR), PAGE_PT)}
    upper, lower, whole = (0.1, 0.1, 0.5, 0.35), (0.1, 0.25, 0.5, 0.7), (0.1, 0.1, 0.5, 0.7)
    assert found == {ABOVE, BELOW, FAR, upper, lower, whole}
    assert candidates(stacked(), PAGE_PT).shape == (0, 4)


def test_signals_by_hand() -> None:
    ranked = stacked(BELOW, ABOVE, BESIDE)
    spans = stacked(BELOW, (0.1, 0.1, 0.5, 0.35), BESIDE)
    found = dict(zip(SIGNALS, signals(ranked, spans, 1200.0).T, strict=True))  # lines of 0.01
    assert found["size"] == pytest.approx(np.log([0.042, 0.102, 0.032]))
    assert found["size_squared"] == pytest.approx(found["size"] ** 2)
    assert found["width"] == pytest.approx([0.4, 0.4, 0.3])
    assert found["top"] == pytest.approx([0.25, 0.1, 0.1])
    assert found["one"].tolist() == [1, 0, 1]
    assert found["gap_inside"] == pytest.approx([0, np.log(6), 0])
    # The box above is 0.05 away; elsewhere none is above or below.
    assert found["gap_outside"] == pytest.approx(np.log([6, 21, 21]))
    # Of 1 + 1/2 + 1/3 the first has 6/11, the second 3/11, the third 2/11; each a third of the
    # boxes.
    expected = np.log(0.9 * np.array([18 / 11, 27 / 22, 6 / 11]) + 0.1)
    assert found["rank_density"] == pytest.approx(expected)


side = st.integers(0, 16).map(lambda i: i / 20)
box = st.tuples(side, side, st.integers(1, 4), st.integers(1, 4)).map(
    lambda b: (b[0], b[1], b[0] + b[2] / 20, b[1] + b[3] / 20)
)


@given(st.lists(box, min_size=1, max_size=7, unique=True), st.randoms(use_true_random=False))
def test_without_ranks_their_order_changes_nothing(boxes: list[Any], random: Any) -> None:
    shuffled = random.sample(boxes, len(boxes))
    spans = candidates(stacked(*boxes), PAGE_PT)
    assert candidates(stacked(*shuffled), PAGE_PT).tolist() == spans.tolist()
    first, second = (signals(stacked(*some), spans, PAGE_PT[1]) for some in (boxes, shuffled))
    place = [SIGNALS.index(name) for name in LAYOUT]
    assert first[:, place] == pytest.approx(second[:, place])
    assert np.isfinite(first).all()
