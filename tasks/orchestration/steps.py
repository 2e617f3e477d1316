"""The Prefect tasks: thin wrappers that give a unit of work a name, a state and retries.

They run on threads of the flow's process; the work itself is in Ray tasks and actors they
drive. One Prefect task a shard, never a page: a server drowns in thousands of small tasks.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from prefect import Task, task
from prefect.cache_policies import NO_CACHE
from prefect.futures import PrefectFuture
from prefect.task_runners import TaskRunner
from prefect.tasks import exponential_backoff

from patchlight.tasks.answers.overlays import DocumentOverlays
from patchlight.tasks.cluster import waiting
from patchlight.tasks.cluster.queryworkers import QueryWorkers
from patchlight.tasks.grounding.records import FoundPage, PagePlaces
from patchlight.tasks.ingest.ingestrun import IngestRun, ShardProcessor
from patchlight.tasks.reading.shardplan import Shard
from patchlight.tasks.retrieval.ranking import Hits
from patchlight.tasks.retrieval.scope import Positions

RETRIES = 2
"""A unit is repeated when Ray or the database was away for a moment. Writes are upserts, so a
repeat changes nothing. Pages that fail are quarantined and never get here."""

logger = logging.getLogger("patchlight.steps")

_backoff = exponential_backoff(backoff_factor=2)


def _worth_a_retry(task: Task[..., Any], run: Any, state: Any) -> bool:
    """Whether a repeat may help; it follows then. Asked as long as there is one left."""
    error = state.result(raise_on_failure=False)
    if not waiting.may_pass(error):
        return False
    logger.warning("%s: %s (%s); it is tried again", run.name, error, type(error).__name__)
    logger.debug("%s: where it failed", run.name, exc_info=error)
    return True


@task(
    name="ingest-shard",
    task_run_name="ingest-shard-{number}",
    retries=RETRIES,
    retry_condition_fn=_worth_a_retry,
    retry_delay_seconds=_backoff,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def ingest_shard(
    number: int, run: IngestRun, shard: Shard, pool: ShardProcessor, done: Callable[[int], None]
) -> int:
    """Read, encode and store one shard."""
    pages = run.run_shard(shard, pool)
    done(pages)
    return pages


@task(
    name="rank-pages",
    task_run_name="rank-pages-{number}",
    retries=RETRIES,
    retry_condition_fn=_worth_a_retry,
    retry_delay_seconds=_backoff,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def rank_pages(
    number: int,
    workers: QueryWorkers,
    block: Any,
    positions: Positions,
    done: Callable[[int], None],
) -> Hits:
    """Rank one shard of pages for a block of queries."""
    hits = workers.rank(block, positions)
    done(len(positions))
    return hits


@task(
    name="ground-pages",
    task_run_name="ground-pages-{number}",
    retries=RETRIES,
    retry_condition_fn=_worth_a_retry,
    retry_delay_seconds=_backoff,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def ground_pages(
    number: int, workers: QueryWorkers, hits: Mapping[str, FoundPage]
) -> dict[str, list[PagePlaces]]:
    """Propagate the patches of some found pages to their regions."""
    return workers.ground(hits)


@task(
    name="draw-overlays",
    task_run_name="draw-overlays-{number}",
    cache_policy=NO_CACHE,
    persist_result=False,
)
def draw_overlays(number: int, workers: QueryWorkers, document: DocumentOverlays) -> dict[str, str]:
    """Draw the pictures of one document."""
    return workers.draw(document)


def results_in_window(
    runner: TaskRunner[Any], step: Task[..., Any], jobs: Iterable[dict[str, Any]], window: int
) -> Iterator[Any]:
    """Run a task for each job, a bounded number at a time; yield the results in order.

    Args:
        runner: runs the tasks.
        step: the task.
        jobs: its parameters, one dict a run; taken as they are needed.
        window: runs whose results may be held, at least 1.
    """
    pending: deque[PrefectFuture[Any]] = deque()
    for job in jobs:
        if len(pending) >= window:
            yield pending.popleft().result()
        pending.append(runner.submit(step, job))
    while pending:
        yield pending.popleft().result()
