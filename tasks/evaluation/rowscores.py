"""Scoring every row of a data set, page by page."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from patchlight.storage.reader import Snapshot
from patchlight.tasks.answers import tokencost
from patchlight.tasks.evaluation import baselines, scoring, stored
from patchlight.tasks.evaluation.choices import Protocol
from patchlight.tasks.evaluation.plan import Answers, Plan, Scored
from patchlight.tasks.evaluation.scoring import Target
from patchlight.tasks.evaluation.stored import MeasuredPage
from patchlight.tasks.evaluation.summary import seed_of
from patchlight.tasks.kernels.geometry import Doubles
from patchlight.tasks.retrieval.scope import Catalog


def score_rows(
    plan: Plan,
    answers: Answers,
    snapshot: Snapshot,
    catalog: Catalog,
    done: Callable[[int], None],
) -> Scored:
    """Score what settings and baselines return for every row.

    Baselines that return as many regions as a setting take the number from what it returned with
    the page given, or where that was not asked, end to end.

    Args:
        plan: what is evaluated.
        answers: of every setting, under every protocol of the plan.
        snapshot: of the database.
        catalog: its pages.
        done: called with the number of rows just done.
    """
    scorer = _RowScorer(plan, answers, catalog)
    rows_of: dict[str, list[int]] = {}
    keys: dict[str, int] = {}
    for number, row in enumerate(plan.matched.rows):
        if row.position is not None:
            rows_of.setdefault(catalog.page_ids[row.position], []).append(number)
            keys |= catalog.keys([row.position])
    done(len(plan.matched.not_ingested))
    for page_id, page in stored.read_pages(snapshot, keys, plan.kinds):
        for number in rows_of[page_id]:
            scorer.score(number, page)
        done(len(rows_of[page_id]))
    return scorer.scored


class _RowScorer:
    def __init__(self, plan: Plan, answers: Answers, catalog: Catalog) -> None:
        self._plan, self._answers, self._catalog = plan, answers, catalog
        count = len(plan.matched.rows)
        blind = baselines.names(list(plan.settings), plan.truth)
        asked = {p: list(plan.settings) if p in plan.protocols else [] for p in Protocol}

        def blank() -> Doubles:
            return np.tile(scoring.NOTHING, (count, 1))

        self.scored = Scored(
            given={name: blank() for name in (*asked[Protocol.GIVEN], *blind)},
            found={name: blank() for name in asked[Protocol.END_TO_END]},
            boxes={name: [None] * count for name in blind},
            page_text=np.zeros(count),
            page_image=np.zeros(count),
        )

    def score(self, number: int, page: MeasuredPage) -> None:
        """Score a row on a page that is there."""
        row, scored = self._plan.matched.rows[number], self.scored
        at = row.position
        assert at is not None
        width, height = float(self._catalog.width_pt[at]), float(self._catalog.height_pt[at])
        target = Target(
            row.evidence.boxes, page, width, height, seed_of(row.row_id), self._plan.truth
        )
        for (setting, protocol), collected in self._answers.items():
            into = scored.given if protocol is Protocol.GIVEN else scored.found
            into[setting][number] = scoring.score_returned(collected.returned[number], target)
        query = self._plan.matched.questions[row.question].query
        choices = baselines.choices(query, page, self._counts(number), self._plan.truth)
        for name, values in scoring.score_choices(choices, target).items():
            scored.given[name][number] = values
        for name, choice in choices.items():
            if not choice.random:
                scored.boxes[name][number] = choice.boxes[choice.chosen]
        scored.page_text[number] = tokencost.text_tokens(page.text)
        scored.page_image[number] = tokencost.page_tokens(width, height)

    def _counts(self, number: int) -> dict[str, int]:
        """Return how many regions each setting returned for a row."""
        protocol = self._plan.protocols[0]
        return {
            setting: len(self._answers[setting, protocol].returned[number].boxes)
            for setting in self._plan.settings
        }
