"""Choosing the best and the worst cases, and laying their pictures out on a sheet."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from patchlight.tasks.answers.results import whole_file
from patchlight.tasks.evaluation.summary import seed_of
from patchlight.tasks.kernels.geometry import Doubles

_COLUMNS = 3
_TILE = (640, 760)
"""Pixels of a case on the sheet, across and down."""
_GAP = 12


def choose(
    scores: Doubles, names: Sequence[str], pages: Sequence[Hashable], count: int
) -> tuple[list[int], list[int]]:
    """Return the rows with the best and those with the worst scores, best and worst first.

    Equal ones come in an order that depends on their names alone, but looks random: it favours no
    document. A page is shown once: no page is among both, or twice in one.

    Args:
        scores: (r,) of the rows; NaN for those that are left out.
        names: of the rows, unique.
        pages: of the rows.
        count: how many of each, at most.
    """
    there = np.flatnonzero(~np.isnan(scores)).tolist()
    half = (len({pages[row] for row in there}) + 1) // 2
    shown: set[Hashable] = set()

    def first(sign: int, most: int) -> list[int]:
        chosen: list[int] = []
        for row in sorted(there, key=lambda row: (sign * scores[row], seed_of(names[row]))):
            if len(chosen) < most and pages[row] not in shown:
                chosen.append(row)
                shown.add(pages[row])
        return chosen

    return first(-1, min(count, half)), first(1, count)


def lay_out(pictures: Sequence[Path], out: Path) -> None:
    """Write a sheet of pictures, each shrunk to its place, row by row.

    Args:
        pictures: PNGs that patchlight has drawn, at least one.
        out: the sheet, a PNG.
    """
    columns = min(_COLUMNS, len(pictures))
    rows = -(-len(pictures) // columns)
    width, height = _TILE
    size = _GAP + columns * (width + _GAP), _GAP + rows * (height + _GAP)
    sheet = Image.new("RGB", size, (225, 225, 225))
    for number, path in enumerate(pictures):
        with Image.open(path) as picture:
            picture.thumbnail(_TILE, Image.Resampling.LANCZOS)
            row, column = divmod(number, columns)
            corner = _GAP + column * (width + _GAP), _GAP + row * (height + _GAP)
            sheet.paste(picture, corner)
    with whole_file(out) as part:
        sheet.save(part, format="PNG", optimize=True)
