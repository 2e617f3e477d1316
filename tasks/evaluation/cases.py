"""The best and the worst cases of a run, and their pictures."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from patchlight.tasks.answers.overlays import DocumentOverlays, Overlay
from patchlight.tasks.answers.querysession import QuerySession
from patchlight.tasks.evaluation import contactsheet, scoring
from patchlight.tasks.evaluation.choices import Protocol, Truth
from patchlight.tasks.evaluation.plan import Answers, Plan, Scored
from patchlight.tasks.evaluation.protocols import Heat
from patchlight.tasks.kernels.geometry import Doubles

logger = logging.getLogger("patchlight.evaluate")

_NO_HEAT = Heat(1, 1, np.zeros(1, np.float32))
_MOST_BOXES = 20
"""Boxes drawn on a picture; with more of them nothing is to be seen."""


class Cases:
    """The rows that the first setting does best and worst on.

    Rows on pages that could not be ingested are not among them.

    Args:
        plan: what was evaluated.
        answers: of every setting.
        scored: what they scored.
        folder: gets the pictures.
        count: how many of each.
    """

    def __init__(
        self, plan: Plan, answers: Answers, scored: Scored, folder: Path, count: int
    ) -> None:
        self._plan, self._folder = plan, folder
        protocol = plan.protocols[0]
        self._returned = answers[plan.first, protocol].returned
        self._measure = "reach_1" if plan.truth is Truth.ANY else "official"
        values = (scored.given if protocol is Protocol.GIVEN else scored.found)[plan.first]
        self._scores = values[:, scoring.MEASURES.index(self._measure)].copy()
        rows = plan.matched.rows
        self._scores[[number for number, row in enumerate(rows) if row.position is None]] = np.nan
        names, places = [row.row_id for row in rows], [row.place for row in rows]
        best, worst = contactsheet.choose(self._scores, names, places, count)
        self._rows = {"best": best, "worst": worst}
        self._names = {
            number: f"{title}-{rank:02d}.png"
            for title, chosen in self._rows.items()
            for rank, number in enumerate(chosen, 1)
        }
        self.not_drawn: list[str] = []

    def pictures(
        self, session: QuerySession, passwords: Mapping[str, str]
    ) -> list[DocumentOverlays]:
        """Return what is to be drawn, document by document."""
        jobs: dict[str, list[Overlay]] = {}
        for number in self._names:
            doc_id = self._plan.matched.rows[number].place[0]
            jobs.setdefault(doc_id, []).append(self._overlay(number))
        return session.drawn_from(jobs, passwords)

    def drawn(self, problems: Mapping[str, str]) -> None:
        """Note how drawing went, and lay out the sheets.

        Args:
            problems: path of a picture that was not drawn -> why.
        """
        for number, name in list(self._names.items()):
            problem = problems.get(str(self._folder / name))
            if problem is not None:
                logger.warning("%s: not drawn: %s", name, problem)
                self.not_drawn.append(f"{name}: {problem}")
                del self._names[number]
        for title, rows in self._rows.items():
            pictures = [self._folder / self._names[n] for n in rows if n in self._names]
            if pictures:
                contactsheet.lay_out(pictures, self._folder / f"{title}.png")

    def described(self, place: str) -> dict[str, Any]:
        """Return what the report says of them.

        Args:
            place: the folder of the pictures, seen from the report.
        """
        rows, questions = self._plan.matched.rows, self._plan.matched.questions
        cases: dict[str, Any] = {
            "setting": self._plan.first,
            "measure": self._measure,
            "sheets": {
                title: f"{place}/{title}.png"
                for title, chosen in self._rows.items()
                if any(number in self._names for number in chosen)
            },
        }
        for title, chosen in self._rows.items():
            cases[title] = [
                {
                    "row_id": rows[number].row_id,
                    "query": questions[rows[number].question].query,
                    "file": rows[number].evidence.file,
                    "page": rows[number].evidence.page,
                    "score": float(self._scores[number]),
                    "picture": f"{place}/{self._names[number]}" if number in self._names else None,
                }
                for number in chosen
            ]
        return cases

    def _overlay(self, number: int) -> Overlay:
        row, returned = self._plan.matched.rows[number], self._returned[number]
        heat = returned.heat or _NO_HEAT
        place = f"{row.evidence.file}, page {row.evidence.page}"
        score = f"{self._measure} {self._scores[number]:.3f}"
        return Overlay(
            page=row.place[1],
            rows=heat.rows,
            cols=heat.cols,
            cell_scores=heat.cell_scores,
            boxes=_boxes(returned.boxes[:_MOST_BOXES]),
            caption=(self._plan.matched.questions[row.question].query, f"{score} - {place}"),
            out=str(self._folder / self._names[number]),
            truth=_boxes(row.evidence.boxes),
        )


def _boxes(boxes: Doubles) -> tuple[tuple[float, float, float, float], ...]:
    return tuple((x0, y0, x1, y1) for x0, y0, x1, y1 in boxes.tolist())
