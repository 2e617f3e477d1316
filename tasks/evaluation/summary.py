"""From one number a row and measure to means with intervals, in groups of rows."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from patchlight.tasks.evaluation.bootstrap import mean_intervals, ratio_intervals
from patchlight.tasks.kernels.geometry import Doubles, Indices

Interval = tuple[float, float, float]
"""Value, lower and upper end of its 95 % interval; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class Group:
    """Rows that are looked at together.

    Attributes:
        name: of the group.
        members: their positions.
        documents: the document of each.
    """

    name: str
    members: Indices
    documents: list[str]

    def __len__(self) -> int:
        return len(self.members)


def group_of(name: str, members: Iterable[int], documents: Sequence[str]) -> Group:
    """Make a group of the rows of these positions."""
    rows = np.fromiter(members, np.intp)
    return Group(name, rows, [documents[row] for row in rows])


def grouped(values: Sequence[str], documents: Sequence[str]) -> list[Group]:
    """Make a group of the rows of each value, largest first."""
    rows_of: dict[str, list[int]] = {}
    for row, value in enumerate(values):
        rows_of.setdefault(value, []).append(row)
    order = sorted(rows_of, key=lambda value: (-len(rows_of[value]), value))
    return [group_of(value, rows_of[value], documents) for value in order]


def means(
    scores: Mapping[str, Doubles], measures: Sequence[str], group: Group
) -> dict[str, dict[str, Interval]]:
    """Return the mean of each measure of each system over a group.

    Args:
        scores: system -> (r, c) its measures for all rows; NaN where there is none.
        measures: their c names.
        group: the rows.
    """
    columns = np.concatenate([values[group.members] for values in scores.values()], axis=1)
    return _named(mean_intervals(columns, group.documents), scores, measures)


def differences(
    scores: Mapping[str, Doubles],
    measures: Sequence[str],
    group: Group,
    base: str,
    chosen: Sequence[str],
) -> dict[str, dict[str, Interval]]:
    """Return each system's lead over one of them, paired by row.

    Args:
        scores: as `means`.
        measures: as `means`.
        group: the rows.
        base: the system whose values are subtracted.
        chosen: measures that are compared.
    """
    at = [measures.index(name) for name in chosen]
    rows = group.members[:, None]
    columns = [values[rows, at] - scores[base][rows, at] for values in scores.values()]
    found = mean_intervals(np.concatenate(columns, axis=1), group.documents)
    return {name: of for name, of in _named(found, scores, chosen).items() if name != base}


def shares(
    scores: Mapping[str, Doubles],
    measures: Sequence[str],
    measure: str,
    whole: Doubles,
    group: Group,
) -> dict[str, Interval]:
    """Return, for each system, the sum of a measure as a share of the sum of something.

    Args:
        scores: as `means`; rows where the measure is NaN count in neither sum.
        measures: as `means`.
        measure: which of them.
        whole: (r,) what it is a share of.
        group: the rows.
    """
    at = measures.index(measure)
    parts = np.stack([values[group.members, at] for values in scores.values()], axis=1)
    there = ~np.isnan(parts)
    found = ratio_intervals(
        np.where(there, parts, 0.0), there * whole[group.members, None], group.documents
    )
    return dict(zip(scores, map(_interval, found), strict=True))


def best_of_question(values: Doubles, questions: Sequence[int]) -> Doubles:
    """Return for each question the largest value of its rows, measure by measure.

    Args:
        values: (r, c).
        questions: (r,) the question of each row; rows of one stand together.
    """
    _, first = np.unique(questions, return_index=True)
    found: Doubles = np.maximum.reduceat(values, first, axis=0)
    return found


def seed_of(name: str) -> int:
    """Return a number that depends on a name only."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8])


def _named(
    found: Doubles, systems: Iterable[str], measures: Sequence[str]
) -> dict[str, dict[str, Interval]]:
    per_system = found.reshape(-1, len(measures), 3)
    return {
        system: dict(zip(measures, map(_interval, values), strict=True))
        for system, values in zip(systems, per_system, strict=True)
    }


def _interval(values: Doubles) -> Interval:
    value, low, high = values.tolist()
    return value, low, high
