"""Guards groups, leads, shares and rankings of a report, on numbers worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from patchlight.tasks.evaluation import contactsheet, pages, summary
from patchlight.tasks.evaluation.choices import Within
from patchlight.tasks.kernels.geometry import Doubles

DOCUMENTS = ["a", "a", "b", "b"]
EVERY = summary.group_of("all", range(4), DOCUMENTS)
MEASURES = ("score", "tokens")


def scores(*values: float) -> Doubles:
    return np.array([values, [10.0, 30.0, np.nan, 20.0]]).T


OURS, THEIRS = scores(1.0, 0.0, 1.0, 1.0), scores(0.0, 0.0, 1.0, 0.0)


def test_groups_are_the_rows_of_a_value_largest_first() -> None:
    found = summary.grouped(["text", "table", "text", "chart"], DOCUMENTS)
    assert [(group.name, group.members.tolist()) for group in found] == [
        ("text", [0, 2]), ("chart", [3]), ("table", [1])
    ]  # fmt: skip
    assert found[0].documents == ["a", "b"]


def test_means_are_over_the_rows_of_the_group() -> None:
    found = summary.means({"ours": OURS, "theirs": THEIRS}, MEASURES, EVERY)
    assert found["ours"]["score"][0] == 0.75 and found["theirs"]["score"][0] == 0.25
    assert found["ours"]["tokens"][0] == 20.0  # of the rows that have any
    # Document a scores 1/2, b 1: a draw holds either, or both.
    assert found["ours"]["score"][1:] == (0.5, 1.0)
    part = summary.means({"ours": OURS}, MEASURES, summary.group_of("some", [1, 2], DOCUMENTS))
    assert part["ours"]["score"][0] == 0.5


def test_leads_are_paired_by_row() -> None:
    both = {"ours": OURS, "theirs": THEIRS}
    found = summary.differences(both, MEASURES, EVERY, "theirs", ("score",))
    assert list(found) == ["ours"]
    # Both documents have the same lead: it does not depend on which are drawn.
    assert found["ours"]["score"] == (0.5, 0.5, 0.5)


def test_a_share_is_of_the_rows_that_have_the_measure() -> None:
    whole = np.array([100.0, 100.0, 1000.0, 50.0])
    found = summary.shares({"ours": OURS}, MEASURES, "tokens", whole, EVERY)
    assert found["ours"][0] == pytest.approx(60 / 250)
    assert found["ours"][1:] == pytest.approx((40 / 200, 20 / 50))


def test_the_best_row_stands_for_a_question() -> None:
    values = np.array([[0.1, 5.0], [0.7, 1.0], [0.2, 2.0]])
    assert summary.best_of_question(values, [0, 0, 1]).tolist() == [[0.7, 5.0], [0.2, 2.0]]


def test_bm25_ranks_pages_pooled_and_within_a_document() -> None:
    texts = {
        ("x", 1): "deep water", ("x", 2): "the berth", ("y", 1): "deep berth", ("y", 2): "quay"
    }  # fmt: skip
    asked = (["deep berth"], ["x"], texts)
    pooled = pages.bm25_rankings(*asked, Within.DATABASE, top_pages=2)
    assert set(pooled) == {"BM25", "BM25, no stop words"}
    assert pooled["BM25"][0][0] == ("y", 1) and len(pooled["BM25"][0]) == 2
    within = pages.bm25_rankings(*asked, Within.DOCUMENT, top_pages=9)
    assert len(within) == 4
    assert all(set(ranked[0]) == {("x", 1), ("x", 2)} for ranked in within.values())
    ranked = [[("x", 2), ("y", 1)], []]
    found = pages.ranks(ranked, [("y", 1), ("x", 1), ("x", 2)], [0, 0, 1])
    assert found.tolist() == [2, 0, 0]


def test_measures_of_a_ranking_stand_in_their_order() -> None:
    relevant = frozenset({("x", 1), ("x", 9)})
    ranked = [("y", 1), ("x", 1)]
    found = dict(zip(pages.MEASURES, pages.score(ranked, relevant), strict=True))
    assert (found["recall_1"], found["recall_5"], found["recall_10"]) == (0.0, 0.5, 0.5)
    assert (found["hit_1"], found["hit_5"], found["mrr"]) == (0.0, 1.0, 0.5)
    assert found["ndcg_5"] == pytest.approx(0.6309297536 / 1.6309297536)


def test_best_and_worst_cases_share_no_page() -> None:
    values = np.array([0.9, 0.8, 0.1, 0.1, np.nan, 0.5])
    names, places = list("abcdef"), ["p", "p", "q", "r", "s", "t"]
    best, worst = contactsheet.choose(values, names, places, 2)
    assert best == [0, 5]  # row 1 is on the page of row 0
    assert sorted(worst) == [2, 3]
    assert contactsheet.choose(values, names, places, 2) == (best, worst)
    # With few pages the best ones take half of them.
    best, worst = contactsheet.choose(values, names, places, 9)
    assert len(best) == 2 and len(worst) == 2
    assert contactsheet.choose(np.array([]), [], [], 3) == ([], [])
