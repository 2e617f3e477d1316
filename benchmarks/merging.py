"""What merging ranked boxes gives, on the boxes that published models ranked.

Run from the repository's root, on questions with true boxes and ranked boxes and no pages::

    python -m benchmarks.merging DATASET [--model NAME]

A line of the data set is a question with, for each of its pages of evidence, the true boxes in
``gt_boxes``, and for the first of them the boxes that a model returned, best first, in
``ranked_boxes``. Boxes are in pixels at 300 dpi. The size of the page is not in the data: it is
taken to be `PAGE_PX`, and a box that is not on it is an error.

Every system returns one box of a page, or none where there is no ranked box, which counts 0.
Scores are the official ones of SciEGQA v2, twice: of the first page of evidence, and of the whole
question, where a page without ranked boxes counts 0 and a question is the mean of its pages. As
long as one box is returned for a question with one true box a page, that equals scoring all true
boxes of a question at once.

Ours takes the candidate with the largest weighted sum of signals (``benchmarks.rankedboxes``),
cross-validated over documents (``benchmarks.fitting``); its twin knows which boxes were returned,
and not their ranks. Naive merging has the published constants, and in a second row those that are
best on the documents that are not left out.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

from benchmarks.fitting import ROUNDS, Row, compare, cross_validated, fit, held_out
from benchmarks.naive import AMONG, GAP_PT, naive_merging
from benchmarks.rankedboxes import LAYOUT, SIGNALS, candidates, signals
from patchlight.tasks.evaluation import datasets
from patchlight.tasks.evaluation.fields import DataLine
from patchlight.tasks.evaluation.metrics import matched_iou
from patchlight.tasks.kernels.geometry import Doubles, Indices, iou

DPI = 300
PAGE_PX = 2550.0, 3508.0
"""A page that holds both Letter, 2550 x 3300, and A4, 2480 x 3508. An IoU does not depend on it."""
PAGE_PT = PAGE_PX[0] * 72 / DPI, PAGE_PX[1] * 72 / DPI

OURS, TWIN = "ours", "ours without ranks"
NAIVE, TUNED = "naive merging", "naive merging, tuned"
TOP = "top-1"

DEFAULT_MODEL = "colqwen3-4b"

TUNED_GAPS_PT = tuple(px * 72 / DPI for px in (0, 15, 30, 60, 90, 120, 200, 300, 600))
TUNED_AMONG = (1, 2, 3, 4, 5, 7, 10)
"""Constants that tuned naive merging chooses among."""


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question with the boxes that a model ranked.

    Attributes:
        doc: its document.
        ranked: (n, 4) fractions of the first page of evidence, best first; n may be 0.
        true: of each page of evidence its (m, 4) true boxes.
    """

    doc: str
    ranked: Doubles
    true: tuple[Doubles, ...]


def read_questions(place: str, model: str) -> list[Question]:
    """Read the questions of a data set.

    Raises:
        DatasetError: a line is not as the module says, or has no entry for the model.
    """
    return [_question(line, model) for line in datasets.lines_of(place)]


def _question(line: DataLine, model: str) -> Question:
    by_model = line.get("ranked_boxes", dict)
    if model not in by_model:
        raise line.error(f"'ranked_boxes' has no {model!r}, only {', '.join(map(repr, by_model))}")
    pages = line.get("gt_boxes", list)
    if not pages:
        raise line.error("'gt_boxes' must hold the boxes of at least one page")
    true = tuple(line.boxes("gt_boxes", page, PAGE_PX) for page in pages)
    found = by_model[model]
    ranked = line.boxes("ranked_boxes", found, PAGE_PX) if found else np.empty((0, 4))
    return Question(line.text("doc_name"), ranked, true)


def official(boxes: Doubles, true: Doubles) -> Doubles:
    """Return the official score (S,) of each box, returned alone, against (m, 4) true ones."""
    if not len(boxes):
        return np.zeros(0)
    return matched_iou(iou(boxes, true)[:, None, :]) / len(true)


def naive(ranked: Doubles, gap_pt: float = GAP_PT, among: int = AMONG) -> Doubles:
    """Return (1, 4) the box of naive merging; (0, 4) where no box is ranked."""
    if not len(ranked):
        return ranked
    return naive_merging(ranked, (gap_pt / PAGE_PT[0], gap_pt / PAGE_PT[1]), among)[None]


def hull(ranked: Doubles, among: int) -> Doubles:
    """Return (1, 4) the hull of the first boxes; (0, 4) where no box is ranked."""
    return naive(ranked, max(PAGE_PT), among)


def row_of(question: Question) -> Row:
    """Return the candidates of the first page with their signals and scores."""
    ranked = question.ranked
    if not len(ranked):
        return Row(question.doc, np.empty((0, len(SIGNALS))), np.empty(0))
    spans = candidates(ranked, PAGE_PT)
    known = signals(ranked, spans, PAGE_PT[1])
    return Row(question.doc, known, official(spans, question.true[0]))


def columns_of(names: Sequence[str]) -> Indices:
    """Return the columns of some signals."""
    return np.array([SIGNALS.index(name) for name in names])


def first_page(questions: Sequence[Question], returned: Sequence[Doubles]) -> Doubles:
    """Return (n,) official scores on the first page of the best of the boxes; 0 for no box."""
    pairs = zip(questions, returned, strict=True)
    return np.array(
        [official(boxes, question.true[0]).max(initial=0.0) for question, boxes in pairs]
    )


def tuned_naive(questions: Sequence[Question]) -> Doubles:
    """Return (ROUNDS, n) scores of naive merging by the best constants of other documents."""
    scores = np.stack(
        [
            first_page(questions, [naive(question.ranked, *constants) for question in questions])
            for constants in product(TUNED_GAPS_PT, TUNED_AMONG)
        ]
    )
    found = np.zeros((ROUNDS, len(questions)))
    for number, known, left_out in held_out([question.doc for question in questions]):
        found[number, left_out] = scores[scores[:, known].mean(axis=1).argmax(), left_out]
    return found


def systems(questions: Sequence[Question], rows: Sequence[Row]) -> dict[str, Doubles]:
    """Return the scores (rounds, n) of each system on the first pages of evidence."""
    ranked = [question.ranked for question in questions]
    returned = {
        TOP: [boxes[:1] for boxes in ranked],
        "hull of top-2": [hull(boxes, 2) for boxes in ranked],
        "hull of top-3": [hull(boxes, 3) for boxes in ranked],
        NAIVE: [naive(boxes) for boxes in ranked],
    }
    best = [row.official.max(initial=0.0) for row in rows]
    return {
        **{name: first_page(questions, boxes)[None] for name, boxes in returned.items()},
        TUNED: tuned_naive(questions),
        TWIN: cross_validated(rows, columns_of(LAYOUT)),
        OURS: cross_validated(rows, columns_of(SIGNALS)),
        "best ranked box, knowing the truth": first_page(questions, ranked)[None],
        "best candidate, knowing the truth": np.array([best]),
    }


def whole_question(questions: Sequence[Question], first: Doubles) -> Doubles:
    """Return the scores (rounds, n) of questions: other pages of evidence count 0."""
    scores: Doubles = first / np.array([len(question.true) for question in questions])
    return scores


def groups_of(counts: Sequence[int], what: str) -> dict[str, list[int]]:
    """Name all rows, those with one of something, and those with several."""
    return {
        "all": list(range(len(counts))),
        f"one {what}": [at for at, count in enumerate(counts) if count == 1],
        "several": [at for at, count in enumerate(counts) if count > 1],
    }


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder of the data set, or its .jsonl file")
    parser.add_argument("--model", default=DEFAULT_MODEL, help="whose ranked boxes")
    args = parser.parse_args()
    questions = read_questions(args.dataset, args.model)
    rows = [row_of(question) for question in questions]
    scores = systems(questions, rows)
    documents = [question.doc for question in questions]
    references = [NAIVE, TUNED, TWIN]
    groups = groups_of([len(question.true[0]) for question in questions], "true box")
    compare(f"{args.model}, first page of evidence", documents, groups, scores, references)
    whole = {name: whole_question(questions, found) for name, found in scores.items()}
    groups = groups_of([len(question.true) for question in questions], "page")
    compare(f"{args.model}, whole questions", documents, groups, whole, references)
    weights = fit(rows, columns_of(SIGNALS))
    counts = [len(row.official) for row in rows]
    print(f"\nmedian of {np.median(counts):g} candidates, at most {max(counts)}")
    print(
        "weights of all rows:",
        {n: float(f"{w:.3g}") for n, w in zip(SIGNALS, weights, strict=True)},
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
