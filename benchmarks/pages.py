"""Page retrieval on documents with human evidence pages, beside BM25.

Run from the repository's root, on a database that holds the data set's PDFs::

    python -m benchmarks.pages mmdocir --db DB --work DIR

Every question is asked twice with the installed ``patchlight query``: within its document (all
pages are ranked), and pooled over the whole database (the first ``--top-pages`` pages; what lies
behind counts as not found, for BM25 alike). recall@k is the share of a question's evidence pages
among the first k, MRR counts the best-ranked one; both are means over questions.

BM25 ranks the same page texts from the same database, ties in order of document and page. The
interval of the difference in MRR is a paired bootstrap over documents.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from benchmarks import datasets, metrics, report
from benchmarks.bm25 import STOP_WORDS, Bm25, best_first
from benchmarks.command import QueryRun, run_query
from benchmarks.corpus import Corpus, Page, account
from benchmarks.datasets import Question
from storage.reader import page_texts
from tasks.geometry import Doubles

OURS = "patchlight"
CUTS = (1, 5, 10)

Ranking = Sequence[Page]
Rankings = Mapping[str, Sequence[Ranking]]
"""System -> for each question its ranked pages."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A question with what its document and evidence are called in the database.

    Attributes:
        question: it.
        doc_id: its document.
        evidence: its pages of evidence.
    """

    question: Question
    doc_id: str
    evidence: frozenset[Page]


def bm25_rankings(
    asked: Sequence[Asked], texts: Mapping[Page, str], top_pages: int
) -> tuple[Rankings, Rankings]:
    """Rank pages by BM25.

    Args:
        asked: the questions.
        texts: of all pages of the database, by document and page.
        top_pages: pages kept in the pooled rankings.

    Returns:
        Rankings within the document and pooled. ``BM25`` within a document counts words over
        that document alone; one variant counts them over the whole database.
    """
    everything = list(texts)
    of_doc: dict[str, list[int]] = {}
    for position, (doc_id, _) in enumerate(everything):
        of_doc.setdefault(doc_id, []).append(position)
    within: dict[str, list[Ranking]] = {}
    pooled: dict[str, list[Ranking]] = {}
    for name, leave_out in (("BM25", ()), ("BM25, no stop words", STOP_WORDS)):
        whole = Bm25(list(texts.values()), leave_out)
        scores = [whole.scores(a.question.query) for a in asked]
        pooled[name] = [_ranked(everything, found)[:top_pages] for found in scores]
        single = {
            doc_id: Bm25([texts[everything[i]] for i in of_doc.get(doc_id, ())], leave_out)
            for doc_id in {a.doc_id for a in asked}
        }
        members = [np.array(of_doc.get(a.doc_id, ()), np.intp) for a in asked]
        pages = [[everything[i] for i in rows] for rows in members]
        within[name] = [
            _ranked(here, single[a.doc_id].scores(a.question.query))
            for here, a in zip(pages, asked, strict=True)
        ]
        within[f"{name}, IDF of all pages"] = [
            _ranked(here, found[rows])
            for here, found, rows in zip(pages, scores, members, strict=True)
        ]
    return within, pooled


def our_ranking(run: QueryRun, query_id: str) -> Ranking:
    """Return the pages that a run found for a question; none where it could not answer."""
    return [(page["doc_id"], page["page"]) for page in run.pages.get(query_id, ())]


def compare(title: str, asked: Sequence[Asked], rankings: Rankings) -> dict[str, Any]:
    """Print a table of all systems, and return its numbers."""
    documents = [a.doc_id for a in asked]
    mrr = {
        name: _per_question(asked, ranked, metrics.reciprocal_rank)
        for name, ranked in rankings.items()
    }
    found: dict[str, Any] = {}
    rows = []
    for name, ranked in rankings.items():
        recall = {
            k: float(np.mean([
                metrics.recall_at(pages, a.evidence, k)
                for pages, a in zip(ranked, asked, strict=True)
            ]))
            for k in CUTS
        }  # fmt: skip
        found[name] = {f"recall@{k}": value for k, value in recall.items()}
        found[name]["mrr"] = float(np.mean(mrr[name]))
        difference = ""
        if name != OURS:
            ahead = np.subtract(mrr[OURS], mrr[name])
            interval = metrics.bootstrap_interval(ahead, documents)
            found[name]["ours_minus_this"] = [float(ahead.mean()), *interval]
            difference = report.with_interval(float(ahead.mean()), interval, signed=True)
        shares = [report.percent(value) for value in recall.values()]
        rows.append([name, *shares, report.number(found[name]["mrr"]), difference])
    headers = ["system", *(f"R@{k} %" for k in CUTS), "MRR", f"MRR of {OURS} minus this [95 %]"]
    report.print_table(title, headers, rows)
    return {"systems": found, "reciprocal_rank": mrr}


def throughput(run: QueryRun) -> str:
    """Say how fast a run was."""
    count = run.report["queries"]
    return (
        f"{count} queries in {run.wall_s:.1f} s from start to end of the process "
        f"({count / run.wall_s:.1f} a second), {run.run_s:.1f} s of it the run itself "
        f"({count / run.run_s:.1f} a second); {run.report['pages']} pages returned"
    )


def main() -> int:
    """Measure, print, write ``pages.json``; 1 when ingest lost a page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    datasets.add_arguments(parser)
    parser.add_argument("--top-pages", type=int, default=50, help="pages kept of a pooled ranking")
    args = parser.parse_args()
    dataset = datasets.load(args.dataset, args.data)
    corpus = Corpus.open(args.db)
    accounting = account(dataset, corpus)
    print(f"ingest: {accounting}")
    asked = [_asked(q, dataset.doc_ids[q.doc]) for q in corpus.questions(dataset, args.partial)]
    by_id = page_texts(corpus.snapshot, corpus.page_ids.values())
    texts = {page: by_id[page_id] for page, page_id in corpus.page_ids.items()}
    longest = max(page for _, page in texts)
    runs = {
        "within": _run(args, "within", longest, asked, lambda a: {"doc": a.doc_id}),
        "pooled": _run(args, "pooled", args.top_pages, asked, lambda a: {}),
    }
    titles = {
        "within": f"{len(asked)} questions, within the document",
        "pooled": f"{len(asked)} questions, pooled over {len(corpus.documents)} documents with "
        f"{len(texts)} pages, cut off after {args.top_pages}",
    }
    baselines = dict(zip(runs, bm25_rankings(asked, texts, args.top_pages), strict=True))
    result: dict[str, Any] = {
        "dataset": args.dataset,
        "encoder": asdict(corpus.database.encoder),
        "accounting": asdict(accounting),
        "questions": [a.question.question_id for a in asked],
        "documents": [a.question.doc for a in asked],
        "top_pages": args.top_pages,
    }
    for scope, run in runs.items():
        ours = [our_ranking(run, a.question.question_id) for a in asked]
        result[scope] = compare(titles[scope], asked, {OURS: ours, **baselines[scope]})
        result[scope]["seconds"] = {"wall": run.wall_s, "run": run.run_s}
        print(f"\nthroughput: {throughput(run)}")
    report.write_json(args.work / "pages.json", result)
    return 1 if accounting.lost else 0


def _asked(question: Question, doc_id: str) -> Asked:
    evidence = frozenset((doc_id, page.page) for page in question.evidence)
    return Asked(question, doc_id, evidence)


def _run(
    args: argparse.Namespace,
    scope: str,
    top_pages: int,
    asked: Iterable[Asked],
    place: Callable[[Asked], Mapping[str, str]],
) -> QueryRun:
    rows = (
        {"query_id": a.question.question_id, "query": a.question.query, **place(a)} for a in asked
    )
    # One region a page: regions are not looked at here.
    options = ["--top-pages", str(top_pages), "--select", "max", "--kind", "block"]
    return run_query(args.db, rows, args.work / scope, options)


def _ranked(pages: Sequence[Page], scores: Doubles) -> Ranking:
    return [pages[i] for i in best_first(scores)]


def _per_question(
    asked: Sequence[Asked],
    ranked: Sequence[Ranking],
    measure: Callable[[Ranking, frozenset[Page]], float],
) -> list[float]:
    return [measure(pages, a.evidence) for pages, a in zip(ranked, asked, strict=True)]


if __name__ == "__main__":
    sys.exit(main())
