"""The numbers of a report: means, intervals and differences, in groups of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from patchlight.storage.reader import Snapshot, page_texts
from patchlight.tasks.evaluation import baselines, pages, scoring, summary
from patchlight.tasks.evaluation.choices import Protocol, Truth
from patchlight.tasks.evaluation.pages import Ranking
from patchlight.tasks.evaluation.plan import Answers, Plan, Scored
from patchlight.tasks.evaluation.summary import Group
from patchlight.tasks.kernels.geometry import Doubles, Indices
from patchlight.tasks.retrieval.scope import Catalog

PAGE_CUTS = (1, 5)
"""End to end, a row counts when its page is among so many first ones; else nothing is found."""

COMPARED = (
    "official",
    "official_50",
    "top1_official",
    "top1_official_50",
    "best",
    "top3_best",
    "f1",
    "hit_1",
    "hit_3",
    "coverage",
)
"""Measures of places whose differences are reported."""

BM25_END_TO_END = "BM25: best page, best region"


def given(plan: Plan, scored: Scored) -> list[dict[str, Any]]:
    """Return what was measured with the page of evidence given, group by group."""
    questions = plan.matched.questions
    of_row = [questions[row.question] for row in plan.matched.rows]
    documents = [question.doc for question in of_row]
    found = []
    for label, group in _groups(plan, documents):
        found.append(
            {
                **_described(label, group),
                **_compared(plan, scored.given, scoring.MEASURES, COMPARED, group),
                "context": _context(scored, group),
            }
        )
    return found


def found_pages(
    plan: Plan, answers: Answers, rankings: Mapping[str, Sequence[Ranking]]
) -> dict[str, Any]:
    """Return how well pages were found, question by question.

    Args:
        plan: what was evaluated.
        answers: of every setting.
        rankings: others to compare with.
    """
    places = plan.matched.places
    ours = {setting: answers[setting, Protocol.END_TO_END].ranked for setting in plan.settings}
    scores = {
        name: np.array([pages.score(r, p) for r, p in zip(ranked, places, strict=True)])
        for name, ranked in {**ours, **rankings}.items()
    }
    group = summary.group_of("all", range(len(places)), [q.doc for q in plan.matched.questions])
    base = plan.reference if plan.reference in ours else plan.first
    return {
        **_described("questions", group),
        "systems": summary.means(scores, pages.MEASURES, group),
        "minus": {
            other: summary.differences(scores, pages.MEASURES, group, other, ("mrr",))
            for other in dict.fromkeys((pages.BM25, base))
        },
    }


def found_places(
    plan: Plan, answers: Answers, scored: Scored, rankings: Mapping[str, Sequence[Ranking]]
) -> list[dict[str, Any]]:
    """Return how well places were found end to end, for each of `PAGE_CUTS`.

    Baselines are held to the pages that the first setting found; BM25 also to its own.
    """
    matched = plan.matched
    question = [row.question for row in matched.rows]
    first = answers[plan.first, Protocol.END_TO_END].returned
    of_first = np.array([returned.page_rank for returned in first], np.intp)
    ranks: dict[str, tuple[Doubles, Indices]] = {}
    for setting in plan.settings:
        own = answers[setting, Protocol.END_TO_END].returned
        ranks[setting] = scored.found[setting], np.array([r.page_rank for r in own], np.intp)
    blind = baselines.names(list(plan.settings), plan.truth)
    ranks |= {name: (scored.given[name], of_first) for name in blind}
    lexical = pages.ranks(rankings[pages.BM25], [row.place for row in matched.rows], question)
    ranks[BM25_END_TO_END] = scored.given[baselines.BEST_REGION], lexical
    documents = [matched.questions[number].doc for number in question]
    found = []
    for cut in PAGE_CUTS:
        scores = {
            name: np.where(((rank > 0) & (rank <= cut))[:, None], values, 0.0)
            for name, (values, rank) in ranks.items()
        }
        if plan.truth is Truth.ANY:  # one place is enough, on whichever page
            scores = {
                name: summary.best_of_question(values, question) for name, values in scores.items()
            }
            documents = [q.doc for q in matched.questions]
        group = summary.group_of("all", range(len(documents)), documents)
        of = "questions" if plan.truth is Truth.ANY else "rows"
        found.append(
            {
                "page_among_first": cut,
                **_described(of, group),
                **_compared(plan, scores, scoring.MEASURES, COMPARED, group),
            }
        )
    return found


def rankings_of(plan: Plan, snapshot: Snapshot, catalog: Catalog) -> dict[str, list[Ranking]]:
    """Rank the pages that the questions may find by BM25."""
    places = list(zip(catalog.doc_ids, map(int, catalog.pages), strict=True))
    by_id = page_texts(snapshot, catalog.keys(range(len(catalog))))
    texts = {place: by_id[page_id] for place, page_id in zip(places, catalog.page_ids, strict=True)}
    questions = plan.matched.questions
    doc_ids = [min(doc_id for doc_id, _ in places) for places in plan.matched.places]
    most = plan.settings[plan.first].top_pages
    queries = [question.query for question in questions]
    return pages.bm25_rankings(queries, doc_ids, texts, plan.within, most)


def _groups(plan: Plan, documents: Sequence[str]) -> list[tuple[str, Group]]:
    """Return all rows, clean ones, and those of each category and domain."""
    matched = plan.matched
    found = [("all", summary.group_of("all", range(len(documents)), documents))]
    clean = [number for number, row in enumerate(matched.rows) if row.evidence.clean]
    if clean:
        found.append(("clean", summary.group_of("clean", clean, documents)))
    questions = [matched.questions[row.question] for row in matched.rows]
    for label, values in (
        ("category", [question.category for question in questions]),
        ("domain", [question.domain for question in questions]),
    ):
        if len(set(values)) > 1:
            found += [(label, group) for group in summary.grouped(values, documents)]
    return found


def _described(label: str, group: Group) -> dict[str, Any]:
    return {
        "group": label,
        "name": group.name,
        "rows": len(group),
        "documents": len(set(group.documents)),
    }


def _compared(
    plan: Plan,
    scores: Mapping[str, Doubles],
    measures: Sequence[str],
    compared: Sequence[str],
    group: Group,
) -> dict[str, Any]:
    bases = [base for base in (baselines.LARGEST, plan.reference) if base in scores]
    return {
        "systems": summary.means(scores, measures, group),
        "minus": {
            base: summary.differences(scores, measures, group, base, compared)
            for base in dict.fromkeys(bases)
        },
    }


def _context(scored: Scored, group: Group) -> dict[str, Any]:
    """Return what the returned regions cost as context, beside whole pages."""
    at = scoring.MEASURES.index("tokens_to_90")
    text, image = scored.page_text, scored.page_image
    args = scored.given, scoring.MEASURES
    of_text = summary.shares(*args, "tokens", text, group)
    of_image = summary.shares(*args, "tokens", image, group)
    to_90 = summary.shares(*args, "tokens_to_90", text, group)
    return {
        "page_text_tokens": float(text[group.members].mean()),
        "page_image_tokens": float(image[group.members].mean()),
        "systems": {
            name: {
                "of_page_text": of_text[name],
                "of_page_image": of_image[name],
                "rows_at_90": int((~np.isnan(values[group.members, at])).sum()),
                "of_page_text_at_90": to_90[name],
            }
            for name, values in scored.given.items()
        },
    }
