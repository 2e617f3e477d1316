"""Rows, columns and cells of a table, from its words and the lines that are ruled in it; pure.

Words that stand side by side are a row. Columns are parted by ruled lines, or by white that runs
down through nearly all rows; what stands over it, such as a heading of two columns, is a cell
that spans them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.regions.ruledlines import Rules

Boxes = NDArray[np.float64]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]

MOST_WORDS = 5000
"""Words of a table; what has more is not parted, so that no page takes long."""

_SAME_ROW = 0.5
"""Words share a row if they overlap by this share of the lower one."""

_RIVER = 0.5
"""Least white between columns, in heights of the print; in a table of few rows the next."""

_RIVER_FEW, _FEW_ROWS = 1.0, 4

_CROSSED = 0.15
"""Share of rows that may stand over the white between two columns; and ``_HEADINGS`` in any case,
in a table of more than few rows."""

_HEADINGS = 1

_USED = 0.2
"""Share of the lines that have words in a column, at least."""

_SPACE = 0.55
"""Words that are no further apart, in heights of the print, are of one cell, also over white."""

_RULED = 0.6
"""Share of the table's side that lines must run along to part its rows or columns."""

_RULED_ROWS = 0.6
"""Lines that are ruled part rows, if there are so many for each line of words."""

_FILLED = 0.8
"""Lines between two ruled ones are rows of their own, if they have words in this share of the
columns."""

_WRAPPED = 0.8
"""A row without anything in its first column that is this much closer to the row above than
rows usually are goes on with it."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell of a table.

    Attributes:
        row: 0-based, from the top.
        first, last: columns it spans, 0-based, both included.
        words: positions of its words, as they are read.
    """

    row: int
    first: int
    last: int
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """A table's structure.

    Attributes:
        rows: number of rows.
        columns: number of columns.
        cells: row by row, left to right; cells without words are left out.
    """

    rows: int
    columns: int
    cells: tuple[Cell, ...]


def grid_of(words: Boxes, table: Floats, rules: Rules) -> Grid:
    """Part a table.

    Args:
        words: (n, 4) boxes of the words in it, any order, in a unit that is the same both ways.
        table: (4,) its box.
        rules: lines of the page, in the same unit.

    Two rows of two words each; white runs down between them.

    >>> words = np.array([[0, 0, 20, 10], [60, 0, 80, 10], [0, 20, 30, 30], [60, 20, 90, 30.0]])
    >>> grid = grid_of(words, np.array([0.0, 0.0, 90.0, 30.0]), Rules())
    >>> grid.rows, grid.columns, [cell.words for cell in grid.cells]
    (2, 2, [(0,), (1,), (2,), (3,)])
    """
    if not 0 < len(words) <= MOST_WORDS:
        return Grid(0, 0, ())
    height = float(np.median(words[:, 3] - words[:, 1]))
    bars = _bars(rules.across, table, 1)
    posts = _bars(rules.down, table, 0)
    lines = _lines(words)
    ruled = _between(posts, words)
    parts = _joined(ruled, _rivers(words, lines, height))
    pieces = [_pieces(words, line, parts, height) for line in lines]
    while (odd := _idle(pieces, parts)) is not None:
        parts = np.delete(parts, odd, axis=0)
        pieces = [_pieces(words, line, parts, height) for line in lines]
    rows = _rows(words, lines, pieces, bars, boxed=len(ruled) > 0)
    cells: list[Cell] = []
    for number, row in enumerate(rows):
        members: dict[tuple[int, int], list[int]] = {}
        for line in row:
            for first, last, some in pieces[line]:
                members.setdefault((first, last), []).extend(some)
        cells += [Cell(number, a, b, tuple(some)) for (a, b), some in sorted(members.items())]
    return Grid(len(rows), len(parts) + 1, tuple(cells))


def _lines(words: Boxes) -> list[list[int]]:
    """Words side by side, top to bottom, each from left to right."""
    order = np.lexsort((words[:, 0], words[:, 1] + words[:, 3])).tolist()
    lines: list[list[int]] = []
    top = bottom = -np.inf
    for i in order:
        low, high = words[i, 1], words[i, 3]
        shared = min(high, bottom) - max(low, top)
        if lines and shared >= _SAME_ROW * min(high - low, bottom - top):
            lines[-1].append(i)
        else:
            lines.append([i])
            top, bottom = low, high
    return [sorted(line, key=lambda i: (words[i, 0], words[i, 1], i)) for line in lines]


def _bars(rules: Boxes, table: Floats, axis: int) -> Floats:
    """Where lines cross nearly the whole table; axis 1 for horizontal ones.

    Pieces at one place count together.
    """
    along, margin = 1 - axis, 0.02 * (table[axis + 2] - table[axis])
    centre = (rules[:, axis] + rules[:, axis + 2]) / 2
    low = np.maximum(rules[:, along], table[along])
    high = np.minimum(rules[:, along + 2], table[along + 2])
    inside = (high > low) & (centre > table[axis] - margin) & (centre < table[axis + 2] + margin)
    order = np.flatnonzero(inside)[np.argsort(centre[inside], kind="stable")]
    places: list[float] = []
    length = 0.0
    side = table[along + 2] - table[along]
    near = 0.25 * _typical(centre[order])
    for i in order.tolist():
        if places and centre[i] - places[-1] <= near:
            length += high[i] - low[i]
        else:
            if places and length < _RULED * side:
                places.pop()
            places.append(float(centre[i]))
            length = high[i] - low[i]
    if places and length < _RULED * side:
        places.pop()
    return np.array(places)


def _typical(places: Floats) -> float:
    """Usual distance of places that are apart at all."""
    gaps = np.diff(places)
    gaps = gaps[gaps > gaps.max(initial=0.0) * 0.1]
    return float(np.median(gaps)) if len(gaps) else 0.0


def _between(posts: Floats, words: Boxes) -> Boxes:
    """Vertical lines that have words on both sides, as white of no width: (k, 2)."""
    centres = (words[:, 0] + words[:, 2]) / 2
    kept = [x for x in posts.tolist() if (centres < x).any() and (centres > x).any()]
    used = []
    for i, x in enumerate(kept):  # two lines with nothing between them are one
        before = kept[i - 1] if i else -np.inf
        if ((centres > before) & (centres <= x)).any():
            used.append(x)
    return np.array([(x, x) for x in used]).reshape(-1, 2)


def _joined(ruled: Boxes, rivers: Boxes) -> Boxes:
    """Lines and white, left to right; white that a line runs through is the line."""
    through = (rivers[:, None, 0] <= ruled[:, 0]) & (ruled[:, 0] <= rivers[:, None, 1])  # (V, U)
    parts = np.concatenate([ruled, rivers[~through.any(axis=1)]])  # (k, 2)
    joined: Boxes = parts[np.argsort(parts.sum(axis=1), kind="stable")]  # (k, 2)
    return joined


def _idle(pieces: list[list[tuple[int, int, list[int]]]], parts: Boxes) -> int | None:
    """Position of white beside a column that hardly any line has words in; None if there is none.

    It comes from the headings of columns, where they do not stand over them.
    """
    used = np.zeros(len(parts) + 1, dtype=np.intp)
    for line in pieces:
        for first, last, _ in line:
            used[first] += first == last
    column = int(used.argmin())
    if not len(parts) or used[column] >= min(_USED * len(pieces), used.max()):
        return None
    sides = [side for side in (column - 1, column) if 0 <= side < len(parts)]
    return min(sides, key=lambda side: (float(parts[side, 1] - parts[side, 0]), side))


def _rivers(words: Boxes, lines: list[list[int]], height: float) -> Boxes:
    """White that runs down through nearly all lines: (k, 2) its left and right."""
    most = max(int(_CROSSED * len(lines)), _HEADINGS) if len(lines) > _FEW_ROWS else 0
    least = (_RIVER if len(lines) > _FEW_ROWS else _RIVER_FEW) * height
    edges = np.unique(words[:, [0, 2]])  # (e,)
    middles = (edges[1:] + edges[:-1]) / 2  # (e - 1,)
    covered = np.zeros(len(middles), dtype=np.intp)  # (e - 1,)
    for line in lines:
        boxes = words[line]
        over = (boxes[:, None, 0] <= middles) & (boxes[:, None, 2] >= middles)  # (w, e - 1)
        covered += over.any(axis=0)
    rivers = []
    i = 0
    while i < len(middles):
        if covered[i] > most:
            i += 1
            continue
        j = i
        while j + 1 < len(middles) and covered[j + 1] <= most:
            j += 1
        # Where fewest stand over it: at its widest.
        lowest = covered[i : j + 1].min()
        clear = np.flatnonzero(covered[i : j + 1] == lowest) + i
        runs = np.split(clear, np.flatnonzero(np.diff(clear) > 1) + 1)
        best = max(runs, key=lambda run: edges[run[-1] + 1] - edges[run[0]])
        if edges[j + 1] - edges[i] >= least and i > 0 and j < len(middles) - 1:
            rivers.append((edges[best[0]], edges[best[-1] + 1]))
        i = j + 1
    return np.array(rivers, dtype=np.float64).reshape(-1, 2)


def _pieces(
    words: Boxes, line: list[int], parts: Boxes, height: float
) -> list[tuple[int, int, list[int]]]:
    """Cut a line at the columns: first and last column, and words, of each piece."""
    middles = parts.mean(axis=1)  # (k,)
    pieces: list[tuple[int, int, list[int]]] = []
    right = -np.inf
    for i in line:
        first = int(np.searchsorted(middles, words[i, 0] + 0.25 * height))
        last = max(first, int(np.searchsorted(middles, words[i, 2] - 0.25 * height)))
        near = words[i, 0] - right <= _SPACE * height
        ruled = (
            pieces and (parts[pieces[-1][1] : first, 0] == parts[pieces[-1][1] : first, 1]).any()
        )
        if pieces and (first <= pieces[-1][1] or (near and not ruled)):
            begin, end, some = pieces[-1]
            pieces[-1] = (begin, max(end, last), [*some, i])
        else:
            pieces.append((first, last, [i]))
        right = max(right, words[i, 2])
    return pieces


def _rows(
    words: Boxes,
    lines: list[list[int]],
    pieces: list[list[tuple[int, int, list[int]]]],
    bars: Floats,
    *,
    boxed: bool,
) -> list[list[int]]:
    """Put lines together that are of one row."""
    tops = np.array([words[line, 1].min() for line in lines])
    bottoms = np.array([words[line, 3].max() for line in lines])
    band = np.searchsorted(bars, (tops + bottoms) / 2)
    # Lines ruled between nearly all rows, or a full grid, mark rows; others mark groups of them.
    bands = len(np.unique(band))
    ruled = (boxed and bands > 2) or bands >= max(2, _RULED_ROWS * len(lines))
    pitch = np.diff((tops + bottoms) / 2)
    usual = float(np.median(pitch)) if len(pitch) else 0.0
    filled = [{c for a, b, _ in line for c in range(a, b + 1)} for line in pieces]
    rows: list[list[int]] = []
    for number in np.unique(band):
        members = np.flatnonzero(band == number).tolist()
        if ruled and not _are_rows([filled[i] for i in members]):
            rows.append(members)
            continue
        rows.append(members[:1])
        for i in members[1:]:
            goes_on = 0 not in filled[i] and filled[i] <= filled[i - 1]
            if not ruled and goes_on and pitch[i - 1] < _WRAPPED * usual:
                rows[-1].append(i)
            else:
                rows.append([i])
    return rows


def _are_rows(filled: list[set[int]]) -> bool:
    """Whether lines are rows of their own: most columns go on in each, as wrapped text does not.

    Args:
        filled: for each line the columns it has words in.
    """
    columns = set().union(*filled)
    share = sum(map(len, filled)) / (len(filled) * len(columns))
    return len(columns) > 1 and share >= _FILLED
