"""Time and peak memory of an ingest, and of the same ingest again.

Run from the repository's root::

    python -m benchmarks.ingest FOLDER --db NEW_DB

Runs ``patchlight ingest FOLDER`` twice in processes of its own. Memory is the proportional set
size (shared pages counted once) of the command with all its children - Ray, its workers,
Tesseract, a private Prefect server - sampled twice a second.
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
from storage.errors import ExitCode

_SAMPLE_S = 0.5
_MEBIBYTE = 1 << 20


def memory_mb(process: psutil.Process) -> float:
    """Memory of a process and all its children, MiB; those that end meanwhile count nothing."""
    total = 0
    for one in [process, *process.children(recursive=True)]:
        try:
            total += one.memory_full_info().pss
        except psutil.Error:
            continue
    return total / _MEBIBYTE


def run(command: list[str]) -> tuple[dict[str, object], float, float]:
    """Run a command; return its JSON report, seconds, and peak memory in MiB.

    Raises:
        SystemExit: the command failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    peak = 0.0

    def watch() -> None:
        nonlocal peak
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                peak = max(peak, memory_mb(watched))
            except psutil.Error:
                return
            time.sleep(_SAMPLE_S)

    watcher = threading.Thread(target=watch)
    watcher.start()
    output, _ = process.communicate()
    watcher.join()
    if process.returncode not in (ExitCode.OK, ExitCode.DONE_WITH_FAILURES):
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return json.loads(output), time.perf_counter() - start, peak


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder")
    parser.add_argument("--db", required=True, help="a database that is not there yet")
    args = parser.parse_args()
    command = [str(PATCHLIGHT), "ingest", args.folder, "--db", args.db, "--json"]
    for label in ("first run", "the same again"):
        report, seconds, peak = run(command)
        added, there, failed = (
            report[f"pages_{name}"] for name in ("added", "unchanged", "failed")
        )
        print(
            f"{label}: {added} pages added, {there} already there, {failed} failed; "
            f"{seconds:.0f} s, peak memory {peak:.0f} MiB"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
