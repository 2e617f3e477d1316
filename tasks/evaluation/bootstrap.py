"""Bootstrap intervals: whole documents are drawn again, because rows of one are not independent."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from patchlight.tasks.kernels.geometry import Doubles

DRAWS = 10_000
LEVELS = (2.5, 97.5)
"""Percentiles of the drawn means: a 95 % interval."""

_COLUMNS_AT_ONCE = 256


def mean_intervals(
    values: ArrayLike, groups: Sequence[str], draws: int = DRAWS, seed: int = 0
) -> Doubles:
    """Return means with their 95 % percentile intervals; see `ratio_intervals`.

    Args:
        values: (n, c) or (n,) one row a measurement; NaN where there is none.
        groups: (n,) the document of each row.
        draws: how often documents are drawn.
        seed: of the draws.
    """
    columns = _columns(values)
    there = ~np.isnan(columns)
    return ratio_intervals(np.where(there, columns, 0.0), there, groups, draws, seed)


def ratio_intervals(
    numerators: ArrayLike,
    denominators: ArrayLike,
    groups: Sequence[str],
    draws: int = DRAWS,
    seed: int = 0,
) -> Doubles:
    """Return ratios of sums with their 95 % percentile intervals.

    As many groups as there are get drawn, with replacement. For a paired comparison of means the
    values are differences.

    Args:
        numerators: (n, c) or (n,).
        denominators: of the same shape, at least 0.
        groups: (n,) the document of each row; the order of the rows does not matter.
        draws: how often groups are drawn.
        seed: of the draws.

    Returns:
        (c, 3) value, lower and upper end. NaN for a value whose denominators add up to 0, and for
        the ends where there is but one group, which says nothing about others.
    """
    above, below = _columns(numerators), _columns(denominators)
    names, group = np.unique(groups, return_inverse=True)
    count = len(names)
    sums = np.zeros((2, count, above.shape[1]))
    np.add.at(sums[0], group, above)
    np.add.at(sums[1], group, below)
    found = np.full((above.shape[1], 3), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        found[:, 0] = sums[0].sum(axis=0) / sums[1].sum(axis=0)
    if count < 2:
        return found
    drawn = np.random.default_rng(seed).integers(0, count, (draws, count))
    offsets = np.arange(draws)[:, None] * count
    times = np.bincount((drawn + offsets).ravel(), minlength=draws * count)
    times = times.reshape(draws, count).astype(np.float64)
    for first in range(0, len(found), _COLUMNS_AT_ONCE):
        part = slice(first, first + _COLUMNS_AT_ONCE)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = (times @ sums[0][:, part]) / (times @ sums[1][:, part])
        found[part, 1:] = _percentiles(ratios)
    return found


def _percentiles(ratios: Doubles) -> Doubles:
    """Return (c, 2) percentiles of the columns; draws without a value are left out."""
    ends = np.percentile(ratios, LEVELS, axis=0).T
    for column in np.flatnonzero(np.isnan(ratios).any(axis=0)):
        there = ratios[:, column][~np.isnan(ratios[:, column])]
        ends[column] = np.percentile(there, LEVELS) if len(there) else np.nan
    return ends


def _columns(values: ArrayLike) -> Doubles:
    found = np.asarray(values, np.float64)
    return found[:, None] if found.ndim == 1 else found
