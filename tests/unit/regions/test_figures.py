"""Figures from a page's own objects and from its ink."""

from __future__ import annotations

import time

import numpy as np

from patchlight.tasks.common.pageobjects import PageObjects
from patchlight.tasks.regions.figures import drawings_of, inked_of, pictures_of


def boxes(*rows: tuple[float, float, float, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64).reshape(-1, 4)


def test_pictures_are_found_but_for_marks_and_the_page_itself() -> None:
    objects = PageObjects(
        pictures=boxes((0.1, 0.1, 0.5, 0.4), (0.9, 0.9, 0.92, 0.92), (0.0, 0.0, 1.0, 1.0))
    )
    assert pictures_of(objects).tolist() == [[0.1, 0.1, 0.5, 0.4]]


def test_strips_of_a_picture_are_put_together() -> None:
    strips = boxes(*[(0.1, 0.1 + i / 100, 0.6, 0.11 + i / 100) for i in range(20)])
    [found] = [b for b in pictures_of(PageObjects(pictures=strips)) if b[3] - b[1] > 0.1]
    assert np.allclose(found, [0.1, 0.1, 0.6, 0.3])


def test_graphics_that_lie_together_are_a_drawing() -> None:
    bars = [(0.1 + i * 0.05, 0.3 - i * 0.02, 0.14 + i * 0.05, 0.4) for i in range(6)]
    axis = (0.09, 0.4, 0.42, 0.401)
    far, background = (0.1, 0.7, 0.3, 0.9), (0.0, 0.0, 1.0, 1.0)
    rule = (0.1, 0.95, 0.9, 0.951)
    found = drawings_of(PageObjects(graphics=boxes(*bars, axis, far, background, rule)))
    assert np.allclose(found, [[0.09, 0.2, 0.42, 0.401], [0.1, 0.7, 0.3, 0.9]])


def test_the_order_of_objects_does_not_matter() -> None:
    rng = np.random.default_rng(0)
    low = rng.random((300, 2)) * 0.9
    some = np.concatenate([low, low + rng.random((300, 2)) * 0.05], axis=1)
    shuffled = some[rng.permutation(300)]
    one, other = PageObjects(some, some), PageObjects(shuffled, shuffled)
    assert np.array_equal(drawings_of(one), drawings_of(other))
    assert np.array_equal(pictures_of(one), pictures_of(other))


def test_a_map_of_many_objects_takes_little_time() -> None:
    low = np.random.default_rng(0).random((100_000, 2)) * 0.99
    start = time.process_time()
    drawings_of(PageObjects(graphics=np.concatenate([low, low + 0.01], axis=1)))
    assert time.process_time() - start < 2


def test_ink_beside_words_is_a_figure() -> None:
    picture = np.full((1200, 900), 250, np.uint8)
    picture[200:500, 100:400] = 90  # a photograph
    picture[700:712, 100:800:3] = 0  # a line of words
    words = boxes((100 / 900, 698 / 1200, 800 / 900, 714 / 1200))
    [found] = inked_of(picture, words)
    assert np.abs(found - [100 / 900, 200 / 1200, 400 / 900, 500 / 1200]).max() < 0.02
    assert inked_of(np.full((50, 40), 7, np.uint8), boxes()).tolist() == []
