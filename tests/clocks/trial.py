"""The same work under wrong clocks and under the right one, and what is different."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from patchlight.storage import statistics
from patchlight.storage.database import Database
from patchlight.storage.digest import digest
from patchlight.storage.errors import PatchlightError
from tests.clocks.faking import Clock, FakeClock
from tests.faults.running import ROOT, environment

DOCUMENTS = ROOT / "examples" / "documents"
QUESTIONS = ROOT / "examples" / "questions.jsonl"
_DELETED = ("harbour-annual-report.pdf", "scanned-letter.tiff")
_SUSPECT = ("lost its lease", "was cut off", "Traceback", "was not renewed")
"""What no command may say."""
_CIRCUMSTANCES = ("run_id", "statistics")
"""Fields of results that name a run, and a snapshot by its date."""
_WITH_RAY = ("ingest", "query")
"""Commands that start a Ray. It waits for its own processes by the wall clock: a jump of days in
these two seconds ends the wait, and the start fails or hangs."""
_LIMIT_S = 400.0


@dataclass(slots=True)
class Outcome:
    """What work came to.

    Attributes:
        full, left: digests with all documents, and after two were deleted.
        answers, answers_left: results of the query run then, parsed; without names with dates.
        codes: exit codes of the commands: of the second query it tells of questions about
            documents that are gone.
    """

    full: dict[str, str]
    left: dict[str, str]
    answers: list[Any]
    answers_left: list[Any]
    codes: dict[str, int | str]


@dataclass(slots=True)
class Report:
    """How the work went under one clock.

    Attributes:
        clock: which.
        findings: everything that should not be, in words.
        checks: how many things were compared.
        seconds: what each step took.
        off_days: by how many days the dates of runs are off, smallest and largest.
    """

    clock: Clock
    findings: list[str] = field(default_factory=list)
    checks: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    off_days: tuple[float, float] = (0.0, 0.0)

    def check(self, right: bool, otherwise: str) -> None:
        """Count a comparison, and note what is wrong."""
        self.checks += 1
        if not right:
            self.findings.append(otherwise)


class Trial:
    """Plays one scenario: plainly once, then under clocks.

    Args:
        work: folder for databases, results and logs.
        fake: the clock; None to play it plainly only.
    """

    def __init__(self, work: Path, fake: FakeClock | None) -> None:
        self._work = work
        self._fake = fake

    def plain(self) -> Outcome:
        """Do the work under the machine's own clock; kept in the folder for the next time."""
        kept = self._work / "plain.json"
        if kept.exists():
            return Outcome(**json.loads(kept.read_text()))
        report, db = Report(Clock.JUMPING), self._work / "plain"
        codes: dict[str, int | str] = {}
        ingest = ["ingest", str(DOCUMENTS), "--db", str(db)]
        codes["ingest"] = self._together(report, "ingest", plain=ingest)["plain"]
        full = digest(db, vectors=True)
        query = self._query(db, "plain-full")
        codes["query"] = self._together(report, "query", plain=query)["plain"]
        for name in _DELETED:
            delete = ["delete", name, "--yes", "--db", str(db)]
            codes["delete"] = self._together(report, "delete", plain=delete)["plain"]
        left = digest(db, vectors=True)
        query = self._query(db, "plain-left")
        codes["query, less left"] = self._together(report, "query", plain=query)["plain"]
        if report.findings or any(codes[step] for step in ("ingest", "query", "delete")):
            raise RuntimeError(f"without any wrong clock: {codes}, {report.findings}")
        answers, answers_left = self._answers("plain-full"), self._answers("plain-left")
        outcome = Outcome(full, left, answers, answers_left, codes)
        kept.write_text(json.dumps({name: getattr(outcome, name) for name in outcome.__slots__}))
        return outcome

    def under(self, clock: Clock, expected: Outcome) -> Report:
        """Do the work under a wrong clock, on one database with commands that have the right one.

        Args:
            clock: the wrong one.
            expected: what it must come to.
        """
        report, db, name = Report(clock), self._work / clock.value, clock.value
        ingest = ["ingest", str(DOCUMENTS), "--db", str(db)]
        codes = self._together(report, "ingest", plain=ingest, faked=ingest)
        self._compare_codes(report, "ingest", codes, expected)
        self._compare(report, "digest, all documents", digest(db, vectors=True), expected.full)
        self._ask(report, db, f"{name}-full", "query", expected, ("plain", "faked"))
        # The last to delete counts last: its statistics are the newest, whatever its date.
        order = ["plain", "faked"] if clock is Clock.BEHIND else ["faked", "plain"]
        for whose, document in zip(order, _DELETED, strict=True):
            command = ["delete", document, "--yes", "--db", str(db)]
            codes = self._together(report, "delete", **{whose: command})
            self._compare_codes(report, "delete", codes, expected)
        self._compare(report, "digest, one document", digest(db, vectors=True), expected.left)
        self._ask(report, db, f"{name}-left", "query, less left", expected, ("faked",))
        self._look_at_runs(report, Database.open(db))
        return report

    def _ask(
        self,
        report: Report,
        db: Path,
        name: str,
        step: str,
        expected: Outcome,
        clocks: Sequence[str],
    ) -> None:
        answers = expected.answers if step == "query" else expected.answers_left
        queries = {whose: self._query(db, f"{name}-{whose}") for whose in clocks}
        self._compare_codes(report, step, self._together(report, "query", **queries), expected)
        newest = statistics.latest(Database.open(db))
        assert newest is not None
        for out in (f"{name}-{whose}" for whose in clocks):
            self._compare(report, f"results of {out}", self._answers(out), answers)
            used = json.loads((self._work / out / "summary.json").read_text())["statistics"]
            self._compare(report, f"statistics of {out}", used, newest.snapshot)

    def _look_at_runs(self, report: Report, database: Database) -> None:
        runs, now = database.runs(), datetime.now(UTC)
        off = [(run.started_at - now) / timedelta(days=1) for run in runs]
        report.off_days = min(off), max(off)
        for run in runs:
            well = run.status in ("completed", "completed_with_failures")
            report.check(well, f"run {run.run_id} ended as {run.status}: {run.summary[:300]}")
        numbers = [run.number for run in runs]
        in_order = numbers == list(range(1, len(runs) + 1))
        report.check(in_order, f"runs have the numbers {numbers}")
        wrong = 1 < max(map(abs, off)) < 3
        report.check(wrong, f"no date is off by two days, so no clock was wrong: {off}")

    def _compare(self, report: Report, what: str, found: object, expected: object) -> None:
        report.check(found == expected, f"{what}: not as it was under the right clock")

    def _compare_codes(
        self, report: Report, step: str, codes: Mapping[str, int | str], expected: Outcome
    ) -> None:
        for whose, code in codes.items():
            wanted = expected.codes[step]
            report.check(code == wanted, f"{step} ({whose}): exit code {code}, not {wanted}")

    def _query(self, db: Path, name: str) -> list[str]:
        return ["query", str(QUESTIONS), "--db", str(db), "--out", str(self._work / name)]

    def _answers(self, name: str) -> list[Any]:
        lines = (self._work / name / "results.jsonl").read_text().splitlines()
        answers = [json.loads(line) for line in lines]
        return [{k: v for k, v in one.items() if k not in _CIRCUMSTANCES} for one in answers]

    def _together(self, report: Report, step: str, **commands: list[str]) -> dict[str, int | str]:
        """Run one command under each clock that is named, all at once; returns how they ended."""
        began, codes = time.monotonic(), dict[str, int | str]()
        pids: list[int] = []
        with self._clock(report.clock, commands, pids), self._started(commands) as processes:
            pids += [process.pid for process in processes.values()]
            for whose, process in processes.items():
                try:
                    codes[whose] = process.wait(_LIMIT_S)
                except subprocess.TimeoutExpired:
                    codes[whose] = f"none within {_LIMIT_S:.0f} s"
        for whose in commands:
            said = self._log(whose).read_text(errors="replace")
            for line in said.splitlines():
                if any(words in line for words in _SUSPECT):
                    report.findings.append(f"{step} ({whose}) says: {line[:300]}")
        took = time.monotonic() - began
        report.seconds[step] = report.seconds.get(step, 0.0) + took
        return codes

    @contextmanager
    def _clock(
        self, clock: Clock, commands: Mapping[str, list[str]], pids: list[int]
    ) -> Iterator[None]:
        """Fake the clock, if a command is to see it; one that starts Ray sees no jump before.

        Args:
            clock: which.
            commands: what is to be run.
            pids: of the commands, once they are started.
        """
        faked = commands.get("faked")
        if faked is None or self._fake is None:
            yield
            return
        db = faked[faked.index("--db") + 1]

        def ray_is_up() -> bool:
            """Whether the commands have their rows in ``runs``, which comes later."""
            try:
                runs = Database.open(db).runs()
            except PatchlightError:  # it is being made
                return False
            return bool(pids) and set(pids) <= {run.pid for run in runs}

        may_jump = ray_is_up if faked[0] in _WITH_RAY else lambda: True
        with self._fake.showing(clock, may_jump):
            yield

    @contextmanager
    def _started(
        self, commands: Mapping[str, list[str]]
    ) -> Iterator[dict[str, subprocess.Popen[bytes]]]:
        homes = {whose: self._home(whose) for whose in commands}
        processes = {}
        try:
            for whose, command in commands.items():
                faked = self._fake.environment if whose == "faked" and self._fake else {}
                with self._log(whose).open("wb") as out:
                    processes[whose] = subprocess.Popen(
                        [sys.executable, "-m", "patchlight", *command],
                        cwd=ROOT,
                        env={
                            **environment(homes[whose], faked),
                            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), _path()))),
                        },
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=out,
                        start_new_session=True,
                    )
            yield processes
        finally:
            for process in processes.values():
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()

    def _home(self, whose: str) -> Path:
        """The folder of Prefect's records: two servers at once share none.

        The second is a copy of the first: making its tables anew takes a minute.
        """
        home, first = self._work / f"home-{whose}", self._work / "home-plain"
        if not home.exists() and first.exists():
            shutil.copytree(first, home)
        home.mkdir(exist_ok=True)
        return home

    def _log(self, whose: str) -> Path:
        """What the last command under a clock said."""
        return self._work / f"{whose}.txt"


def _path() -> str:
    return os.environ.get("PYTHONPATH", "")
