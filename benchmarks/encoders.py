"""What the pipeline costs a vision encoder: pages and queries a second, beside a bare loop.

Run from the repository's root::

    python -m benchmarks.encoders SHAPE PDF [PDF ...] [--pages N] [--rounds R] [--device cpu]

SHAPE is a tiny checkpoint's family (``colqwen2_5``), the shape of a published one
(``colsmol-256m``, ``colqwen2.5-3b``), both with random weights made on the spot, or the folder
or hub id of a real checkpoint. Three things take turns on the same pages, ``--rounds`` times:

- forward: the model alone, on tensors that are ready, at the best of several batch sizes;
- bare loop: what one would write by hand with pypdfium2 and colpali-engine in one process: draw
  a batch of pages, process the images, run the model, take the vectors;
- ours: shards through the pipeline with everything it does: drawing, reading words from the text
  layer, making regions with the layout model, the actors, rows, commits. OCR is off: it would
  measure Tesseract. With ``--without-words`` it reads of a page what the bare loop reads, and does
  all the rest.

Loading is in none of them. Ratios are of medians over the rounds.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pypdfium2
from PIL import Image

from benchmarks.ingest import Usage
from benchmarks.report import print_table, write_json
from patchlight.storage.database import Database
from patchlight.storage.records import WordsSource
from patchlight.storage.regions import Regions
from patchlight.tasks.cluster import encoderactors, raysession, shardpool
from patchlight.tasks.cluster.placement import Placement
from patchlight.tasks.cluster.work import inspect_file, read_shard
from patchlight.tasks.common.modes import OcrMode
from patchlight.tasks.common.settings import Settings, set_environment_defaults
from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.documents.sources import Expansion, expand
from patchlight.tasks.encoders import checkpoints, registry
from patchlight.tasks.encoders.protocol import EncoderInfo
from patchlight.tasks.ingest.ingestrun import IngestRun
from patchlight.tasks.reading.messages import ReadShard
from patchlight.tasks.reading.pages import ReadOptions, ReadPage
from patchlight.tasks.reading.shardplan import InspectedFile, Shard
from tests import tiny_checkpoints

QUESTIONS = 256
POINTS_PER_INCH = 72.0


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shape")
    parser.add_argument("pdf", nargs="+")
    parser.add_argument("--pages", type=int, default=32, help="pages of a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--questions", type=int, default=QUESTIONS)
    parser.add_argument(
        "--without-words", action="store_true", help="leave words and regions out of ours"
    )
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    args = parser.parse_args()
    set_environment_defaults()
    with tempfile.TemporaryDirectory() as scratch:
        name = _checkpoint(args.shape, Path(scratch))
        info = registry.describe(name)
        files = _files(args.pdf, args.pages)
        bare = Bare(name, info, args.device, files, args.workers)
        settings = Settings(gpus=None if args.device == "cuda" else 0)
        with raysession.ray_session(settings, args.workers, pictures=True):
            found = _measure(bare, info, settings, files, args, Path(scratch))
    _show(args, found)
    if args.json:
        write_json(args.json, {**vars(args), "json": str(args.json), "found": found})
    return 0


def _measure(
    bare: Bare,
    info: EncoderInfo,
    settings: Settings,
    files: Sequence[InspectedFile],
    args: argparse.Namespace,
    scratch: Path,
) -> dict[str, Any]:
    where = encoderactors.placement(info, settings, args.workers)
    read = without_words if args.without_words else read_shard
    pool = shardpool.EncoderPool(info, where, settings.batch_tokens, read=read)
    rounds: dict[str, list[float]] = {"forward": [], "bare loop": [], "ours": []}
    ours = Ours(info, settings, files, where, pool, args.workers, scratch)
    peak = 0.0
    batch, forward = bare.best_batch(args.batches)
    # About ten seconds' worth, and a page at least: the first shards start processes.
    warm = max(1, min(args.pages, int(10 * forward[batch])))
    bare.loop(batch, warm)
    ours.run(warm)
    for _ in range(args.rounds):
        rounds["forward"].append(bare.forward(batch))
        rounds["bare loop"].append(bare.loop(batch, args.pages))
        with Watch() as watch:
            rounds["ours"].append(ours.run(args.pages))
        peak = max(peak, watch.peak_mb)
    asked = [f"What was the total number of item {n} in year {1990 + n}?" for n in range(64)]
    questions = [asked[n % len(asked)] for n in range(args.questions)]
    queries = {"bare loop": bare.queries(questions), "ours": ours.queries(questions)}
    return {
        "encoder": info.identity.name if "/" not in info.identity.name else args.shape,
        "parameters": info.weight_bytes // 4,
        "actors": where.actors,
        "threads": where.threads,
        "best_batch": batch,
        "batches": forward,
        "pages_a_second": rounds,
        "queries_a_second": queries,
        "peak_memory_mb": peak,
        "peak_gpu_mb": bare.peak_gpu_mb(),
    }


class Bare:
    """The model as one would run it by hand, in this process."""

    def __init__(
        self,
        name: str,
        info: EncoderInfo,
        device: str,
        files: Sequence[InspectedFile],
        threads: int,
    ) -> None:
        import torch
        from colpali_engine import models

        self._torch = torch
        torch.set_num_threads(threads)
        checkpoint = checkpoints.resolve(name)
        self._device = device
        self._pixels = info.image_pixels
        dtype = torch.bfloat16 if device == "cuda" else torch.float32
        folder = str(checkpoint.folder)
        model = getattr(models, checkpoint.family.model)
        self._model = model.from_pretrained(folder, dtype=dtype, attn_implementation="sdpa")
        self._model.to(device).eval()
        limit = info.identity.visual_tokens
        more = {"max_num_visual_tokens": limit} if limit else {}
        processor = getattr(models, checkpoint.family.processor)
        self._processor = processor.from_pretrained(folder, **more)
        self._files = files

    def best_batch(self, sizes: Sequence[int]) -> tuple[int, dict[int, float]]:
        """Pages a second of the model alone at each batch size, and the best size."""
        speed = {}
        for size in sizes:
            try:
                speed[size] = self.forward(size)
            except self._torch.OutOfMemoryError:
                break
        return max(speed, key=lambda size: speed[size]), speed

    def forward(self, batch: int) -> float:
        """Pages a second of the model alone, on one batch that is ready."""
        images = [image for image, _ in zip(self._draw(batch), range(batch), strict=False)]
        ready = self._processor.process_images(images).to(self._device)
        start = time.perf_counter()
        self._run(ready)
        times = []
        for _ in range(3 if time.perf_counter() - start < 5 else 1):
            start = time.perf_counter()
            self._run(ready)
            times.append(time.perf_counter() - start)
        return len(images) / statistics.median(times)

    def loop(self, batch: int, pages: int) -> float:
        """Pages a second of drawing, processing and running, batch by batch."""
        start = time.perf_counter()
        waiting: list[Image.Image] = []
        done = 0
        for image in self._draw(pages):
            waiting.append(image)
            if len(waiting) == batch:
                done += self._encode(waiting)
                waiting = []
        if waiting:
            done += self._encode(waiting)
        return done / (time.perf_counter() - start)

    def queries(self, questions: Sequence[str]) -> float:
        """Queries a second in batches of 64."""
        start = time.perf_counter()
        for first in range(0, len(questions), 64):
            batch = self._processor.process_queries(list(questions[first : first + 64]))
            self._run(batch.to(self._device))
        return len(questions) / (time.perf_counter() - start)

    def peak_gpu_mb(self) -> float:
        """Most memory the model took on the GPU, MiB; 0 on the CPU."""
        if self._device != "cuda":
            return 0.0
        return float(self._torch.cuda.max_memory_allocated() / 2**20)

    def _encode(self, images: Sequence[Image.Image]) -> int:
        ready = self._processor.process_images(images).to(self._device)
        return len([page.numpy() for page in self._run(ready)])

    def _run(self, ready: Any) -> Any:
        with self._torch.inference_mode():
            return self._model(**ready).float().cpu()

    def _draw(self, pages: int) -> Iterator[Image.Image]:
        left = pages
        for file in self._files:
            with pypdfium2.PdfDocument(file.path) as document:
                for number in range(min(file.page_count, left)):
                    page = document[number]
                    width, height = page.get_size()
                    scale = min(200 / POINTS_PER_INCH, math.sqrt(self._pixels / (width * height)))
                    yield page.render(scale=scale).to_pil().convert("RGB")
            left -= min(file.page_count, left)
            if not left:
                return


class Ours:
    """The pipeline, from shards to committed rows."""

    def __init__(
        self,
        info: EncoderInfo,
        settings: Settings,
        files: Sequence[InspectedFile],
        where: Placement,
        pool: shardpool.EncoderPool,
        workers: int,
        scratch: Path,
    ) -> None:
        self._info, self._settings, self._files = info, settings, files
        self._where, self._pool, self._workers = where, pool, workers
        self._scratch = scratch
        self._runs = 0

    def run(self, pages: int) -> float:
        """Pages a second into a new database."""
        self._runs += 1
        database = Database.create_or_open(self._scratch / f"db-{self._runs}", self._info.identity)
        options = ReadOptions(
            OcrMode.NEVER, "eng", 200, "", 60, image_pixels=self._info.image_pixels
        )
        at_once = self._where.shard_pages
        window = self._where.window(self._settings, self._workers)
        with IngestRun.recorded(
            database, self._info, options, "benchmark", {}, shard_pages=at_once
        ) as run:
            shards = run.plan(_first_pages(self._files, pages), Expansion())
            start = time.perf_counter()
            with ThreadPoolExecutor(window) as threads:
                done = sum(threads.map(lambda shard: run.run_shard(shard, self._pool), shards))
            seconds = time.perf_counter() - start
        stored = len(database.stored_pages([file.doc_id for file in self._files]))
        assert stored == done == pages, f"{stored} of {pages} pages were stored"
        return pages / seconds

    def queries(self, questions: Sequence[str]) -> float:
        """Queries a second on the actors."""
        encode = self._pool.actors.encode_queries
        encode(questions[:1], None)
        start = time.perf_counter()
        encode(questions, None)
        return len(questions) / (time.perf_counter() - start)


class Watch:
    """Peak memory of this process and its children, Ray's workers among them."""

    def __enter__(self) -> Watch:
        self._usage = Usage(psutil.Process())
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    @property
    def peak_mb(self) -> float:
        """MiB, so far."""
        return self._usage.peak_mb

    def _look(self) -> None:
        self._usage.look()
        while not self._over.wait(2.0):
            self._usage.look()


def without_words(shard: Shard, options: ReadOptions) -> ReadShard:
    """Read of a shard's pages what the bare loop reads of them: their sizes."""
    pages, nothing = [], Regions.of_words(())
    for part in shard.parts:
        doc_id, label = part.file.doc_id, part.file.label
        with open_document(part.file.path, part.file.password) as document:
            for page in part.pages:
                shape = document.shape(page)
                pages.append(
                    ReadPage(
                        doc_id, page, label, shape, WordsSource.NONE, 0, nothing, "none", "none"
                    )
                )
    return ReadShard(tuple(pages), {})


def _checkpoint(shape: str, scratch: Path) -> str:
    builders: dict[str, Callable[[str, Path], Path]] = {
        **dict.fromkeys(tiny_checkpoints.FAMILIES, tiny_checkpoints.build),
        **dict.fromkeys(tiny_checkpoints.SHAPES, tiny_checkpoints.shaped),
    }
    if shape in builders:
        return str(builders[shape](shape, scratch / "checkpoint"))
    return shape


def _files(paths: Sequence[str], pages: int) -> list[InspectedFile]:
    """The files that hold the first pages, the last one cut short."""
    files, left = [], pages
    for file in expand(paths).files:
        found = inspect_file(file, None)
        if isinstance(found, InspectedFile) and found.media_type == "application/pdf" and left:
            files.append(found)
            left -= min(left, found.page_count)
    if left:
        raise SystemExit(f"the documents have {left} pages fewer than the {pages} of a round")
    return files


def _first_pages(files: Sequence[InspectedFile], pages: int) -> list[InspectedFile]:
    from dataclasses import replace

    kept, left = [], pages
    for file in files:
        if left:
            kept.append(replace(file, page_count=min(left, file.page_count)))
            left -= kept[-1].page_count
    return kept


def _show(args: argparse.Namespace, found: dict[str, Any]) -> None:
    median = {name: statistics.median(v) for name, v in found["pages_a_second"].items()}
    queries = found["queries_a_second"]
    print(
        f"\n{args.shape}: {found['parameters'] / 1e6:.0f} M parameters on {args.device}, "
        f"{found['actors']} actors of {found['threads']} threads; {args.pages} pages, median of "
        f"{args.rounds} rounds"
    )
    print("forward at batch sizes: ", {k: round(v, 3) for k, v in found["batches"].items()})
    print_table(
        "Pages and queries a second",
        ("", "pages/s", "ours / it", "queries/s", "ours / it"),
        [
            (
                name,
                f"{value:.3f}",
                f"{median['ours'] / value:.2f}",
                f"{queries[name]:.1f}" if name in queries else "-",
                f"{queries['ours'] / queries[name]:.2f}" if name in queries else "-",
            )
            for name, value in median.items()
        ],
    )
    print(f"\npeak memory of all processes in ours: {found['peak_memory_mb']:.0f} MiB")
    if found["peak_gpu_mb"]:
        print(f"peak GPU memory of the bare model: {found['peak_gpu_mb']:.0f} MiB")


if __name__ == "__main__":
    sys.exit(main())
