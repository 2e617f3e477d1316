"""Answering a block of queries, and drawing pictures, as Prefect tasks over Ray's workers.

Two flows share it: one answers a batch, the other asks the same of a data set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from prefect.task_runners import ThreadPoolTaskRunner

from patchlight.tasks.answers.overlays import DocumentOverlays
from patchlight.tasks.answers.querysession import Block, QuerySession
from patchlight.tasks.answers.results import Answer
from patchlight.tasks.cluster.queryworkers import QueryWorkers
from patchlight.tasks.common.console import progress
from patchlight.tasks.grounding.records import PagePlaces
from patchlight.tasks.orchestration.steps import (
    draw_overlays,
    ground_pages,
    rank_pages,
    results_in_window,
)
from patchlight.tasks.retrieval.ranking import Hits, merge_hits


@dataclass(frozen=True, slots=True)
class Crew:
    """What does the work of a run of queries, and how much of it at once.

    Attributes:
        runner: runs the Prefect tasks, on threads.
        workers: the Ray tasks that these drive.
        window: tasks whose results may be held at once.
        score_pages: pages that one task ranks.
    """

    runner: ThreadPoolTaskRunner[Any]
    workers: QueryWorkers
    window: int
    score_pages: int


def answer_block(session: QuerySession, block: Block, crew: Crew) -> list[Answer]:
    """Rank pages shard by shard, merge, and propagate to regions.

    Args:
        session: what is answered from.
        block: the queries.
        crew: what does it.

    Returns:
        The answers, in the order of the block.
    """
    shared = crew.workers.share(block.encodings, block.scopes)
    shards = session.shards(block, crew.score_pages)
    hits: Hits = [[] for _ in block.rows]
    with progress(f"ranking for {len(block.rows)} queries", sum(map(len, shards)), "pages") as done:
        jobs = (
            {
                "number": number,
                "workers": crew.workers,
                "block": shared,
                "positions": positions,
                "done": done,
            }
            for number, positions in enumerate(shards)
        )
        # Merged as they come: what is held grows with the block, not with the corpus.
        for found in results_in_window(crew.runner, rank_pages, jobs, crew.window):
            hits = merge_hits([hits, found], session.options.top_pages)
    groups = (
        {"number": number, "workers": crew.workers, "hits": group}
        for number, group in enumerate(session.page_groups(block, hits))
    )
    places: dict[str, list[PagePlaces]] = {}
    for some in results_in_window(crew.runner, ground_pages, groups, crew.window):
        places.update(some)
    return session.answers(block, hits, places)


def draw(documents: Sequence[DocumentOverlays], crew: Crew) -> dict[str, str]:
    """Draw pictures, document by document.

    Returns:
        Path of a picture that was not drawn -> why.
    """
    jobs = (
        {"number": number, "workers": crew.workers, "document": document}
        for number, document in enumerate(documents)
    )
    problems: dict[str, str] = {}
    with progress("drawing", len(documents), "documents") as done:
        for missing in results_in_window(crew.runner, draw_overlays, jobs, crew.window):
            problems.update(missing)
            done(1)
    return problems
