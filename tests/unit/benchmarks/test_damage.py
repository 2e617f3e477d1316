"""Guards the benchmark of damaged pages: the truth stays on what it marks, and runs repeat."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from reportlab.pdfgen.canvas import Canvas

from benchmarks.damage import words_read
from benchmarks.damagedpages import KINDS, make, noisy, turned, turned_boxes
from patchlight.tasks.evaluation import datasets
from patchlight.tasks.evaluation.records import Dataset, EvidencePage
from tests.fixtures import make_pdf

fractions = st.floats(0, 1)


def test_boxes_turn_counter_clockwise_about_the_centre() -> None:
    # By 90 degrees on a page of 100 x 60 a point (x, y) comes to (50 + y - 30, 30 - (x - 50)):
    # (40, 10) to (30, 40), and (60, 20) to (40, 20).
    boxes = np.array([[40.0, 10.0, 60.0, 20.0]])
    assert turned_boxes(boxes, 90.0, 100.0, 60.0) == pytest.approx(np.array([[30, 20, 40, 40]]))
    # By 30 degrees (sin 1/2, cos .866) a square of side 20 in the middle has a hull of
    # 20 (1/2 + .866) = 27.32 a side.
    square = turned_boxes(np.array([[40.0, 20.0, 60.0, 40.0]]), 30.0, 100.0, 60.0)
    assert square == pytest.approx(np.array([[36.34, 16.34, 63.66, 43.66]]), abs=0.01)


def test_what_is_turned_off_the_page_is_cut_off() -> None:
    whole = turned_boxes(np.array([[0.0, 0.0, 100.0, 60.0]]), 2.0, 100.0, 60.0)
    assert whole.tolist() == [[0, 0, 100, 60]]


@given(
    st.tuples(fractions, fractions, fractions, fractions),
    st.floats(-45, 45),
    st.floats(10, 2000),
    st.floats(10, 2000),
)
def test_turned_boxes_stay_on_the_page(
    corners: tuple[float, float, float, float], degrees: float, width: float, height: float
) -> None:
    x, y = sorted(corners[:2]), sorted(corners[2:])
    box = np.array([[x[0] * width, y[0] * height, x[1] * width, y[1] * height]])
    x0, y0, x1, y1 = turned_boxes(box, degrees, width, height)[0]
    assert 0 <= x0 <= x1 <= width
    assert 0 <= y0 <= y1 <= height


def test_boxes_turn_as_the_picture_does() -> None:
    page = np.full((400, 300), 255, np.uint8)
    page[100:140, 30:230] = 0
    rows, cols = np.nonzero(turned(page, 2.0) < 128)
    ink = [cols.min(), rows.min(), cols.max() + 1, rows.max() + 1]
    box = turned_boxes(np.array([[30.0, 100.0, 230.0, 140.0]]), 2.0, 300.0, 400.0)[0]
    assert box == pytest.approx(ink, abs=1.0)


def test_noise_repeats_and_is_as_strong_as_asked() -> None:
    gray = np.full((400, 400), 128, np.uint8)
    first = noisy(gray, 20.0, 0.1, seed=5)
    assert (first == noisy(gray, 20.0, 0.1, seed=5)).all()
    assert (first != noisy(gray, 20.0, 0.1, seed=6)).any()
    # A tenth of 160,000 pixels, half of it black; noise alone is 6 deviations from both.
    assert [int((first == level).sum()) for level in (0, 255)] == pytest.approx([8000] * 2, rel=0.1)
    assert noisy(gray, 20.0, 0.0, seed=5).std() == pytest.approx(20.0, rel=0.02)
    assert (noisy(gray, 0.0, 0.0, seed=5) == gray).all()


@pytest.fixture
def questions(tmp_path: Path) -> Dataset:
    """A question with two true boxes on the second page of a document of three."""

    def draw(canvas: Canvas) -> None:
        for text in ("one", "two"):
            canvas.drawString(72, 720, text)
            canvas.showPage()
        canvas.drawString(72, 720, "three")

    make_pdf(tmp_path / "report.pdf", draw)
    line = {
        "qid": "q",
        "query": "What is two?",
        "doc": "report.pdf",
        "page": 1,
        "gt_boxes": [[0, 0, 306, 396], [459, 396, 612, 792]],
        "units": "pdf_points_topleft_0based_page",
        "page_size": [612, 792],
        "category": "Table",
        "clean": True,
        "all_evidence_pages": [1, 2],
    }
    (tmp_path / "questions.jsonl").write_text(json.dumps(line) + "\n")
    return datasets.load(tmp_path)


def evidence_of(dataset: Dataset) -> EvidencePage:
    [question] = dataset.questions
    assert (question.question_id, question.doc, question.category) == ("q", "report.pdf", "table")
    [at] = question.evidence
    assert at.page == 1
    assert at.clean
    assert question.pages == {(at.file, 1)}
    return at


@pytest.mark.parametrize("kind", ["pdf", "scan", "100dpi", "noisy"])
def test_what_is_not_turned_keeps_its_boxes(kind: str, questions: Dataset, tmp_path: Path) -> None:
    make(questions, kind, tmp_path / kind)
    at = evidence_of(datasets.load(tmp_path / kind))
    expected = [[0, 0, 0.5, 0.5], [0.75, 0.5, 1, 1]]
    assert at.boxes == pytest.approx(np.array(expected), abs=1e-6)
    damage = KINDS[kind]
    scale = 1.0 if damage is None else damage.dpi / 72
    assert at.size == pytest.approx((612 * scale, 792 * scale), abs=1)


def test_a_skewed_page_has_the_hulls_of_its_boxes(questions: Dataset, tmp_path: Path) -> None:
    make(questions, "skewed", tmp_path / "skewed")
    at = evidence_of(datasets.load(tmp_path / "skewed"))
    assert at.size == (1700, 2200)
    # The first box, (0, 0) to (850, 1100), has its lower right corner at the centre, which stays.
    # Its lower left corner comes to (850 - 850 cos, 1100 + 850 sin) = (.52, 1129.66), its upper
    # right one to (850 - 1100 sin, 1100 - 1100 cos) = (811.61, .67); the upper left one leaves.
    expected = [0, 0.67 / 2200, 0.5, 1129.66 / 2200]
    assert at.boxes[0] == pytest.approx(expected, abs=1e-4)


def test_pages_are_the_same_bytes_each_time(questions: Dataset, tmp_path: Path) -> None:
    for folder in ("once", "again"):
        make(questions, "all", tmp_path / folder)
    [once], [again] = (sorted((tmp_path / f / "pages").iterdir()) for f in ("once", "again"))
    assert once.name == again.name == "report.pdf-0002.jpg"
    assert once.read_bytes() == again.read_bytes()


def test_other_pages_are_not_mixed_in(questions: Dataset, tmp_path: Path) -> None:
    make(questions, "scan", tmp_path / "scan")
    with pytest.raises(SystemExit, match="other pages"):
        make(questions, "skewed", tmp_path / "scan")


def test_words_count_as_often_as_they_stand_there() -> None:
    # Of a a b c, read as a b b d: a and b were read once each, and two of the four are there.
    assert words_read(Counter("aabc"), Counter("abbd")) == (0.5, 0.5)
    assert np.isnan(words_read(Counter("a"), Counter())[1])
