"""The ingest flow: documents in, pages, regions and patch vectors in tables."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner

from storage.database import Database
from tasks import cluster, ocr, sources
from tasks.console import progress
from tasks.encoders import registry
from tasks.encoders.protocol import Encoder
from tasks.ingesting import IngestRun
from tasks.planning import Shard
from tasks.reading import OcrMode, ReadOptions
from tasks.runs import new_run_id
from tasks.settings import Settings, load_settings, set_environment_defaults
from tasks.steps import ingest_shard, results_in_window


@flow(name="patchlight-ingest")
def ingest(
    source: list[str],
    db: str,
    encoder: str | None = None,
    ocr_mode: OcrMode = OcrMode.AUTO,
    lang: str = "eng",
    dpi: int = 200,
    passwords: str | None = None,
    workers: int | None = None,
) -> State[dict[str, Any]]:
    """Read documents into a database; what is there already is left as it is.

    Args:
        source: files, folders (recursive) or globs.
        db: URI of the database; made if it is not there.
        encoder: name of the encoder; default: the database's, or the settings'.
        ocr_mode: when pages go through OCR.
        lang: Tesseract language, e.g. ``eng+deu``.
        dpi: resolution at which PDF pages are drawn, dots per inch.
        passwords: path of a file with passwords, one ``<name or pattern>:<password>`` a line.
        workers: processes at work; default: the settings'.

    Returns:
        A completed state whose data is the report (``tasks.ingesting.IngestReport``); it is
        named ``CompletedWithFailures`` when documents or pages were quarantined.
    """
    set_environment_defaults()
    settings = load_settings()
    workers = workers or settings.workers
    given = sources.expand(source)
    secrets = sources.read_passwords(passwords) if passwords else {}
    page_encoder = registry.load(encoder or registry.name_in(db) or settings.encoder)
    options = ReadOptions(
        ocr=ocr_mode,
        lang=lang,
        dpi=dpi,
        tesseract=ocr.tesseract_for(ocr_mode is not OcrMode.NEVER, settings.tesseract, lang),
        ocr_timeout_s=settings.ocr_timeout_s,
        with_image=page_encoder.needs_image,
    )
    # LanceDB's writer must not be loaded when Ray forks its processes.
    with cluster.ray_session(settings, workers):
        database = Database.create_or_open(db, registry.identity_of(page_encoder))
        run = IngestRun(database, page_encoder, options, new_run_id("ingest", flow_run.id))
        asked = {"source": source, "lang": lang, "dpi": dpi, "ocr": ocr_mode, "workers": workers}
        with run.recorded(asked):
            files = [(f, sources.password_for(f.path, secrets)) for f in given.files]
            with progress("opening", len(files), "files") as opened:
                inspected = cluster.inspect_files(files, workers, opened)
                shards = run.plan(inspected, given.missing, given.skipped, settings.shard_pages)
            if shards:
                _run_shards(run, shards, page_encoder, settings, workers)
            report = run.end()
    name = "CompletedWithFailures" if report.failures else "Completed"
    return Completed(name=name, data=asdict(report))


def _run_shards(
    run: IngestRun, shards: list[Shard], encoder: Encoder, settings: Settings, workers: int
) -> None:
    """Run the shards on threads, enough of them that workers never wait for a commit."""
    pool = cluster.EncoderPool(encoder.name, *cluster.actors_for(encoder.needs_gpu, workers))
    pages = sum(shard.page_count for shard in shards)
    window = settings.shards_a_worker * workers
    threads: ThreadPoolTaskRunner[int] = ThreadPoolTaskRunner(max_workers=window)
    with progress("ingesting", pages, "pages") as done, threads as runner:
        jobs = (
            {"number": shard.index, "run": run, "shard": shard, "pool": pool, "done": done}
            for shard in shards
        )
        for _ in results_in_window(runner, ingest_shard, jobs, window):
            pass
