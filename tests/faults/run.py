"""Kill processes of ingests, start them again, and compare what comes out.

Run from the repository's root::

    python -m tests.faults.run --kills 100 --seed 1 --log kills.jsonl

Needs ``PATCHLIGHT_DATA``, or ``--sources``. Prints a Markdown report and ends with 1 if there
was anything that should not be. Interrupted, and run again, it goes on where its log ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tests.faults import corpus, migrations
from tests.faults.events import Event, Log
from tests.faults.report import findings, report
from tests.faults.trial import Trial, TrialFailed


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, required=True, help="goes on there if it exists")
    parser.add_argument("--work", type=Path, help="folder for databases; default: beside the log")
    parser.add_argument("--sources", nargs="+", help="files and folders; default: real documents")
    parser.add_argument("--hang", type=float, default=300.0, help="seconds without progress")
    parser.add_argument("--migrate", action="store_true", help="kill migrations, not ingests")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then
    log = Log(args.log)
    work: Path = (args.work or args.log.with_suffix(".work")).absolute()
    work.mkdir(parents=True, exist_ok=True)
    if args.migrate:
        print(migrations.report(done := migrations.trial(work, log, args.seed, args.kills)), end="")
        return 1 if done.findings else 0
    sources = [str(Path(source).absolute()) for source in args.sources or ()]
    if not sources:
        sources = [str(work / "sources")]
        corpus.copy_real(work / "sources")
    begun = log.of(Event.BEGIN)
    if begun and (begun[0]["seed"], begun[0]["sources"]) != (args.seed, sources):
        parser.error(f"{args.log} is of another seed or other sources; name a new file")
    if not begun or begun[-1]["kills"] != args.kills:
        cpus = len(os.sched_getaffinity(0))
        log.add(Event.BEGIN, seed=args.seed, kills=args.kills, sources=sources, cpus=cpus)
    trial = Trial(sources, work, log, seed=args.seed, kills=args.kills, hang_s=args.hang)
    try:
        trial.go()
    except TrialFailed as failed:
        print(report(log), end="")
        print(f"\nThe trial was given up: {failed}")
        return 1
    print(report(log), end="")
    return 1 if findings(log) else 0


if __name__ == "__main__":
    sys.exit(main())
