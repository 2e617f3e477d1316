"""The query flow: a batch of questions in, ranked pages and regions out."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.retrieving import retrieval_options
from storage.database import Database
from storage.records import RegionKind
from tasks.answers import queryfile
from tasks.answers.queryrun import QueryRun
from tasks.answers.querysession import QuerySession
from tasks.cluster import encoderactors, raysession
from tasks.cluster.queryworkers import QueryWorkers
from tasks.common.errors import QueryFileError
from tasks.common.limits import Limits
from tasks.common.runs import new_run_id
from tasks.common.settings import load_settings, set_environment_defaults
from tasks.documents import sources
from tasks.encoders import registry
from tasks.grounding.spanweights import SpanSignals
from tasks.kernels.maxsim import QueryTokens, TokenAggregation
from tasks.kernels.propagation import RegionAggregation
from tasks.orchestration.answering import Crew, answer_block, draw


@flow(name="patchlight-query")
def query(
    file: str,
    db: str,
    out: str,
    encoder: str | None = None,
    top_pages: int = 10,
    top_regions: int = 3,
    select: str | None = None,
    aggregate: RegionAggregation = RegionAggregation.MAX,
    token_aggregate: TokenAggregation = TokenAggregation.MEAN,
    page_tokens: QueryTokens = QueryTokens.ALL,
    region_tokens: QueryTokens = QueryTokens.MEANING,
    span_signals: SpanSignals = SpanSignals.ALL,
    kinds: list[RegionKind] | None = None,
    where: str | None = None,
    overlays: bool = False,
    passwords: str | None = None,
    workers: int | None = None,
    run_id: str | None = None,
) -> State[dict[str, Any]]:
    """Answer a batch of queries with pages, and the places on them.

    Args:
        file: queries as JSONL, CSV or Parquet, or ``-`` for JSONL on stdin.
        db: URI of the database.
        out: folder for results.jsonl, results.parquet, summary.json and overlays.
        encoder: where to take the database's encoder from; default: from where it was at ingest.
        top_pages: pages a query.
        top_regions: regions a page at most.
        select: which regions of a page are returned, see ``grounding.selection``; default: spans.
        aggregate: how patches become a region's score.
        token_aggregate: how query tokens become a patch's score.
        page_tokens: query tokens that rank pages.
        region_tokens: query tokens that score regions.
        span_signals: what spans are chosen by.
        kinds: kinds of regions that are returned; default: those of spans, or blocks.
        where: SQL condition over documents joined to pages.
        overlays: whether a picture of each returned page is drawn.
        passwords: path of a password file, for overlays of encrypted documents.
        workers: processes at work; default: the settings'.
        run_id: id of the run; the results of an earlier run of this id are replaced.

    Returns:
        A completed state whose data is the report (``tasks.answers.queryrun.QueryReport``); it is
        named ``CompletedWithFailures`` when rows or pictures could not be done.
    """
    set_environment_defaults()
    settings = load_settings()
    options = retrieval_options(
        top_pages,
        top_regions,
        select,
        aggregate,
        token_aggregate,
        page_tokens,
        region_tokens,
        span_signals,
        kinds,
    )
    secrets = sources.read_passwords(passwords) if passwords else {}
    database = Database.open(db)
    info = registry.for_queries(database.encoder, encoder)
    rows = queryfile.in_blocks(queryfile.read_queries(file), settings.query_block)
    session = QuerySession(database, options, where)
    count = workers or settings.workers
    window = settings.shards_a_worker * count
    threads: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=window)
    with raysession.ray_session(settings, count), threads as runner:
        # LanceDB's writer must not be loaded when Ray forks its processes.
        asked = {"file": file, "out": out, "where": where, "overlays": overlays, "select": select}
        run = QueryRun(session, run_id or new_run_id("query", flow_run.id), out, asked)
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
                    if overlays:
                        documents, named = session.pictures(answers, run.folder, secrets)
                        answers = run.pictures_done(named, draw(documents, crew))
                    run.write(answers)
            if not run.report.queries:
                raise QueryFileError(_nothing_answered(file, run))
            report = run.end()
    incomplete = report.bad_rows or report.pictures_missing
    name = "CompletedWithFailures" if incomplete else "Completed"
    return Completed(name=name, data=asdict(report))


def _nothing_answered(file: str, run: QueryRun) -> str:
    bad = run.report.bad_rows
    name = "stdin" if file == queryfile.STDIN else file
    if not bad:
        return f"{name}: there is no query in it"
    return f"{name}: none of its {len(bad)} rows could be answered; the first: {bad[0]['message']}"
