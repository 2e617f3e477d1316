"""Pages, and encoders of tiny random checkpoints, for the tests of the vision encoders.

What a patch shows still moves its vector most, so the place of a drawn cell can be found, and
everything a family does to tokens, tiles and masks is done.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from patchlight.storage.pages import PageInput
from patchlight.storage.records import PageEncoding
from patchlight.storage.regions import NO_REGIONS
from patchlight.tasks.encoders import colvision
from patchlight.tasks.encoders.colvision import ColVisionEncoder
from patchlight.tasks.encoders.families import FAMILIES
from tests import tiny_checkpoints

BATCH_TOLERANCE = 1e-5
"""How far a vector's numbers may be from those of another batch, in float32; 2e-7 was measured."""

A4, LANDSCAPE, STRIP, SQUARE = (827, 1169), (1169, 827), (2000, 260), (900, 900)
GRIDS = {
    "colpali": [(32, 32)] * 4,
    "colqwen2": [(32, 23), (23, 32), (9, 71), (27, 27)],
    "colqwen2_5": [(32, 23), (23, 32), (9, 71), (27, 27)],
    "colqwen3": [(32, 23), (23, 32), (8, 62), (27, 27)],
    "colqwen3_5": [(32, 23), (23, 32), (8, 62), (27, 27)],
    "colidefics3": [(32, 24), (24, 32), (8, 32), (32, 32)],
    "colmodernvbert": [(32, 24), (24, 32), (8, 32), (32, 32)],
    "colgemma3": [(16, 16)] * 4,
}


each_family = pytest.mark.parametrize("family", FAMILIES)


class Shelf:
    """Builds checkpoints and loads encoders when they are first asked for, and closes them."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.loaded: dict[tuple[Path, int | None], ColVisionEncoder] = {}

    def folder(self, family: str) -> Path:
        place = self.root / family
        return place if place.exists() else tiny_checkpoints.build(family, place)

    def adapter(self, family: str) -> Path:
        place = self.root / f"{family}-adapter"
        base = self.folder(family)
        return place if place.exists() else tiny_checkpoints.adapter(family, base, place)

    def changed(self, family: str, name: str) -> Path:
        """A copy of a family's checkpoint to spoil."""
        place = self.root / f"{family}-{name}"
        shutil.copytree(self.folder(family), place)
        return place

    def load(self, folder: Path, visual_tokens: int | None = None) -> ColVisionEncoder:
        key = folder, visual_tokens
        if key not in self.loaded:
            info = colvision.describe(str(folder), visual_tokens)
            self.loaded[key] = colvision.load(info, device="cpu", threads=2, batch_tokens=3000)
        return self.loaded[key]

    def encoder(self, family: str) -> ColVisionEncoder:
        return self.load(self.folder(family))


def page(size: tuple[int, int], seed: int | None = None) -> PageInput:
    """A page of noise, or a white one."""
    width, height = size
    if seed is None:
        image = np.full((height, width, 3), 255, dtype=np.uint8)
    else:
        draw = np.random.default_rng(seed)
        image = draw.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return PageInput(NO_REGIONS, image, width * 0.6, height * 0.6)


def encoded(encoder: ColVisionEncoder, *pages: PageInput) -> list[PageEncoding]:
    encodings = []
    for outcome in encoder.encode_pages(pages):
        assert isinstance(outcome, PageEncoding), outcome
        encodings.append(outcome)
    return encodings
