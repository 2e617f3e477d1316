"""The evaluation flow: a data set with human evidence in, a report out."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from flows.retrieving import evaluated_settings
from storage.database import Database
from storage.records import RegionKind
from tasks.answers.queryfile import in_blocks
from tasks.answers.querysession import QuerySession
from tasks.cluster import encoderactors, raysession
from tasks.cluster.queryworkers import QueryWorkers
from tasks.common.console import progress
from tasks.common.limits import Limits
from tasks.common.runs import new_run_id
from tasks.common.settings import load_settings, set_environment_defaults
from tasks.documents import sources
from tasks.encoders import registry
from tasks.encoders.protocol import EncodeQueries
from tasks.evaluation import datasets, matching, protocols
from tasks.evaluation.choices import Protocol, Protocols, Truth, Within
from tasks.evaluation.plan import Plan
from tasks.evaluation.run import EvaluationRun
from tasks.grounding.records import USUAL_KINDS
from tasks.grounding.spanweights import SpanSignals
from tasks.kernels.maxsim import QueryTokens, TokenAggregation
from tasks.kernels.propagation import RegionAggregation
from tasks.orchestration.answering import Crew, answer_block, draw


@flow(name="patchlight-evaluate")
def evaluate(
    dataset: str,
    db: str,
    out: str,
    settings: list[str] | None = None,
    reference: str | None = None,
    protocol: Protocols = Protocols.BOTH,
    within: Within = Within.DATABASE,
    truth: Truth | None = None,
    partial: bool = False,
    baseline_kinds: list[RegionKind] | None = None,
    pictures: int = 6,
    top_pages: int = 10,
    top_regions: int = 3,
    select: str | None = None,
    aggregate: RegionAggregation = RegionAggregation.MAX,
    token_aggregate: TokenAggregation = TokenAggregation.MEAN,
    page_tokens: QueryTokens = QueryTokens.ALL,
    region_tokens: QueryTokens = QueryTokens.MEANING,
    span_signals: SpanSignals = SpanSignals.ALL,
    kinds: list[RegionKind] | None = None,
    encoder: str | None = None,
    passwords: str | None = None,
    workers: int | None = None,
) -> State[dict[str, Any]]:
    """Ask the questions of a data set, and measure pages and places beside baselines.

    Args:
        dataset: folder of the data set, or its file of questions.
        db: URI of the database that holds its documents.
        out: folder for report.md, report.json, rows.parquet and pictures.
        settings: further ways to choose, ``name=options of patchlight query``; what they do not
            say is as below.
        reference: setting or baseline that all are compared with; default: the first setting.
        protocol: whether pages of evidence are given, must be found, or both.
        within: where a page must be found.
        truth: whether all true boxes of a row are to be found, or any; default: by their size.
        partial: whether questions on documents that the database does not have are left out.
        baseline_kinds: kinds of regions the baselines choose from; default: ``kinds``.
        pictures: of how many of the best and of the worst cases pictures are drawn.
        top_pages: as for ``query``, and so the following ones.
        top_regions: regions a page at most.
        select: which regions of a page are returned.
        aggregate: how patches become a region's score.
        token_aggregate: how query tokens become a patch's score.
        page_tokens: query tokens that rank pages.
        region_tokens: query tokens that score regions.
        span_signals: what spans are chosen by.
        kinds: kinds of regions that are returned; default: those of spans, or blocks.
        encoder: where to take the database's encoder from; default: from where it was at ingest.
        passwords: path of a password file, for pictures of encrypted documents.
        workers: processes at work; default: the settings'.

    Returns:
        A completed state whose data is what ``report.json`` holds; it is named
        ``CompletedWithFailures`` when questions could not be asked or pictures not be drawn.
    """
    set_environment_defaults()
    config = load_settings()
    chosen = evaluated_settings(
        settings or [],
        {
            "top_pages": top_pages,
            "top_regions": top_regions,
            "select": select,
            "aggregate": aggregate,
            "token_aggregate": token_aggregate,
            "page_tokens": page_tokens,
            "region_tokens": region_tokens,
            "span_signals": span_signals,
            "kind": kinds,
        },
    )
    secrets = sources.read_passwords(passwords) if passwords else {}
    data = datasets.load(dataset)
    protocols.check_scope(data, protocol, within)
    database = Database.open(db)
    info = registry.for_queries(database.encoder, encoder)
    first = next(iter(chosen))
    session = QuerySession(database, chosen[first], None)
    with progress("looking for documents", len(data.files), "files") as done:
        matched = matching.match(
            data,
            session.catalog,
            database.documents(),
            database.failures(),
            partial=partial,
            done=done,
        )
    plan = Plan(
        dataset=data,
        matched=matched,
        settings=chosen,
        protocols=protocol.chosen,
        within=within,
        truth=truth or data.truth,
        kinds=tuple(baseline_kinds or chosen[first].kinds or USUAL_KINDS),
        reference=reference or first,
    )
    count = workers or config.workers
    window = config.shards_a_worker * count
    threads: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=window)
    # LanceDB's writer must not be loaded when Ray forks its processes.
    with raysession.ray_session(config, count), threads as runner:
        run = EvaluationRun(session, plan, new_run_id("evaluate", flow_run.id), out)
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
            if pictures:
                run.pictures_done(draw(run.pictures(pictures, secrets), crew_of(session)))
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
