"""Places on stored pages, and the words that carried them, against the plain loop."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from patchlight.storage import reader
from patchlight.storage.committer import Committer
from patchlight.storage.convert import page_tables
from patchlight.storage.database import Database
from patchlight.storage.records import (
    FloatArray,
    PageEncoding,
    QueryEncoding,
    RegionKind,
    VectorForm,
    VectorType,
)
from patchlight.tasks.grounding.places import WORDS_A_REGION, ground
from patchlight.tasks.grounding.records import FoundPage, GroundingOptions, PagePlaces
from patchlight.tasks.grounding.selection import Selection, SelectionRule
from patchlight.tasks.grounding.spanweights import WEIGHTS, SpanSignals
from patchlight.tasks.kernels.maxsim import QueryTokens, TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation
from tests import reference
from tests.grounding_examples import (
    COLS,
    ROWS,
    VECTORS,
    Placed,
    Stored,
    options,
    query,
    shown,
    store,
    unit,
)
from tests.region_examples import Region, record_of
from tests.storage_examples import DIM, ENCODER, document, page, put

PAGES = 3
BOXES = (
    (0.0, 0.0, 1.0, 1.0),
    (0.1, 0.05, 0.6, 0.3),
    (0.4, 0.5, 0.95, 0.7),
    (0.0, 0.8, 0.2, 0.95),
    (2 / 3, 0.25, 1.0, 0.5),  # one cell
)


@pytest.fixture(scope="module", params=VectorType)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Pages with cells that share a vector, cells without one, and a vector without a cell."""
    rng = np.random.default_rng(7)
    form = VectorForm(type=request.param)
    database = Database.create_or_open(tmp_path_factory.mktemp("places") / "db", ENCODER, form)
    made = []
    for number in range(1, PAGES + 1):
        cells = rng.integers(-1, VECTORS - 1, ROWS * COLS).astype(np.int32)
        made.append(
            replace(
                page("a", number),
                encoding=PageEncoding(ROWS, COLS, unit(rng, VECTORS), cells),
                regions=record_of(
                    Region(i, RegionKind.BLOCK, -1, i, *box, text=f"text {i}", confidence=1.0)
                    for i, box in enumerate(BOXES)
                ),
            )
        )
    committer = Committer(database, "run")
    committer.commit_pages(page_tables(made, DIM, request.param))
    put(committer, document("a", PAGES))
    snapshot = database.snapshot()
    catalog = reader.catalog(snapshot)
    batch = reader.read_patches(snapshot, catalog["patch_row"].to_numpy())
    scales = np.ones(len(batch.vectors)) if batch.scales is None else batch.scales
    vectors = batch.vectors.astype(np.float32) * scales.astype(np.float32)[:, None]
    lit: dict[str, list[FloatArray | None]] = {}
    for i, page_id in enumerate(batch.page_ids):
        own = vectors[batch.vector_offsets[i] : batch.vector_offsets[i + 1]]
        cells = batch.cell_to_vector[batch.cell_offsets[i] : batch.cell_offsets[i + 1]]
        lit[page_id] = [None if cell < 0 else own[cell] for cell in cells]
        assert {bool(cell < 0) for cell in cells} == {True, False}
    found = zip(catalog["page_key"].to_pylist(), catalog["patch_row"].to_pylist(), strict=True)
    rows = dict(zip(catalog["page_id"].to_pylist(), found, strict=True))
    return Stored(snapshot, rows, lit)


def places(
    stored: Stored, queries: Sequence[QueryEncoding], how: GroundingOptions
) -> dict[str, list[PagePlaces]]:
    found = {
        name: FoundPage(*row, tuple(queries), ("",) * len(queries))
        for name, row in stored.rows.items()
    }
    return ground(stored.snapshot, found, how)


CHOICES = list(itertools.product(RegionAggregation, TokenAggregation, QueryTokens))


@pytest.mark.parametrize(("region", "token", "which"), CHOICES)
def test_regions_and_words_equal_the_loop(
    stored: Stored, region: RegionAggregation, token: TokenAggregation, which: QueryTokens
) -> None:
    how = options(region_aggregate=region, token_aggregate=token, region_tokens=which)
    asked = [query(seed) for seed in range(4)]
    for page_id, answers in places(stored, asked, how).items():
        for one, answer in zip(asked, answers, strict=True):
            counted = [bool(m) or which is QueryTokens.ALL for m in one.meaning]
            index = [i for i, counts in enumerate(counted) if counts]
            heaviest = max(float(one.weights[i]) for i in index)
            similar = [
                [0.0] * len(counted)
                if vector is None
                else [reference.dot(vector.tolist(), q.tolist()) for q in one.vectors]
                for vector in stored.cells[page_id]
            ]
            flat = [
                reference.patch_score(row, one.weights.tolist(), counted, token.value)
                for row in similar
            ]
            assert answer.cell_scores == pytest.approx(flat, abs=1e-5)
            grid = [flat[r * COLS : (r + 1) * COLS] for r in range(ROWS)]
            parts = [
                [
                    [float(one.weights[i]) / heaviest * similar[r * COLS + c][i] for i in index]
                    for c in range(COLS)
                ]
                for r in range(ROWS)
            ]
            scores = reference.region_scores(grid, BOXES, ROWS, COLS, region.value)
            best = reference.select(scores, "top-k", 3)
            assert [hit.text for hit in answer.regions] == [f"text {i}" for i in best]
            for i, hit in zip(best, answer.regions, strict=True):
                assert hit.score == pytest.approx(scores[i], abs=1e-5)
                gives = reference.region_parts(grid, parts, BOXES[i], ROWS, COLS, region.value)
                expected = [
                    (index[k], one.tokens[index[k]], gives[k])
                    for k in reference.best_first(gives)[:WORDS_A_REGION]
                    if gives[k] > 0
                ]
                assert [(w.index, w.token) for w in hit.words] == [e[:2] for e in expected]
                assert [w.score for w in hit.words] == pytest.approx(
                    [e[2] for e in expected], abs=1e-5
                )


@pytest.mark.parametrize("region", RegionAggregation)
def test_words_add_up_to_the_region(
    stored: Stored, region: RegionAggregation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the sum of tokens to its score, with their mean to its score times their number."""
    monkeypatch.setattr("patchlight.tasks.grounding.places.WORDS_A_REGION", 100)
    for token, factor in ((TokenAggregation.SUM, 1), (TokenAggregation.MEAN, 5)):
        how = options(region_aggregate=region, token_aggregate=token)
        checked = 0
        for seed in range(20):
            for (answer,) in places(stored, [query(seed, 5, share=1)], how).values():
                for hit in answer.regions:
                    if len(hit.words) == 5:  # else a token pulled it down, and is not named
                        assert sum(w.score for w in hit.words) == pytest.approx(factor * hit.score)
                        checked += 1
        assert checked


def test_the_best_word_makes_the_best_cell(stored: Stored) -> None:
    """With the best token and the best cell, a region has the score of its first word."""
    how = options(token_aggregate=TokenAggregation.MAX)
    found = places(stored, [query(seed) for seed in range(10)], how)
    hits = [hit for answers in found.values() for answer in answers for hit in answer.regions]
    assert any(hit.words for hit in hits)
    for hit in hits:
        assert hit.score == pytest.approx(max((w.score for w in hit.words), default=0))


def test_tokens_without_meaning_never_reach_the_map(stored: Stored) -> None:
    """However heavy they are, and whatever they are like; unless they are asked for."""
    one = query(1)
    rng = np.random.default_rng(2)
    vectors, weights = one.vectors.copy(), one.weights.copy()
    vectors[~one.meaning] = unit(rng, int((~one.meaning).sum()))
    weights[~one.meaning] *= 50
    other = QueryEncoding(one.tokens, vectors, weights, one.meaning)
    for which, same in ((QueryTokens.MEANING, True), (QueryTokens.ALL, False)):
        for first, second in places(stored, [one, other], options(region_tokens=which)).values():
            assert (shown(first) == shown(second)) is same


def test_where_all_tokens_carry_meaning_the_switch_changes_nothing(stored: Stored) -> None:
    asked = [query(seed, share=1) for seed in range(5)]
    every, some = (places(stored, asked, options(region_tokens=which)) for which in QueryTokens)
    for page_id in every:
        assert list(map(shown, every[page_id])) == list(map(shown, some[page_id]))


def test_places_do_not_depend_on_the_pages_and_queries_beside_them(stored: Stored) -> None:
    asked = [query(seed, tokens=seed + 1) for seed in range(6)]
    together = places(stored, asked, options())
    for page_id, row in stored.rows.items():
        for one, among in zip(asked, together[page_id], strict=True):
            (alone,) = ground(
                stored.snapshot, {page_id: FoundPage(*row, (one,), ("",))}, options()
            )[page_id]
            assert shown(alone) == shown(among)


def test_a_page_without_regions_of_the_kind_has_a_map_and_no_places(stored: Stored) -> None:
    for (answer,) in places(stored, [query(0)], options(kinds=(RegionKind.LINE,))).values():
        assert answer.regions == ()
        assert answer.cell_scores.shape == (ROWS * COLS,) and answer.cell_scores.any()


SPANS = options(selection=Selection(SelectionRule.SPANS, 1e-9), top_regions=50, kinds=())
COLUMN = tuple((0.1, 0.1 + i / 10, 0.5, 0.18 + i / 10) for i in range(5))
TEXTS = ("harbour", "depth", "pilot", "anchor", "tide")
QUESTIONS = ("the depth of a harbour", "", "which pilot is in the picture?", "tides")


@pytest.fixture(scope="module")
def printed(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Five paragraphs and a figure; then a page of words only, one without a patch, and a blank."""
    kinds = (RegionKind.WORD, RegionKind.LINE, RegionKind.PARAGRAPH)
    rows: list[Placed] = [
        (kind, i, box, text)
        for kind in kinds
        for i, (box, text) in enumerate(zip(COLUMN, TEXTS, strict=True))
    ]
    figure: Placed = (RegionKind.FIGURE, 0, (0.55, 0.1, 0.95, 0.6), "")
    blank = np.full(ROWS * COLS, -1, np.int32)
    lit = np.random.default_rng(5).integers(-1, VECTORS, ROWS * COLS).astype(np.int32)
    pages = [([*rows, figure], lit), (rows[:5], lit), ([*rows, figure], blank), ([], blank)]
    return store(tmp_path_factory.mktemp("spans") / "db", "s", pages)


def asked(tokens: int = 5) -> list[QueryEncoding]:
    return [query(seed, tokens) for seed in range(len(QUESTIONS))]


def spans(stored: Stored, how: GroundingOptions = SPANS, tokens: int = 5) -> list[list[PagePlaces]]:
    """By page and question."""
    queries = tuple(asked(tokens))
    found = {name: FoundPage(*row, queries, QUESTIONS) for name, row in stored.rows.items()}
    return list(ground(stored.snapshot, found, how).values())


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("tokens", [1, 5])
def test_spans_are_scored_and_named(printed: Stored, tokens: int) -> None:
    """Also where a page has no region that answers, no patch, or nothing."""
    every, no_region, no_patch, nothing = spans(printed, tokens=tokens)
    assert {answer.regions for answer in (*no_region, *nothing)} == {()}
    for answer in (*every, *no_patch):
        scores = [hit.score for hit in answer.regions]
        assert scores == sorted(scores, reverse=True)
        assert scores and 0 < sum(scores) <= 1 + 1e-9 and scores[-1] > 0
    hits = [hit for answer in every for hit in answer.regions]
    assert any(hit.words for hit in hits)
    assert all(0 < word.score <= 1 for hit in hits for word in hit.words)
    assert not any(hit.words for answer in no_patch for hit in answer.regions)
    for one, answer in zip(asked(tokens), every, strict=True):
        for word in (word for hit in answer.regions for word in hit.words):
            assert one.meaning[word.index] and one.tokens[word.index] == word.token


def test_spans_do_not_depend_on_the_pages_and_questions_beside_them(printed: Stored) -> None:
    together = spans(printed)
    for (name, row), answers in zip(printed.rows.items(), together, strict=True):
        for one, question, among in zip(asked(), QUESTIONS, answers, strict=True):
            found = FoundPage(*row, (one,), (question,))
            (alone,) = ground(printed.snapshot, {name: found}, SPANS)[name]
            assert shown(alone) == shown(among)


def test_a_span_of_several_regions_is_named_by_all(
    printed: Stored, monkeypatch: pytest.MonkeyPatch
) -> None:
    for signal in WEIGHTS[SpanSignals.ALL]:
        monkeypatch.setitem(WEIGHTS[SpanSignals.ALL], signal, 0.0)
    monkeypatch.setitem(WEIGHTS[SpanSignals.ALL], "run", 50.0)
    monkeypatch.setitem(WEIGHTS[SpanSignals.ALL], "words", 50.0)
    name = next(iter(printed.rows))
    hit = spans(printed)[0][0].regions[0]  # the first paragraphs have both words
    assert hit.region_id == f"{name}:00010+00011"
    assert (hit.kind, hit.text) == ("paragraph", "harbour\ndepth")
    assert hit.box == pytest.approx((0.1, 0.1, 0.5, 0.28))
    assert hit.score > 0.1


def test_fewer_spans_with_a_higher_ratio_or_less_room(printed: Stored) -> None:
    every = spans(printed)[0]
    for answer, one, good in zip(
        every,
        spans(printed, replace(SPANS, top_regions=1))[0],
        spans(printed, replace(SPANS, selection=Selection(SelectionRule.SPANS, 0.5)))[0],
        strict=True,
    ):
        assert one.regions == answer.regions[:1]
        best = answer.regions[0].score
        assert good.regions == tuple(hit for hit in answer.regions if hit.score >= best / 2)
    assert max(len(answer.regions) for answer in every) > 1
