"""What damage to pages costs: places found on scans, skewed, noisy and coarse ones.

Run from the repository's root::

    python -m benchmarks.damage DATASET --work DIR [--kinds scan skewed ...] [--pages N]

DATASET is a folder as ``patchlight evaluate`` takes it. Of each kind of damage it makes a folder in
DIR: every page of evidence as a document of its own, and the questions with the true boxes turned
as their page was. Each is ingested and evaluated with the installed command, with the page of
evidence given. What is lost is told from the undamaged pages, cut out of their PDFs (the kind
``pdf``, always among them): the same pages and so the same statistics of words. Intervals are of
differences paired by question and page, resampling the documents that the pages are from.

To tell where it is lost, there are beside what is returned: its twin, which knows no question, and
what the question adds to it; spans chosen without the patches, and without the words of the
question; how near the best stored region comes to the truth, whichever is chosen
(``benchmarks.proposals``), among lines, paragraphs and blocks, which are made of words alone, and
among all regions, with those of the layout model; and how many of a text layer's words are read.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import ArrayLike

from benchmarks import damagedpages, proposals
from benchmarks.command import PATCHLIGHT
from benchmarks.damagedpages import KINDS, UNDAMAGED
from benchmarks.report import print_table, write_json
from patchlight.storage import reader
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from patchlight.storage.records import RegionKind, page_id
from patchlight.tasks.documents.sources import sha256_of
from patchlight.tasks.evaluation import datasets
from patchlight.tasks.evaluation.baselines import BEST_REGION
from patchlight.tasks.evaluation.bootstrap import mean_intervals
from patchlight.tasks.evaluation.markdown import number, percent_with_interval, with_interval
from patchlight.tasks.grounding.spanweights import SpanSignals

OURS = "patchlight"
TWIN = "its twin"
GAIN = "by the question"
BY_WORDS = "without patches"
BY_PATCHES = "without words"
BLOCK = "BM25: best block"
OF_WORDS = "best line, paragraph, block"
OF_ALL = "best region"
SETTINGS = {
    "layout twin": SpanSignals.LAYOUT,
    "words": SpanSignals.WORDS,
    "patches": SpanSignals.VISUAL,
}
"""Setting of the evaluation -> signals that spans are chosen by."""
COLUMNS = (OURS, TWIN, GAIN, BY_WORDS, BY_PATCHES, BLOCK, OF_WORDS, OF_ALL)

KINDS_OF_WORDS = (RegionKind.LINE, RegionKind.PARAGRAPH, RegionKind.BLOCK)
PROPOSALS = [kind for kind in RegionKind if kind not in proposals.WORDS]

Intervals = dict[str, Any]
"""Of columns: value, lower and upper end."""

Key = tuple[str, str]
"""Question and name of the page, which is that of its file without the suffix."""


@dataclass(frozen=True, slots=True)
class About:
    """A row: a page of evidence of a question.

    Attributes:
        document: the document that the page is from; rows of one are not independent.
        category: what the evidence is.
        clean: whether it is marked as unambiguous.
        layer: whether the undamaged page has a text layer that is used.
    """

    document: str
    category: str
    clean: bool
    layer: bool


def run(kind: str, work: Path) -> None:
    """Ingest and evaluate the pages of a kind, with the installed command.

    Raises:
        SystemExit: a command failed.
    """
    folder, db = work / kind, str(work / f"{kind}.db")
    ingest = [PATCHLIGHT, "ingest", folder / damagedpages.PAGES, "--db", db]
    evaluate = [PATCHLIGHT, "evaluate", folder, "--db", db, "--out", work / f"{kind}.report"]
    evaluate += ["--protocol", "given", "--pictures", "0", "--baseline-kind", RegionKind.BLOCK]
    for name, signals in SETTINGS.items():
        evaluate += ["--setting", f"{name}=--span-signals {signals}"]
    for command in (ingest, evaluate):
        code = subprocess.run(list(map(str, command)), stdout=subprocess.DEVNULL).returncode
        if code not in (ExitCode.OK, ExitCode.DONE_WITH_FAILURES):
            raise SystemExit(f"{kind}: patchlight {command[1]} ended with {code}")


def official(report: Path) -> dict[Key, dict[str, float]]:
    """Return the official score of each row and system of an evaluation."""
    table = pq.read_table(report / "rows.parquet")
    columns = (table[name].to_pylist() for name in ("question_id", "document", "system"))
    found: dict[Key, dict[str, float]] = {}
    for question, document, system, score in zip(
        *columns, table["official"].to_pylist(), strict=True
    ):
        found.setdefault((question, Path(document).stem), {})[system] = score
    return found


def stored(work: Path, kind: str) -> dict[Key, proposals.Row]:
    """Return what the database of a kind has of each row."""
    rows = proposals.read_rows(str(work / kind), str(work / f"{kind}.db"))
    return {(row.question, Path(row.doc).stem): row for row in rows}


def numbers(scores: Mapping[str, float], row: proposals.Row | None) -> list[float]:
    """Return the numbers of `COLUMNS` for a row.

    Args:
        scores: the official score of each system.
        row: what is stored of its page; None where it could not be ingested.
    """
    ours = scores[OURS]
    twin, words, patches = (scores[name] for name in SETTINGS)
    best = [
        0.0 if row is None else proposals.oracle(row.of(kinds), row.true)
        for kinds in (KINDS_OF_WORDS, PROPOSALS)
    ]
    return [ours, twin, ours - twin, words, patches, scores[BEST_REGION], *best]


def page_words(work: Path, kind: str) -> dict[str, Counter[str]]:
    """Return how often each word is on each page, by the page's name; lower case, no marks."""
    dataset = datasets.load(work / kind)
    ids = {
        page_id(sha256_of(str(dataset.folder / file))[0], 1): Path(file).stem
        for file in dataset.files
    }
    snapshot = Database.open(work / f"{kind}.db").snapshot()
    texts = reader.page_texts(snapshot, reader.page_keys(snapshot, ids))
    return {ids[key]: Counter(re.findall(r"[^\W_]+", t.lower())) for key, t in texts.items()}


def words_read(true: Counter[str], read: Counter[str]) -> tuple[float, float]:
    """Return the share of a page's words that were read, and of what was read that is there.

    A word counts as often as it stands there; NaN for a share of nothing.
    """
    shared, nothing = (true & read).total(), float("nan")
    return (
        shared / true.total() if true else nothing,
        shared / read.total() if read else nothing,
    )


def groups_of(rows: Mapping[Key, About]) -> dict[str, list[Key]]:
    """Return the groups of rows that are told apart; empty ones are left out."""
    groups = {
        "clean rows": [key for key, row in rows.items() if row.clean],
        "all rows": list(rows),
        "text layer": [key for key, row in rows.items() if row.layer],
        "no text layer": [key for key, row in rows.items() if not row.layer],
    }
    for category in sorted({row.category for row in rows.values()}):
        groups[category] = [key for key, row in rows.items() if row.category == category]
    return {name: keys for name, keys in groups.items() if keys}


def intervals(values: ArrayLike, documents: Sequence[str]) -> list[list[float | None]]:
    """Return the mean of each column with both ends of its interval; None for what there is not."""
    found = mean_intervals(values, documents).tolist()
    return [[None if value != value else value for value in column] for column in found]


def compare(
    rows: Mapping[Key, About], found: Mapping[str, Mapping[Key, Sequence[float]]]
) -> dict[str, Intervals]:
    """Print what each kind of pages has, and how much less than the undamaged ones.

    Args:
        rows: what the rows are.
        found: kind -> row -> numbers of `COLUMNS`.

    Returns:
        Group and kind -> the column's mean with its interval, and that of the difference.
    """
    results: dict[str, Intervals] = {}
    for group, keys in groups_of(rows).items():
        documents = [rows[key].document for key in keys]
        whole = np.array([found[UNDAMAGED][key] for key in keys])
        lines = []
        for kind, of_kind in found.items():
            own = np.array([of_kind[key] for key in keys])
            means = intervals(own, documents)
            changes = intervals(own - whole, documents)
            shown = [
                with_interval(mean)
                if kind == UNDAMAGED
                else f"{number(mean[0])}: {with_interval(change, signed=True)}"
                for mean, change in zip(means, changes, strict=True)
            ]
            lines.append([kind, *shown])
            results[f"{group}: {kind}"] = {
                column: {"mean": mean, "change": change}
                for column, mean, change in zip(COLUMNS, means, changes, strict=True)
            }
        title = f"{group[0].upper()}{group[1:]} ({len(keys)}): official mean IoU, and what is lost"
        print_table(title, ["pages", *COLUMNS], lines)
    return results


def compare_words(
    pages: Mapping[str, str], words: Mapping[str, Mapping[str, Counter[str]]]
) -> dict[str, Intervals]:
    """Print how well words are read, on pages whose words are known from their text layer.

    Args:
        pages: name of a page -> its document.
        words: kind -> page -> its words.
    """
    results: dict[str, Intervals] = {}
    lines = []
    for kind, of_kind in words.items():
        shares = [
            words_read(words[UNDAMAGED][page], of_kind.get(page, Counter())) for page in pages
        ]
        means = intervals(shares, list(pages.values()))
        lines.append([kind, *map(percent_with_interval, means)])
        results[kind] = dict(zip(("read", "right"), means, strict=True))
    title = f"Words of {len(pages)} pages with a text layer, per cent"
    print_table(title, ["pages", "of its words, read", "of those read, on the page"], lines)
    return results


def main() -> int:
    """Measure, print and write ``damage.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", help="folder of the data set")
    parser.add_argument("--work", required=True, type=Path, help="folder for what is made")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--pages", type=int, help="the first pages of evidence only; default: all")
    args = parser.parse_args()
    dataset = datasets.load(args.dataset)
    kinds = [kind for kind in KINDS if kind == UNDAMAGED or kind in args.kinds]
    found: dict[str, dict[Key, list[float]]] = {}
    words: dict[str, dict[str, Counter[str]]] = {}
    rows: dict[Key, About] = {}
    for kind in kinds:
        damagedpages.make(dataset, kind, args.work / kind, args.pages)
        run(kind, args.work)
        there = stored(args.work, kind)
        if kind == UNDAMAGED:
            documents = {question.question_id: question.doc for question in dataset.questions}
            rows = {
                key: About(documents[key[0]], row.category, row.clean, row.layer)
                for key, row in there.items()
            }
        scored = official(args.work / f"{kind}.report")
        found[kind] = {key: numbers(scored[key], there.get(key)) for key in rows}
        words[kind] = page_words(args.work, kind)
    layers = {page: row.document for (_, page), row in rows.items() if row.layer}
    result = {
        "dataset": dataset.name,
        "kinds": {kind: asdict(damage) for kind in kinds if (damage := KINDS[kind])},
        "rows": compare(rows, found),
        "words": compare_words(layers, words),
    }
    write_json(args.work / "damage.json", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
