"""How near the stored regions come to human evidence, whichever of them is chosen: an oracle.

Run from the repository's root, for a data set whose documents were ingested into the database::

    python -m benchmarks.proposals DATASET --db DB

For each page of evidence the best single region counts, by SciEGQA v2's official score; beside it
as many random boxes of the same sizes. For tables of ICDAR 2013 (categories ``table_region`` and
``table_cell``) it also prints how near the best table and the best cell come to each true box.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.report import print_table
from patchlight.storage import reader
from patchlight.storage.database import Database
from patchlight.storage.records import RegionKind, WordsSource, page_id
from patchlight.tasks.documents.sources import sha256_of
from patchlight.tasks.evaluation import datasets
from patchlight.tasks.evaluation.bootstrap import mean_intervals
from patchlight.tasks.kernels.geometry import iou

Boxes = NDArray[np.float64]

WORDS = (RegionKind.WORD, RegionKind.CELL)
"""What is no proposal: their number grows with the text."""

DRAWS = 20
"""Random pages that are averaged."""


@dataclass(frozen=True, slots=True)
class Row:
    """A page of evidence, with what is stored of it."""

    question: str
    doc: str
    category: str
    clean: bool
    layer: bool
    true: Boxes
    boxes: dict[RegionKind, Boxes]

    def of(self, kinds: Iterable[RegionKind]) -> Boxes:
        """Boxes of regions of some kinds."""
        return np.concatenate([self.boxes[kind] for kind in kinds])


def read_rows(dataset: str, db: str) -> list[Row]:
    """Match the rows of a data set with the pages of a database, by the documents' bytes."""
    found = datasets.load(dataset)
    database = Database.open(db)
    snapshot = database.snapshot()
    ids = {file: sha256_of(str(found.folder / file))[0] for file in found.files}
    evidence = [(question, at) for question in found.questions for at in question.evidence]
    keys = sorted({page_id(ids[at.file], at.page) for _, at in evidence})
    stacked = {
        key: {kind: regions.only(kind).boxes for kind in RegionKind}
        for key, regions in reader.read_regions(snapshot, reader.page_keys(snapshot, keys)).items()
    }
    rows = []
    for question, at in evidence:
        stored = database.page_rows(ids[at.file], [at.page]).get(at.page)
        if stored is None:
            print(f"{at.file}, page {at.page}: is not in the database", file=sys.stderr)
            continue
        layer = stored.words_source is WordsSource.TEXT_LAYER
        regions = stacked[page_id(ids[at.file], at.page)]
        clean = bool(at.clean)
        name = question.question_id
        rows.append(Row(name, at.file, question.category, clean, layer, at.boxes, regions))
    return rows


def oracle(boxes: Boxes, true: Boxes) -> float:
    """Official score of the best single box: its IoU with one true box, by their number."""
    return float(iou(boxes, true).max() / len(true)) if len(boxes) else 0.0


def random_oracle(boxes: Boxes, true: Boxes, seed: int) -> float:
    """The same of boxes of the same sizes at random places, averaged."""
    if not len(boxes):
        return 0.0
    generator = np.random.default_rng(seed)
    size = np.clip(boxes[:, 2:] - boxes[:, :2], 1e-5, 1.0 - 1e-9)
    scores = []
    for _ in range(DRAWS):
        low = generator.random(size.shape) * (1.0 - size)
        scores.append(oracle(np.concatenate([low, np.minimum(low + size, 1.0)], axis=1), true))
    return float(np.mean(scores))


def print_oracles(rows: Sequence[Row]) -> None:
    """Print the oracle of proposals, of words' own groups, and of random boxes."""
    proposals: list[RegionKind] = [kind for kind in RegionKind if kind not in WORDS]
    settings: dict[str, list[RegionKind]] = {
        "all but words and cells": proposals,
        "those but lines": [kind for kind in proposals if kind is not RegionKind.LINE],
        "paragraphs, blocks": [RegionKind.PARAGRAPH, RegionKind.BLOCK],
    }
    groups = {
        "clean rows": [row for row in rows if row.clean],
        "clean, text layer": [row for row in rows if row.clean and row.layer],
        "all rows": list(rows),
        "all, text layer": [row for row in rows if row.layer],
        "all, no text layer": [row for row in rows if not row.layer],
    }
    for category in sorted({row.category for row in rows}):
        groups[f"all, {category}"] = [row for row in rows if row.category == category]
    table = []
    for name, some in groups.items():
        for setting, kinds in settings.items():
            if not some:
                continue
            scores = np.array([oracle(row.of(kinds), row.true) for row in some])
            chance = [random_oracle(row.of(kinds), row.true, i) for i, row in enumerate(some)]
            [[mean, low, high]] = mean_intervals(scores, [row.doc for row in some])
            table.append(
                [
                    f"{name} ({len(some)}): {setting}",
                    f"{mean:.3f} [{low:.3f}, {high:.3f}]",
                    f"{100 * (scores >= 0.5).mean():.1f}",
                    f"{np.mean(chance):.3f}",
                    f"{np.median([len(row.of(kinds)) for row in some]):.0f}",
                    f"{np.percentile([len(row.of(kinds)) for row in some], 95):.0f}",
                ]
            )
    headers = ["regions", "oracle", "@.5", "random boxes", "median a page", "95 %"]
    print_table("The best single region", headers, table)


def print_tables(rows: Sequence[Row]) -> None:
    """Print how near tables and cells come to true ones, and lines beside cells."""
    table = []
    for category, kind in (
        ("table_region", RegionKind.TABLE),
        ("table_region", RegionKind.BLOCK),
        ("table_cell", RegionKind.CELL),
        ("table_cell", RegionKind.LINE),
    ):
        best = [
            float(value)
            for row in rows
            if row.category == category
            for value in (
                iou(row.boxes[kind], row.true).max(axis=0)
                if len(row.boxes[kind])
                else np.zeros(len(row.true))
            )
        ]
        if best:
            values = np.array(best)
            shares = [f"{100 * (values >= at).mean():.1f}" for at in (0.5, 0.8)]
            name = f"{category.replace('_', ' ')} ({len(values)}): {kind}"
            table.append([name, f"{values.mean():.3f}", *shares])
    if table:
        print_table("Tables and cells", ["best region of a kind", "IoU", "@.5", "@.8"], table)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder of the data set")
    parser.add_argument("--db", required=True, help="the database")
    args = parser.parse_args()
    rows = read_rows(args.dataset, args.db)
    print_oracles(rows)
    print_tables(rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
