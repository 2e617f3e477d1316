"""The evaluation flow: a data set with human evidence in, a report out."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from patchlight.flows import parameters
from patchlight.storage.database import Database
from patchlight.tasks.answers.queryfile import in_blocks
from patchlight.tasks.answers.querysession import QuerySession
from patchlight.tasks.cluster import encoderactors, raysession
from patchlight.tasks.cluster.queryworkers import QueryWorkers
from patchlight.tasks.common.console import progress
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.runs import new_run_id
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.documents.passwords import read_passwords
from patchlight.tasks.encoders import registry
from patchlight.tasks.encoders.protocol import EncodeQueries
from patchlight.tasks.evaluation import datasets, matching, protocols
from patchlight.tasks.evaluation.choices import Protocol
from patchlight.tasks.evaluation.plan import Plan
from patchlight.tasks.evaluation.run import EvaluationRun
from patchlight.tasks.grounding.records import USUAL_KINDS
from patchlight.tasks.orchestration.answering import Crew, answer_block, draw
from patchlight.tasks.requests.evaluate import EvaluateRequest


@flow(name="patchlight-evaluate", validate_parameters=False)  # the request does that
@parameters.of(EvaluateRequest)
def evaluate(request: EvaluateRequest) -> State[dict[str, Any]]:
    """Ask the questions of a data set, and measure pages and places beside baselines.

    Returns:
        A completed state whose data is what ``report.json`` holds; it is named
        ``CompletedWithFailures`` when questions could not be asked or pictures not be drawn.
    """
    config = load_settings()
    chosen = request.settings()
    secrets = read_passwords(request.passwords) if request.passwords else {}
    data = datasets.load(request.dataset)
    protocols.check_scope(data, request.protocol, request.within)
    database = Database.open(request.db)
    info = registry.for_queries(database.encoder, request.encoder)
    first = next(iter(chosen))
    session = QuerySession(database, chosen[first], None)
    with progress("looking for documents", len(data.files), "files") as done:
        matched = matching.match(
            data,
            session.catalog,
            database.documents(),
            database.failures(),
            partial=request.partial,
            done=done,
        )
    plan = Plan(
        dataset=data,
        matched=matched,
        settings=chosen,
        protocols=request.protocol.chosen,
        within=request.within,
        truth=request.truth or data.truth,
        kinds=tuple(request.baseline_kind or chosen[first].kinds or USUAL_KINDS),
        reference=request.reference or first,
    )
    count = request.workers or config.workers
    window = config.shards_a_worker * count
    threads: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=window)
    # LanceDB's writer must not be loaded when Ray forks its processes.
    with raysession.ray_session(config, count), threads as runner:
        run = EvaluationRun(session, plan, new_run_id("evaluate", flow_run.id), request.out)
        limits = Limits.of(config)

        def crew_of(session: QuerySession) -> Crew:
            workers = QueryWorkers(session.snapshot, session.catalog, session.options, limits)
            return Crew(runner, workers, window, config.score_pages)

        with run.recorded():
            encode = protocols.remembering(encoderactors.query_encoder(info, config, count))
            for setting, options in chosen.items():
                mine = session.with_options(options)
                for asked in plan.protocols:
                    with run.timed(setting, asked):
                        _ask(run, setting, asked, mine, encode, crew_of(mine), config.query_block)
            with progress("scoring", run.rows, "rows") as done:
                run.score(done)
            if request.pictures:
                documents = run.pictures(request.pictures, secrets)
                run.pictures_done(draw(documents, crew_of(session)))
            with progress("computing intervals", 1, "reports") as done:
                report = run.end()
                done(1)
    problems = report["problems"]
    incomplete = problems["not_asked"] or problems["not_drawn"]
    name = "CompletedWithFailures" if incomplete else "Completed"
    return Completed(name=name, data=report)


def _ask(
    run: EvaluationRun,
    setting: str,
    protocol: Protocol,
    session: QuerySession,
    encode: EncodeQueries,
    crew: Crew,
    block_rows: int,
) -> None:
    """Ask what a protocol asks, as ``patchlight query`` would."""
    for rows, _ in in_blocks(run.asked(protocol), block_rows):
        block, rejected = session.block(rows, encode)
        answers = [] if block is None else answer_block(session, block, crew)
        run.take(setting, protocol, answers, rejected)
