"""Choosing the weights by which lines and cells are ranked, and what they give elsewhere.

Run from the repository's root, with databases that hold the data sets' documents::

    python -m benchmarks.values --on DATASET DB --on DATASET DB ... [--fit]

A row is a page of evidence of a question whose true boxes are small, any of which may be hit
(``tasks.evaluation.metrics.hits``). The weights are those of ``tasks.grounding.valueweights``. With
``--fit`` they are fitted to the rows of all data sets together (``benchmarks.fitting``), and tried
on what they did not see: documents left out, whole data sets left out, and, since data sets of
forms ask the same few questions of every document, whole categories of questions left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.asked import Stopwatch, asked
from benchmarks.fitting import Row, fit, held_out
from benchmarks.report import print_table
from patchlight.storage.records import RegionKind
from patchlight.tasks.evaluation.bootstrap import mean_intervals
from patchlight.tasks.evaluation.markdown import percent_with_interval
from patchlight.tasks.evaluation.metrics import hits
from patchlight.tasks.grounding.questionwords import question_words
from patchlight.tasks.grounding.spans import VALUES
from patchlight.tasks.grounding.spanweights import SpanSignals, choose_spans
from patchlight.tasks.grounding.valuesignals import LAYOUT, SIGNALS, PageValues
from patchlight.tasks.grounding.valueweights import WEIGHTS
from patchlight.tasks.kernels.geometry import Doubles, Indices, iou

SMALL = 0.03
"""Share of the page; rows whose true boxes are larger, by their median, are left out."""

_LEAST_RATIO = 1e-12


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ValueRow(Row):
    """A row whose official score is 0 for what misses, and up to 1 for what fits.

    Attributes:
        data: its data set.
        category: of the question.
        boxes: (S, 4) of the candidates.
        hit: (S,) whether they hit.
    """

    data: str
    category: str
    boxes: Doubles
    hit: Doubles


def read_rows(place: str, db: str, kinds: Sequence[RegionKind], watch: Stopwatch) -> list[ValueRow]:
    """Match a data set with a database, and find the signals of all lines and cells."""
    known: dict[str, PageValues] = {}
    rows = []
    for question, evidence, page, regions, _, seen in asked(place, db):
        true = evidence.boxes
        if np.median((true[:, 2:] - true[:, :2]).prod(axis=1)) >= SMALL:
            continue
        if page not in known:
            with watch("lines and cells of a page"):
                known[page] = PageValues(regions, kinds)
        with watch("their signals for a question"):
            signals = known[page].signals(question_words(question.query), seen)
        boxes = known[page].spans.boxes
        hit = hits(boxes, true).astype(np.float64)
        reach = iou(boxes, true).max(axis=1, initial=0.0)
        rows.append(
            ValueRow(
                f"{Path(place).name}/{question.doc}",
                signals,
                hit * (1 + reach) / 2,
                data=Path(place).name,
                category=question.category,
                boxes=boxes,
                hit=hit,
            )
        )
    return rows


def hits_of(row: ValueRow, weights: Doubles) -> tuple[float, float]:
    """Return whether the best candidate hits, and whether one of the three best does."""
    if not len(row.hit):
        return 0.0, 0.0
    order = np.argsort(-(row.signals * weights).sum(axis=1), kind="stable")
    by_rank = np.empty(len(order))  # beliefs of those far behind are all 0
    by_rank[order] = 1 / np.arange(1, len(order) + 1)
    chosen = choose_spans(by_rank, row.boxes, _LEAST_RATIO, 3)
    return float(row.hit[chosen[0]]), float(row.hit[chosen].any())


def left_out(rows: Sequence[ValueRow], of: Sequence[str], columns: Indices) -> Doubles:
    """Return (rows, 2) hits by weights of the rows that are of something else.

    Args:
        rows: some of which offer candidates.
        of: what each is of; of two things at least.
        columns: signals that count.
    """
    found = np.zeros((len(rows), 2))
    for name in sorted(set(of)):
        weights = fit([row for row, its in zip(rows, of, strict=True) if its != name], columns)
        for at, row in enumerate(rows):
            if of[at] == name:
                found[at] = hits_of(row, weights)
    return found


def cross_validated(rows: Sequence[ValueRow], columns: Indices) -> Doubles:
    """Return (rows, 2) hits by weights of other documents, mean of the rounds."""
    found: dict[int, list[tuple[float, float]]] = {at: [] for at in range(len(rows))}
    for _, known, rest in held_out([row.doc for row in rows]):
        weights = fit([rows[at] for at in known], columns)
        for at in rest:
            found[int(at)].append(hits_of(rows[at], weights))
    return np.array([np.mean(found[at], axis=0) for at in range(len(rows))])


def show(rows: Sequence[ValueRow], systems: dict[str, Doubles]) -> None:
    """Print the hits of systems, by data set and category."""
    table = []
    groups = [(row.data, "all") for row in rows] + [(row.data, row.category) for row in rows]
    for data, category in dict.fromkeys(groups):
        at = [
            i
            for i, row in enumerate(rows)
            if row.data == data and category in ("all", row.category)
        ]
        for system, found in systems.items():
            first, three = mean_intervals(found[at], [rows[i].doc for i in at])
            shown = percent_with_interval(first), percent_with_interval(three)
            table.append([data, category, str(len(at)), system, *shown])
    headers = ["data", "category", "rows", "chosen by", "first hits, %", "one of three hits, %"]
    print_table("Lines and cells that hit", headers, table)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--on", nargs=2, action="append", required=True, metavar=("DATASET", "DB"), dest="sets"
    )
    parser.add_argument("--kind", action="append", choices=[kind.value for kind in VALUES])
    parser.add_argument("--fit", action="store_true", help="cross-validate, and print new weights")
    args = parser.parse_args()
    kinds = [RegionKind(kind) for kind in args.kind or VALUES]
    watch = Stopwatch()
    rows = [row for place, db in args.sets for row in read_rows(place, db, kinds, watch)]
    watch.show()
    systems = {}
    for by in SpanSignals:
        weights = np.array([WEIGHTS[by].get(name, 0.0) for name in SIGNALS])
        systems[f"as shipped, {by}"] = np.array([hits_of(row, weights) for row in rows])
    systems["the best there is"] = np.array([[float(row.hit.any())] * 2 for row in rows])
    if args.fit:
        everything = np.arange(len(SIGNALS))
        systems["documents left out"] = cross_validated(rows, everything)
        parts = {
            "data sets": [row.data for row in rows],
            "categories": [f"{row.data}/{row.category}" for row in rows],
        }
        for name, of in parts.items():
            if len(set(of)) > 1:
                systems[f"{name} left out"] = left_out(rows, of, everything)
    show(rows, systems)
    if args.fit:
        layout = np.array([SIGNALS.index(name) for name in LAYOUT])
        for name, columns in (("all", everything), ("layout", layout)):
            weights = fit(rows, columns)
            print(name, {SIGNALS[i]: float(f"{weights[i]:.3g}") for i in columns})
    return 0


if __name__ == "__main__":
    sys.exit(main())
