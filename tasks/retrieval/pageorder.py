"""Which pages come first; every order is total. Pure."""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence

import numpy as np

from patchlight.tasks.common.errors import NotFiniteError, SelectionError, ShapeError
from patchlight.tasks.kernels.geometry import Floats, Indices


def best_pages(scores: Floats, k: int) -> Indices:
    """The k best pages of one list.

    Args:
        scores: (P,) page scores; -inf marks a page without vectors, which is never returned.
        k: how many at most, at least 1.

    Returns:
        At most k indices into `scores`, best first, ties by index.

    Raises:
        ShapeError: `scores` is not one-dimensional.
        NotFiniteError: a score is NaN or +inf.
        SelectionError: `k` is below 1.
    """
    if scores.ndim != 1:
        raise ShapeError(f"scores must be (P,), got {scores.shape}")
    _check_k(k)
    if np.isnan(scores).any() or np.isposinf(scores).any():
        raise NotFiniteError("a page score is NaN or +inf")
    pages = np.flatnonzero(np.isfinite(scores))
    if len(pages) > k:
        # Everything tied with the k-th score stays in, so that the sort decides the ties.
        cut = np.partition(scores[pages], len(pages) - k)[len(pages) - k]
        pages = pages[scores[pages] >= cut]
    best: Indices = pages[np.argsort(-scores[pages], kind="stable")][:k]
    return best


def merge_top(scores: Sequence[float], keys: Sequence[str], k: int) -> list[int]:
    """The k best entries of lists from several shards, written one after the other.

    The result does not depend on the order of the shards as long as keys are unique.

    Args:
        scores: finite score of each entry.
        keys: key of each entry, e.g. a page id.
        k: how many at most, at least 1.

    Returns:
        At most k positions, best score first, ties by key, rising.

    Raises:
        ShapeError: there are not as many keys as scores.
        NotFiniteError: a score is NaN or infinite.
        SelectionError: `k` is below 1.
    """
    if len(scores) != len(keys):
        raise ShapeError(f"{len(scores)} scores, but {len(keys)} keys")
    _check_k(k)
    if not all(math.isfinite(score) for score in scores):
        raise NotFiniteError("a page score is not finite")
    return heapq.nsmallest(k, range(len(scores)), key=lambda i: (-scores[i], keys[i]))


def _check_k(k: int) -> None:
    if k < 1:
        raise SelectionError(f"the number of pages must be at least 1, got {k}")
