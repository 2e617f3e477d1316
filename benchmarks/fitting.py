"""Weighing signals such that the best candidate is good, and how good on documents left out; pure.

A row offers candidates, each with signals and an official score. The weights make the expected
official score of the candidate that the softmax draws as large as it gets, with a ridge penalty.
Cross-validation leaves out whole documents, in `FOLDS` parts, `ROUNDS` times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

from benchmarks.report import print_table
from patchlight.tasks.evaluation.bootstrap import mean_intervals
from patchlight.tasks.evaluation.markdown import percent_with_interval, with_interval
from patchlight.tasks.kernels.geometry import Doubles, Indices

RIDGE = 0.3
FOLDS, ROUNDS = 5, 4

_WARM_RIDGE, _WARM_SCALE = 5.0, 2.0
"""The maximum is looked for from that of an easier problem: a softmax that is to be near the
squared scores, which has one maximum."""

_LEVELS = (0.3, 0.5, 0.7)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """A page of evidence of a question, with what may be returned of it.

    Attributes:
        doc: its document.
        signals: (S, F) of the candidates; S may be 0.
        official: (S,) official score of each candidate, returned alone.
        times: how often the row counts in a fit.
    """

    doc: str
    signals: Doubles
    official: Doubles
    times: int = 1


def fit(rows: Sequence[Row], columns: Indices) -> Doubles:
    """Return a weight for each of the F signals, 0 for those that are not among ``columns``."""
    some = [row for row in rows if len(row.official) for _ in range(row.times)]
    every = np.concatenate([row.signals for row in some])
    stacked = every[:, columns]
    middle, spread = stacked.mean(axis=0), stacked.std(axis=0) + 1e-9
    signals = (stacked - middle) / spread
    official = np.concatenate([row.official for row in some])
    counts = np.array([len(row.official) for row in some])
    starts, row_of = np.cumsum(counts) - counts, np.repeat(np.arange(len(some)), counts)

    def softmax(weights: Doubles) -> tuple[Doubles, Doubles]:
        sums = signals @ weights
        top = np.maximum.reduceat(sums, starts)
        belief = np.exp(sums - top[row_of])
        total = np.add.reduceat(belief, starts)
        return belief / total[row_of], np.log(total) + top

    squares = official**2
    target_sum = np.add.reduceat(squares, starts)
    target = squares / np.maximum(target_sum, 1e-6)[row_of]
    useful = target_sum > 0.01

    def warm(weights: Doubles) -> tuple[float, Doubles]:
        belief, normal = softmax(weights)
        loss = normal[useful].sum() - signals @ weights @ target
        slope = signals.T @ (belief * useful[row_of] - target)
        penalty = _WARM_RIDGE * weights
        return (loss + penalty @ weights / 2) / len(some), (slope + penalty) / len(some)

    def expected(weights: Doubles) -> tuple[float, Doubles]:
        belief, _ = softmax(weights)
        mean = np.add.reduceat(belief * official, starts)
        slope = signals.T @ (belief * (official - mean[row_of]))
        penalty = RIDGE * weights
        return (penalty @ weights / 2 - mean.sum()) / len(some), (penalty - slope) / len(some)

    start = np.zeros(len(columns))
    begun = minimize(warm, start, jac=True, method="L-BFGS-B", options={"maxiter": 40})
    start = _WARM_SCALE * begun.x
    found = minimize(expected, start, jac=True, method="L-BFGS-B", options={"maxiter": 60})
    weights = np.zeros(every.shape[1])
    weights[columns] = found.x / spread
    return weights


def held_out(documents: Sequence[str]) -> Iterator[tuple[int, Indices, Indices]]:
    """Yield for each round and fold the round, the rows to learn from, and those left out.

    Args:
        documents: of each row.
    """
    names = sorted(set(documents))
    for number in range(ROUNDS):
        order = np.random.default_rng(number).permutation(len(names))
        fold = {names[at]: place % FOLDS for place, at in enumerate(order)}
        of = np.array([fold[doc] for doc in documents])
        for held in range(FOLDS):
            yield number, np.flatnonzero(of != held), np.flatnonzero(of == held)


def cross_validated(rows: Sequence[Row], columns: Indices) -> Doubles:
    """Return (ROUNDS, rows) scores of the best candidate by weights of other documents."""
    scores = np.zeros((ROUNDS, len(rows)))
    for number, known, left_out in held_out([row.doc for row in rows]):
        weights = fit([rows[at] for at in known], columns)
        for at in left_out:
            scores[number, at] = best_score(rows[at], rows[at].signals @ weights)
    return scores


def nested(rows: Sequence[Row], columns: Indices) -> tuple[Doubles, list[Indices]]:
    """Return (1, rows) scores of the best candidate, and each fold's own choice of signals.

    Each fold leaves signals out, one after the other, as long as its own documents, in folds
    again, score no less by it; then it weighs the others.
    """
    scores, chosen = np.zeros((1, len(rows))), []
    for number, known, left_out in held_out([row.doc for row in rows]):
        if number:
            break
        own = [rows[at] for at in known]
        kept, best = columns, _mean_of_folds(own, columns)
        while len(kept) > 1:
            fewer = [kept[kept != column] for column in kept]
            found = [_mean_of_folds(own, some) for some in fewer]
            at = int(np.argmax(found))
            if found[at] < best:
                break
            kept, best = fewer[at], found[at]
        weights = fit(own, kept)
        chosen.append(kept)
        for at in left_out:
            scores[0, at] = best_score(rows[at], rows[at].signals @ weights)
    return scores, chosen


def _mean_of_folds(rows: Sequence[Row], columns: Indices) -> float:
    """Mean score of the best candidate by weights of other documents, one round."""
    scores = np.zeros(len(rows))
    for number, known, left_out in held_out([row.doc for row in rows]):
        if number:
            break
        weights = fit([rows[at] for at in known], columns)
        for at in left_out:
            scores[at] = best_score(rows[at], rows[at].signals @ weights)
    return float(np.average(scores, weights=[row.times for row in rows]))


def best_score(row: Row, sums: Doubles) -> float:
    """Official score of the candidate with the largest sum; 0 where there is none."""
    return float(row.official[np.argmax(sums)]) if len(sums) else 0.0


def compare(
    title: str,
    documents: Sequence[str],
    groups: Mapping[str, Sequence[int]],
    scores: Mapping[str, Doubles],
    references: Sequence[str],
) -> None:
    """Print means with intervals, and the paired differences to some of the systems.

    Args:
        title: of the table.
        documents: of each row; they are what is drawn again.
        groups: name -> the rows in it; empty ones are left out.
        scores: system -> (rounds, rows) official scores; rounds are averaged.
        references: names of systems that all are compared with.
    """
    table = []
    for name, members in groups.items():
        docs = [documents[at] for at in members]
        for system, found in scores.items():
            if not len(members):
                continue
            own = found[:, members]
            columns = [own.mean(axis=0), *((own >= at).mean(axis=0) for at in _LEVELS)]
            mean, *at_levels = mean_intervals(np.stack(columns, axis=1), docs)
            shown = [name, str(len(members)), system, with_interval(mean)]
            shown += [percent_with_interval(level) for level in at_levels]
            for other in references:
                ahead = own.mean(axis=0) - scores[other][:, members].mean(axis=0)
                difference = with_interval(mean_intervals(ahead, docs)[0], signed=True)
                shown.append(difference if system != other else "")
            table.append(shown)
    levels = [f"@.{10 * at:.0f}, %" for at in _LEVELS]
    ahead_of = [f"more than {other}" for other in references]
    print_table(title, ["rows", "n", "chosen by", "mean IoU", *levels, *ahead_of], table)
