"""Words into lines, paragraphs and blocks; pure.

The same rules serve words of a text layer and of OCR, so a region means the same thing wherever
its words came from. Nothing but boxes and letters is known: no fonts, no rules, no file order.

Boxes fit the ink, so "are" is lower than "Lag" in the same print. Every word is therefore given
the **em** of its print (the size that a designer would name, guessed from which letters it has)
and a **band**: its box with top and bottom where a capital and a descender of that size would
end. All distances are compared in ems between bands, so that neither the letters nor the size of
the page matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchlight.tasks.kernels import geometry

Boxes = NDArray[np.float64]
Floats = NDArray[np.float64]
Indices = NDArray[np.intp]
Groups = list[list[int]]

_CAP, _DESCENT, _X_HEIGHT = 0.72, 0.21, 0.48
"""Where capitals, descenders and small letters end, in ems from the base line; typical print."""

_SAME_LINE = 0.5
"""Two words share a line if their bands overlap by this share of the lower one."""

_WORD_GAP = 1.0
"""Widest space inside a line, in ems; a gutter between columns is wider."""

_WIDE_GAP = 3.0
"""Widest space, in ems, after a list marker, or in a line that was stretched to the margin."""

_STACKED = 0.3
"""Two boxes are above each other if their widths overlap by this share of the smaller."""

_SIZE_RATIO = 1.3
"""Lines whose ems differ by more are not of one paragraph."""

_HEADING_RATIO = 1.15
"""A short line or paragraph this much larger than the text under it is its heading."""

_USUAL, _LINE_SLACK = 0.3, 1.25
"""Lines are usually as far apart as this share of them is at most; and how much further two lines
of a paragraph may be apart."""

_LINE_PITCH_LEAST, _LINE_PITCH_MOST = 1.35, 2.8
"""Bounds, in ems from line to line, of the pitch that still joins a paragraph."""

_BLOCK_GAP, _HEADING_GAP = 1.6, 2.5
"""Widest gap, in ems, between paragraphs stacked in one block, and under a heading."""

_HEADING_WORDS, _HEADING_WIDTH = 12, 0.75
"""A heading has no more words; one in the print of its text is no wider than this share of it."""

_CELL_WORDS, _LABEL_WORDS = 3, 6
"""Most words in a line of a cell, and usual ones of a longer cell beside it, such as a label;
running text has more."""

_ROW_GAP = 3.0
"""Widest gap, in ems, between two rows of a table."""

_LOW = frozenset(
    "acegmnopqrsuvwxyzавгежзийклмнопрстухцчшщъыьэюяαγεηικμνοπρστυχω.,;:…·•-–—_~=+*'\"’“”"
)
"""Characters that do not rise to the height of a capital, or say nothing about it."""

_DEEP = frozenset("gjpqyQßçруфцщβγζημξρφχψ,;()[]{}|/_@§¶")
"""Characters that reach below the base line."""

_BULLET = re.compile(r"[•●○◦▪■□▶►‣∙·➢✓]$")
_MARKER = re.compile(
    r"([•●○◦▪■□▶►‣∙·*➢✓–—-]|\d{1,3}\.|[(\[]?(\d{1,3}|[a-zA-Z]|[ivx]{1,4})[)\]]"
    r"|\d{1,2}(\.\d{1,2}){1,3}\.?)$"
)
_PAIRS_AT_ONCE = 1 << 19


@dataclass(frozen=True, slots=True)
class Grouping:
    """Words, grouped; members are positions in the level below.

    Attributes:
        lines: words of each line, left to right.
        paragraphs: lines of each paragraph, top to bottom.
        blocks: paragraphs of each block.
    """

    lines: Groups
    paragraphs: Groups
    blocks: Groups


def group(texts: Sequence[str], boxes: Boxes) -> Grouping:
    """Group words that are written from left to right.

    Args:
        texts: the n words, n at least 1.
        boxes: (n, 4) x0, y0, x1, y1 with an area, origin top left, in a unit that is the same
            both ways.
    """
    em, bands = _bands(texts, boxes)
    lines = _lines(texts, em, bands)
    line_texts = [[texts[w] for w in line] for line in lines]
    line_em = _medians(em, lines)
    line_bands = group_hulls(bands, lines)
    for side in (1, 3):  # one superscript does not make a line higher
        line_bands[:, side] = _medians(bands[:, side], lines)

    paragraphs = _paragraphs(line_texts, line_em, line_bands)
    blocks = _blocks(line_texts, line_em, line_bands, paragraphs)
    return Grouping(lines, paragraphs, blocks)


def group_hulls(boxes: Boxes, groups: Groups) -> Boxes:
    """Return the box around each group's members: (len(groups), 4)."""
    members = np.concatenate([np.asarray(g) for g in groups])
    return geometry.hulls(boxes[members], geometry.offsets([len(g) for g in groups])[:-1])


def _bands(texts: Sequence[str], boxes: Boxes) -> tuple[Floats, Boxes]:
    """Em of each word, and its box from the height of capitals to the depth of descenders."""
    high = np.array([not _LOW.issuperset(text) for text in texts])
    deep = np.array([not _DEEP.isdisjoint(text) for text in texts])
    heights = boxes[:, 3] - boxes[:, 1]
    em = heights / (np.where(high, _CAP, _X_HEIGHT) + np.where(deep, _DESCENT, 0.0))
    spoken = np.array([text.isalnum() or any(map(str.isalnum, text)) for text in texts])
    if spoken.any():  # a lone dash or comma has the size of the text around it
        em[~spoken] = np.median(em[spoken])
    base = boxes[:, 3] - np.where(deep, _DESCENT * em, 0.0)
    bands = boxes.copy()
    bands[:, 1], bands[:, 3] = base - _CAP * em, base + _DESCENT * em
    return em, bands


def _lines(texts: Sequence[str], em: Floats, bands: Boxes) -> Groups:
    """Chain each word to the nearest word right of it on the same line."""
    n = len(texts)
    left, right, gap = _row_pairs(bands)
    near = gap <= _WORD_GAP * np.maximum(em[left], em[right])
    left, right = left[near], right[near]
    chained = _nearest_pairs(left, right, np.abs(gap[near]))
    pieces = _components(n, zip(left[chained].tolist(), right[chained].tolist(), strict=True))
    pieces = [sorted(piece, key=lambda w: (bands[w, 0], w)) for piece in pieces]
    joined = _components(len(pieces), _wide_gaps(texts, em, bands, pieces))
    lines: Groups = [[w for piece in group for w in pieces[piece]] for group in joined]
    return [sorted(line, key=lambda w: (bands[w, 0], w)) for line in lines]


def _wide_gaps(
    texts: Sequence[str], em: Floats, bands: Boxes, pieces: Groups
) -> list[tuple[int, int]]:
    """Pieces of lines that belong together over a gap as wide as between columns."""
    boxes = group_hulls(bands, pieces)
    size = _medians(em, pieces)
    left, right, gap = _row_pairs(boxes)
    near = (gap > 0) & (gap <= _WIDE_GAP * np.maximum(size[left], size[right]))
    left, right = left[near], right[near]
    chained = _nearest_pairs(left, right, gap[near])
    joined = []
    for a, b in zip(left[chained].tolist(), right[chained].tolist(), strict=True):
        first, second = texts[pieces[a][0]], texts[pieces[b][0]].lstrip("\"'“‘(")
        unit = float(max(size[a], size[b]))
        marker = _MARKER.match(first) or (
            # The number of a heading, not the last cell of a row beside running text.
            first.isdigit() and second[:1].isupper() and _at_margin(boxes, a, b, unit)
        )
        hangs = len(pieces[a]) == 1 and marker and second[:1].isalpha()
        if hangs or _spanned(boxes, a, b, unit):
            joined.append((a, b))
    return joined


def _spanned(boxes: Boxes, a: int, b: int, em: float) -> bool:
    """Whether a line above or under a gap runs on over it, and none starts there as a column."""
    low, high = boxes[a, 2] - em, boxes[b, 0] + em
    top, bottom = min(boxes[a, 1], boxes[b, 1]), max(boxes[a, 3], boxes[b, 3])
    centres = (boxes[:, 1] + boxes[:, 3]) / 2
    close = (boxes[:, 3] > top - em) & (boxes[:, 1] < bottom + em)
    close &= (centres < top) | (centres > bottom)
    starts = close & (boxes[:, 0] > low) & (boxes[:, 0] < high)
    runs_on = close & (boxes[:, 0] <= low) & (boxes[:, 2] >= high)
    return bool(runs_on.any() and not starts.any())


def _at_margin(boxes: Boxes, a: int, b: int, em: float) -> bool:
    """Whether a line near above or under begins where a does, and runs on to b."""
    near = (boxes[:, 3] > boxes[a, 1] - 3.0 * em) & (boxes[:, 1] < boxes[a, 3] + 3.0 * em)
    near &= np.abs(boxes[:, 0] - boxes[a, 0]) <= 0.5 * em
    return bool((near & (boxes[:, 2] >= boxes[b, 0] + em)).any())


def _paragraphs(texts: Sequence[Sequence[str]], em: Floats, bands: Boxes) -> Groups:
    """Join lines stacked at the page's usual distance, and part them where a new one begins."""
    below, gap, single = _stacks(bands, em, _LINE_PITCH_MOST)
    edges = []
    sized = [i for i in np.nonzero(single)[0].tolist() if _same_size(em, i, int(below[i]))]
    full = _CAP + _DESCENT
    usual = float(np.quantile(gap[sized], _USUAL)) + full if sized else _LINE_PITCH_LEAST
    limit = min(max(usual * _LINE_SLACK, _LINE_PITCH_LEAST), _LINE_PITCH_MOST) - full
    marked = [_MARKER.match(line[0]) is not None for line in texts]
    for i in sized:
        j = int(below[i])
        # A marker begins an item, but a sentence may also wrap before something like "3.".
        ends = texts[i][-1][-1] in ".;:,!?)" or bands[i, 2] < bands[j, 2] - 2.0 * em[j]
        hangs = bands[j, 0] < bands[i, 0] - 0.8 * em[j] or _BULLET.match(texts[j][0])
        listed = marked[j] and bool(ends or hangs or marked[i])
        begins = listed or _is_indented(bands, em, below, marked, i, j)
        heads = em[i] >= _HEADING_RATIO * em[j] and _width(bands, i) <= 0.8 * _width(bands, j)
        if gap[i] <= limit and not begins and not heads:
            edges.append((i, j))
    groups = _components(len(texts), edges)
    return [sorted(g, key=lambda i: (bands[i, 1], bands[i, 0], i)) for g in groups]


def _is_indented(
    bands: Boxes, em: Floats, below: Indices, marked: Sequence[bool], i: int, j: int
) -> bool:
    """Whether line j begins a paragraph by its indent, and line i above ends one short."""
    after = int(below[j])
    if marked[i] or (after >= 0 and marked[after]):
        return False  # a list item hangs from its marker
    margin = i if after < 0 else after
    right = max(bands[j, 2], bands[margin, 2])
    indent = bands[j, 0] - bands[margin, 0]
    at_margin = abs(bands[i, 0] - bands[margin, 0]) <= 0.5 * em[j]
    ends_short = bands[i, 2] < right - 2.0 * em[j]
    return bool(0.8 * em[j] <= indent <= 5.0 * em[j] and at_margin and ends_short)


def _blocks(
    texts: Sequence[Sequence[str]], line_em: Floats, line_bands: Boxes, paragraphs: Groups
) -> Groups:
    """Join paragraphs stacked close, but part them above a heading; and the cells of a table."""
    bands = group_hulls(line_bands, paragraphs)
    em = _medians(line_em, paragraphs)
    below, gap, single = _stacks(bands, em, _HEADING_GAP)
    heading = [
        under >= 0 and _is_heading(texts, bands, em, paragraphs, i, under)
        for i, under in enumerate(below.tolist())
    ]
    edges = []
    for i in np.nonzero(single)[0].tolist():
        j = int(below[i])
        begins = heading[j] and not heading[i]
        begins |= em[j] >= _HEADING_RATIO * em[i] and _is_short(texts, paragraphs[j])
        if not begins and (heading[i] or gap[i] <= _BLOCK_GAP):
            edges.append((i, j))
    cells = _table_cells(texts, line_em, line_bands, paragraphs)
    return _components(len(paragraphs), edges + cells)


def _is_heading(
    texts: Sequence[Sequence[str]], bands: Boxes, em: Floats, paragraphs: Groups, i: int, j: int
) -> bool:
    """Whether paragraph i reads like the heading of j under it."""
    if not _is_short(texts, paragraphs[i]):
        return False
    if em[i] >= _HEADING_RATIO * em[j]:
        return True
    line = " ".join(word for x in paragraphs[i] for word in texts[x])
    return (
        len(paragraphs[i]) <= 2
        and len(paragraphs[j]) > 1
        and not next(c for c in line if c.isalpha()).islower()
        and line[-1] not in ".,;:"
        and _width(bands, i) <= _HEADING_WIDTH * _width(bands, j)
    )


def _is_short(texts: Sequence[Sequence[str]], lines: Sequence[int]) -> bool:
    """Whether a paragraph has no more in it than a heading has, and is no list item."""
    words = [word for line in lines for word in texts[line]]
    if len(words) > _HEADING_WORDS or _BULLET.match(words[0]):
        return False
    return any(c.isalpha() for word in words for c in word)


def _table_cells(
    texts: Sequence[Sequence[str]], em: Floats, bands: Boxes, paragraphs: Groups
) -> list[tuple[int, int]]:
    """Pairs of paragraphs that are of one table.

    Short texts side by side are a row; two rows, one under the other, that share two columns
    are of one table. Lines of running text beside each other are no row.
    """
    paragraph_of = np.empty(len(texts), dtype=np.intp)
    for p, members in enumerate(paragraphs):
        paragraph_of[members] = p
    length = np.array([len(line) for line in texts])
    most = np.array([max(len(texts[i]) for i in p) for p in paragraphs])[paragraph_of]
    usual = _medians(length, paragraphs)[paragraph_of]
    left, right, gap = _row_pairs(bands)
    short = np.minimum(most[left], most[right]) <= _CELL_WORDS
    short &= np.maximum(usual[left], usual[right]) <= _LABEL_WORDS
    # Nearest first, then short: a cell does not look over a line of text to the next one.
    cells = [
        (int(left[k]), int(right[k]))
        for k in _nearest_pairs(left, right, np.abs(gap))
        if short[k] and gap[k] > 0
    ]
    rows = [row for row in _components(len(texts), cells) if len(row) > 1]
    rows.sort(key=lambda row: (bands[row, 1].min(), row))
    edges = []
    extents = group_hulls(bands, rows) if rows else np.empty((0, 4))
    for r, row in enumerate(rows):
        unit = em[row].min()
        for s in range(r + 1, len(rows)):
            if extents[s, 1] > extents[r, 3] + _ROW_GAP * unit:
                break
            if _shared_columns(bands[row], bands[rows[s]]) > 1:
                table = paragraph_of[row + rows[s]].tolist()
                edges += [(table[0], p) for p in table]
    return edges


def _shared_columns(upper: Boxes, lower: Boxes) -> int:
    """How many boxes of a row have one of another row over or under them, each its own."""
    across = np.minimum(upper[:, None, 2], lower[None, :, 2])  # (U, L)
    across -= np.maximum(upper[:, None, 0], lower[None, :, 0])
    widths = np.minimum((upper[:, 2] - upper[:, 0])[:, None], lower[:, 2] - lower[:, 0])
    stacked = across >= _STACKED * widths  # (U, L)
    return int(min(stacked.any(axis=1).sum(), stacked.any(axis=0).sum()))


def _stacks(boxes: Boxes, em: Floats, most: float) -> tuple[Indices, Floats, NDArray[np.bool_]]:
    """For each box the nearest one under it.

    Args:
        boxes: (n, 4) bands.
        em: (n,) their sizes.
        most: widest gap to look over, in ems.

    Returns:
        Position of the one below (-1: none); the gap to it in ems; and whether it is the only
        one: False where one box lies over or under several side by side, as a title does over
        columns.
    """
    widths = boxes[:, 2] - boxes[:, 0]
    across = np.minimum(boxes[:, None, 2], boxes[None, :, 2])  # (n, n)
    across -= np.maximum(boxes[:, None, 0], boxes[None, :, 0])
    over = across >= _STACKED * np.minimum(widths[:, None], widths[None, :])  # (n, n)
    gap = (boxes[None, :, 1] - boxes[:, None, 3]) / np.minimum(em[:, None], em[None, :])
    centres = (boxes[:, 1] + boxes[:, 3]) / 2
    under = over & (centres[None, :] > centres[:, None]) & (gap > -0.5) & (gap <= most)
    distance = np.where(under, gap, np.inf)  # (n, n)
    below, above = distance.argmin(axis=1), distance.argmin(axis=0)  # each (n,)
    found = under.any(axis=1)  # (n,)
    middle = np.minimum(boxes[:, None, 3], boxes[None, :, 3])
    middle -= np.maximum(boxes[:, None, 1], boxes[None, :, 1])
    beside = (across <= 0) & (middle > 0)
    spans_below = (under & beside[below]).any(axis=1)  # (n,)
    spans_above = (under.T & beside[above]).any(axis=1)  # (n,)
    single = found & ~spans_below & ~spans_above[below]  # (n,)
    return np.where(found, below, -1), distance[np.arange(len(boxes)), below], single


def _row_pairs(boxes: Boxes) -> tuple[Indices, Indices, Floats]:
    """All pairs of boxes on one line: left one, right one, and the gap between them."""
    heights, widths = boxes[:, 3] - boxes[:, 1], boxes[:, 2] - boxes[:, 0]
    centres = boxes[:, 0] + boxes[:, 2]
    found: list[tuple[Indices, Indices, Floats]] = []
    for a, b in _overlapping(boxes[:, 1], boxes[:, 3]):
        overlap = np.minimum(boxes[a, 3], boxes[b, 3]) - np.maximum(boxes[a, 1], boxes[b, 1])
        kept = overlap >= _SAME_LINE * np.minimum(heights[a], heights[b])
        kept &= centres[a] != centres[b]
        a, b = a[kept], b[kept]
        turned = centres[a] > centres[b]
        left, right = np.where(turned, b, a), np.where(turned, a, b)
        gap = boxes[right, 0] - boxes[left, 2]
        kept = gap > -0.5 * np.minimum(widths[left], widths[right])  # not one on the other
        found.append((left[kept], right[kept], gap[kept]))
    none = np.empty(0, dtype=np.intp)
    if not found:
        return none, none, np.empty(0)
    left, right, gap = (np.concatenate(column) for column in zip(*found, strict=True))
    return left, right, gap


def _overlapping(starts: Floats, ends: Floats) -> Iterator[tuple[Indices, Indices]]:
    """Yield all pairs of intervals that overlap, each once, some at a time."""
    order = np.argsort(starts, kind="stable")
    positions = np.arange(len(order))
    counts = np.searchsorted(starts[order], ends[order], side="left") - positions - 1
    total = np.cumsum(counts)
    first = 0
    while first < len(order):
        before = total[first - 1] if first else 0
        stop = max(first + 1, int(np.searchsorted(total, before + _PAIRS_AT_ONCE, side="right")))
        some = counts[first:stop]
        a = np.repeat(positions[first:stop], some)
        b = a + 1 + np.arange(len(a)) - np.repeat(np.cumsum(some) - some, some)
        if len(a):
            yield order[a], order[b]
        first = stop


def _nearest_pairs(left: Indices, right: Indices, gap: Floats) -> Indices:
    """Positions of the pairs that chain each box to its nearest right one, and that to one left."""
    ranked = np.lexsort((right, left, gap))
    ranked = ranked[np.sort(np.unique(left[ranked], return_index=True)[1])]
    kept: Indices = ranked[np.sort(np.unique(right[ranked], return_index=True)[1])]
    return kept


def _same_size(em: Floats, i: int, j: int) -> bool:
    return bool(max(em[i], em[j]) <= _SIZE_RATIO * min(em[i], em[j]))


def _width(boxes: Boxes, i: int) -> float:
    return float(boxes[i, 2] - boxes[i, 0])


def _medians(values: NDArray[Any], groups: Groups) -> Floats:
    """Median of each group's values; NumPy's own takes 20 us, a page has hundreds of lines."""
    ranked = values.tolist()
    medians = []
    for members in groups:
        some = sorted([ranked[i] for i in members])
        medians.append((some[(len(some) - 1) // 2] + some[len(some) // 2]) / 2)
    return np.array(medians, dtype=np.float64)


def _components(n: int, edges: Iterable[tuple[int, int]]) -> Groups:
    """Connected components, each sorted, in order of their first member."""
    root = list(range(n))

    def find(i: int) -> int:
        while root[i] != i:
            root[i] = root[root[i]]
            i = root[i]
        return i

    for a, b in edges:
        low, high = sorted((find(a), find(b)))
        root[high] = low
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(find(i), []).append(i)
    return list(groups.values())
