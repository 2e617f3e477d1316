"""Plain, slow implementations that the kernels are compared with.

Written from the formulas of arXiv 2512.02660 with Python loops and scalars only; nothing here
imports a kernel.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Box = Sequence[float]

SLIVER = 1e-7
"""A box reaching into a cell by no more than this fraction of the page does not touch it."""


def overlap_1d(a0: float, a1: float, b0: float, b1: float) -> float:
    """Length that the intervals [a0, a1] and [b0, b1] share."""
    return max(0.0, min(a1, b1) - max(a0, b0))


def iou(a: Box, b: Box) -> float:
    """Intersection over union of two boxes x0 y0 x1 y1."""
    shared = overlap_1d(a[0], a[2], b[0], b[2]) * overlap_1d(a[1], a[3], b[1], b[3])
    union = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared
    return shared / union


def touches(box: Box, cell: Box) -> bool:
    """Whether the box reaches into the cell by more than rounding, in both directions."""
    for low, high in ((0, 2), (1, 3)):
        least = min(SLIVER, (box[high] - box[low]) / 8, (cell[high] - cell[low]) / 8)
        if overlap_1d(box[low], box[high], cell[low], cell[high]) <= least:
            return False
    return True


def region_score(
    scores: Sequence[Sequence[float]], box: Box, rows: int, cols: int, how: str
) -> float:
    """Score of one region from a grid of patch scores, ``scores[row][col]``."""
    weighted = total = 0.0
    best = -math.inf
    plain = 0.0
    touched = 0
    for row in range(rows):
        for col in range(cols):
            cell = (col / cols, row / rows, (col + 1) / cols, (row + 1) / rows)
            if not touches(box, cell):
                continue
            p = scores[row][col]
            w = iou(box, cell)
            weighted += w * p
            total += w
            best = max(best, p)
            plain += p
            touched += 1
    return {"iou-weighted": weighted / total, "max": best, "mean": plain / touched}[how]


def region_scores(
    scores: Sequence[Sequence[float]], boxes: Sequence[Box], rows: int, cols: int, how: str
) -> list[float]:
    """Scores of all regions of a page."""
    return [region_score(scores, box, rows, cols, how) for box in boxes]


def dot(a: Sequence[float], b: Sequence[float]) -> float:
    """Inner product of two vectors."""
    return math.fsum(x * y for x, y in zip(a, b, strict=True))


def page_score(
    page: Sequence[Sequence[float]], query: Sequence[Sequence[float]], weights: Sequence[float]
) -> float:
    """MaxSim of one page for one query; -inf for a page without vectors."""
    if len(page) == 0:
        return -math.inf
    return sum(
        w * max(dot(token, patch) for patch in page)
        for token, w in zip(query, weights, strict=True)
    )


def patch_score(
    similarity: Sequence[float], weights: Sequence[float], meaning: Sequence[bool], how: str
) -> float:
    """Score of one patch from its similarity with each query token."""
    heaviest = max(w for w, m in zip(weights, meaning, strict=True) if m)
    values = [w / heaviest * s for s, w, m in zip(similarity, weights, meaning, strict=True) if m]
    return {"max": max(values), "mean": sum(values) / len(values), "sum": sum(values)}[how]


def region_parts(
    scores: Sequence[Sequence[float]],
    parts: Sequence[Sequence[Sequence[float]]],
    box: Box,
    rows: int,
    cols: int,
    how: str,
) -> list[float]:
    """What each token gives a region, from ``parts[row][col][token]`` of the patch scores.

    Where the best patch makes the score, it is the first best of ``scores[row][col]``.
    """
    totals = [0.0] * len(parts[0][0])
    weight = 0.0
    best = -math.inf
    for row in range(rows):
        for col in range(cols):
            cell = (col / cols, row / rows, (col + 1) / cols, (row + 1) / rows)
            if not touches(box, cell):
                continue
            here = parts[row][col]
            if how == "max":
                if scores[row][col] > best:
                    best, totals, weight = scores[row][col], list(here), 1.0
                continue
            w = iou(box, cell) if how == "iou-weighted" else 1.0
            totals = [total + w * part for total, part in zip(totals, here, strict=True)]
            weight += w
    return [total / weight for total in totals]


def percentile(values: Sequence[float], p: float) -> float:
    """Percentile by linear interpolation between the two nearest ranks."""
    ordered = sorted(values)
    rank = p / 100 * (len(ordered) - 1)
    below = math.floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)


def best_first(scores: Sequence[float]) -> list[int]:
    """All positions, highest score first, ties by position (insertion by scanning)."""
    left = list(range(len(scores)))
    order = []
    while left:
        best = left[0]
        for i in left[1:]:
            if scores[i] > scores[best]:
                best = i
        order.append(best)
        left.remove(best)
    return order


def select(scores: Sequence[float], rule: str, value: float | None) -> list[int]:
    """Positions chosen by a selection rule, best first."""
    order = best_first(scores)
    if not order:
        return []
    if rule == "max":
        return order[:1]
    if rule == "top-k":
        assert value is not None
        return order[: int(value)]
    if rule == "adaptive":
        mean = sum(scores) / len(scores)
        deviation = math.sqrt(sum((s - mean) ** 2 for s in scores) / len(scores))
        cut = mean + deviation
    elif rule == "percentile":
        assert value is not None
        cut = percentile(scores, value)
    else:
        assert value is not None
        cut = value
    return [i for i in order if scores[i] >= cut]
