"""Ruled lines in pictures that are made by hand."""

from __future__ import annotations

import time

import numpy as np
import pytest

from patchlight.tasks.regions.ruledlines import rules_of


def page() -> np.ndarray:
    return np.full((1200, 900), 255, np.uint8)


@pytest.mark.parametrize("gray", [0, 190])
@pytest.mark.parametrize("thick", [1, 3])
def test_thin_lines_are_found_where_they_are(gray: int, thick: int) -> None:
    picture = page()
    picture[300 : 300 + thick, 100:800] = gray
    picture[200:900, 450 : 450 + thick] = gray
    rules = rules_of(picture)
    [across], [down] = rules.across, rules.down
    assert np.abs(across * [900, 1200, 900, 1200] - [100, 300, 800, 300 + thick]).max() <= 4
    assert np.abs(down * [900, 1200, 900, 1200] - [450, 200, 450 + thick, 900]).max() <= 4


def test_a_shaded_band_has_an_edge_on_each_side() -> None:
    picture = page()
    picture[300:340, 100:800] = 235
    tops = (rules_of(picture).across[:, [1, 3]].mean(axis=1) * 1200).round()
    assert np.abs(tops - [300, 340]).max() <= 1


def test_letters_are_no_lines() -> None:
    picture = page()
    picture[300:310, 100:800:4] = 0
    picture[300:310, 101:800:4] = 0
    rules = rules_of(picture)
    assert len(rules.across) == len(rules.down) == 0


@pytest.mark.parametrize("shape", [(1, 1), (1, 500), (500, 1)])
def test_a_page_of_one_row_has_none(shape: tuple[int, int]) -> None:
    rules = rules_of(np.zeros(shape, np.uint8))
    assert len(rules.across) == len(rules.down) == 0


def test_stripes_all_over_take_little_time() -> None:
    picture = page()
    picture[::2] = 0
    picture[:, ::60] = 255
    start = time.process_time()
    rules_of(picture)
    assert time.process_time() - start < 3
