"""What each form of stored vectors saves and costs: bytes, answers, time.

Run from the repository's root::

    python -m benchmarks.forms DATASET --db DB --work DIR [--encoder NAME] [--pages N]

DATASET is a folder as ``patchlight evaluate`` takes it. DB holds its documents as float16, not
pooled. If it is not there, they are ingested first, with ``--encoder``; with ``--pages`` only the
first documents that have that many pages together.

Every other form is made from the vectors that are read back from DB, which are those of the
encoder rounded to float16; pooling and int8 start from these. Each form is a database of its own
in DIR: DB's other tables, and a ``patches`` table written with the product's code, whose files are
measured. All are asked in this process with the product's code: all pages are ranked for every
question, and each page of evidence is given for its first block. Times are medians, that of
compaction a mean; the forms take turns within one run. Set ``OMP_NUM_THREADS=1`` on a machine that
does other work: threads that wait for each other measure little else.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2

from benchmarks import report
from benchmarks.command import PATCHLIGHT
from benchmarks.formstores import BASE, ONE_SCALE, Stored, store_forms
from patchlight.storage import statistics as corpus
from patchlight.storage.database import Database
from patchlight.storage.errors import ExitCode
from patchlight.storage.reader import PatchBatch, catalog
from patchlight.storage.records import QueryEncoding, RegionKind, VectorForm
from patchlight.tasks.encoders import registry
from patchlight.tasks.evaluation import datasets, matching, metrics
from patchlight.tasks.evaluation.bootstrap import mean_intervals
from patchlight.tasks.evaluation.markdown import number, percent, with_interval
from patchlight.tasks.evaluation.matching import Matched, Row
from patchlight.tasks.evaluation.matching import Place as Page
from patchlight.tasks.evaluation.records import Dataset
from patchlight.tasks.grounding.places import ground
from patchlight.tasks.grounding.records import FoundPage, GroundingOptions
from patchlight.tasks.grounding.selection import Selection, SelectionRule
from patchlight.tasks.kernels.maxsim import TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation
from patchlight.tasks.retrieval.ranking import PagesToRank, RankingOptions, rank_pages, read_pages
from patchlight.tasks.retrieval.scope import Catalog, Positions

TOP = 10
ORDERED = 100
TIMED_QUESTIONS = 24
ROUNDS = 3
FIRST_BLOCK = GroundingOptions(
    top_regions=1,
    selection=Selection(SelectionRule.MAX),
    region_aggregate=RegionAggregation.MAX,
    token_aggregate=TokenAggregation.MEAN,
    kinds=(RegionKind.BLOCK,),
)
"""The defaults of ``patchlight query``, first region only."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a form answers.

    Attributes:
        pooled: for each question all pages, best first.
        within: for each question the pages of its document, best first.
        boxes: for each row of evidence the first block's box, or none.
    """

    pooled: Sequence[Sequence[Page]]
    within: Sequence[Sequence[Page]]
    boxes: Sequence[tuple[float, float, float, float] | None]


def ingest(dataset: Dataset, db: str, encoder: str | None, pages: int | None) -> None:
    """Make the database of float16 vectors with the installed command.

    Raises:
        SystemExit: the command failed.
    """
    files = [dataset.folder / name for name in dataset.files]
    if pages is not None:
        files = _first(files, pages)
    command = [str(PATCHLIGHT), "ingest", *map(str, files), "--db", db]
    done = subprocess.run([*command, *(["--encoder", encoder] if encoder else [])])
    if done.returncode not in (ExitCode.OK, ExitCode.DONE_WITH_FAILURES):
        raise SystemExit(f"patchlight ingest ended with {done.returncode}")


def answer(
    stored: Stored,
    queries: Mapping[str, QueryEncoding],
    asked: Sequence[tuple[str, str]],
    matched: Matched,
) -> Answers:
    """Rank all pages for every question, and find the first block on every page of evidence.

    Args:
        stored: the form.
        queries: question -> its vectors.
        asked: questions with the doc_id of their document.
        matched: the questions and their pages of evidence.
    """
    known = stored.catalog
    everything = np.arange(len(known), dtype=np.int64)
    options = RankingOptions(len(known))
    encodings = [queries[query] for query, _ in asked]
    hits = rank_pages(
        read_pages(stored.snapshot, PagesToRank.of(known, everything)),
        encodings,
        [None] * len(asked),
        options,
    )
    pages = list(zip(known.doc_ids, known.pages.tolist(), strict=True))
    pooled = [[pages[hit.position] for hit in found] for found in hits]
    within = [
        [page for page in ranked if page[0] == doc_id]
        for ranked, (_, doc_id) in zip(pooled, asked, strict=True)
    ]
    position = {page: number for number, page in enumerate(pages)}
    boxes = []
    for row in matched.rows:
        at = position[row.place]
        question = matched.questions[row.question].query
        query = queries[question]
        page = FoundPage(int(known.page_keys[at]), int(known.patch_rows[at]), (query,), (question,))
        (places,) = ground(stored.snapshot, {known.page_ids[at]: page}, FIRST_BLOCK).values()
        boxes.append(places[0].regions[0].box if places[0].regions else None)
    return Answers(pooled, within, boxes)


def time_forms(
    forms: Mapping[str, Stored], queries: Sequence[QueryEncoding]
) -> tuple[dict[str, float], dict[str, float]]:
    """Return milliseconds to read a page, and to score all pages for one question; medians."""
    reading: dict[str, list[float]] = {name: [] for name in forms}
    scoring: dict[str, list[float]] = {name: [] for name in forms}
    held: dict[str, list[tuple[Positions, PatchBatch]]] = {}
    for _ in range(ROUNDS):
        for name, stored in forms.items():
            everything = np.arange(len(stored.catalog), dtype=np.int64)
            begun = time.perf_counter()
            held[name] = list(
                read_pages(stored.snapshot, PagesToRank.of(stored.catalog, everything))
            )
            reading[name].append((time.perf_counter() - begun) * 1000 / len(everything))
    options = RankingOptions(TOP)
    for _ in range(ROUNDS):
        for query in queries:
            for name, batches in held.items():
                begun = time.perf_counter()
                rank_pages(batches, [query], [None], options)
                scoring[name].append((time.perf_counter() - begun) * 1000)
    return (
        {name: statistics.median(values) for name, values in reading.items()},
        {name: statistics.median(values) for name, values in scoring.items()},
    )


def compare_sizes(
    forms: Mapping[str, Stored], reading: Mapping[str, float], scoring: Mapping[str, float]
) -> dict[str, Any]:
    """Print what each form takes, and return the numbers."""
    base = forms[BASE]
    rows = []
    for name, stored in forms.items():
        size = [f"{stored.arrow:,.0f}", f"{stored.disk:,.0f}", f"{stored.disk / base.disk:.2f}"]
        rows.append(
            [
                name,
                f"{stored.vectors:.1f}",
                *(["", "", ""] if name == ONE_SCALE else size),
                f"{stored.compact_ms:.1f}",
                f"{reading[name]:.3f}",
                f"{scoring[name]:.2f}",
                f"{scoring[name] / scoring[BASE]:.2f}",
            ]
        )
    headers = [
        "form", "vectors a page", "Arrow bytes a page", "bytes a page on disk", "of float16",
        "ms to compact a page", "ms to read a page", "ms to score a question", "of float16",
    ]  # fmt: skip
    report.print_table(f"Size and time, {len(base.catalog)} pages", headers, rows)
    return {
        name: {
            "vectors": stored.vectors,
            "arrow_bytes": stored.arrow,
            "disk_bytes": stored.disk,
            "compact_ms": stored.compact_ms,
            "read_ms": reading[name],
            "score_ms": scoring[name],
        }
        for name, stored in forms.items()
    }


def compare_pages(
    title: str,
    ranked: Mapping[str, Sequence[Sequence[Page]]],
    evidence: Sequence[frozenset[Page]],
    documents: Sequence[str],
) -> dict[str, Any]:
    """Print how well each form ranks pages and how far as float16 does, and return the numbers."""
    base = ranked[BASE]
    found: dict[str, Any] = {}
    rows = []
    for name, pages in ranked.items():
        pairs = list(zip(pages, evidence, strict=True))
        mrr = np.array([metrics.reciprocal_rank(*pair) for pair in pairs])
        recall = {
            k: float(np.mean([metrics.recall_at(*pair, k) for pair in pairs])) for k in (1, 5)
        }
        before = [metrics.reciprocal_rank(*pair) for pair in zip(base, evidence, strict=True)]
        gain = mrr - np.array(before)
        (lead,) = mean_intervals(gain, documents).tolist()
        same = list(zip(pages, base, strict=True))
        agreement = {
            "same_first": float(np.mean([a[:1] == b[:1] for a, b in same])),
            "overlap": float(np.mean([_overlap(a, b) for a, b in same])),
            "tau": float(np.mean([kendall_tau(a, b[:ORDERED]) for a, b in same])),
        }
        found[name] = {
            "recall@1": recall[1],
            "recall@5": recall[5],
            "mrr": float(mrr.mean()),
            "mrr_minus_float16": lead,
            **agreement,
        }
        rows.append(
            [
                name,
                *map(percent, recall.values()),
                number(float(mrr.mean())),
                "" if name == BASE else with_interval(lead, signed=True),
                percent(agreement["same_first"]),
                percent(agreement["overlap"]),
                number(agreement["tau"]),
            ]
        )
    headers = [
        "form", "R@1 %", "R@5 %", "MRR", "MRR minus float16 [95 %]", "same first page %",
        f"same of the first {TOP} %",
        f"Kendall's tau of float16's first {ORDERED}",
    ]  # fmt: skip
    report.print_table(title, headers, rows)
    return found


def compare_places(answers: Mapping[str, Answers], matched: Matched) -> dict[str, Any]:
    """Print how well each form's first blocks fit the evidence, and return the numbers."""
    rows = matched.rows
    documents = [matched.questions[row.question].doc for row in rows]
    official = {
        name: np.array([_official(box, row) for box, row in zip(a.boxes, rows, strict=True)])
        for name, a in answers.items()
    }
    found: dict[str, Any] = {}
    lines = []
    for name, values in official.items():
        gain = values - official[BASE]
        (lead,) = mean_intervals(gain, documents).tolist()
        boxes = zip(answers[name].boxes, answers[BASE].boxes, strict=True)
        same = float(np.mean([ours == theirs for ours, theirs in boxes]))
        found[name] = {
            "official": float(values.mean()),
            "official_minus_float16": lead,
            "same_first_block": same,
        }
        lines.append(
            [
                name,
                number(float(values.mean())),
                "" if name == BASE else with_interval(lead, signed=True),
                percent(same),
            ]
        )
    headers = ["form", "official mIoU", "minus float16 [95 %]", "same first block %"]
    report.print_table(f"First block on {len(rows)} pages of evidence", headers, lines)
    return found


def main() -> int:
    """Measure, print and write ``forms.json``."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dataset", type=Path, help="folder of the data set")
    parser.add_argument("--db", required=True, help="the database, with the documents ingested")
    parser.add_argument("--work", required=True, type=Path, help="folder for what is written")
    parser.add_argument("--partial", action="store_true", help="as for patchlight evaluate")
    parser.add_argument("--encoder", help="encoder of a database that is not there yet")
    parser.add_argument("--pages", type=int, help="pages to ingest, at least; default: all")
    args = parser.parse_args()
    dataset = datasets.load(args.dataset)
    if not Path(args.db).exists():
        ingest(dataset, args.db, args.encoder, args.pages)
    elif args.encoder or args.pages:
        parser.error(f"{args.db} is there: --encoder and --pages are for making it")
    database = Database.open(args.db)
    if database.form != VectorForm():
        raise SystemExit(f"{args.db} stores {database.form}; float16 is needed, not pooled")
    snapshot = database.snapshot()
    known = Catalog.of(catalog(snapshot))
    partial = args.partial or args.pages is not None
    matched = matching.match(
        dataset, known, database.documents(), database.failures(), partial=partial
    )
    matched = replace(matched, rows=[row for row in matched.rows if row.position is not None])
    questions, evidence = matched.questions, matched.places
    asked = [
        (question.query, min(doc_id for doc_id, _ in places))
        for question, places in zip(questions, evidence, strict=True)
    ]
    encoder = registry.load(registry.for_queries(database.encoder))
    texts = [query for query, _ in asked]
    encodings = encoder.encode_queries(texts, corpus.latest(database))
    queries = {}
    for text, encoding in zip(texts, encodings, strict=True):
        if isinstance(encoding, Exception):
            raise SystemExit(f"{text}: {encoding}")
        queries[text] = encoding
    stored = store_forms(database, snapshot, encoder.info, args.work)
    answers = {name: answer(form, queries, asked, matched) for name, form in stored.items()}
    timed = [queries[query] for query in texts[:: max(1, len(texts) // TIMED_QUESTIONS)]]
    reading, scoring = time_forms(stored, timed)
    documents = [q.doc for q in questions]
    count = f"{len(questions)} questions on {len(set(documents))} documents"
    result = {
        "dataset": dataset.name,
        "encoder": asdict(database.encoder),
        "pages": len(known),
        "questions": [q.question_id for q in questions],
        "sizes": compare_sizes(stored, reading, scoring),
        "within": compare_pages(
            f"{count}, ranked within the document",
            {name: a.within for name, a in answers.items()}, evidence, documents,
        ),
        "pooled": compare_pages(
            f"{count}, pooled over {len(known)} pages",
            {name: a.pooled for name, a in answers.items()}, evidence, documents,
        ),
        "places": compare_places(answers, matched),
    }  # fmt: skip
    report.write_json(args.work / "forms.json", result)
    return 0


def _first(files: Sequence[Path], pages: int) -> list[Path]:
    """The first files that have at least that many pages together, or all."""
    chosen: list[Path] = []
    count = 0
    for path in files:
        if count >= pages:
            break
        with pypdfium2.PdfDocument(path) as file:
            count += len(file)
        chosen.append(path)
    return chosen


def kendall_tau(ours: Sequence[Hashable], theirs: Sequence[Hashable]) -> float:
    """Return how far two rankings agree: 1 for the same order, -1 for the opposite.

    Of the pairs of items that both rank, the share in the same order minus the share in the other
    (Kendall's tau; there are no ties). 1 where there is no pair.
    """
    at = {key: rank for rank, key in enumerate(theirs)}
    ranks = np.array([at[key] for key in ours if key in at])
    if len(ranks) < 2:
        return 1.0
    later = np.triu(np.ones((len(ranks), len(ranks)), np.bool_), 1)
    return float(np.sign(ranks[None, :] - ranks[:, None])[later].mean())


def _overlap(ours: Sequence[Page], theirs: Sequence[Page]) -> float:
    """Share of the first `TOP` pages of one ranking that are among those of the other."""
    first = set(theirs[:TOP])
    return len(first & set(ours[:TOP])) / len(first) if first else 1.0


def _official(box: tuple[float, float, float, float] | None, row: Row) -> float:
    boxes = np.array([box] if box else [], np.float64).reshape(-1, 4)
    return metrics.PlaceScorer(boxes, row.evidence.boxes).score().official


if __name__ == "__main__":
    sys.exit(main())
