"""Guards that settings written as text are what the same options are on the command line."""

from __future__ import annotations

from typing import Any

import pytest

from patchlight.storage.records import RegionKind
from patchlight.tasks.answers.options import RetrievalOptions
from patchlight.tasks.common.errors import SelectionError, UsageError
from patchlight.tasks.grounding.selection import parse_selection
from patchlight.tasks.kernels.maxsim import QueryTokens, TokenAggregation
from patchlight.tasks.kernels.propagation import RegionAggregation
from patchlight.tasks.requests.evaluate import FIRST_SETTING, P50_SETTING, EvaluateRequest
from patchlight.tasks.requests.retrieval import RetrievalRequest


def settings(*texts: str, **options: Any) -> dict[str, RetrievalOptions]:
    request = EvaluateRequest(dataset="set", db="db", out="out", setting=list(texts), **options)
    return request.settings()


def test_without_a_word_there_are_the_defaults_and_the_papers_p50() -> None:
    found = settings()
    assert list(found) == [FIRST_SETTING, P50_SETTING]
    assert found[FIRST_SETTING] == RetrievalRequest().options()
    paper = found[P50_SETTING]
    assert paper.selection == parse_selection("percentile:50")
    assert paper.region_aggregate is RegionAggregation.MAX
    assert paper.token_aggregate is TokenAggregation.MAX
    assert paper.region_tokens is QueryTokens.ALL
    assert paper.kinds == (RegionKind.BLOCK,)
    assert paper.top_regions > 10_000  # all that the rule leaves


def test_a_setting_changes_what_it_names_and_no_more() -> None:
    base: dict[str, Any] = {
        "top_pages": 7,
        "kind": [RegionKind.LINE],
        "aggregate": RegionAggregation.MEAN,
    }
    found = settings("best = --select=max --kind word --kind line", **base)
    assert found[FIRST_SETTING] == RetrievalRequest(**base).options()
    kinds = [RegionKind.WORD, RegionKind.LINE]
    assert found["best"] == RetrievalRequest(**{**base, "kind": kinds}, select="max").options()
    # What the paper's selection is does not depend on the options.
    assert found[P50_SETTING].kinds == (RegionKind.BLOCK,)
    assert found[P50_SETTING].region_aggregate is RegionAggregation.MAX
    assert found[P50_SETTING].top_pages == 7


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("--select max", "expected 'name=options'"),
        ("=--select max", "expected 'name=options'"),
        ("lines", "expected 'name=options'"),
        ("lines=--kind sentence", "--kind.0 'sentence'"),
        ("lines=--colour red", "--colour"),
        ("lines=--top-regions 0", "--top-regions '0': input should be greater than or equal to 1"),
        ("lines=--top-regions few", "--top-regions 'few'"),
        ("lines=--select", "--select"),
        ("lines=--select 'max", "No closing quotation"),
        ("lines=--help", "--help"),
        ("lines=--out there", "--out"),
        (f"{P50_SETTING}=--select max", "given twice"),
    ],
)
def test_a_text_that_is_no_setting_is_refused(text: str, problem: str) -> None:
    with pytest.raises(UsageError) as raised:
        settings(text)
    assert problem in str(raised.value)


def test_a_wrong_selection_is_refused() -> None:
    with pytest.raises(SelectionError):
        settings("worst=--select worst")
