"""Ingest, query and delete under wrong wall clocks, and compare with the same under the right one.

Run from the repository's root::

    python -m tests.clocks.run --work /tmp/clocks

Needs Debian's package ``faketime`` and a C compiler; where clocks cannot be faked it says why and
ends with 77. Prints a Markdown report and ends with 1 if anything was different.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
from pathlib import Path

from tests.clocks.faking import Clock, FakeClock, NoFakeClock
from tests.clocks.trial import Report, Trial

SKIPPED = 77
"""Exit code that means skipped, as automake has it."""


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made")
    parser.add_argument("--clocks", nargs="+", type=Clock, default=list(Clock), choices=list(Clock))
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was started is ended then
    work: Path = args.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    try:
        fake = FakeClock(work)
    except NoFakeClock as missing:
        print(f"skipped, nothing was proved: {missing}")
        return SKIPPED
    trial = Trial(work, fake)
    expected = trial.plain()
    reports = []
    for clock in args.clocks:
        for old in work.glob(f"{clock.value}*"):
            shutil.rmtree(old)
        reports.append(trial.under(clock, expected))
        print(f"{clock}: {len(reports[-1].findings)} findings", file=sys.stderr)
    print(_as_markdown(reports), end="")
    return 1 if any(report.findings for report in reports) else 0


def _as_markdown(reports: list[Report]) -> str:
    lines = ["| clock | dates of runs off by | compared | findings | seconds |", "| --- " * 5 + "|"]
    for report in reports:
        off = "{:+.1f} to {:+.1f} days".format(*report.off_days)
        took = ", ".join(f"{step} {seconds:.0f}" for step, seconds in report.seconds.items())
        lines.append(
            f"| {report.clock} | {off} | {report.checks} | {len(report.findings)} | {took} |"
        )
    found = [f"- {report.clock}: {finding}" for report in reports for finding in report.findings]
    return "\n".join([*lines, *(["", "Findings:", "", *found] if found else [])]) + "\n"


if __name__ == "__main__":
    sys.exit(main())
