"""Choosing the weights of spans' signals, and what they give on documents they did not see.

Run from the repository's root, on a database that holds the data set's documents::

    python -m benchmarks.spans DATASET --db DB

A row is a page of evidence of a question. The weights are those of ``tasks.spanchoice``: they make
the expected official score of the span that the softmax draws as large as it gets, with a ridge
penalty. Cross-validation leaves out whole documents, in `FOLDS` parts, `ROUNDS` times; its scores
are of the best span alone. The twin has the same spans and the same signals of the page, and no
question. At the end the weights of all rows are printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from benchmarks.report import print_table
from storage.database import Database
from storage.reader import catalog, read_patches, read_regions
from tasks import maxsim
from tasks.encoders import registry
from tasks.evaluation import datasets
from tasks.evaluation.bootstrap import mean_intervals
from tasks.evaluation.matching import match
from tasks.geometry import Doubles, Indices, iou
from tasks.grounding import RegionTable
from tasks.questionwords import question_words
from tasks.retrieval import CountedTokens
from tasks.scope import Catalog
from tasks.spanchoice import WEIGHTS, SpanSignals, span_scores
from tasks.spansignals import LAYOUT, SIGNALS, PageSpans

RIDGE = 0.3
FOLDS, ROUNDS = 5, 4
TEXT_COUNTS = 3
"""Rows whose evidence is text count so often in a fit. Whoever makes a data set asks of tables and
figures more often than people who look something up, and on a page with both that decides."""

_WARM_RIDGE, _WARM_SCALE = 5.0, 2.0
"""The maximum is looked for from that of an easier problem: a softmax that is to be near the
squared scores, which has one maximum."""


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A page of evidence of a question.

    Attributes:
        doc: its document.
        category: of the question.
        clean: whether the row is marked as unambiguous.
        signals: (S, len(SIGNALS)) of the page's spans; S may be 0.
        official: (S,) official score of each span, returned alone.
    """

    doc: str
    category: str
    clean: bool
    signals: Doubles
    official: Doubles


def read_rows(place: str, db: str) -> list[Row]:
    """Match a data set with a database, and find the signals of all spans."""
    database = Database.open(db)
    snapshot = database.snapshot()
    pages = Catalog.of(catalog(snapshot))
    data = datasets.load(place)
    matched = match(data, pages, database.documents(), database.failures(), partial=False)
    encode = registry.load(registry.for_queries(database.encoder, None)).encode_queries
    statistics = database.latest_statistics()
    known: dict[int, PageSpans] = {}
    rows = []
    for row in matched.rows:
        question = matched.questions[row.question]
        if row.position is None:
            continue
        at, key = row.position, pages.page_ids[row.position]
        if at not in known:
            table = RegionTable(read_regions(snapshot, [key]), [key])
            known[at] = PageSpans(table.page(table.of(0)[0]))
        batch = read_patches(snapshot, [int(pages.patch_rows[at])])
        (encoding,) = encode([question.query], statistics)
        if isinstance(encoding, Exception):
            raise encoding
        counted = CountedTokens.of([encoding], maxsim.QueryTokens.MEANING)
        vectors = maxsim.as_floats(batch.vectors, batch.scales)
        scores = maxsim.token_scores(maxsim.similarities(vectors, counted.vectors), counted.weights)
        grid = int(batch.rows[0]), int(batch.cols[0])
        signals = known[at].signals(
            question_words(question.query), scores, counted.weights, batch.cell_to_vector, grid
        )
        true = row.evidence.boxes
        official = iou(known[at].spans.boxes, true).max(axis=1, initial=0.0) / len(true)
        clean = bool(row.evidence.clean)
        rows.append(Row(question.doc, question.category, clean, signals, official))
    return rows


def fit(rows: Sequence[Row], columns: Indices) -> Doubles:
    """Return a weight for each of the signals, 0 for those that are not among ``columns``."""
    some = [
        row
        for row in rows
        if len(row.official)
        for _ in range(TEXT_COUNTS if row.category == "text" else 1)
    ]
    stacked = np.concatenate([row.signals for row in some])[:, columns]
    middle, spread = stacked.mean(axis=0), stacked.std(axis=0) + 1e-9
    signals = (stacked - middle) / spread
    official = np.concatenate([row.official for row in some])
    counts = np.array([len(row.official) for row in some])
    starts, row_of = np.cumsum(counts) - counts, np.repeat(np.arange(len(some)), counts)

    def softmax(weights: Doubles) -> tuple[Doubles, Doubles]:
        sums = signals @ weights
        top = np.maximum.reduceat(sums, starts)
        belief = np.exp(sums - top[row_of])
        total = np.add.reduceat(belief, starts)
        return belief / total[row_of], np.log(total) + top

    squares = official**2
    target_sum = np.add.reduceat(squares, starts)
    target = squares / np.maximum(target_sum, 1e-6)[row_of]
    useful = target_sum > 0.01

    def warm(weights: Doubles) -> tuple[float, Doubles]:
        belief, normal = softmax(weights)
        loss = normal[useful].sum() - signals @ weights @ target
        slope = signals.T @ (belief * useful[row_of] - target)
        penalty = _WARM_RIDGE * weights
        return (loss + penalty @ weights / 2) / len(some), (slope + penalty) / len(some)

    def expected(weights: Doubles) -> tuple[float, Doubles]:
        belief, _ = softmax(weights)
        mean = np.add.reduceat(belief * official, starts)
        slope = signals.T @ (belief * (official - mean[row_of]))
        penalty = RIDGE * weights
        return (penalty @ weights / 2 - mean.sum()) / len(some), (penalty - slope) / len(some)

    start = np.zeros(len(columns))
    begun = minimize(warm, start, jac=True, method="L-BFGS-B", options={"maxiter": 40})
    start = _WARM_SCALE * begun.x
    found = minimize(expected, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    weights = np.zeros(len(SIGNALS))
    weights[columns] = found.x / spread
    return weights


def cross_validated(rows: Sequence[Row], columns: Indices) -> Doubles:
    """Return (ROUNDS, rows) scores of the best span by weights of other documents."""
    documents = sorted({row.doc for row in rows})
    scores = np.zeros((ROUNDS, len(rows)))
    for number in range(ROUNDS):
        order = np.random.default_rng(number).permutation(len(documents))
        fold = {documents[at]: place % FOLDS for place, at in enumerate(order)}
        for held in range(FOLDS):
            weights = fit([row for row in rows if fold[row.doc] != held], columns)
            for at, row in enumerate(rows):
                if fold[row.doc] == held:
                    scores[number, at] = best_score(row, row.signals @ weights)
    return scores


def best_score(row: Row, sums: Doubles) -> float:
    """Official score of the span with the largest sum; 0 where there is no span."""
    return float(row.official[np.argmax(sums)]) if len(sums) else 0.0


def compare(rows: Sequence[Row], scores: dict[str, Doubles], twin: str) -> None:
    """Print means with intervals, and the paired differences to the twin."""
    groups = {
        "clean rows": [at for at, row in enumerate(rows) if row.clean],
        "all rows": list(range(len(rows))),
    }
    for category in sorted({row.category for row in rows}):
        groups[category] = [at for at, row in enumerate(rows) if row.category == category]
    table = []
    for name, members in groups.items():
        documents = [rows[at].doc for at in members]
        for system, found in scores.items():
            if not members:
                continue
            own = found.mean(axis=0)[members]
            ahead = own - scores[twin].mean(axis=0)[members]
            (mean, low, high), (more, least, most) = (
                mean_intervals(values, documents)[0] for values in (own, ahead)
            )
            shown = f"{more:+.3f} [{least:+.3f}, {most:+.3f}]" if system != twin else ""
            score = f"{mean:.3f} [{low:.3f}, {high:.3f}]"
            table.append([name, str(len(members)), system, score, shown])
    headers = ["rows", "n", "chosen by", "score", "more than the twin"]
    print_table("Best span alone, official mean IoU", headers, table)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder of the data set")
    parser.add_argument("--db", required=True, help="the database, with the documents ingested")
    parser.add_argument("--fit", action="store_true", help="cross-validate, and print new weights")
    args = parser.parse_args()
    rows = read_rows(args.dataset, args.db)
    shipped = {
        f"as shipped, {by}": np.array(
            [[best_score(row, span_scores(row.signals, by)) for row in rows]]
        )
        for by in WEIGHTS
    }
    compare(rows, shipped, f"as shipped, {SpanSignals.LAYOUT}")
    if args.fit:
        everything = np.arange(len(SIGNALS))
        layout = np.array([SIGNALS.index(name) for name in LAYOUT])
        found = {
            "cross-validated": cross_validated(rows, everything),
            "cross-validated, twin": cross_validated(rows, layout),
        }
        compare(rows, found, "cross-validated, twin")
        for name, columns in (("all", everything), ("layout", layout)):
            weights = fit(rows, columns)
            print(name, {SIGNALS[i]: float(f"{weights[i]:.3g}") for i in columns})
    return 0


if __name__ == "__main__":
    sys.exit(main())
