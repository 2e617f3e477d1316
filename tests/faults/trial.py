"""Kills within ingests, one after the other, until there have been enough of them.

A database that is finished is compared, and the next one begun: so kills hit all stages as long
as the trial goes on.
"""

from __future__ import annotations

import random
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from patchlight.storage.errors import ExitCode
from tests.faults import corpus, plan
from tests.faults.comparing import differences, faults_at_rest
from tests.faults.events import Event, Log
from tests.faults.plan import Kill, Stage
from tests.faults.processes import Kind, Member, end_marked
from tests.faults.running import Ingest, state_of
from tests.faults.watching import Watcher

_LOOK_S = 0.25
_WAIT_FOR_TARGET_S = 15.0
"""How long a kill waits for its target before it takes another."""

_STUCK = 3
"""Runs in a row that may fail though nothing was killed in them."""

_ORDER = list(Stage)
_GOOD = (ExitCode.OK, ExitCode.DONE_WITH_FAILURES)


class TrialFailed(Exception):
    """A run hung, or does not get through; the trial cannot go on."""


@dataclass(slots=True)
class _Run:
    """A run, and what was killed in it."""

    ingest: Ingest
    kills: list[int] = field(default_factory=list)
    ended_by: Kind | None = None
    last_kill: float = 0.0
    adrift: dict[int, float] = field(default_factory=dict)
    strays: dict[int, str] = field(default_factory=dict)


class Trial:
    """A trial.

    Args:
        sources: what is ingested.
        work: folder for databases and output.
        log: what happened so far, and goes on.
        seed: of the kills.
        kills: how many are wanted.
        hang_s: seconds without any progress that count as a hang.
        more: environment of the runs.
    """

    def __init__(
        self,
        sources: Sequence[str],
        work: Path,
        log: Log,
        *,
        seed: int,
        kills: int,
        hang_s: float,
        more: Mapping[str, str] | None = None,
    ) -> None:
        self._sources = list(sources)
        self._work = work
        self._log = log
        self._seed = seed
        self._kills = kills
        self._hang_s = hang_s
        self._more = dict(more or {})
        self._options = corpus.describe(self._sources, work / "known.csv")
        self._began = time.monotonic()

    def go(self) -> None:
        """Do what is left to do.

        Raises:
            TrialFailed: a run hung, or fails again and again.
        """
        end_marked(str(self._work))  # of a trial that was cut off
        if not self._log.of(Event.CLEAN):
            self._make_clean()
        while self._landed < self._kills:
            self._round()
        if any(kill["round"] == self._number for kill in self._log.of(Event.KILL)):
            self._round()  # cut off before the last database was finished

    @property
    def _landed(self) -> int:
        return len(self._log.of(Event.KILL))

    @property
    def _number(self) -> int:
        """Number of the round at hand."""
        return len(self._log.of(Event.ROUND)) + 1

    @property
    def _clean(self) -> str:
        return str(self._work / "clean")

    @property
    def _expected(self) -> int:
        documents: int = self._log.of(Event.CLEAN)[0]["documents"]
        return documents

    @property
    def _db(self) -> str:
        return str(self._work / f"round-{self._number}")

    def _make_clean(self) -> None:
        shutil.rmtree(self._clean, ignore_errors=True)
        self._say("making a clean database")
        run = Ingest(
            self._sources,
            self._clean,
            self._work,
            self._output("clean"),
            more=self._more,
            options=self._options,
        )
        code = self._waited(run)
        left = _described(run.left_behind())
        if code not in _GOOD:
            raise TrialFailed(f"the undisturbed ingest ended with {code}: {run.last_words()}")
        state = state_of(self._clean)
        self._log.add(
            Event.CLEAN,
            code=code,
            seconds=round(run.seconds, 1),
            documents=state.settled,
            pages=state.pages,
            left=left,
            faults=faults_at_rest(self._clean),
        )
        self._say(f"{state.settled} documents, {state.pages} pages, {run.seconds:.0f} s")

    def _round(self) -> None:
        """Ingest into one database until it is finished, killing meanwhile; then compare."""
        number, db, stuck = self._number, self._db, 0
        saw = self._work / f"watched-{number}.json"
        with Watcher(db, saw) as watcher:
            while True:
                run = self._run(quiet=self._landed >= self._kills)
                if not run.kills and run.ingest.code not in _GOOD:
                    stuck += 1
                    if stuck == _STUCK:
                        raise TrialFailed(f"runs fail undisturbed: {run.ingest.last_words()}")
                    continue
                stuck = 0
                if not run.kills and run.ingest.code in _GOOD:
                    break
                if run.ended_by is None and run.ingest.code in _GOOD:
                    # It got through; one that nothing disturbs has the last word.
                    run = self._run(quiet=True)
                    if run.ingest.code in _GOOD:
                        break
        found = differences(self._clean, db) + faults_at_rest(db)
        if run.ingest.code != (wanted := self._log.of(Event.CLEAN)[0]["code"]):
            found.append(f"the last ingest ended with {run.ingest.code}, the clean one {wanted}")
        seen = watcher.seen()
        self._log.add(
            Event.ROUND,
            round=number,
            code=run.ingest.code,
            differences=found,
            watched=asdict(seen),
            elapsed_s=round(time.monotonic() - self._began),
        )
        self._say(f"round {number}: {len(found)} differences, {len(seen.problems)} half documents")
        if not found:
            shutil.rmtree(db, ignore_errors=True)

    def _run(self, *, quiet: bool) -> _Run:
        """Run one ingest to its end, however it comes, and clear up behind it."""
        number = len(self._log.of(Event.RUN)) + 1
        output = self._output(f"run-{number}")
        ingest = Ingest(
            self._sources,
            self._db,
            self._work,
            output,
            expected=self._expected,
            more=self._more,
            options=self._options,
        )
        run, interrupted, hung = _Run(ingest), True, False
        try:
            if not quiet:
                self._disturb(run, number)
            self._waited(ingest)
            interrupted = False
        except TrialFailed:
            interrupted, hung = False, True
            raise
        finally:
            left = _described(ingest.left_behind())
            self._log.add(
                Event.RUN,
                number=number,
                round=self._number,
                code=ingest.code,
                seconds=round(ingest.seconds, 1),
                kills=run.kills,
                ended_by=run.ended_by,
                after_kill_s=round(ingest.seconds - run.last_kill, 1) if run.kills else None,
                stage=ingest.stage,
                hung=hung,
                interrupted=interrupted,
                left=left,
                strays=list(run.strays.values()),
                last_words=ingest.last_words(),
            )
        self._say(f"run {number}: code {ingest.code}, {ingest.seconds:.0f} s, kills {run.kills}")
        return run

    def _disturb(self, run: _Run, number: int) -> None:
        """Kill in a run, until it ends or there have been enough kills."""
        ingest = run.ingest
        last = plan.ending(self._seed, number)
        kill, due_since = plan.survived(self._seed, self._landed + 1), 0.0
        while ingest.code is None and self._landed < self._kills:
            if ingest.still_s > self._hang_s:
                return
            members = ingest.look()
            _note_strays(run, members)
            if last and _is_due(last, run):
                target = self._chosen(members, {last.target})
                if target and self._hit(last, target, run, number):
                    run.ended_by, last = target.kind, None
                    if target.kind is not Kind.GCS:
                        return
            elif (
                len(run.kills) < plan.MOST_SURVIVED
                and ingest.stage is kill.stage
                and _is_due(kill, run)
            ):
                due_since = due_since or time.monotonic()
                patient = time.monotonic() - due_since < _WAIT_FOR_TARGET_S
                target = self._chosen(members, {kill.target} if patient else set(plan.SURVIVED))
                if target and self._hit(kill, target, run, number):
                    kill, due_since = plan.survived(self._seed, self._landed + 1), 0.0
            time.sleep(_LOOK_S)

    def _chosen(self, members: Sequence[Member], kinds: set[Kind]) -> Member | None:
        wanted = [m for m in members if m.kind in kinds and not m.adrift]
        rng = random.Random(f"{self._seed}/which/{self._landed + 1}")
        return rng.choice(wanted) if wanted else None

    def _hit(self, kill: Kill, target: Member, run: _Run, number: int) -> bool:
        ingest = run.ingest
        stage, state, at = ingest.stage, ingest.state, ingest.seconds
        if not ingest.family.kill(target):
            return False
        landed = self._landed + 1
        run.kills.append(landed)
        run.last_kill = at
        self._log.add(
            Event.KILL,
            number=landed,
            target=target.kind,
            meant=kill.target,
            stage=stage,
            aimed_at=kill.stage,
            at_s=round(at, 1),
            run=number,
            round=self._number,
            pid=target.pid,
            title=target.title,
            documents=state.settled,
            pages=state.pages,
        )
        self._say(f"kill {landed}: {target.kind} while {stage}, {at:.0f} s into run {number}")
        return True

    def _waited(self, ingest: Ingest) -> int:
        code = ingest.wait(self._hang_s)
        if code is None:
            raise TrialFailed(
                f"nothing has moved for {self._hang_s:.0f} s while {ingest.stage}; processes: "
                f"{[m.title for m in ingest.look()]}; it said: {ingest.last_words()}"
            )
        return code

    def _output(self, name: str) -> Path:
        folder = self._work / "output"
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{name}.txt"

    def _say(self, what: str) -> None:
        print(f"{time.monotonic() - self._began:7.1f} s  {what}", file=sys.stderr, flush=True)


def _is_due(kill: Kill, run: _Run) -> bool:
    """Whether it is time for a kill."""
    at, aim = _ORDER.index(run.ingest.stage), _ORDER.index(kill.stage)
    if at < aim or (run.kills and run.ingest.seconds - run.last_kill < kill.gap_s):
        return False
    return at > aim or (run.ingest.stage_s >= kill.gap_s and len(run.kills) >= kill.before)


def _note_strays(run: _Run, members: Sequence[Member]) -> None:
    """Note what has outlived its parent for long while the run goes on."""
    now = time.monotonic()
    adrift = {m.pid: m for m in members if m.adrift}
    run.adrift = {pid: run.adrift.get(pid, now) for pid in adrift}
    for pid, since in run.adrift.items():
        if now - since > plan.STRAY_S:
            run.strays[pid] = f"{adrift[pid].kind}: {adrift[pid].title}"


def _described(left: Sequence[tuple[Member, float | None]]) -> list[dict[str, object]]:
    """What was left behind, as it is logged: seconds it lived on, None for an orphan."""
    return [
        {
            "kind": member.kind,
            "title": member.title,
            "seconds": None if seconds is None else round(seconds, 1),
        }
        for member, seconds in left
    ]
