"""Ranking pages: by which tokens, against the plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from patchlight.storage.reader import PatchBatch
from patchlight.storage.records import FloatArray, QueryEncoding
from patchlight.tasks.kernels import maxsim
from patchlight.tasks.kernels.maxsim import QueryTokens
from patchlight.tasks.retrieval.ranking import Hits, RankingOptions, rank_pages
from tests import reference

DIM = 16
SEEDS = st.integers(0, 2**32)
SIZES = st.lists(st.integers(0, 12), min_size=1, max_size=8)
TOKENS = st.lists(st.integers(1, 8), min_size=1, max_size=4)


def unit(rng: np.random.Generator, n: int) -> FloatArray:
    vectors = rng.standard_normal((n, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype(np.float32)


def query(rng: np.random.Generator, t: int, share: float = 0.6) -> QueryEncoding:
    """A query of t tokens, about a share of which carry meaning."""
    meaning = rng.random(t) < share
    meaning[rng.integers(t)] = True
    weights = rng.uniform(0.1, 9, t).astype(np.float32)
    return QueryEncoding(tuple(f"t{i}" for i in range(t)), unit(rng, t), weights, meaning)


def pages(rng: np.random.Generator, sizes: Sequence[int]) -> PatchBatch:
    count = len(sizes)
    return PatchBatch(
        page_ids=[f"p{i}" for i in range(count)],
        rows=np.ones(count, np.int32),
        cols=np.ones(count, np.int32),
        vectors=unit(rng, sum(sizes)).astype(np.float16),
        vector_offsets=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        cell_to_vector=np.full(count, -1, np.int32),
        cell_offsets=np.arange(count + 1, dtype=np.int64),
    )


def rank(batch: PatchBatch, queries: Sequence[QueryEncoding], which: QueryTokens) -> Hits:
    options = RankingOptions(top_pages=5, page_tokens=which)
    positions = np.arange(len(batch.page_ids))
    return rank_pages([(positions, batch)], queries, [None] * len(queries), options)


@pytest.mark.parametrize("which", QueryTokens)
@settings(deadline=None, max_examples=40)
@given(sizes=SIZES, tokens=TOKENS, seed=SEEDS)
def test_a_page_score_is_the_sum_over_the_chosen_tokens(
    which: QueryTokens, sizes: list[int], tokens: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batch = pages(rng, sizes)
    queries = [query(rng, t) for t in tokens]
    for asked, hits in zip(queries, rank(batch, queries, which), strict=True):
        chosen = [i for i, m in enumerate(asked.meaning) if m or which is QueryTokens.ALL]
        expected = {
            page: reference.page_score(
                batch.vectors[batch.vector_offsets[i] : batch.vector_offsets[i + 1]].tolist(),
                [asked.vectors[t].tolist() for t in chosen],
                [float(asked.weights[t]) for t in chosen],
            )
            for i, page in enumerate(batch.page_ids)
            if sizes[i]
        }
        best = sorted(expected.values(), reverse=True)[:5]
        tolerance = maxsim.BATCH_TOLERANCE * float(asked.weights.sum())
        assert [hit.score for hit in hits] == pytest.approx(best, abs=tolerance)
        for hit in hits:
            assert hit.score == pytest.approx(expected[hit.page_id], abs=tolerance)


@settings(deadline=None, max_examples=30)
@given(sizes=SIZES, tokens=TOKENS, seed=SEEDS)
def test_where_all_tokens_carry_meaning_the_switch_changes_nothing(
    sizes: list[int], tokens: list[int], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batch, queries = pages(rng, sizes), [query(rng, t, share=1) for t in tokens]
    assert rank(batch, queries, QueryTokens.ALL) == rank(batch, queries, QueryTokens.MEANING)


def test_other_tokens_can_decide_the_order() -> None:
    """A prompt that fits one page, and a lighter word that fits the other."""
    batch = replace(pages(np.random.default_rng(0), [1, 1]), vectors=np.eye(2, 2, dtype=np.float16))
    both = np.eye(2, dtype=np.float32)
    asked = QueryEncoding(
        ("prompt", "word"), both, np.array([5, 1], np.float32), np.array([False, True])
    )
    (every,), (some,) = (rank(batch, [asked], which) for which in QueryTokens)
    assert [(hit.page_id, hit.score) for hit in every] == [("p0", 5), ("p1", 1)]
    assert [(hit.page_id, hit.score) for hit in some] == [("p1", 1), ("p0", 0)]
