"""The ingest flows: documents in, pages, regions and patch vectors in tables; failures again."""

from __future__ import annotations

from dataclasses import asdict
from datetime import timedelta
from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from patchlight.flows import parameters
from patchlight.storage.database import Database
from patchlight.tasks.admin.retries import ingests_of
from patchlight.tasks.cluster import encoderactors, inspection, raysession
from patchlight.tasks.cluster.shardpool import EncoderPool
from patchlight.tasks.common.console import progress
from patchlight.tasks.common.limits import Limits
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.common.runs import new_run_id
from patchlight.tasks.common.settings import load_settings
from patchlight.tasks.documents import ocr, sources
from patchlight.tasks.documents.passwords import password_for, read_passwords
from patchlight.tasks.encoders import registry
from patchlight.tasks.ingest import retrying, vectorform
from patchlight.tasks.ingest.ingestrun import IngestRun
from patchlight.tasks.ingest.metadatafile import read_metadata
from patchlight.tasks.orchestration.steps import ingest_shard, results_in_window
from patchlight.tasks.reading.fingerprints import Redo
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.shardplan import Shard
from patchlight.tasks.regions import layoutmodel
from patchlight.tasks.requests.ingest import IngestRequest, RetryRequest


@flow(name="patchlight-ingest", validate_parameters=False)  # the request does that
@parameters.of(IngestRequest)
def ingest(request: IngestRequest) -> State[dict[str, Any]]:
    """Read documents into a database; what is there already is left as it is.

    Returns:
        A completed state whose data is the report (``tasks.ingest.progress.IngestReport``); it is
        named ``CompletedWithFailures`` when documents or pages were quarantined.
    """
    redo = Redo.ALL if request.force else Redo.MISSING
    return _ended(_ingested(request, redo, new_run_id("ingest", flow_run.id)))


@flow(name="patchlight-retry", validate_parameters=False)
@parameters.of(RetryRequest)
def retry(request: RetryRequest) -> State[dict[str, Any]]:
    """Try failed documents and pages again, each as in the run in which it failed.

    Returns:
        As ``ingest``; the report is that of all runs, one for each way to read.
    """
    ingests, problems = ingests_of(request)
    reports = [
        _ingested(again, Redo.FAILED, new_run_id("ingest", f"{flow_run.id}-{number}"))
        for number, again in enumerate(ingests, start=1)
    ]
    return _ended(retrying.merged(reports, problems))


def _ended(report: dict[str, Any]) -> State[dict[str, Any]]:
    name = "CompletedWithFailures" if report["failures"] else "Completed"
    return Completed(name=name, data=report)


def _ingested(request: IngestRequest, redo: Redo, run_id: str) -> dict[str, Any]:
    """Ingest, and return the report.

    Args:
        request: what is asked.
        redo: what is done again.
        run_id: id of the run.
    """
    settings = load_settings()
    if request.gpus is not None:
        settings = settings.model_copy(update={"gpus": request.gpus})
    workers = request.workers or settings.workers
    given = sources.expand(request.source)
    secrets = read_passwords(request.passwords) if request.passwords else {}
    metadata = read_metadata(request.metadata) if request.metadata else None
    db = request.db
    info = registry.for_ingest(db, request.encoder, request.visual_tokens, settings.encoder)
    form = vectorform.asked(db, request.vectors, request.pool, request.drop_blank)
    with_ocr = request.ocr is not OcrMode.NEVER
    options = ReadOptions(
        ocr=request.ocr,
        lang=request.lang,
        dpi=request.dpi,
        tesseract=ocr.tesseract_for(with_ocr, settings.tesseract, request.lang),
        ocr_timeout_s=settings.ocr_timeout_s,
        image_pixels=info.image_pixels if info.needs_image else 0,
        layout=request.layout or settings.layout,
        limits=Limits.of(settings),
    )
    if options.layout is not LayoutMode.NEVER:
        layoutmodel.check()
    # LanceDB's writer must not be loaded when Ray forks its processes.
    with raysession.ray_session(settings, workers, pictures=info.needs_image):
        where = encoderactors.placement(info, settings, workers)
        pool_of = partial(EncoderPool, info, where, settings.batch_tokens)
        # An encoder that cannot be loaded must not claim a new database.
        actors = None if Database.find(db) else pool_of()
        database = Database.create_or_open(db, info.identity, form)
        asked = {
            **request.model_dump(include={"source", "lang", "dpi", "ocr", "sync", "metadata"}),
            "encoder": info.identity.name,
            "layout": options.layout,
            "workers": workers,
            "actors": where.actors,
            "gpus": where.actors * where.gpus,
            "redo": redo,
        }
        with IngestRun.recorded(
            database,
            info,
            options,
            run_id,
            asked,
            redo=redo,
            max_attempts=settings.max_attempts,
            shard_pages=where.shard_pages,
            keep_pinned=timedelta(hours=settings.keep_read_h),
            metadata=metadata,
        ) as run:
            files = [
                (file, password_for(file.path, secrets), run.given_up_at(file.source))
                for file in given.files
            ]
            with progress("opening", len(files), "files") as opened:
                inspected = inspection.inspect_files(files, workers, opened, options.limits)
                shards = run.plan(inspected, given)
            window = where.window(settings, workers)
            for batch in run.rounds(shards):
                actors = actors or pool_of()
                _run_shards(run, batch, actors, window)
            report = run.end(sync=request.sync)
    return asdict(report)


def _run_shards(run: IngestRun, shards: list[Shard], pool: EncoderPool, window: int) -> None:
    """Run the shards on threads, enough of them that workers never wait for a commit."""
    pages = sum(shard.page_count for shard in shards)
    threads: ThreadPoolTaskRunner[int] = ThreadPoolTaskRunner(max_workers=window)
    with progress("ingesting", pages, "pages") as done, threads as runner:
        jobs = (
            {"number": shard.index, "run": run, "shard": shard, "pool": pool, "done": done}
            for shard in shards
        )
        for _ in results_in_window(runner, ingest_shard, jobs, window):
            pass
