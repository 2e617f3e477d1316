"""The ingest flow: documents in, pages, regions and patch vectors in tables."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from storage.database import Database
from storage.records import VectorType
from tasks.cluster import encoderactors, inspection, raysession
from tasks.cluster.shardpool import EncoderPool
from tasks.common.console import progress
from tasks.common.limits import Limits
from tasks.common.modes import LayoutMode, OcrMode
from tasks.common.runs import new_run_id
from tasks.common.settings import load_settings, set_environment_defaults
from tasks.documents import ocr, sources
from tasks.encoders import registry
from tasks.ingest import vectorform
from tasks.ingest.ingestrun import IngestRun
from tasks.orchestration.steps import ingest_shard, results_in_window
from tasks.reading.fingerprints import Redo
from tasks.reading.pages import ReadOptions
from tasks.reading.shardplan import Shard
from tasks.regions import layoutmodel


@flow(name="patchlight-ingest")
def ingest(
    source: list[str],
    db: str,
    encoder: str | None = None,
    visual_tokens: int | None = None,
    vectors: VectorType | None = None,
    pool: int | None = None,
    drop_blank: bool | None = None,
    ocr_mode: OcrMode = OcrMode.AUTO,
    lang: str = "eng",
    dpi: int = 200,
    passwords: str | None = None,
    workers: int | None = None,
    gpus: int | None = None,
    redo: Redo = Redo.MISSING,
    sync: bool = False,
    layout: LayoutMode | None = None,
) -> State[dict[str, Any]]:
    """Read documents into a database; what is there already is left as it is.

    Args:
        source: files, folders (recursive) or globs.
        db: URI of the database; made if it is not there.
        encoder: ``text-patch``, a hub id or a folder; default: the database's, or the settings'.
        visual_tokens: most patches a page is cut into; default: the encoder's own number.
        vectors: how numbers are stored; default: the database's, or float16.
        pool: patches a stored vector stands for; default: the database's, or 1.
        drop_blank: whether cells without ink are stored without a vector; default: the
            database's, or not.
        ocr_mode: when pages go through OCR.
        lang: Tesseract language, e.g. ``eng+deu``.
        dpi: resolution at which PDF pages are drawn, dots per inch.
        passwords: path of a file with passwords, one ``<name or pattern>:<password>`` a line.
        workers: processes at work; default: the settings'.
        gpus: GPUs for an encoder that wants one; default: the settings', or all.
        redo: what is done again.
        sync: whether files that are gone from the folders named leave the database.
        layout: whether the layout model looks at pages; default: the settings'.

    Returns:
        A completed state whose data is the report (``tasks.ingest.progress.IngestReport``); it is
        named ``CompletedWithFailures`` when documents or pages were quarantined.
    """
    set_environment_defaults()
    settings = load_settings()
    if gpus is not None:
        settings = settings.model_copy(update={"gpus": gpus})
    workers = workers or settings.workers
    given = sources.expand(source)
    secrets = sources.read_passwords(passwords) if passwords else {}
    info = registry.for_ingest(db, encoder, visual_tokens, settings.encoder)
    form = vectorform.asked(db, vectors, pool, drop_blank)
    options = ReadOptions(
        ocr=ocr_mode,
        lang=lang,
        dpi=dpi,
        tesseract=ocr.tesseract_for(ocr_mode is not OcrMode.NEVER, settings.tesseract, lang),
        ocr_timeout_s=settings.ocr_timeout_s,
        image_pixels=info.image_pixels if info.needs_image else 0,
        layout=layout or settings.layout,
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
            "source": source,
            "encoder": info.identity.name,
            "lang": lang,
            "dpi": dpi,
            "layout": options.layout,
            "ocr": ocr_mode,
            "workers": workers,
            "actors": where.actors,
            "gpus": where.actors * where.gpus,
            "redo": redo,
            "sync": sync,
        }
        with IngestRun.recorded(
            database,
            info,
            options,
            new_run_id("ingest", flow_run.id),
            asked,
            redo=redo,
            max_attempts=settings.max_attempts,
            shard_pages=where.shard_pages,
        ) as run:
            files = [
                (file, sources.password_for(file.path, secrets), run.given_up_at(file.source))
                for file in given.files
            ]
            with progress("opening", len(files), "files") as opened:
                inspected = inspection.inspect_files(files, workers, opened, options.limits)
                shards = run.plan(inspected, given)
            window = where.window(settings, workers)
            for batch in run.rounds(shards):
                actors = actors or pool_of()
                _run_shards(run, batch, actors, window)
            report = run.end(sync=sync)
    name = "CompletedWithFailures" if report.failures else "Completed"
    return Completed(name=name, data=asdict(report))


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
