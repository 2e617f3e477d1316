"""The query flow: a batch of questions in, ranked pages and regions out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from patchlight.flows import parameters
from patchlight.storage.database import Database
from patchlight.tasks.answers import queryfile
from patchlight.tasks.answers.queryrun import QueryRun
from patchlight.tasks.answers.querysession import QuerySession, read_by
from patchlight.tasks.cluster import encoderactors, raysession
from patchlight.tasks.cluster.queryworkers import QueryWorkers
from patchlight.tasks.common import rowfiles
from patchlight.tasks.common.errors import QueryFileError
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.runs import new_run_id
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.documents.passwords import read_passwords
from patchlight.tasks.encoders import registry
from patchlight.tasks.orchestration.answering import Crew, answer_block, draw
from patchlight.tasks.requests.query import QueryRequest


@flow(name="patchlight-query", validate_parameters=False)  # the request does that
@parameters.of(QueryRequest)
def query(request: QueryRequest) -> State[dict[str, Any]]:
    """Answer a batch of queries with pages, and the places on them.

    Returns:
        A completed state whose data is the report (``tasks.answers.queryrun.QueryReport``); it is
        named ``CompletedWithFailures`` when rows or pictures could not be done.
    """
    settings = load_settings()
    options = request.options()
    secrets = read_passwords(request.passwords) if request.passwords else {}
    database = Database.open(request.db)
    info = registry.for_queries(database.encoder, request.encoder)
    rows = queryfile.in_blocks(queryfile.read_queries(request.file), settings.query_block)
    earlier = read_by(database, request.as_of) if request.as_of else None
    session = QuerySession(database, options, request.where, earlier)
    count = request.workers or settings.workers
    window = settings.shards_a_worker * count
    threads: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=window)
    with raysession.ray_session(settings, count), threads as runner:
        # LanceDB's writer must not be loaded when Ray forks its processes.
        asked = request.model_dump(include={"file", "out", "where", "overlays", "as_of", "select"})
        run_id = request.run_id or new_run_id("query", flow_run.id)
        run = QueryRun(session, run_id, request.out, asked)
        with run.recorded():
            limits = Limits.of(settings)
            ray_workers = QueryWorkers(session.snapshot, session.catalog, options, limits)
            crew = Crew(runner, ray_workers, window, settings.score_pages)
            encode = encoderactors.query_encoder(info, settings, count)
            for good, bad in rows:
                run.reject(bad)
                block, rejected = session.block(good, encode)
                run.reject(rejected)
                if block is not None:
                    answers = answer_block(session, block, crew)
                    if request.overlays:
                        documents, named = session.pictures(answers, run.folder, secrets)
                        answers = run.pictures_done(named, draw(documents, crew))
                    run.write(answers)
            if not run.report.queries:
                raise QueryFileError(_nothing_answered(request.file, run))
            report = run.end()
    incomplete = report.bad_rows or report.pictures_missing
    name = "CompletedWithFailures" if incomplete else "Completed"
    return Completed(name=name, data=asdict(report))


def _nothing_answered(file: str, run: QueryRun) -> str:
    bad = run.report.bad_rows
    name = rowfiles.name_of(file)
    if not bad:
        return f"{name}: there is no query in it"
    return f"{name}: none of its {len(bad)} rows could be answered; the first: {bad[0]['message']}"
