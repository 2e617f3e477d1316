"""Decoding of the layout model's output, on outputs made by hand."""

from __future__ import annotations

import numpy as np
import pytest

from patchlight.tasks.regions.detections import LABELS, LEAST_SCORE, STRIDES, Label, decode

HEIGHT, WIDTH, BINS = 128, 64, 8


class Output:
    """An output in which nothing is found, to which boxes are added."""

    def __init__(self) -> None:
        shapes = [(-(-HEIGHT // s), -(-WIDTH // s)) for s in STRIDES]
        self.columns = [cols for _, cols in shapes]
        self.scores = [np.zeros((1, r * c, len(LABELS)), np.float32) for r, c in shapes]
        self.sides = [np.zeros((1, r * c, 4 * BINS), np.float32) for r, c in shapes]

    def add(
        self, level: int, row: int, col: int, label: Label, score: float, sides: list[int]
    ) -> None:
        """Put a box around a point, whose sides are so many strides away."""
        point = row * self.columns[level] + col
        self.scores[level][0, point, LABELS.index(label)] = score
        logits = np.full((4, BINS), -50.0)
        logits[np.arange(4), sides] = 50.0
        self.sides[level][0, point] = logits.ravel()

    def decoded(self) -> list[tuple[str, float, tuple[float, ...]]]:
        found = decode([*self.scores, *self.sides], HEIGHT, WIDTH)
        return [(d.label.value, round(d.score, 3), tuple(np.round(d.box, 4))) for d in found]


def test_a_box_lies_around_its_point() -> None:
    """Stride 16, row 3, column 1: the point is (24, 56); 1, 2, 1, 3 strides to the sides."""
    output = Output()
    output.add(1, 3, 1, Label.TABLE, 0.9, [1, 2, 1, 3])
    box = (8 / WIDTH, 24 / HEIGHT, 40 / WIDTH, 104 / HEIGHT)
    assert output.decoded() == [("table", 0.9, tuple(np.round(box, 4)))]


def test_a_distance_is_the_mean_of_its_distribution() -> None:
    output = Output()
    output.add(0, 4, 4, Label.TEXT, 0.9, [2, 2, 2, 2])
    point = 4 * output.columns[0] + 4
    output.sides[0][0, point, :BINS] = np.log([1e-9, 0.25, 1e-9, 0.75, *[1e-9] * 4])
    [(_, _, box)] = output.decoded()
    assert box[0] == pytest.approx((36 - 2.5 * 8) / WIDTH, abs=1e-3)


def test_of_boxes_that_are_nearly_the_same_the_better_stays() -> None:
    output = Output()
    output.add(0, 4, 4, Label.TEXT, 0.6, [3, 3, 3, 3])
    output.add(0, 4, 3, Label.TEXT, 0.7, [2, 3, 4, 3])  # the same box
    output.add(0, 4, 5, Label.TITLE, 0.5, [4, 3, 2, 3])  # another class
    output.add(0, 12, 4, Label.TEXT, 0.4, [3, 3, 3, 3])  # elsewhere
    assert [found[:2] for found in output.decoded()] == [
        ("text", 0.7),
        ("title", 0.5),
        ("text", 0.4),
    ]


def test_low_scores_and_slivers_are_left_out_and_boxes_end_with_the_page() -> None:
    output = Output()
    output.add(0, 2, 2, Label.TEXT, LEAST_SCORE - 0.01, [2, 2, 2, 2])
    output.add(0, 4, 2, Label.TEXT, 0.9, [0, 0, 0, 0])
    output.add(0, 0, 0, Label.HEADER, 0.9, [7, 7, 1, 1])
    [(label, _, box)] = output.decoded()
    assert (label, box[:2]) == ("header", (0.0, 0.0))
