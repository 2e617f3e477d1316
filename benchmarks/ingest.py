"""Time and peak memory of an ingest, and of the same ingest again.

Run from the repository's root::

    python -m benchmarks.ingest FOLDER --db NEW_DB

Runs ``patchlight ingest FOLDER`` twice in processes of its own. Memory is the proportional set
size (shared pages counted once) of the command with all its children - Ray, its workers,
Tesseract, a private Prefect server - sampled twice a second. CPU time is that of the same
processes but Tesseract's, which end too soon to be sampled: other work on the machine makes a run
longer, but takes little from what two runs' CPU times say of each other.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
import time

import psutil

from benchmarks.command import PATCHLIGHT
from patchlight.storage.errors import ExitCode

_SAMPLE_S = 0.5
_MEBIBYTE = 1 << 20


class Usage:
    """What a process and all its children take.

    Args:
        process: the process.
    """

    def __init__(self, process: psutil.Process) -> None:
        self._process = process
        self._cpu_s: dict[psutil.Process, float] = {}
        self.peak_mb = 0.0

    @property
    def cpu_s(self) -> float:
        """Seconds of CPU time, of each process until it was looked at last."""
        return sum(self._cpu_s.values())

    def look(self) -> None:
        """Look at the processes that are there now."""
        total = 0
        try:
            processes = [self._process, *self._process.children(recursive=True)]
        except psutil.Error:
            return
        for one in processes:
            try:
                total += one.memory_full_info().pss
                if one.name() != "tesseract":
                    times = one.cpu_times()
                    self._cpu_s[one] = times.user + times.system
            except psutil.Error:
                continue
        self.peak_mb = max(self.peak_mb, total / _MEBIBYTE)


def run(command: list[str]) -> tuple[dict[str, object], float, Usage]:
    """Run a command; return its JSON report, seconds, and what it took.

    Raises:
        SystemExit: the command failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    usage = Usage(psutil.Process(process.pid))

    def watch() -> None:
        while process.poll() is None:
            usage.look()
            time.sleep(_SAMPLE_S)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    if process.returncode not in (ExitCode.OK, ExitCode.DONE_WITH_FAILURES):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return json.loads(output), time.perf_counter() - start, usage


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--db", required=True, help="a database that is not there yet")
    args = parser.parse_args()
    command = [str(PATCHLIGHT), "ingest", args.folder, "--db", args.db, "--json"]
    for label in ("first run", "the same again"):
        report, seconds, usage = run(command)
        added, there, failed = (
            report[f"pages_{name}"] for name in ("added", "unchanged", "failed")
        )
        print(
            f"{label}: {added} pages added, {there} already there, {failed} failed; "
            f"{seconds:.0f} s, CPU time {usage.cpu_s:.0f} s, peak memory {usage.peak_mb:.0f} MiB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
