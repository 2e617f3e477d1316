"""What the layout model is shown: noisy paper made white, and nothing else changed."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from patchlight.tasks.regions.layoutmodel import white_paper


def page(paper: float, noise: float, ink: int = 20) -> NDArray[np.uint8]:
    """Paper with Gaussian noise, and a black bar on it."""
    levels = (
        np.random.default_rng(1).normal(paper, noise, (200, 150))
        if noise
        else np.full((200, 150), paper)
    )
    levels[90:100, 30:120] = ink
    return np.clip(levels.round(), 0, 255).astype(np.uint8)


@pytest.mark.parametrize(("paper", "noise"), [(247, 8), (243, 6), (200, 8)])
def test_noisy_paper_is_white_and_ink_stays_dark(paper: float, noise: float) -> None:
    white = white_paper(page(paper, noise))
    bar = np.zeros(white.shape, dtype=bool)
    bar[90:100, 30:120] = True
    assert (white[~bar] == 255).mean() > 0.98
    assert white[bar].max() < 40
    assert white.min() >= 0 and white.max() <= 255 and white.dtype == np.float32


@pytest.mark.parametrize(
    "picture",
    [
        page(255, 0),
        page(230, 0),  # a tint
        page(90, 6),  # light on dark
        np.random.default_rng(1).integers(0, 256, (200, 150), dtype=np.uint8),  # a photograph
        np.full((8, 6), 255, dtype=np.uint8),
    ],
)
def test_what_is_no_noisy_paper_stays_as_it_is(picture: NDArray[np.uint8]) -> None:
    assert np.array_equal(white_paper(picture), picture.astype(np.float32))


def test_colours_keep_their_shape() -> None:
    picture = np.stack([page(243, 6)] * 3, axis=2)
    assert np.array_equal(white_paper(picture)[:, :, 1], white_paper(picture[:, :, 1]))
