"""Localisation on a given page of evidence, beside baselines that know no model.

Run from the repository's root, on a database that holds the data set's PDFs::

    python -m benchmarks.places mmdocir --db DB --work DIR

A row is one page of evidence of one question. The installed ``patchlight query`` is asked with
``doc`` and ``pages`` given, once for each of `SETTINGS`; the boxes it returns are scored against
the human ones (``benchmarks.metrics`` defines the measures). The baselines choose among the same
blocks, read from the database. Values are means over rows; intervals are bootstraps over
documents, those of differences paired by row.

A page that could not be ingested counts as nothing returned.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import baselines, datasets, report
from benchmarks.command import run_query
from benchmarks.corpus import Corpus, Page
from benchmarks.datasets import EvidencePage, Question
from benchmarks.metrics import PlaceScore, PlaceScorer, bootstrap_interval, mean_score
from storage.reader import read_regions
from storage.records import RegionKind
from tasks.geometry import Doubles

SETTINGS: Mapping[str, str] = {
    "P50, max (the paper's)": "--select p50 --aggregate max --token-aggregate max",
    "P50, IoU-weighted": "--select p50 --aggregate iou-weighted --token-aggregate max",
    "top 1, IoU-weighted, max over tokens, lines": "--select top-k:1 --aggregate iou-weighted "
    "--token-aggregate max --kind line",
    "top 1, IoU-weighted, max over tokens": "--select top-k:1 --aggregate iou-weighted "
    "--token-aggregate max",
    "top 1, max, max over tokens": "--select top-k:1 --aggregate max --token-aggregate max",
    "top 1, max, mean over tokens (the defaults' first)": "--select top-k:1",
}
"""Name -> options of ``patchlight query``."""

PAPER = next(iter(SETTINGS))
"""The setting that the baselines take their number of blocks from."""

DEFAULT = "the defaults (3 blocks)"

_ALL_REGIONS = "100000"
_SIDES = ("x0", "y0", "x1", "y1")
_SIZE_TOLERANCE_PT = 1.0

Scores = Mapping[str, Sequence[PlaceScore]]
"""System -> the score of each row."""


@dataclass(frozen=True, slots=True)
class Row:
    """A page of evidence of a question.

    Attributes:
        query_id: its name in the query files.
        question: the question.
        evidence: the page and its true boxes.
        place: the page in the database.
    """

    query_id: str
    question: Question
    evidence: EvidencePage
    place: Page


def rows_of(questions: Sequence[Question], doc_ids: Mapping[str, str]) -> list[Row]:
    """Return one row for each page of evidence."""
    return [
        Row(f"{q.question_id}, page {at.page}", q, at, (doc_ids[q.doc], at.page))
        for q in questions
        for at in q.evidence
    ]


def returned_boxes(db: str, rows: Sequence[Row], folder: Path, options: str) -> list[Doubles]:
    """Ask for every row; return its (n, 4) boxes, best first."""
    queries = (
        {
            "query_id": row.query_id,
            "query": row.question.query,
            "doc": row.place[0],
            "pages": [row.place[1]],
        }
        for row in rows
    )
    run = run_query(db, queries, folder, ["--top-pages", "1", *options.split()])
    found = []
    for row in rows:
        regions = [region for page in run.pages.get(row.query_id, ()) for region in page["regions"]]
        found.append(np.array([r["box"] for r in regions], np.float64).reshape(-1, 4))
    return found


def read_blocks(corpus: Corpus, rows: Sequence[Row]) -> dict[Page, tuple[Doubles, list[str]]]:
    """Return boxes and texts of the blocks of the rows' pages, in reading order."""
    wanted = {row.place: corpus.page_ids[row.place] for row in rows if row.place in corpus.page_ids}
    table = read_regions(corpus.snapshot, wanted.values(), [RegionKind.BLOCK]).to_pylist()
    members: dict[Page, list[dict[str, Any]]] = {row.place: [] for row in rows}
    for region in sorted(table, key=lambda region: region["reading_order"]):
        members[region["doc_id"], region["page"]].append(region)
    return {
        place: (
            np.array([[r[side] for side in _SIDES] for r in found], np.float64).reshape(-1, 4),
            [region["text"] for region in found],
        )
        for place, found in members.items()
    }


def measure(args: argparse.Namespace, corpus: Corpus, rows: Sequence[Row]) -> Scores:
    """Score every setting and every baseline on every row."""
    scores: dict[str, list[PlaceScore]] = {}
    kept = [0] * len(rows)
    settings = {name: f"{o} --top-regions {_ALL_REGIONS}" for name, o in SETTINGS.items()}
    for number, (name, options) in enumerate({**settings, DEFAULT: ""}.items()):
        folder = args.work / f"places-{number}"
        found = returned_boxes(args.db, rows, folder, options)
        if name == PAPER:
            kept = [len(boxes) for boxes in found]
        scores[name] = [
            PlaceScorer(boxes, row.evidence.boxes).score()
            for boxes, row in zip(found, rows, strict=True)
        ]
    blocks = read_blocks(corpus, rows)
    for seed, (row, k) in enumerate(zip(rows, kept, strict=True)):
        found_blind = baselines.baseline_scores(
            row.question.query, *blocks[row.place], row.evidence.boxes, k, seed
        )
        for name, score in found_blind.items():
            scores.setdefault(name, []).append(score)
    return scores


def compare(title: str, rows: Sequence[Row], scores: Scores, members: Sequence[int]) -> Any:
    """Print a table of all systems over some rows, and return its numbers."""
    documents = [rows[i].question.doc for i in members]
    twin = np.array([scores[baselines.LARGEST][i].official for i in members])
    found = {}
    lines = []
    for name, all_scores in scores.items():
        chosen = [all_scores[i] for i in members]
        mean = mean_score(chosen)
        official = np.array([score.official for score in chosen])
        interval = bootstrap_interval(official, documents)
        ahead = float((official - twin).mean())
        ahead_interval = bootstrap_interval(official - twin, documents)
        found[name] = {
            **mean._asdict(),
            "official_interval": interval,
            "official_minus_largest_block": [ahead, *ahead_interval],
        }
        lines.append(
            [
                name,
                report.with_interval(mean.official, interval),
                *map(report.percent, (mean.official_30, mean.official_50, mean.official_70)),
                report.number(mean.best),
                *map(report.percent, (mean.best_25, mean.best_50, mean.best_70)),
                report.number(mean.area_f1),
                report.percent(mean.share),
                report.with_interval(ahead, ahead_interval, signed=True)
                if name != baselines.LARGEST
                else "",
            ]
        )
    headers = [
        "returned", "official mIoU [95 %]", "@.3", "@.5", "@.7", "best-of-returned mIoU", "@.25",
        "@.5", "@.7", "area F1", "page %", "official minus largest block [95 %]",
    ]  # fmt: skip
    report.print_table(f"{title} ({len(members)} rows, {len(set(documents))} documents)",
                       headers, lines)  # fmt: skip
    return found


def by_category(title: str, rows: Sequence[Row], scores: Scores, members: Sequence[int]) -> Any:
    """Print the official mean IoU and the area F1 in each category, and return all means."""
    categories: dict[str, list[int]] = {}
    for i in members:
        categories.setdefault(rows[i].question.category, []).append(i)
    names = sorted(categories)
    found = {
        system: {name: mean_score([of_row[i] for i in categories[name]]) for name in names}
        for system, of_row in scores.items()
    }
    headers = ["returned: official mIoU / area F1"]
    headers += [f"{name} (n={len(categories[name])})" for name in names]
    lines = [
        [
            system,
            *(f"{report.number(m.official)} / {report.number(m.area_f1)}" for m in of.values()),
        ]
        for system, of in found.items()
    ]
    report.print_table(title, headers, lines)
    return {
        system: {name: {"rows": len(categories[name]), **m._asdict()} for name, m in of.items()}
        for system, of in found.items()
    }


def main() -> int:
    """Measure, print and write ``places.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    datasets.add_arguments(parser)
    args = parser.parse_args()
    dataset = datasets.load(args.dataset, args.data)
    corpus = Corpus.open(args.db)
    rows = rows_of(corpus.questions(dataset, args.partial), dataset.doc_ids)
    _check_pages(corpus, rows)
    scores = measure(args, corpus, rows)
    result: dict[str, Any] = {
        "dataset": args.dataset,
        "encoder": asdict(corpus.database.encoder),
        "settings": {**SETTINGS, DEFAULT: ""},
        "rows": [
            {"row": row.query_id, "doc": row.question.doc, "category": row.question.category,
             "clean": row.evidence.clean, "scores": {n: s[i] for n, s in scores.items()}}
            for i, row in enumerate(rows)
        ],
        "fields": PlaceScore._fields,
    }  # fmt: skip
    groups = {
        "all": list(range(len(rows))),
        "clean": [i for i, row in enumerate(rows) if row.evidence.clean],
    }
    for group, members in groups.items():
        if members:
            result[group] = compare(f"{group.capitalize()} rows", rows, scores, members)
            title = f"{group.capitalize()} rows by category"
            result[f"{group}_by_category"] = by_category(title, rows, scores, members)
    report.write_json(args.work / "places.json", result)
    return 0


def _check_pages(corpus: Corpus, rows: Sequence[Row]) -> None:
    """Say which pages are not there, or of another size than the one the boxes were drawn on."""
    gone = sum(row.place not in corpus.page_ids for row in rows)
    sizes = [
        np.subtract(corpus.sizes[row.place], row.evidence.size_pt)
        for row in rows
        if row.place in corpus.sizes
    ]
    other = sum(bool((np.abs(size) > _SIZE_TOLERANCE_PT).any()) for size in sizes)
    print(f"{len(rows)} rows; {gone} on pages that are not in the database, "
          f"{other} on pages of another size than in the data set")  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
