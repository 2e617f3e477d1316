"""What the layout model says of a page, decoded; pure.

The model is a PP-PicoDet trained on CDLA (see ``tasks.regions.layoutmodel``). At each point of four
grids it gives a score a class, and for each side of a box a distribution over distances
(generalised focal loss, Li et al. 2020, arXiv 2006.04388): the distance is its mean, in strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.kernels import geometry

Boxes = NDArray[np.float64]
Scores = NDArray[np.float32]


class Label(StrEnum):
    """Classes of the layout model, in its order."""

    TEXT = "text"
    TITLE = "title"
    FIGURE = "figure"
    FIGURE_CAPTION = "figure_caption"
    TABLE = "table"
    TABLE_CAPTION = "table_caption"
    HEADER = "header"
    FOOTER = "footer"
    REFERENCE = "reference"
    EQUATION = "equation"


LABELS = tuple(Label)
STRIDES = (8, 16, 32, 64)

LEAST_SCORE = 0.15
"""Boxes that score less are left out."""

_SAME = 0.5
"""Of boxes of one class that overlap by a larger IoU only the best is kept."""

LEAST_SIDE = 1e-3
"""Fraction of the page: boxes that are narrower or lower are left out."""

_MOST_A_CLASS = 100
"""Boxes of one class that are looked at, the best ones; a page has far fewer."""


@dataclass(frozen=True, slots=True)
class Detection:
    """A box that the layout model found.

    Attributes:
        label: its class.
        score: 0..1, the model's own.
        box: fractions of the page.
    """

    label: Label
    score: float
    box: tuple[float, float, float, float]


def decode(outputs: Sequence[Scores], height: int, width: int) -> list[Detection]:
    """Turn the model's output into boxes.

    Args:
        outputs: for each stride scores, (1, points, classes) of 0..1, then for each stride
            distances, (1, points, 4 * bins) logits; points row by row, left, top, right, bottom.
        height: of the model's input, pixels.
        width: of the model's input, pixels.

    Returns:
        Boxes with an area, best first; equal scores in the order of the classes and points.
    """
    size = np.array([width, height, width, height], dtype=np.float64)
    scores = np.concatenate([part[0] for part in outputs[: len(STRIDES)]])  # (points, classes)
    boxes = np.concatenate(
        [
            _boxes(part[0].astype(np.float64), stride, height, width)
            for part, stride in zip(outputs[len(STRIDES) :], STRIDES, strict=True)
        ]
    )
    boxes = np.clip(boxes / size, 0.0, 1.0)  # (points, 4)
    with_area = (boxes[:, 2:] - boxes[:, :2] >= LEAST_SIDE).all(axis=1)  # (points,)
    found = []
    for number, label in enumerate(LABELS):
        members = np.flatnonzero((scores[:, number] >= LEAST_SCORE) & with_area)
        order = members[np.argsort(-scores[members, number], kind="stable")][:_MOST_A_CLASS]
        found += [
            Detection(label, float(scores[i, number]), tuple(boxes[i].tolist()))
            for i in order[geometry.distinct(boxes[order], _SAME, strict=True)]
        ]
    return sorted(found, key=lambda detection: -detection.score)


def _boxes(logits: Boxes, stride: int, height: int, width: int) -> Boxes:
    """Boxes in pixels around the points of one grid: (points, 4)."""
    bins = logits.shape[1] // 4
    logits = logits.reshape(-1, 4, bins)  # (points, 4, bins)
    shares = np.exp(logits - logits.max(axis=2, keepdims=True))  # (points, 4, bins)
    distance = (shares @ np.arange(bins)) / shares.sum(axis=2) * stride  # (points, 4)
    rows, cols = np.mgrid[: -(-height // stride), : -(-width // stride)]  # each (down, across)
    x, y = ((side.ravel() + 0.5) * stride for side in (cols, rows))  # each (points,)
    points = np.stack([x, y, x, y], axis=1)  # (points, 4)
    boxes: Boxes = points + distance * np.array([-1.0, -1.0, 1.0, 1.0])
    return boxes
