"""What a trial has shown, as Markdown.

``python -m tests.faults.report LOG`` prints it for a log.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.events import Event, Log
from tests.faults.plan import ENDING, Stage
from tests.faults.processes import Kind

_Line = Mapping[str, Any]


def findings(log: Log) -> list[str]:
    """Everything that should not be; empty after a good trial."""
    found = [
        f"clean database: {fault}" for clean in log.of(Event.CLEAN) for fault in clean["faults"]
    ]
    for run in log.of(Event.RUN):
        found += [f"run {run['number']}: orphan: {what}" for what in _orphans(run)]
        found += [f"run {run['number']}: adrift: {stray}" for stray in run["strays"]]
        if run["hung"]:
            found.append(f"run {run['number']}: hung while {run['stage']}")
        cut_off = run.get("interrupted")  # the trial was, and took the run with it
        if run["code"] not in (0, 4) and not run["ended_by"] and not cut_off and not run["hung"]:
            found.append(f"run {run['number']}: ended with {run['code']}: {run['last_words'][-1:]}")
    for done in log.of(Event.ROUND):
        found += [f"round {done['round']}: {difference}" for difference in done["differences"]]
        problems = done["watched"]["problems"]
        found += [f"round {done['round']}: watcher at {problem}" for problem in problems]
    return found


def report(log: Log) -> str:
    """Make the report of a log."""
    return "\n".join(_lines(log)) + "\n"


def _lines(log: Log) -> Iterator[str]:
    kills, runs, rounds = log.of(Event.KILL), log.of(Event.RUN), log.of(Event.ROUND)
    begin, clean = log.of(Event.BEGIN)[-1], log.of(Event.CLEAN)
    yield "# Killed ingests"
    yield ""
    yield (
        f"Seed {begin['seed']}, {len(kills)} of {begin['kills']} kills, {begin['cpus']} CPUs. "
        + "".join(
            f"The undisturbed ingest took {c['seconds']} s: {c['documents']} documents, "
            f"{c['pages']} pages, exit code {c['code']}."
            for c in clean
        )
    )
    yield ""
    yield from _by_target_and_stage(kills)
    yield ""
    yield from _what_happened(kills, runs)
    yield ""
    seen = [done["watched"] for done in rounds]
    orphans = [what for run in runs for what in _orphans(run)]
    facts = {
        "ingests that were begun": len(runs),
        "of these, going on with what another left": sum(
            run["round"] == before["round"] for before, run in pairwise(runs)
        ),
        "databases finished and compared": len(rounds),
        "differences to the clean database": sum(len(done["differences"]) for done in rounds),
        "looks of the watcher": sum(w["looks"] for w in seen),
        "of these, questions answered": sum(w["answers"] for w in seen),
        "looks that found a database changing too fast": sum(w["changing"] for w in seen),
        "half documents and other problems it saw": sum(len(w["problems"]) for w in seen),
        "processes left behind for 15 s": len(orphans),
        "longest that others lived on, seconds": max(
            (left["seconds"] or 0.0 for run in runs for left in run["left"]), default=0.0
        ),
        "runs that hung": sum(run["hung"] for run in runs),
        "seconds of all runs together": round(sum(run["seconds"] for run in runs)),
    }
    yield "| | |"
    yield "| --- | --: |"
    for what, count in facts.items():
        yield f"| {what} | {count} |"
    yield ""
    found = findings(log)
    yield f"## Findings: {len(found)}"
    yield ""
    yield from (f"- {finding}" for finding in found)


def _by_target_and_stage(kills: Sequence[_Line]) -> Iterator[str]:
    counts = Counter((kill["target"], kill["stage"]) for kill in kills)
    yield "| killed | " + " | ".join(Stage) + " | all |"
    yield "| --- |" + " --: |" * (len(Stage) + 1)
    for kind in Kind:
        row = [counts[kind, stage] for stage in Stage]
        if any(row):
            yield f"| {kind} | " + " | ".join(map(str, row)) + f" | {sum(row)} |"
    totals = [sum(kill["stage"] == stage for kill in kills) for stage in Stage]
    yield "| all | " + " | ".join(map(str, totals)) + f" | {len(kills)} |"


def _what_happened(kills: Sequence[_Line], runs: Sequence[_Line]) -> Iterator[str]:
    """By target: in how many cases the run went on, or how it ended."""
    of_run = {run["number"]: run for run in runs}
    outcomes = Counter((kill["target"], _outcome(kill, of_run.get(kill["run"]))) for kill in kills)
    yield "| killed | then the run | times |"
    yield "| --- | --- | --: |"
    for (target, outcome), times in sorted(outcomes.items()):
        yield f"| {target} | {outcome} | {times} |"


def _outcome(kill: _Line, run: _Line | None) -> str:
    if run is None:
        return "is not over"
    last = run["kills"][-1] == kill["number"]
    if kill["target"] in ENDING and last:
        late = run["after_kill_s"]
        when = "at once" if late < 2 else "within 10 s" if late < 10 else f"after {late:.0f} s"
        return "hung" if run["hung"] else f"ended with {run['code']} {when}"
    if run["code"] in (0, 4) or not last:
        return "went on"
    return f"ended with {run['code']}"


def _orphans(run: _Line) -> list[str]:
    return [f"{left['kind']}: {left['title']}" for left in run["left"] if left["seconds"] is None]


def main() -> int:
    """Print the report of a log."""
    print(report(Log(Path(sys.argv[1]))), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
