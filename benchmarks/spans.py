"""Choosing the weights of spans' signals, and what they give on documents they did not see.

Run from the repository's root, on a database that holds the data set's documents::

    python -m benchmarks.spans DATASET --db DB

A row is a page of evidence of a question. The weights are those of ``tasks.grounding.spanweights``;
with ``--fit`` they are cross-validated over documents (``benchmarks.fitting``), and the weights of
all rows are printed. Scores are of the best span alone. The twin has the same spans and signals of
the page, and no question. With ``--nested`` (an hour) each fold also chooses which signals to use,
by its own documents.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from benchmarks.asked import Stopwatch, asked
from benchmarks.fitting import Row, best_score, compare, cross_validated, fit, nested
from benchmarks.naive import GAP_PT, naive_merging
from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.grounding.evidence import Seen
from patchlight.tasks.grounding.questionwords import question_words
from patchlight.tasks.grounding.spansignals import LAYOUT, SIGNALS, PageSpans
from patchlight.tasks.grounding.spanweights import WEIGHTS, SpanSignals, span_scores
from patchlight.tasks.kernels import geometry, maxsim, propagation
from patchlight.tasks.kernels.geometry import Floats
from patchlight.tasks.kernels.maxsim import TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation

TITLE = "Best span alone, official mean IoU"

TEXT_COUNTS = 3
"""Rows whose evidence is text count so often in a fit. Whoever makes a data set asks of tables and
figures more often than people who look something up, and on a page with both that decides."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EvidenceRow(Row):
    """A row of a data set.

    Attributes:
        category: of the question.
        clean: whether the row is marked as unambiguous.
        naive: official score of naive merging on the page's blocks.
    """

    category: str
    clean: bool
    naive: float


def read_rows(place: str, db: str, watch: Stopwatch) -> list[EvidenceRow]:
    """Match a data set with a database, and find the signals of all spans."""
    known: dict[str, PageSpans] = {}
    rows = []
    for question, evidence, page, regions, size, seen in asked(place, db):
        if page not in known:
            with watch("spans of a page"):
                known[page] = PageSpans(regions)
        spans = known[page]
        with watch("their signals for a question"):
            signals = spans.signals(question_words(question.query), seen)
        true = evidence.boxes
        official = geometry.iou(spans.spans.boxes, true).max(axis=1, initial=0.0) / len(true)
        rows.append(
            EvidenceRow(
                question.doc,
                signals,
                official,
                TEXT_COUNTS if question.category == "text" else 1,
                category=question.category,
                clean=bool(evidence.clean),
                naive=naive_score(regions, size, seen, true),
            )
        )
    return rows


def naive_score(regions: Regions, size_pt: tuple[float, float], seen: Seen, true: Floats) -> float:
    """Official score of the best block by its best patch, merged with the next ones beside it."""
    boxes = regions.boxes[regions.rows(RegionKind.BLOCK)]
    if not len(boxes):
        return 0.0
    patches = maxsim.patch_scores(seen.token_scores, TokenAggregation.MEAN)
    cells = maxsim.cell_scores(patches, seen.cell_to_vector)
    touched = geometry.touched_cells(boxes, *seen.grid)
    (scores,) = propagation.region_scores_from(cells[None], touched, RegionAggregation.MAX)
    ranked = boxes[np.argsort(-scores, kind="stable")]
    merged = naive_merging(ranked, (GAP_PT / size_pt[0], GAP_PT / size_pt[1]))
    return float(geometry.iou(merged[None], true).max() / len(true))


def groups_of(rows: Sequence[EvidenceRow]) -> dict[str, list[int]]:
    """Name groups of rows: the unambiguous, all, and those of each category."""
    groups = {
        "clean rows": [at for at, row in enumerate(rows) if row.clean],
        "all rows": list(range(len(rows))),
    }
    for category in sorted({row.category for row in rows}):
        groups[category] = [at for at, row in enumerate(rows) if row.category == category]
    return groups


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder of the data set")
    parser.add_argument("--db", required=True, help="the database, with the documents ingested")
    parser.add_argument("--fit", action="store_true", help="cross-validate, and print new weights")
    parser.add_argument(
        "--nested", action="store_true", help="with --fit: choose the signals in each fold, too"
    )
    args = parser.parse_args()
    watch = Stopwatch()
    rows = read_rows(args.dataset, args.db, watch)
    watch.show()
    shipped = {
        f"as shipped, {by}": np.array(
            [[best_score(row, span_scores(row.signals, by)) for row in rows]]
        )
        for by in WEIGHTS
    }
    shipped["naive merging of blocks"] = np.array([[row.naive for row in rows]])
    documents, groups = [row.doc for row in rows], groups_of(rows)
    compare(TITLE, documents, groups, shipped, [f"as shipped, {SpanSignals.LAYOUT}"])
    if args.fit:
        everything = np.arange(len(SIGNALS))
        layout = np.array([SIGNALS.index(name) for name in LAYOUT])
        found = {
            "cross-validated": cross_validated(rows, everything),
            "cross-validated, twin": cross_validated(rows, layout),
        }
        if args.nested:
            found["nested"], chosen = nested(rows, everything)
            found["nested, twin"], _ = nested(rows, layout)
            for number, columns in enumerate(chosen):
                print(f"fold {number}:", " ".join(SIGNALS[i] for i in columns), file=sys.stderr)
        found["naive merging of blocks"] = shipped["naive merging of blocks"]
        twins = [name for name in found if name.endswith(", twin")]
        compare(TITLE, documents, groups, found, twins)
        for name, columns in (("all", everything), ("layout", layout)):
            weights = fit(rows, columns)
            print(name, {SIGNALS[i]: float(f"{weights[i]:.3g}") for i in columns})
    return 0


if __name__ == "__main__":
    sys.exit(main())
