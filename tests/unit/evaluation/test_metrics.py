"""The measures of pages and places on examples worked by hand."""

from __future__ import annotations

from itertools import combinations, permutations

import numpy as np
import pytest

from benchmarks.forms import kendall_tau
from patchlight.tasks.evaluation.areas import mosaic
from patchlight.tasks.evaluation.bootstrap import mean_intervals, ratio_intervals
from patchlight.tasks.evaluation.metrics import (
    NOTHING,
    PlaceScore,
    PlaceScorer,
    chance_of_any,
    hit_at,
    hits,
    matched_iou,
    ndcg_at,
    recall_at,
    reciprocal_rank,
)
from patchlight.tasks.kernels.geometry import Doubles

LEFT = (0.0, 0.0, 0.5, 1.0)
RIGHT = (0.5, 0.0, 1.0, 1.0)
TOP_LEFT = (0.0, 0.0, 0.5, 0.5)
BOTTOM_LEFT = (0.0, 0.5, 0.5, 1.0)
PAGE = (0.0, 0.0, 1.0, 1.0)

Box = tuple[float, float, float, float]


def score(returned: list[Box], true: list[Box]) -> PlaceScore:
    return PlaceScorer(np.array(returned).reshape(-1, 4), np.array(true)).score()


@pytest.mark.parametrize(
    ("k", "expected"), [(1, 0.0), (2, 1 / 3), (3, 1 / 3), (4, 2 / 3), (9, 2 / 3)]
)
def test_recall_is_the_share_of_relevant_pages_found(k: int, expected: float) -> None:
    assert recall_at(["a", "b", "c", "d"], {"b", "d", "z"}, k) == pytest.approx(expected)


def test_reciprocal_rank_counts_the_best_ranked_relevant_page() -> None:
    assert reciprocal_rank(["a", "b", "c", "d"], {"b", "d"}) == 0.5
    assert reciprocal_rank(["a", "b"], {"z"}) == 0.0
    assert reciprocal_rank([], {"z"}) == 0.0


def test_a_hit_is_any_relevant_page_among_the_first() -> None:
    assert hit_at(["a", "b", "c"], {"b", "z"}, 1) == 0.0
    assert hit_at(["a", "b", "c"], {"b", "z"}, 2) == 1.0
    assert hit_at([], {"z"}, 5) == 0.0


def test_ndcg_discounts_by_rank_and_divides_by_the_best_order() -> None:
    # One relevant page at rank 2: (1 / log2 3) / (1 / log2 2).
    assert ndcg_at(["a", "b"], {"b"}, 5) == pytest.approx(0.6309297536)
    # Two relevant ones at ranks 1 and 3: (1 + 1/2) / (1 + 1 / log2 3).
    assert ndcg_at(["a", "x", "b"], {"a", "b"}, 5) == pytest.approx(1.5 / 1.6309297536)
    # What lies behind the cut gains nothing; more relevant pages than the cut holds are not missed.
    assert ndcg_at(["x", "a"], {"a"}, 1) == 0.0
    assert ndcg_at(["a", "b"], {"a", "b", "c"}, 2) == pytest.approx(1.0)
    assert ndcg_at([], {"a"}, 5) == 0.0


def test_agreement_of_rankings_counts_pairs() -> None:
    assert kendall_tau("abcd", "abcd") == 1
    assert kendall_tau("dcba", "abcd") == -1
    # Of the 6 pairs only c, d is turned round: (5 - 1) / 6.
    assert kendall_tau("abdc", "abcd") == pytest.approx(4 / 6)
    # Items that one of them lacks form no pair; of those left b, d is turned round.
    assert kendall_tau("bxda", "dbya") == pytest.approx((2 - 1) / 3)
    assert kendall_tau("a", "abc") == kendall_tau("", "") == 1


def test_the_true_box_itself_scores_one_in_everything_but_the_share() -> None:
    assert score([LEFT], [LEFT]) == PlaceScore._make([*[1.0] * 11, 0.5])


def test_returning_nothing_scores_nothing() -> None:
    assert score([], [LEFT]) == NOTHING


def test_more_boxes_than_true_ones_lower_the_official_score_only() -> None:
    # IoU of LEFT: 1 with itself, .5 with each of its halves, 0 with RIGHT.
    found = score([TOP_LEFT, RIGHT, LEFT], [LEFT])
    assert found.official == pytest.approx(1 / 3)
    assert (found.official_30, found.official_50) == (1.0, 0.0)
    assert (found.best, found.best_70) == (1.0, 1.0)


def test_fewer_boxes_than_true_ones_lower_both_scores() -> None:
    found = score([LEFT], [LEFT, RIGHT])
    assert (found.official, found.best, found.best_25) == (0.5, 0.5, 0.5)
    assert (found.official_50, found.official_70) == (1.0, 0.0)


def test_a_returned_box_matches_one_true_box_but_may_be_best_for_two() -> None:
    # PAGE has IoU .5 with LEFT and with RIGHT.
    found = score([PAGE], [LEFT, RIGHT])
    assert found.official == 0.25
    assert (found.best, found.best_50) == (0.5, 1.0)


def test_matching_maximises_the_sum_and_not_the_best_pair() -> None:
    # Taking .9 first leaves 0; the best matching is .8 + .7.
    ratios = np.array([[[0.9, 0.8], [0.7, 0.0]]])
    assert matched_iou(ratios) == pytest.approx([1.5])


@pytest.mark.parametrize("shape", [(1, 4), (4, 1), (3, 3), (2, 5), (5, 3)])
def test_matching_equals_trying_all_matchings(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(7)
    ratios = rng.random((30, *shape)) * (rng.random((30, *shape)) < 0.6)
    assert matched_iou(ratios) == pytest.approx([best_of_all_matchings(one) for one in ratios])


def best_of_all_matchings(ratios: Doubles) -> float:
    tall = ratios if ratios.shape[0] >= ratios.shape[1] else ratios.T
    columns = range(tall.shape[1])
    return max(
        float(sum(tall[row, column] for row, column in zip(rows, columns, strict=True)))
        for rows in permutations(range(tall.shape[0]), len(columns))
    )


def test_area_counts_overlapping_boxes_once() -> None:
    # The union is LEFT, half the page. The sum of the areas would be .75.
    found = score([LEFT, TOP_LEFT], [BOTTOM_LEFT])
    assert found.share == 0.5
    # |R and T| = .25, |R| = .5, |T| = .25
    assert (found.precision, found.recall) == (0.5, 1.0)
    assert found.f1 == pytest.approx(2 * 0.25 / 0.75)


def test_area_counts_overlapping_true_boxes_once() -> None:
    # |R| = .5, |T| = .5, |R and T| = .25
    found = score([(0.0, 0.0, 1.0, 0.5)], [LEFT, TOP_LEFT])
    assert found.f1 == pytest.approx(0.5)


def test_area_of_boxes_that_cross() -> None:
    # A cross of two bars: .2 + .2 - .04
    found = score([(0.4, 0.0, 0.6, 1.0), (0.0, 0.4, 1.0, 0.6)], [PAGE])
    assert found.share == pytest.approx(0.36)
    assert found.f1 == pytest.approx(2 * 0.36 / 1.36)


def test_a_choice_scores_as_if_only_the_chosen_boxes_were_returned() -> None:
    returned = [TOP_LEFT, RIGHT, LEFT]
    scorer = PlaceScorer(np.array(returned), np.array([LEFT]))
    assert scorer.score([2]) == score([LEFT], [LEFT])
    assert scorer.score([0, 1]) == score([TOP_LEFT, RIGHT], [LEFT])
    assert scorer.score([]) == NOTHING


def test_parts_of_a_page_are_told_by_the_boxes_that_cover_them() -> None:
    # LEFT and TOP_LEFT: the top left quarter is in both, the bottom left one in LEFT alone.
    parts = mosaic(np.array([LEFT, TOP_LEFT]))
    found = {tuple(c): a for c, a in zip(parts.cover.T.tolist(), parts.area, strict=True)}
    assert found == {(True, True): 0.25, (True, False): 0.25}


def test_a_random_choice_scores_the_mean_of_all_choices() -> None:
    # Of LEFT, RIGHT and TOP_LEFT one: official 1, 0 and .5 against LEFT.
    scorer = PlaceScorer(np.array([LEFT, RIGHT, TOP_LEFT]), np.array([LEFT]))
    one = scorer.expected(1, seed=0)
    assert one.official == pytest.approx(1.5 / 3)
    assert one.official_50 == pytest.approx(2 / 3)
    assert one.share == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    # Of two: {L, R} 1/2 and the page, {L, TL} 1/2 and LEFT, {R, TL} .5/2 and three quarters.
    two = scorer.expected(2, seed=0)
    assert two.official == pytest.approx((0.5 + 0.5 + 0.25) / 3)
    assert two.best == pytest.approx((1 + 1 + 0.5) / 3)
    assert two.share == pytest.approx((1 + 0.5 + 0.75) / 3)
    assert two.recall == pytest.approx((1 + 1 + 0.5) / 3)
    assert two.precision == pytest.approx((0.5 + 1 + 1 / 3) / 3)
    assert scorer.expected(3, seed=0) == scorer.expected(9, seed=0) == scorer.score()
    assert scorer.expected(0, seed=0) == NOTHING


def test_with_one_true_box_no_draws_decide_a_random_choice() -> None:
    """Of 30 boxes 4 there are 27,405 choices; the largest IoU of 4 has a closed form."""
    rng = np.random.default_rng(5)
    corner = rng.random((30, 2)) * 0.5
    boxes = np.concatenate([corner, corner + 0.1 + 0.4 * rng.random((30, 2))], axis=1)
    scorer = PlaceScorer(boxes, np.array([LEFT]))
    every = [scorer.score(chosen) for chosen in combinations(range(30), 4)]
    exact, other = scorer.expected(4, seed=0), scorer.expected(4, seed=1)
    by_draws = {"precision", "f1"}
    for name, mean in zip(PlaceScore._fields, np.mean(every, axis=0), strict=True):
        if name in by_draws:
            assert getattr(exact, name) == pytest.approx(mean, abs=0.02)
        else:
            assert getattr(exact, name) == pytest.approx(mean), name
            assert getattr(other, name) == getattr(exact, name)


def test_chance_that_a_draw_holds_any_of_some() -> None:
    # Of 4 things 2: it misses a given one in 3 of 6 draws, two given ones in 1 of 6.
    assert chance_of_any(np.array([0, 1, 2, 3, 4]), 4, 2) == pytest.approx([0, 1 / 2, 5 / 6, 1, 1])
    assert chance_of_any(np.array(0), 0, 0) == 0.0


def test_a_hit_covers_half_of_a_small_box_and_is_no_higher_than_two_lines() -> None:
    true = (0.4, 0.5, 0.6, 0.52)
    tried = {
        (0.1, 0.495, 0.9, 0.525): True,  # its line
        (0.1, 0.48, 0.9, 0.52): True,  # two lines high
        (0.1, 0.47, 0.9, 0.52): False,  # more
        (0.0, 0.0, 1.0, 1.0): False,
        (0.4, 0.5, 0.5, 0.52): True,  # half of it
        (0.4, 0.5, 0.49, 0.52): False,
        (0.7, 0.5, 0.9, 0.52): False,
    }
    assert hits(np.array(list(tried)), np.array([true])).tolist() == list(tried.values())
    # One of several true boxes is enough.
    assert hits(np.array([true]), np.array([LEFT, true])).tolist() == [True]


def interval(values: list[float], groups: list[str], **options: int) -> tuple[float, float]:
    _, low, high = mean_intervals(np.array(values), groups, **options)[0]
    return low, high


def test_bootstrap_gives_the_same_interval_again_whatever_the_order_of_the_rows() -> None:
    rng = np.random.default_rng(3)
    values, groups = rng.normal(size=60), [f"doc {i % 7}" for i in range(60)]
    found = mean_intervals(values, groups)
    assert found.tolist() == mean_intervals(values, groups).tolist()
    order = rng.permutation(60)
    shuffled = mean_intervals(values[order], [groups[i] for i in order])
    assert shuffled == pytest.approx(found)
    assert found[0, 0] == pytest.approx(values.mean())
    assert found[0, 1] < values.mean() < found[0, 2]
    assert mean_intervals(values, groups, seed=1).tolist() != found.tolist()


def test_bootstrap_draws_whole_groups() -> None:
    # Two documents of equal rows: a draw holds 0, 1 or 2 of the second one.
    groups = ["a"] * 50 + ["b"] * 50
    assert interval([0.0] * 50 + [1.0] * 50, groups) == (0.0, 1.0)
    assert interval([0.3] * 100, groups) == pytest.approx((0.3, 0.3))


def test_bootstrap_weighs_rows_and_not_groups() -> None:
    # One row of 1 and three of 0: the draws are 1, 1/4 and 0.
    values, groups = [1.0, 0.0, 0.0, 0.0], ["a", "b", "b", "b"]
    drawn = {interval(values, groups, draws=1, seed=seed)[0] for seed in range(40)}
    assert drawn == {0.0, 0.25, 1.0}


def test_one_document_says_nothing_of_others() -> None:
    value, low, high = mean_intervals(np.array([0.2, 0.4]), ["a", "a"])[0]
    assert value == pytest.approx(0.3)
    assert np.isnan([low, high]).all()


def test_rows_without_a_value_count_in_no_mean() -> None:
    found = mean_intervals(np.array([[1.0, np.nan], [np.nan, np.nan]]), ["a", "b"])
    assert found[0, 0] == 1.0
    assert found[0, 1:].tolist() == [1.0, 1.0]  # draws of b alone have no value
    assert np.isnan(found[1]).all()


def test_a_ratio_of_sums_weighs_rows_by_their_size() -> None:
    # 10 of 20 tokens and 30 of 180: 40 of 200, not the mean of 1/2 and 1/6.
    value, low, high = ratio_intervals(np.array([10.0, 30.0]), np.array([20.0, 180.0]), ["a", "b"])[
        0
    ]
    assert value == pytest.approx(0.2)
    assert (low, high) == pytest.approx((1 / 6, 1 / 2))
