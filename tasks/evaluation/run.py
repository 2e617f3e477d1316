"""An evaluation run: collects answers, scores them, and writes the report."""

from __future__ import annotations

import json
import logging
import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from patchlight.storage import reader
from patchlight.tasks.answers.options import RetrievalOptions
from patchlight.tasks.answers.overlays import DocumentOverlays
from patchlight.tasks.answers.queryfile import BadRow, QueryRow
from patchlight.tasks.answers.querysession import QuerySession
from patchlight.tasks.answers.results import Answer, whole_file, write_whole
from patchlight.tasks.answers.versions import answer_versions
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.runs import leased
from patchlight.tasks.evaluation import assessment, report, rowscores, rowstable
from patchlight.tasks.evaluation.cases import Cases
from patchlight.tasks.evaluation.choices import Protocol
from patchlight.tasks.evaluation.plan import Plan, Scored
from patchlight.tasks.evaluation.protocols import Collected, queries, take
from patchlight.tasks.evaluation.summary import seed_of

logger = logging.getLogger("patchlight.evaluate")

REPORT_JSON = "report.json"
REPORT_MD = "report.md"
ROWS_PARQUET = "rows.parquet"
PICTURES = "pictures"


class EvaluationRun:
    """One run.

    Args:
        session: what is answered from.
        plan: what is evaluated.
        run_id: id of the run.
        out: folder for the files; made if it is not there.

    Raises:
        UsageError: the folder cannot be written.
    """

    def __init__(self, session: QuerySession, plan: Plan, run_id: str, out: str) -> None:
        self._session, self._plan, self._run_id = session, plan, run_id
        self._started = datetime.now(UTC)
        self._answers = {
            (setting, protocol): Collected.of(plan.matched)
            for setting in plan.settings
            for protocol in plan.protocols
        }
        self._seconds: dict[str, dict[str, float]] = {}
        self._scored = Scored()
        self._cases: Cases | None = None
        self.folder = Path(out).absolute()
        # The id keeps two runs apart.
        self._drawn = self.folder / f".{PICTURES}.{seed_of(run_id) % 16**8:08x}.part"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(self._drawn, ignore_errors=True)
            self._drawn.mkdir()
        except OSError as error:
            problem = f"--out {out}: cannot be written ({error.strerror or error})"
            raise UsageError(problem) from error

    def asked(self, protocol: Protocol) -> list[QueryRow]:
        """Return what is asked under a protocol."""
        plan = self._plan
        return queries(plan.matched, self._session.catalog, protocol, plan.within)

    def take(
        self,
        setting: str,
        protocol: Protocol,
        answers: Sequence[Answer],
        rejected: Sequence[BadRow],
    ) -> None:
        """Note answers, and what could not be asked."""
        plan, into = self._plan, self._answers[setting, protocol]
        heat = setting == plan.first and protocol is plan.protocols[0]
        catalog = self._session.catalog
        take(answers, plan.matched, catalog, protocol, into, keep_heat=heat)
        for row in rejected:
            logger.warning("%s", row.message)
            into.rejected.append(row.message)

    @contextmanager
    def timed(self, setting: str, protocol: Protocol) -> Iterator[None]:
        """Note how long asking took."""
        begun = time.perf_counter()
        yield
        self._seconds.setdefault(setting, {})[protocol.value] = time.perf_counter() - begun

    def score(self, done: Callable[[int], None]) -> None:
        """Score all rows; when all answers are there.

        Args:
            done: called with the number of rows just done.
        """
        session = self._session
        self._scored = rowscores.score_rows(
            self._plan, self._answers, session.snapshot, session.catalog, done
        )

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return len(self._plan.matched.rows)

    def pictures(self, count: int, passwords: Mapping[str, str]) -> list[DocumentOverlays]:
        """Choose the best and the worst cases; return what is to be drawn of them.

        Args:
            count: how many of each.
            passwords: pattern -> password, for encrypted documents.
        """
        self._cases = Cases(self._plan, self._answers, self._scored, self._drawn, count)
        return self._cases.pictures(self._session, passwords)

    def pictures_done(self, problems: Mapping[str, str]) -> None:
        """Note how drawing went: path of a picture that was not drawn -> why."""
        if self._cases is not None:
            self._cases.drawn(problems)

    def end(self) -> dict[str, Any]:
        """Write the files, ``report.json`` last; return what is in it."""
        numbers: dict[str, Any] = _plain(self._report())
        # A report of an earlier run must not stand beside this one's rows.
        (self.folder / REPORT_JSON).unlink(missing_ok=True)
        with whole_file(self.folder / ROWS_PARQUET) as part:
            pq.write_table(rowstable.rows_table(self._plan, self._answers, self._scored), part)
        shutil.rmtree(self.folder / PICTURES, ignore_errors=True)
        if any(self._drawn.iterdir()):
            self._drawn.rename(self.folder / PICTURES)
        write_whole(self.folder / REPORT_MD, report.render(numbers))
        write_whole(self.folder / REPORT_JSON, json.dumps(numbers, indent=1) + "\n")
        return numbers

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Hold the run's lease; no report appears if the block breaks off.

        The versions that are read are pinned: no cleaning removes them while the run lives.
        """
        session, plan = self._session, self._plan
        asked = {
            "dataset": str(plan.dataset.file),
            "out": str(self.folder),
            "settings": _settings(plan),
            "protocols": plan.protocols,
            "within": plan.within,
        }
        pins = reader.pinned(session.snapshot)
        with leased(session.database, "evaluate", self._run_id, asked, self._ended, pins):
            session.check_snapshot()
            try:
                yield
            finally:
                shutil.rmtree(self._drawn, ignore_errors=True)

    def _ended(self) -> tuple[bool, dict[str, Any]]:
        not_drawn = self._cases.not_drawn if self._cases else []
        summary = {
            "rows": self.rows,
            "not_asked": self._rejected(),
            "not_drawn": not_drawn,
            "made_by": answer_versions(),
        }
        return not (self._rejected() or not_drawn), summary

    def _rejected(self) -> list[str]:
        every = (message for found in self._answers.values() for message in found.rejected)
        return list(dict.fromkeys(every))

    def _report(self) -> dict[str, Any]:
        plan, session, matched = self._plan, self._session, self._plan.matched
        rejected = self._rejected()
        cases = self._cases
        found: dict[str, Any] = {
            "run_id": self._run_id,
            "made_by": answer_versions(),
            "started_at": f"{self._started:%Y-%m-%d %H:%M} UTC",
            "dataset": {
                "name": plan.dataset.name,
                "file": str(plan.dataset.file),
                "form": plan.dataset.form,
                "sha256": plan.dataset.sha256,
            },
            "database": session.database.uri,
            "encoder": session.database.encoder.fingerprint,
            "statistics": session.statistics.snapshot if session.statistics else "",
            "versions": dict(session.snapshot.versions),
            "settings": _settings(plan),
            "seconds": self._seconds,
            "reference": plan.reference,
            "protocols": [protocol.value for protocol in plan.protocols],
            "within": plan.within.value,
            "truth": plan.truth.value,
            "baseline_kinds": [kind.value for kind in plan.kinds],
            "counts": {
                "questions": len(matched.questions),
                "rows": len(matched.rows),
                "documents": len({question.doc for question in matched.questions}),
                "questions_left_out": matched.questions_left_out,
                "documents_left_out": len(matched.documents),
                "rows_not_ingested": len(matched.not_ingested),
                "not_asked": len(rejected),
                "other_shape": len(matched.other_shape),
            },
            "problems": {
                "left_out": [f"{doc}: {count}" for doc, count in matched.documents.items()],
                "not_ingested": matched.not_ingested,
                "not_asked": rejected,
                "other_shape": matched.other_shape,
                "not_drawn": cases.not_drawn if cases else [],
            },
            "cases": cases.described(PICTURES) if cases else None,
            "out": str(self.folder),
        }
        if Protocol.GIVEN in plan.protocols:
            found["given"] = assessment.given(plan, self._scored)
        if Protocol.END_TO_END in plan.protocols:
            ranked = assessment.rankings_of(plan, session.snapshot, session.catalog)
            found["end_to_end"] = {
                "pages": assessment.found_pages(plan, self._answers, ranked),
                "places": assessment.found_places(plan, self._answers, self._scored, ranked),
            }
        return found


def _settings(plan: Plan) -> dict[str, str]:
    return {name: _described(options) for name, options in plan.settings.items()}


def _described(options: RetrievalOptions) -> str:
    """Return all that a setting is, option by option."""

    def shown(value: object) -> str:
        return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)

    return "; ".join(f"{f.name} {shown(getattr(options, f.name))}" for f in fields(options))


def _plain(value: Any) -> Any:
    """Return what JSON can hold: None for NaN, which is a measure that is not there."""
    if isinstance(value, dict):
        return {key: _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value
