"""Late interaction (MaxSim) between query tokens and the patch vectors of pages.

Source: arXiv 2512.02660, section 3, after ColBERT: with ``S_ij = <q_i, d_j>`` a page's score is
``sum_i max_j S_ij``, and patch j's score is ``max_i S_ij``. Tokens carry weights here; equal
weights give the paper's formulas. There is no padding anywhere: a padded zero would beat a
page whose best similarity is negative.

Page scores come from one matrix product over many pages. BLAS may sum in another order for
another batch, so for unit vectors a page's score can differ between batches, by less than
``BATCH_TOLERANCE`` times the sum of the query's weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import BoolArray, FloatArray, QueryEncoding
from patchlight.tasks.common.errors import NotFiniteError, ShapeError, unknown_aggregation
from patchlight.tasks.kernels.geometry import Floats, offsets

Integers = NDArray[np.integer[Any]]

BATCH_TOLERANCE = 1e-5
"""See the module's docstring; dimensions up to some thousand, unit vectors."""

_ROWS_CONVERTED = 4096
"""Float16 or int8 vectors converted at a time."""


class TokenAggregation(StrEnum):
    """How the similarities of a query's tokens to a patch become the patch's score."""

    MAX = "max"
    """The best token; the paper's choice."""
    MEAN = "mean"
    """Mean over the tokens that count."""
    SUM = "sum"
    """Sum over the tokens that count; ranks like the mean within one query."""

    @classmethod
    def _missing_(cls, value: object) -> TokenAggregation:
        raise unknown_aggregation(cls, value)


class QueryTokens(StrEnum):
    """Which tokens of a query count."""

    ALL = "all"
    """Every token, with those of the prompt and the padding."""
    MEANING = "meaning"
    """Those that carry meaning."""

    def counted(self, meaning: BoolArray) -> BoolArray:
        """Say for each token of a query whether it counts.

        Args:
            meaning: (t,) bool, True for tokens that carry meaning.

        Returns:
            (t,) bool.
        """
        return meaning if self is QueryTokens.MEANING else np.ones_like(meaning)


@dataclass(frozen=True, slots=True)
class CountedTokens:
    """The tokens of queries that count, one query after the other.

    Attributes:
        vectors: (T, dim) float32.
        offsets: (Q + 1,) where each query's begin.
        weights: (T,) float32.
    """

    vectors: FloatArray
    offsets: NDArray[np.int64]
    weights: FloatArray

    @classmethod
    def of(cls, queries: Sequence[QueryEncoding], which: QueryTokens) -> CountedTokens:
        """Take them from queries."""
        counted = [which.counted(q.meaning) for q in queries]
        return cls(
            np.concatenate([q.vectors[c] for q, c in zip(queries, counted, strict=True)]),
            offsets([c.sum() for c in counted]),
            np.concatenate([q.weights[c] for q, c in zip(queries, counted, strict=True)]),
        )


def similarities(
    vectors: Floats | NDArray[np.int8], query_vectors: Floats, scales: Floats | None = None
) -> FloatArray:
    """Similarity of every patch vector with every query token, in one product.

    Args:
        vectors: (N, D) float16, float32 or int8, patch vectors of one or many pages.
        query_vectors: (T, D) float32, token vectors of one or many queries.
        scales: (N,) float16 or float32, what each int8 vector is multiplied by; None for
            vectors of floats.

    Returns:
        (N, T) float32 dot products, cosines for unit vectors. Memory is ``4 * N * T`` bytes:
        the caller bounds it by N and T.

    Raises:
        ShapeError: an array is not two-dimensional, the dimensions differ, or int8 vectors come
            without a scale each, or others with scales.

    >>> patches = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]], np.float32)
    >>> tokens = np.array([[0.6, 0.8], [-1.0, 0.0]], np.float32)
    >>> similarities(patches, tokens).tolist()
    [[0.6, -1.0], [0.8, 0.0], [-0.6, 1.0]]
    >>> small, scales = np.array([[-20, 5]], np.int8), np.array([0.05], np.float32)
    >>> similarities(small, tokens, scales).tolist()
    [[-0.4, 1.0]]
    """
    if vectors.ndim != 2 or query_vectors.ndim != 2 or vectors.shape[1] != query_vectors.shape[1]:
        raise ShapeError(
            f"vectors (N, D) and query vectors (T, D) must share D, "
            f"got {vectors.shape} and {query_vectors.shape}"
        )
    if (vectors.dtype == np.int8) != (scales is not None):
        raise ShapeError(f"int8 vectors, and no others, take scales; these are {vectors.dtype}")
    if scales is not None and scales.shape != vectors.shape[:1]:
        raise ShapeError(f"{len(vectors)} int8 vectors take as many scales, got {scales.shape}")
    queries = query_vectors.astype(np.float32, copy=False).T  # (D, T)
    if vectors.dtype == np.float32:
        product: FloatArray = np.matmul(vectors, queries)  # (N, T)
        return product
    # One small buffer for the float32 copy stays in the cache; a copy of everything would cost
    # several times the product in page faults.
    product = np.empty((len(vectors), queries.shape[1]), dtype=np.float32)  # (N, T)
    buffer = np.empty((min(_ROWS_CONVERTED, len(vectors)), vectors.shape[1]), dtype=np.float32)
    for start in range(0, len(vectors), _ROWS_CONVERTED):
        part = slice(start, start + _ROWS_CONVERTED)
        converted = buffer[: len(vectors[part])]  # (m, D)
        np.copyto(converted, vectors[part])
        if scales is not None:
            # Before the product: after it, each of the T columns would have to be scaled.
            converted *= scales[part, None].astype(np.float32)
        np.matmul(converted, queries, out=product[part])
    return product


def as_floats(vectors: Floats | NDArray[np.int8], scales: Floats | None = None) -> FloatArray:
    """Patch vectors in float32, for several calls of `similarities` on the same vectors.

    Args:
        vectors: (N, D) float16, float32 or int8.
        scales: (N,) what each int8 vector is multiplied by; None for vectors of floats.

    Returns:
        (N, D) float32.

    >>> as_floats(np.array([[127, -64]], np.int8), np.array([0.5], np.float16)).tolist()
    [[63.5, -32.0]]
    """
    floats: FloatArray = vectors.astype(np.float32, copy=False)  # (N, D)
    return floats if scales is None else floats * scales.astype(np.float32)[:, None]


def best_matches(similarity: FloatArray, vector_offsets: Integers) -> FloatArray:
    """Best similarity of every query token on every page.

    Args:
        similarity: (N, T) float32 of `similarities`.
        vector_offsets: (P + 1,) rows where pages begin, from 0 to N, never falling.

    Returns:
        (P, T) float32; -inf for a page without vectors.

    Raises:
        ShapeError: the offsets do not cut N rows into pages.

    A page of two vectors, one whose only vector is unlike every token, and one without vectors.

    >>> similarity = np.array([[0.6, -1.0], [0.8, 0.0], [-0.6, -0.2]], np.float32)
    >>> best_matches(similarity, np.array([0, 2, 3, 3])).tolist()
    [[0.8, 0.0], [-0.6, -0.2], [-inf, -inf]]
    """
    if similarity.ndim != 2:
        raise ShapeError(f"similarity must be (N, T), got {similarity.shape}")
    _check_offsets(vector_offsets, len(similarity), "vector", empty_allowed=True)
    pages = len(vector_offsets) - 1
    best = np.full((pages, similarity.shape[1]), -np.inf, dtype=np.float32)  # (P, T)
    # Measured on 64 pages of 360 vectors, 200 to 2,000 tokens: maximum.reduceat along rows takes
    # 6 to 17 times as long as one max per page; with (T, N) it is as fast, but the product slower.
    for page, (first, last) in enumerate(pairwise(vector_offsets.tolist())):
        if last > first:
            np.max(similarity[first:last], axis=0, out=best[page])
    return best


def page_scores_from(
    similarity: FloatArray,
    vector_offsets: Integers,
    query_offsets: Integers,
    weights: FloatArray,
) -> FloatArray:
    """Late-interaction score of every page for every query, from similarities at hand.

    Args:
        similarity: (N, T) float32 of `similarities`.
        vector_offsets: (P + 1,) rows where pages begin, from 0 to N, never falling.
        query_offsets: (Q + 1,) columns where queries begin, from 0 to T, always rising.
        weights: (T,) float32 > 0, what each token's best match counts.

    Returns:
        (P, Q) float32, ``sum_i w_i max_j S_ij``; -inf for a page without vectors.

    Raises:
        ShapeError: offsets or weights do not fit `similarity`.
        NotFiniteError: a weight is not a finite number above 0, or a score is not finite.

    Two queries, of two tokens and of one, whose weight is 0.5.

    >>> similarity = np.array([[0.6, -1, 0.2], [0.8, 0, 0.4], [-0.6, -0.2, 0]], np.float32)
    >>> weights = np.array([1.0, 1.0, 0.5], np.float32)
    >>> page_scores_from(similarity, np.array([0, 2, 3]), np.array([0, 2, 3]), weights).tolist()
    [[0.8, 0.2], [-0.8, 0.0]]
    """
    if similarity.ndim != 2 or weights.shape != (similarity.shape[1],):
        raise ShapeError(
            f"similarity (N, T) and weights (T,) must share T, "
            f"got {similarity.shape} and {weights.shape}"
        )
    _check_offsets(query_offsets, similarity.shape[1], "query", empty_allowed=False)
    _check_weights(weights)
    best = best_matches(similarity, vector_offsets)  # (P, T)
    if len(query_offsets) == 1:
        return np.empty((len(best), 0), dtype=np.float32)
    best *= weights
    scores: FloatArray = np.add.reduceat(best, query_offsets[:-1], axis=1)  # (P, Q)
    # A NaN would lose every comparison in a ranking and drop the page without a word.
    if not np.isfinite(scores[vector_offsets[1:] > vector_offsets[:-1]]).all():
        raise NotFiniteError("a page score is not finite; a stored or query vector is damaged")
    return scores


def token_scores(similarity: FloatArray, weights: FloatArray) -> FloatArray:
    """Score of each patch vector of one page for each token of one query, by itself.

    ``(w_i / max w) * S_ij``, so that equal weights change nothing.

    Args:
        similarity: (n, t) float32, one page's rows, and one query's columns that count.
        weights: (t,) float32 > 0 of these tokens; t is at least 1.

    Returns:
        (n, t) float32; within [-1, 1] for cosines.

    Raises:
        ShapeError: the arrays do not fit together, or there is no token.
        NotFiniteError: a weight is not a finite number above 0.

    >>> similarity = np.array([[0.6, -0.8], [-0.2, 0.4]], np.float32)
    >>> token_scores(similarity, np.array([2.0, 1.0], np.float32)).tolist()
    [[0.6, -0.4], [-0.2, 0.2]]
    """
    if similarity.ndim != 2 or weights.shape != similarity.shape[1:] or not len(weights):
        raise ShapeError(
            f"similarity (n, t) and weights (t,) must share t, at least 1, "
            f"got {similarity.shape} and {weights.shape}"
        )
    _check_weights(weights)
    scores: FloatArray = similarity * (weights / weights.max())  # (n, t)
    return scores


def patch_scores(token_scores: FloatArray, aggregate: TokenAggregation) -> FloatArray:
    """Score of each patch vector of one page for one query.

    Args:
        token_scores: (n, t) float32 of `token_scores`, t at least 1.
        aggregate: how tokens become a patch.

    Returns:
        (n,) float32; within [-1, 1] for cosines with max or mean.

    Raises:
        ShapeError: there is no token.
        AggregationError: there is no such aggregation.

    >>> parts = np.array([[0.6, -0.4], [-0.2, 0.2], [-0.3, -0.5]], np.float32)
    >>> {how.value: patch_scores(parts, how).tolist() for how in TokenAggregation}
    {'max': [0.6, 0.2, -0.3], 'mean': [0.1, 0.0, -0.4], 'sum': [0.2, 0.0, -0.8]}
    """
    aggregate = TokenAggregation(aggregate)
    if token_scores.ndim != 2 or not token_scores.shape[1]:
        raise ShapeError(f"scores (n, t) of at least 1 token expected, got {token_scores.shape}")
    scores: FloatArray
    if aggregate is TokenAggregation.MAX:
        scores = token_scores.max(axis=1)  # (n,)
    elif aggregate is TokenAggregation.MEAN:
        scores = token_scores.mean(axis=1)  # (n,)
    else:
        scores = token_scores.sum(axis=1)  # (n,)
    return scores


def cell_scores(patch_scores: FloatArray, cell_to_vector: Integers) -> FloatArray:
    """Spread the scores of a page's vectors over its grid.

    Args:
        patch_scores: (n,) float32, score of each vector.
        cell_to_vector: (cells,) row of the vector of each cell, -1 for a cell without one.

    Returns:
        (cells,) float32; 0 for a cell without a vector.

    Raises:
        ShapeError: an array is not one-dimensional, or a cell points outside the n vectors.

    A 2 x 2 grid: cells 0 and 1 share a vector, cell 3 has none.

    >>> cell_scores(np.array([0.6, -0.3], np.float32), np.array([0, 0, 1, -1])).tolist()
    [0.6, 0.6, -0.3, 0.0]
    """
    n = len(patch_scores)
    if patch_scores.ndim != 1 or cell_to_vector.ndim != 1:
        raise ShapeError(
            f"scores (n,) and cell map (cells,) expected, "
            f"got {patch_scores.shape} and {cell_to_vector.shape}"
        )
    if cell_to_vector.size and (cell_to_vector.min() < -1 or cell_to_vector.max() >= n):
        raise ShapeError(f"the cell map points outside the {n} vectors of the page")
    # Index -1 picks the appended zero.
    padded = np.zeros(n + 1, dtype=patch_scores.dtype)  # (n + 1,)
    padded[:n] = patch_scores
    return padded[cell_to_vector]  # (cells,)


def _check_offsets(offsets: Integers, total: int, name: str, *, empty_allowed: bool) -> None:
    least = 0 if empty_allowed else 1
    if (
        offsets.ndim != 1
        or len(offsets) == 0
        or offsets[0] != 0
        or offsets[-1] != total
        or (np.diff(offsets.astype(np.int64)) < least).any()
    ):
        order = "not fall" if empty_allowed else "rise"
        raise ShapeError(f"{name} offsets must {order} from 0 to {total}, got {offsets!r}")


def _check_weights(weights: FloatArray) -> None:
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise NotFiniteError("a token weight is not a finite number above 0")
