"""Vectorised propagation against a plain loop, side by side on the same inputs.

Run from the repository's root::

    python -m benchmarks.propagation

A 32 x 32 grid, 64 pages, 100 regions a page. Two kinds of boxes: ``page`` are words, lines,
paragraphs and blocks as OCR makes them; ``random`` have uniformly random corners, which makes
them large (11 % of the page on average) and is the hard case. The loop is the tests' reference,
run once over all pages; ours is the median of several runs. Exits with 1 when a requirement is
missed: 50 times the speed, equal to 1e-9 in float64 and to 1e-5 in float32.
"""

from __future__ import annotations

import statistics
import sys
import time

import numpy as np

from patchlight.tasks.kernels.geometry import Floats
from patchlight.tasks.kernels.propagation import RegionAggregation, region_scores
from tests import reference

ROWS = COLS = 32
PAGES = 64
REGIONS = 100
RUNS = 9
LEAST_RATIO = 50.0
TOLERANCE = {"float64": 1e-9, "float32": 1e-5}


def random_boxes(rng: np.random.Generator) -> Floats:
    """(REGIONS, 4) boxes with uniformly random corners."""
    boxes: Floats = np.sort(rng.random((REGIONS, 2, 2)), axis=1).reshape(REGIONS, 4)
    return boxes


def page_boxes(rng: np.random.Generator) -> Floats:
    """(REGIONS, 4) boxes of sizes found on a page: 60 % words, 28 % lines, 12 % larger."""
    width = np.concatenate([rng.uniform(0.02, 0.1, 60), rng.uniform(0.3, 0.8, 40)])
    height = np.concatenate([rng.uniform(0.01, 0.02, 88), rng.uniform(0.05, 0.3, 12)])
    x0, y0 = rng.random(REGIONS) * (1 - width), rng.random(REGIONS) * (1 - height)
    return np.stack([x0, y0, x0 + width, y0 + height], axis=1)


def seconds(maps: Floats, boxes: Floats, aggregate: RegionAggregation) -> tuple[float, Floats]:
    """Median time of all pages, and their scores (PAGES, REGIONS)."""
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        scores = [
            region_scores(page, page_boxes, ROWS, COLS, aggregate)
            for page, page_boxes in zip(maps, boxes, strict=True)
        ]
        times.append(time.perf_counter() - start)
    return statistics.median(times), np.stack(scores)


def main() -> int:
    """Measure, print a table, and say whether the requirements hold."""
    rng = np.random.default_rng(0)
    kinds = {"page": page_boxes, "random": random_boxes}
    met = True
    print(f"{ROWS} x {COLS} grid, {PAGES} pages, {REGIONS} regions a page, numpy {np.__version__}")
    print(f"{'boxes':8}{'region score':14}{'dtype':9}{'loop s':>8}{'ours ms':>9}{'ratio':>8}  diff")
    for kind, make in kinds.items():
        exact_boxes = np.stack([make(rng) for _ in range(PAGES)])
        exact_maps = rng.uniform(-0.2, 1.0, (PAGES, ROWS * COLS))
        for aggregate in RegionAggregation:
            for dtype in (np.float64, np.float32):
                maps: Floats = exact_maps.astype(dtype)
                boxes: Floats = exact_boxes.astype(dtype)
                grids = maps.reshape(PAGES, ROWS, COLS).tolist()
                start = time.perf_counter()
                expected = [
                    reference.region_scores(grid, page, ROWS, COLS, aggregate.value)
                    for grid, page in zip(grids, boxes.tolist(), strict=True)
                ]
                loop = time.perf_counter() - start
                ours, scores = seconds(maps, boxes, aggregate)
                name = np.dtype(dtype).name
                difference = float(np.abs(scores - np.array(expected)).max())
                met &= loop / ours >= LEAST_RATIO and difference <= TOLERANCE[name]
                print(
                    f"{kind:8}{aggregate.value:14}{name:9}{loop:8.2f}{ours * 1e3:9.2f}"
                    f"{loop / ours:8.0f}  {difference:.1e}",
                    flush=True,
                )
    print("requirements met" if met else "REQUIREMENTS MISSED")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
