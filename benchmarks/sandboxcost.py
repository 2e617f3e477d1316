"""What it costs to read documents in a process that can be killed.

Run from the repository's root::

    python -m benchmarks.sandboxcost FOLDER --rounds 5

Reads shards of the PDFs in a folder, each with ``PATCHLIGHT_SANDBOX`` on and off in turn, in this
process and without Ray: pages with a text layer, pages that need OCR, and pages drawn for an
encoder that sees pictures. Prints the median time of a page for each, then what starting the
process takes, and its memory.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from benchmarks.report import print_table
from patchlight.storage.records import Source, WordsSource
from patchlight.tasks.cluster import work
from patchlight.tasks.common.limits import MEBIBYTE, Limits
from patchlight.tasks.common.modes import OcrMode
from patchlight.tasks.documents import ocr
from patchlight.tasks.documents.sources import SourceFile, to_uri
from patchlight.tasks.evaluation.markdown import percent
from patchlight.tasks.reading.pages import ReadOptions
from patchlight.tasks.reading.shardplan import InspectedFile, Shard, ShardPart
from patchlight.tasks.sandbox.calling import Sandbox
from patchlight.tasks.sandbox.procfs import Memory

_SHARD_PAGES = 16
_PICTURE_PIXELS = 1_500_000
_KINDS = {
    WordsSource.TEXT_LAYER: "read, text layer",
    WordsSource.OCR: "read, OCR",
    None: "drawn for an encoder",
}


def shards(folder: Path, most: int) -> list[Shard]:
    """Cut the first pages of each PDF in a folder into a shard."""
    found = []
    for path in sorted(folder.rglob("*.pdf"))[:most]:
        file = SourceFile(Source(to_uri(str(path)), path.name), str(path))
        inspected = work.inspect_file(file, None)
        if isinstance(inspected, InspectedFile):
            pages = tuple(range(1, min(inspected.page_count, _SHARD_PAGES) + 1))
            found.append(Shard(0, (ShardPart(inspected, pages),)))
    return found


def kinds_of(shard: Shard, options: ReadOptions) -> dict[WordsSource, Shard]:
    """Split a shard into pages whose words come from the text layer, and from OCR."""
    part = shard.parts[0]
    read = work.read_shard(shard, options)
    numbers: dict[WordsSource, list[int]] = defaultdict(list)
    for page in read.pages:
        numbers[page.words_source].append(page.page)
    return {
        kind: Shard(0, (ShardPart(part.file, tuple(pages)),)) for kind, pages in numbers.items()
    }


def seconds_a_page(work: Callable[[], object], pages: int) -> float:
    """Time one piece of work."""
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) / pages


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--files", type=int, default=10)
    args = parser.parse_args()
    tesseract = ocr.find_tesseract(None)
    inside = ReadOptions(OcrMode.AUTO, "eng", 200, tesseract, 120, _PICTURE_PIXELS)
    both = {"on": inside, "off": replace(inside, limits=Limits(sandbox=False))}
    todo: list[tuple[str, Shard, Callable[[Shard, ReadOptions], object]]] = []
    for shard in shards(args.folder, args.files):
        for source, part in kinds_of(shard, inside).items():
            todo.append((_KINDS[source], part, work.read_shard))
        todo.append((_KINDS[None], shard, work.render_shard))
    times: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    pages: dict[str, int] = defaultdict(int)
    for kind, shard, do in todo:
        pages[kind] += shard.page_count
        taken: dict[str, list[float]] = defaultdict(list)
        for turn in range(args.rounds):
            for state in sorted(both, reverse=bool(turn % 2)):
                once = seconds_a_page(lambda: do(shard, both[state]), 1)  # noqa: B023
                taken[state].append(once)
        for state, once_each in taken.items():
            times[kind, state].append(once_each)
    rows = []
    for kind, count in pages.items():
        on, off = (sum(map(statistics.median, times[kind, s])) / count for s in ("on", "off"))
        rows.append(
            [kind, str(count), f"{1e3 * off:.1f}", f"{1e3 * on:.1f}", percent(on / off - 1)]
        )
    print_table("A page, ms", ["what", "pages", "sandbox off", "on", "more, %"], rows)
    starts, memory = [], []
    for _ in range(args.rounds):
        sandbox = Sandbox()
        start = time.perf_counter()
        pid = sandbox.call(os.getpid, label="", limits=Limits())
        starts.append(time.perf_counter() - start)
        memory.append(Memory(pid).now()[0] / MEBIBYTE)
        sandbox.close()
    print(
        f"\nstarting the process: {1e3 * statistics.median(starts):.0f} ms; "
        f"its memory then: {statistics.median(memory):.0f} MiB"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
