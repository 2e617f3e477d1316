"""Where a ColVision model's vectors lie on the page.

Each processor stretches the whole page onto its patch grid and pads nothing, so cell (r, c) of a
grid is the same share of the page for every family; what differs is where a patch's vector stands
in the sequence of tokens. That is read here from what the processor made of the page, never
computed from the page's size: the library's own ``get_n_patches`` takes width and height in an
order that differs by class, and is wrong for ColIdefics3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.common.errors import EncoderUnavailable, EncodingFailed, Stage

Positions = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """Which tokens of a page's sequence are its patches.

    Attributes:
        rows, cols: shape of the patch grid.
        patches: (rows * cols,) positions in the sequence, in raster order of the page.
        extra: positions of tokens that see the page but have no place of their own on the grid:
            those of the small picture of the whole page that follows the tiles.
    """

    rows: int
    cols: int
    patches: Positions
    extra: Positions

    def __post_init__(self) -> None:
        if len(self.patches) != self.rows * self.cols or not len(self.patches):
            raise _mismatch(f"a grid of {self.rows} x {self.cols}", len(self.patches))


Features = Mapping[str, Any]
"""What a processor made of one page: name -> tensor, its first dimension 1."""

LayoutOf = Callable[[Positions, Features], Layout]
"""(the page's token ids, its features) -> its layout; raises ``EncodingFailed``."""


def layout_reader(family: str, processor: Any) -> LayoutOf:
    """Return what reads the layout of pages that a family's processor prepared.

    Args:
        family: key of the family.
        processor: its processor, loaded.

    Raises:
        EncoderUnavailable: the processor's tokenizer lacks the tokens that tell patches apart.
    """
    return _READERS[family](image_token(family, processor), processor)


def image_token(family: str, processor: Any) -> int:
    """Return the id of the tokens that the model replaces by patches."""
    # Gemma's processor calls the one token that all patches of a picture come from by that name.
    owner = processor.tokenizer if family == "colgemma3" else processor
    return int(owner.image_token_id)


def tiles_to_page(tile_rows: int, tile_cols: int, side: int) -> Positions:
    """Return, for each cell of the page in raster order, its place in the order of tiles.

    Args:
        tile_rows: tiles above one another.
        tile_cols: tiles side by side.
        side: rows and columns of cells in a tile; a tile's cells follow one another, in raster
            order of the tile, and tiles in raster order of the page.

    >>> tiles_to_page(1, 2, 2)
    array([0, 1, 4, 5, 2, 3, 6, 7])
    """
    places = np.arange(tile_rows * tile_cols * side**2).reshape(tile_rows, tile_cols, side, side)
    return places.transpose(0, 2, 1, 3).reshape(-1)


def _merged(token: int, processor: Any) -> LayoutOf:
    """Qwen: a grid that follows the page's shape, in raster order; its size is in the batch."""
    merge = int(processor.image_processor.merge_size)

    def layout(ids: Positions, features: Features) -> Layout:
        frames, height, width = features["image_grid_thw"][0].tolist()
        patches = np.flatnonzero(ids == token)
        if frames != 1 or height % merge or width % merge:
            raise _mismatch(f"{frames} x {height} x {width} parts of patches", len(patches))
        return Layout(height // merge, width // merge, patches, patches[:0])

    return layout


def _square(token: int, processor: Any) -> LayoutOf:
    """ColPali and ColGemma3: the page squeezed onto one square, in raster order."""

    def layout(ids: Positions, features: Features) -> Layout:
        patches = np.flatnonzero(ids == token)
        side = math.isqrt(len(patches))
        pictures, _, height, width = features["pixel_values"].shape
        if pictures != 1 or height != width:  # crops, as by "pan and scan", or another shape
            raise _mismatch(f"{pictures} pictures of {width} x {height}", len(patches))
        return Layout(side, side, patches, patches[:0])

    return layout


def _tiled(token: int, processor: Any) -> LayoutOf:
    """ColIdefics3 and ColModernVBert: tiles in raster order, then the whole page once more."""
    per_tile = int(processor.image_seq_len)
    side = math.isqrt(per_tile)
    tags = _tile_tags(processor.tokenizer)

    def layout(ids: Positions, features: Features) -> Layout:
        patches = np.flatnonzero(ids == token)
        starts = np.flatnonzero(np.isin(ids, list(tags)))
        mask = features.get("pixel_attention_mask")
        if mask is not None and not bool(mask.all()):
            raise _mismatch("padded tiles", len(patches))
        if not len(starts):  # one tile, which is the whole page
            return Layout(side, side, patches, patches[:0])
        tiles = [tags[int(ids[start])] for start in starts]
        rows, cols = tiles[-1]
        count = rows * cols * per_tile
        if tiles != [(row + 1, col + 1) for row in range(rows) for col in range(cols)]:
            raise _mismatch(f"tiles in the order {tiles}", len(patches))
        if len(patches) != count + per_tile:
            raise _mismatch(f"{rows} x {cols} tiles of {per_tile}", len(patches))
        if not np.array_equal(patches[:count:per_tile], starts + 1):
            raise _mismatch("tiles that do not begin after their tags", len(patches))
        order = tiles_to_page(rows, cols, side)
        return Layout(rows * side, cols * side, patches[:count][order], patches[count:])

    return layout


def _tile_tags(tokenizer: Any) -> dict[int, tuple[int, int]]:
    """Return the tokens that come before tiles: id -> (row, column), from 1."""
    known = tokenizer.get_vocab()
    tags = {
        known[tag]: (row, col)
        for row in range(1, 7)
        for col in range(1, 7)
        if (tag := f"<row_{row}_col_{col}>") in known
    }
    if not tags:
        raise EncoderUnavailable("the tokenizer has no tokens for tiles, as <row_1_col_1>")
    return tags


def _mismatch(found: str, patches: int) -> EncodingFailed:
    return EncodingFailed(
        f"the processor made {found} of the page, which does not fit its {patches} patches",
        Stage.ENCODE,
    )


_READERS: Mapping[str, Callable[[int, Any], LayoutOf]] = {
    "colpali": _square,
    "colqwen2": _merged,
    "colqwen2_5": _merged,
    "colqwen3": _merged,
    "colqwen3_5": _merged,
    "colidefics3": _tiled,
    "colmodernvbert": _tiled,
    "colgemma3": _square,
}
