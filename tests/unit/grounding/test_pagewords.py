"""Guards which words of a page a question names, and which lie in a box."""

from __future__ import annotations

import math

import numpy as np
import pytest

from patchlight.storage.records import RegionKind
from patchlight.tasks.grounding.pagewords import PageWords
from patchlight.tasks.grounding.questionwords import question_words
from tests.region_examples import page_of

WORD, LINE = RegionKind.WORD, RegionKind.LINE


def page(*regions: tuple[RegionKind, str], boxes: object = None) -> PageWords:
    n = len(regions)
    places = np.tile([0.0, 0.0, 0.5, 0.5], (n, 1)) if boxes is None else np.array(boxes)
    kinds, texts = [kind for kind, _ in regions], [text for _, text in regions]
    return PageWords(page_of(kinds, places, texts=texts))


def test_named_words_count_by_their_rarity_on_lines() -> None:
    words = page(
        (WORD, "Harbours"),
        (LINE, "Harbours deep"),
        (WORD, "deep"),
        (WORD, "harbour"),
        (LINE, "harbour harbour"),
        (WORD, "master"),
        (LINE, "master"),
    )
    equal, counts = words.named(question_words("Which harbour's depth is deep for a pilot?"))
    # "harbour" on two of three lines, "deep" on one; "depth" and "pilot" on none say nothing.
    assert equal.tolist() == [[1, 0], [0, 1], [1, 0], [0, 0]]
    harbour, deep = math.log(1 + 1.5 / 2.5), math.log(1 + 2.5 / 1.5)
    assert counts == pytest.approx([harbour / (harbour + deep), deep / (harbour + deep)])


def test_a_word_of_several_stems_is_each_of_them() -> None:
    equal, counts = page((WORD, "12/03"), (LINE, "12/03")).named(question_words("03 12"))
    assert equal.tolist() == [[1, 1]]
    assert counts.tolist() == [0.5, 0.5]


def test_words_without_lines_count_equally() -> None:
    equal, counts = page((WORD, "deep"), (WORD, "harbour")).named(question_words("deep harbour"))
    assert equal.tolist() == [[1, 0], [0, 1]]
    assert counts.tolist() == [0.5, 0.5]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("regions", "question"),
    [
        ([(WORD, "deep"), (LINE, "deep")], "pilot"),
        ([(WORD, "deep"), (LINE, "deep")], ""),
        ([(WORD, ""), (LINE, "")], "deep"),
        ([(LINE, "deep")], "deep"),  # a line, but no word
        ([], "deep"),
    ],
)
def test_nothing_is_named(regions: list[tuple[RegionKind, str]], question: str) -> None:
    equal, counts = page(*regions).named(question_words(question))
    assert equal.shape == (sum(kind is WORD for kind, _ in regions), 0)
    assert counts.shape == (0,)


def test_words_are_inside_by_their_centre() -> None:
    words = page(
        (WORD, "in"),
        (LINE, "a line is no word"),
        (WORD, "half in"),
        (WORD, "beside"),
        (WORD, "on the edge"),
        boxes=[
            (0.125, 0.125, 0.25, 0.25),
            (0.125, 0.125, 0.25, 0.25),
            (0.25, 0.125, 0.625, 0.25),  # its centre lies at 0.4375
            (0.5, 0.125, 0.625, 0.25),
            (0.375, 0.125, 0.625, 0.25),
        ],
    )
    assert len(words.boxes) == 4
    places = np.array([(0.0, 0.0, 0.5, 0.5), (0.0, 0.1875, 0.5, 0.5), (0.0, 0.0, 1.0, 0.18)])
    assert words.inside(places).tolist() == [
        [True, True, False, False],
        [False] * 4,  # centres on its edge
        [False] * 4,
    ]
    assert words.inside(np.zeros((1, 4))).tolist() == [[False] * 4]
    assert words.inside(np.empty((0, 4))).shape == (0, 4)
