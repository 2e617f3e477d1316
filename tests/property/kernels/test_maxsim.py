"""Late interaction: against the plain loop, and independent of the batch."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchlight.storage.records import FloatArray
from patchlight.tasks.common.errors import AggregationError, NotFiniteError, ShapeError
from patchlight.tasks.kernels import maxsim
from patchlight.tasks.kernels.geometry import Floats
from patchlight.tasks.kernels.maxsim import Integers, QueryTokens, TokenAggregation
from tests import reference

SIZES = st.lists(st.integers(0, 40), min_size=1, max_size=8)
TOKENS = st.lists(st.integers(1, 12), min_size=1, max_size=4)
DIMS = st.sampled_from([1, 3, 16, 128, 384])
SEEDS = st.integers(0, 2**32)


def unit(rng: np.random.Generator, n: int, dim: int) -> FloatArray:
    vectors = rng.standard_normal((n, dim))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def offsets(sizes: list[int]) -> Integers:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


def page_scores(
    vectors: Floats,
    vector_offsets: Integers,
    query_vectors: Floats,
    query_offsets: Integers,
    weights: FloatArray,
) -> FloatArray:
    """(P, Q) scores of pages for queries, as ranking makes them."""
    similarity = maxsim.similarities(vectors, query_vectors)
    return maxsim.page_scores_from(similarity, vector_offsets, query_offsets, weights)


@settings(deadline=None, max_examples=40)
@given(SIZES, TOKENS, DIMS, SEEDS, st.sampled_from([np.float16, np.float32]))
def test_equals_the_loop(
    sizes: list[int], tokens: list[int], dim: int, seed: int, dtype: type[np.floating]
) -> None:
    rng = np.random.default_rng(seed)
    vectors = unit(rng, sum(sizes), dim).astype(dtype)
    queries = unit(rng, sum(tokens), dim)
    weights = rng.uniform(0.1, 5, sum(tokens)).astype(np.float32)
    pages, starts = offsets(sizes), offsets(tokens)
    ours = page_scores(vectors, pages, queries, starts, weights)
    assert ours.shape == (len(sizes), len(tokens))
    assert ours.dtype == np.float32
    for p in range(len(sizes)):
        for q in range(len(tokens)):
            span = slice(starts[q], starts[q + 1])
            expected = reference.page_score(
                vectors[pages[p] : pages[p + 1]].tolist(),
                queries[span].tolist(),
                weights[span].tolist(),
            )
            tolerance = maxsim.BATCH_TOLERANCE * float(weights[span].sum())
            assert ours[p, q] == pytest.approx(expected, abs=tolerance)


@settings(deadline=None, max_examples=60)
@given(SIZES, TOKENS, DIMS, SEEDS)
def test_a_page_scores_the_same_alone_and_in_a_batch(
    sizes: list[int], tokens: list[int], dim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors, queries = unit(rng, sum(sizes), dim), unit(rng, sum(tokens), dim)
    weights = rng.uniform(0.1, 5, sum(tokens)).astype(np.float32)
    pages, starts = offsets(sizes), offsets(tokens)
    batch = page_scores(vectors, pages, queries, starts, weights)
    for p, size in enumerate(sizes):
        for q, count in enumerate(tokens):
            span = slice(starts[q], starts[q + 1])
            alone = page_scores(
                vectors[pages[p] : pages[p + 1]],
                offsets([size]),
                queries[span],
                offsets([count]),
                weights[span],
            )
            if size == 0:
                assert alone[0, 0] == batch[p, q] == -math.inf
            else:
                tolerance = maxsim.BATCH_TOLERANCE * float(weights[span].sum())
                assert abs(alone[0, 0] - batch[p, q]) < tolerance


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 30), st.integers(1, 5), SEEDS)
def test_a_negative_best_stays_negative(short: int, long: int, tokens: int, seed: int) -> None:
    # Padding the shorter page with zeros would lift it to 0.
    rng = np.random.default_rng(seed)
    query = np.abs(unit(rng, tokens, 8))
    opposite = -np.abs(unit(rng, short, 8))
    vectors = np.concatenate([opposite, np.abs(unit(rng, long, 8))])
    weights = np.ones(tokens, np.float32)
    scores = page_scores(vectors, offsets([short, long]), query, offsets([tokens]), weights)
    assert scores[0, 0] < 0 < scores[1, 0]
    assert scores[0, 0] == pytest.approx(
        reference.page_score(opposite.tolist(), query.tolist(), weights.tolist()), abs=1e-4
    )


def test_pages_without_vectors_score_minus_infinity_wherever_they_are() -> None:
    rng = np.random.default_rng(0)
    query, weights = unit(rng, 3, 8), np.ones(3, np.float32)
    sizes = [0, 2, 0, 0, 3, 0]
    scores = page_scores(unit(rng, 5, 8), offsets(sizes), query, offsets([3]), weights)
    assert (np.isneginf(scores[:, 0]) == (np.array(sizes) == 0)).all()
    none = page_scores(unit(rng, 0, 8), offsets([0, 0]), query, offsets([3]), weights)
    assert np.isneginf(none).all()
    no_pages = page_scores(unit(rng, 0, 8), offsets([]), query, offsets([3]), weights)
    assert no_pages.shape == (0, 1)
    no_queries = page_scores(
        unit(rng, 5, 8), offsets(sizes), unit(rng, 0, 8), offsets([]), weights[:0]
    )
    assert no_queries.shape == (6, 0)


def test_similarities_serve_pages_and_patches() -> None:
    rng = np.random.default_rng(1)
    vectors, queries = unit(rng, 9, 16).astype(np.float16), unit(rng, 5, 16)
    pages, starts, weights = offsets([4, 5]), offsets([2, 3]), np.ones(5, np.float32)
    similarity = maxsim.similarities(vectors, queries)
    assert similarity.shape == (9, 5)
    assert similarity.dtype == np.float32
    assert (
        maxsim.page_scores_from(similarity, pages, starts, weights)
        == page_scores(vectors, pages, queries, starts, weights)
    ).all()
    best = maxsim.best_matches(similarity, pages)
    assert (best[1] == similarity[4:9].max(axis=0)).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 60), st.integers(0, 12), DIMS, SEEDS)
def test_int8_vectors_with_their_scales_equal_what_they_stand_for(
    n: int, t: int, dim: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.integers(-127, 128, (n, dim)).astype(np.int8)
    scales = rng.uniform(0, 0.01, n).astype(np.float16)
    queries = unit(rng, t, dim)
    meant = vectors * scales.astype(np.float64)[:, None]
    ours = maxsim.similarities(vectors, queries, scales)
    assert ours.dtype == np.float32
    assert np.abs(ours - meant @ queries.T.astype(np.float64)).max(initial=0) < 1e-4


def test_each_of_many_int8_vectors_gets_its_own_scale() -> None:
    # More vectors than are converted at a time, and not a multiple of it.
    count = 2 * maxsim._ROWS_CONVERTED + 5
    scales = (np.arange(count) % 2000).astype(np.float16)
    ours = maxsim.similarities(np.ones((count, 1), np.int8), np.ones((1, 1), np.float32), scales)
    assert (ours[:, 0] == scales).all()


@pytest.mark.parametrize(
    ("dtype", "scales"),
    [
        (np.int8, None),
        (np.int8, np.ones(3, np.float16)),
        (np.int8, np.ones((4, 1), np.float16)),
        (np.float16, np.ones(4, np.float16)),
        (np.float32, np.ones(4, np.float16)),
    ],
)
def test_scales_belong_to_int8_vectors_one_each(
    dtype: type[np.generic], scales: FloatArray | None
) -> None:
    # Without its scale a vector would score up to 127 times too high, and win.
    with pytest.raises(ShapeError, match="scales"):
        maxsim.similarities(np.ones((4, 8), dtype), np.ones((2, 8), np.float32), scales)


@pytest.mark.parametrize("aggregate", TokenAggregation)
@settings(deadline=None, max_examples=40)
@given(n=st.integers(0, 20), t=st.integers(1, 12), seed=SEEDS)
def test_patch_scores_equal_the_loop(
    aggregate: TokenAggregation, n: int, t: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    similarity = rng.uniform(-1, 1, (n, t)).astype(np.float32)
    weights = rng.uniform(0.1, 9, t).astype(np.float32)
    meaning = rng.random(t) < 0.6
    meaning[rng.integers(t)] = True
    chosen, heavy = similarity[:, meaning], weights[meaning]
    tokens = maxsim.token_scores(chosen, heavy)
    assert tokens == pytest.approx(chosen * heavy / heavy.max(), abs=1e-6)
    ours = maxsim.patch_scores(tokens, aggregate)
    assert ours.shape == (n,)
    assert ours.dtype == np.float32
    expected = [
        reference.patch_score(row, weights.tolist(), meaning.tolist(), aggregate.value)
        for row in similarity.tolist()
    ]
    assert ours == pytest.approx(np.array(expected), abs=1e-5)
    equal = maxsim.token_scores(chosen, np.full(len(heavy), 3, np.float32))
    plain = getattr(chosen, aggregate.value)(axis=1)
    assert maxsim.patch_scores(equal, aggregate) == pytest.approx(plain, abs=1e-5)


def test_which_tokens_count() -> None:
    meaning = np.array([False, True, True])
    assert QueryTokens.MEANING.counted(meaning).tolist() == [False, True, True]
    assert QueryTokens.ALL.counted(meaning).tolist() == [True, True, True]


def test_vectors_as_floats_give_the_same_similarities() -> None:
    rng = np.random.default_rng(3)
    queries, scales = unit(rng, 3, 16), rng.uniform(0, 0.01, 9).astype(np.float16)
    integers = rng.integers(-127, 128, (9, 16)).astype(np.int8)
    for vectors, of in ((unit(rng, 9, 16).astype(np.float16), None), (integers, scales)):
        floats = maxsim.as_floats(vectors, of)
        assert floats.dtype == np.float32
        ours = maxsim.similarities(floats, queries)
        assert ours == pytest.approx(maxsim.similarities(vectors, queries, of), abs=1e-5)


def test_cells_share_vectors_and_blank_cells_count_zero() -> None:
    scores = np.array([-0.5, 0.25], np.float32)
    cells = maxsim.cell_scores(scores, np.array([1, -1, 0, 1], np.int32))
    assert cells.tolist() == [0.25, 0.0, -0.5, 0.25]
    assert cells.dtype == np.float32
    blank = maxsim.cell_scores(np.empty(0, np.float32), np.full(3, -1, np.int32))
    assert blank.tolist() == [0, 0, 0]


def test_what_is_wrong_is_refused() -> None:
    rng = np.random.default_rng(2)
    vectors, query, one = unit(rng, 4, 8), unit(rng, 2, 8), np.ones(2, np.float32)
    pages, starts = offsets([1, 3]), offsets([2])
    for bad_pages in (
        offsets([1, 2]),
        np.array([0, 3, 1, 4]),
        np.array([1, 4]),
        np.array([0, 3, 1, 4], np.uint32),
    ):
        with pytest.raises(ShapeError, match="vector offsets"):
            page_scores(vectors, bad_pages, query, starts, one)
    with pytest.raises(ShapeError, match="query offsets"):
        page_scores(vectors, pages, query, offsets([2, 0]), one)  # a query of no token
    with pytest.raises(ShapeError):
        page_scores(vectors, pages, unit(rng, 2, 7), starts, one)
    with pytest.raises(ShapeError):
        page_scores(vectors, pages, query, starts, np.ones(3, np.float32))
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(NotFiniteError, match="weight"):
            page_scores(vectors, pages, query, starts, np.array([1, weight], np.float32))
    damaged = vectors.copy()
    damaged[2, 3] = math.nan
    with pytest.raises(NotFiniteError, match="page score"):
        page_scores(damaged, pages, query, starts, one)
    similarity = vectors @ query.T
    with pytest.raises(ShapeError):
        maxsim.token_scores(similarity, one[:1])
    with pytest.raises(ShapeError):
        maxsim.token_scores(similarity[:, :0], one[:0])
    with pytest.raises(NotFiniteError, match="weight"):
        maxsim.token_scores(similarity, np.array([1, 0], np.float32))
    with pytest.raises(ShapeError):
        maxsim.patch_scores(similarity[:, :0], TokenAggregation.MEAN)
    with pytest.raises(AggregationError, match="max, mean, sum"):
        maxsim.patch_scores(similarity, "best")  # type: ignore[arg-type]
    with pytest.raises(ShapeError, match="outside"):
        maxsim.cell_scores(one, np.array([0, 2]))
    with pytest.raises(ShapeError, match="outside"):
        maxsim.cell_scores(one, np.array([-2, 1]))
