"""A query run: keeps account of it, and writes its files and the table ``retrievals``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import retrievals_table
from patchlight.tasks.answers import results
from patchlight.tasks.answers.queryfile import BadRow
from patchlight.tasks.answers.querysession import QuerySession
from patchlight.tasks.answers.results import Answer
from patchlight.tasks.answers.versions import answer_versions
from patchlight.tasks.common.errors import UsageError
from patchlight.tasks.common.runs import leased

logger = logging.getLogger("patchlight.query")


@dataclass(slots=True)
class QueryReport:
    """How a query run ended; printed, stored in ``runs``, and written as ``summary.json``.

    Attributes:
        run_id: the run; running it again under the same id replaces its results.
        database: URI.
        encoder: fingerprint of the encoder.
        statistics: snapshot of the corpus statistics that weighted the query tokens.
        page_tokens, region_tokens: query tokens that ranked pages, and that scored regions.
        versions: table -> version that was read.
        queries: answered.
        bad_rows: rows that could not be: line, query_id and message.
        queries_without_pages: of these, those for which no page with words could be found.
        pages, regions: returned.
        tokens: context tokens of all answers together.
        pictures: overlays drawn.
        pictures_missing: why others were not.
        out: folder with the files.
        made_by: versions, by what they are of.
    """

    run_id: str
    database: str
    encoder: str
    statistics: str
    page_tokens: str
    region_tokens: str
    versions: dict[str, int]
    queries: int = 0
    queries_without_pages: int = 0
    bad_rows: list[dict[str, Any]] = field(default_factory=list)
    pages: int = 0
    regions: int = 0
    tokens: dict[str, int] = field(
        default_factory=lambda: {"regions": 0, "page_text": 0, "page_image": 0}
    )
    pictures: int = 0
    pictures_missing: list[str] = field(default_factory=list)
    out: str = ""
    made_by: dict[str, str] = field(default_factory=answer_versions)


class QueryRun:
    """One batch run: keeps the report, and writes files and tables.

    Args:
        session: what is answered from.
        run_id: id of the run.
        out: folder for the files.
        parameters: what was asked, for ``runs``.

    Raises:
        UsageError: a run of another kind has this id, or the folder cannot be written.
    """

    def __init__(
        self, session: QuerySession, run_id: str, out: str, parameters: Mapping[str, object]
    ) -> None:
        self._session = session
        self._committer = Committer(session.database, run_id)
        known = {run.run_id: run.kind for run in session.database.runs()}
        kind = known.get(run_id, "query")
        if kind != "query":
            raise UsageError(
                f"--run-id {run_id}: is the id of a run of another kind ({kind}); choose another"
            )
        self._files = results.ResultFiles(out, run_id)
        self.report = QueryReport(
            run_id=run_id,
            database=session.database.uri,
            encoder=session.database.encoder.fingerprint,
            statistics=session.statistics.snapshot if session.statistics else "",
            page_tokens=session.options.page_tokens.value,
            region_tokens=session.options.region_tokens.value,
            versions=dict(session.snapshot.versions),
            out=str(self._files.folder),
        )
        self._parameters = {**parameters, **asdict(session.options)}

    @property
    def folder(self) -> Path:
        """Where the files go."""
        return self._files.folder

    def reject(self, rows: Iterable[BadRow]) -> None:
        """Note rows that cannot be answered."""
        for row in rows:
            logger.warning("%s", row.message)
            self.report.bad_rows.append(asdict(row))

    def write(self, answers: Sequence[Answer]) -> None:
        """Add answers to the result files."""
        catalog, report = self._session.catalog, self.report
        lines = [
            results.result_line(answer, catalog, report.run_id, report.statistics)
            for answer in answers
        ]
        rows = [
            row
            for answer in answers
            for row in results.as_retrievals(answer, catalog, report.run_id)
        ]
        self._files.write(lines, retrievals_table(rows))
        report.queries += len(answers)
        for answer in answers:
            if not answer.pages:
                report.queries_without_pages += 1
                logger.warning(
                    "%s: none of the pages that it may search has words", answer.row.place
                )
        report.pages += sum(len(answer.pages) for answer in answers)
        report.regions += sum(len(p.regions) for answer in answers for p in answer.pages)
        for line in lines:
            for name, count in line["tokens"].items():
                report.tokens[name] += count

    def pictures_done(self, answers: Sequence[Answer], problems: Mapping[str, str]) -> list[Answer]:
        """Note how drawing went.

        Args:
            answers: with the paths of all pictures asked for.
            problems: path of a picture that was not drawn -> why.

        Returns:
            The answers with the paths of the pictures that are there.
        """
        drawn = []
        for answer in answers:
            paths = {
                rank: path
                for rank, path in answer.overlays.items()
                if str(self.folder / path) not in problems
            }
            self.report.pictures += len(paths)
            drawn.append(replace(answer, overlays=paths))
        for path, problem in problems.items():
            logger.warning("%s: not drawn: %s", path, problem)
            self.report.pictures_missing.append(f"{path}: not drawn: {problem}")
        return drawn

    def end(self) -> QueryReport:
        """Store the results in the database and give the files their names."""
        report = self.report
        self._committer.replace_retrievals(report.run_id, self._files.read_back())
        self._files.publish(asdict(report))
        self._committer.tidy_records()
        return report

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Hold the run's lease; no result file appears if the block breaks off.

        The versions that are read are pinned: no cleaning removes them while the run lives.
        """
        report, session = self.report, self._session
        versions = reader.pinned(session.snapshot)
        lease = leased(
            session.database, "query", report.run_id, self._parameters, self._ended, versions
        )
        with self._files, lease:
            session.check_snapshot()
            yield

    def _ended(self) -> tuple[bool, dict[str, Any]]:
        incomplete = self.report.bad_rows or self.report.pictures_missing
        return not incomplete, asdict(self.report)
