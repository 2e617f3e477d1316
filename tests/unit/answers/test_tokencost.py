"""Context tokens of text and pictures."""

from __future__ import annotations

import pytest

from patchlight.tasks.answers import tokencost
from patchlight.tasks.common.errors import ShapeError


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("", 0),
        ("hello world", 2),
        ("tiktoken is great!", 6),  # the example of OpenAI's cookbook
        ("antidisestablishmentarianism", 6),
        ("2 + 2 = 4", 7),
        ("お誕生日おめでとう", 9),
    ],
)
def test_text_counts_as_published_for_cl100k_base(text: str, tokens: int) -> None:
    assert tokencost.text_tokens(text) == tokens


def test_special_tokens_and_broken_text_count_as_text() -> None:
    assert tokencost.text_tokens("<|endoftext|>") > 1
    assert tokencost.text_tokens("a\ud800b") >= 2


@pytest.mark.parametrize(
    ("width", "height", "tokens"),
    [
        (750, 1, 1),
        (749, 1, 0),
        (1000, 1000, 1333),
        (1568, 1568, 3278),
        (3136, 3136, 3278),
        (2480, 3508, 2317),  # A4 at 300 dpi: 1108.5 x 1568
        (3508, 2480, 2317),
        (100_000, 1, 0),
    ],
)
def test_pictures_are_fitted_in_the_square_and_never_enlarged(
    width: int, height: int, tokens: int
) -> None:
    assert tokencost.image_tokens(width, height) == tokens


def test_a_picture_needs_pixels() -> None:
    with pytest.raises(ShapeError):
        tokencost.image_tokens(0, 100)
