"""How well pages are found, beside BM25 over the same words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from patchlight.tasks.evaluation import metrics
from patchlight.tasks.evaluation.bm25 import STOP_WORDS, Bm25, best_first
from patchlight.tasks.evaluation.choices import Within
from patchlight.tasks.evaluation.matching import Place
from patchlight.tasks.kernels.geometry import Doubles, Indices

CUTS = (1, 5, 10)
NDCG_CUT = 5

MEASURES = (
    *(f"recall_{k}" for k in CUTS),
    *(f"hit_{k}" for k in CUTS),
    "mrr",
    f"ndcg_{NDCG_CUT}",
)
"""Names of the measures of a question, in the order of `score`: ``recall_k``, the share of its
pages of evidence among the first k; ``hit_k``, 1 when one is among them; ``mrr``, 1 / rank of the
first one; ``ndcg_5``, the normalised discounted cumulative gain."""

BM25 = "BM25"

Ranking = Sequence[Place]


def score(ranked: Ranking, relevant: frozenset[Place]) -> list[float]:
    """Return the measures of a ranking, in the order of `MEASURES`."""
    return [
        *(metrics.recall_at(ranked, relevant, k) for k in CUTS),
        *(metrics.hit_at(ranked, relevant, k) for k in CUTS),
        metrics.reciprocal_rank(ranked, relevant),
        metrics.ndcg_at(ranked, relevant, NDCG_CUT),
    ]


def bm25_rankings(
    queries: Sequence[str],
    doc_ids: Sequence[str],
    texts: Mapping[Place, str],
    within: Within,
    top_pages: int,
) -> dict[str, list[Ranking]]:
    """Rank pages by BM25; ties go to the first in order of document and page.

    Args:
        queries: the questions.
        doc_ids: the document of each; read within documents only.
        texts: of all pages that may be found, by document and page.
        within: where each may be found.
        top_pages: pages kept of a ranking.

    Returns:
        Variant -> a ranking for each question. Within documents, IDF is counted over the pages of
        the document, in one variant over all pages.
    """
    places = list(texts)
    of_doc: dict[str, list[int]] = {}
    for position, (doc_id, _) in enumerate(places):
        of_doc.setdefault(doc_id, []).append(position)
    found: dict[str, list[Ranking]] = {}
    for name, leave_out in ((BM25, ()), (f"{BM25}, no stop words", STOP_WORDS)):
        whole = Bm25(list(texts.values()), leave_out)
        scores = [whole.scores(query) for query in queries]
        if within is Within.DATABASE:
            everything = np.arange(len(places))
            found[name] = [_ranked(places, everything, s, top_pages) for s in scores]
            continue
        members = [np.array(of_doc.get(doc_id, ()), np.intp) for doc_id in doc_ids]
        alone = {
            doc_id: Bm25([texts[places[i]] for i in of_doc.get(doc_id, ())], leave_out)
            for doc_id in set(doc_ids)
        }
        found[name] = [
            _ranked(places, rows, alone[doc_id].scores(query), top_pages)
            for rows, doc_id, query in zip(members, doc_ids, queries, strict=True)
        ]
        found[f"{name}, IDF of all pages"] = [
            _ranked(places, rows, s[rows], top_pages)
            for rows, s in zip(members, scores, strict=True)
        ]
    return found


def ranks(rankings: Sequence[Ranking], places: Sequence[Place], of: Sequence[int]) -> Indices:
    """Return the rank of places in rankings, from 1; 0 where a place is not in its ranking.

    Args:
        rankings: one a question.
        places: what is looked for, one a row.
        of: for each row its question.
    """
    at = [{place: rank for rank, place in enumerate(ranked, 1)} for ranked in rankings]
    return np.array([at[q].get(place, 0) for place, q in zip(places, of, strict=True)], np.intp)


def _ranked(places: Sequence[Place], rows: Indices, scores: Doubles, most: int) -> Ranking:
    return [places[rows[i]] for i in best_first(scores)[:most]]
