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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

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

_LINE_SLACK = 1.25
"""How much further than usual on the page two lines of a paragraph may be apart."""

_LINE_PITCH_LEAST, _LINE_PITCH_MOST = 1.35, 2.8
"""Bounds, in ems from line to line, of the pitch that still joins a paragraph."""

_BLOCK_GAP = 1.6
"""Widest gap, in ems, between paragraphs stacked in one block."""

_HEADING_WORDS = 12
"""A heading has no more words than this."""

_CELL_WORDS, _LABEL_WORDS = 3, 8
"""Words in a cell of a table, and in the longer cell beside it; running text has more."""

_ROW_GAP = 3.0
"""Widest gap, in ems, between two rows of a table."""

_LOW = frozenset("acegmnopqrsuvwxyzавгежзийклмнопрстухцчшщъыьэюяαγεηικμνοπρστυχω.,;:…·•-–—_~=+*'\"’“”")
"""Characters that do not rise to the height of a capital, or say nothing about it."""

_DEEP = frozenset("gjpqyQßçруфцщβγζημξρφχψ,;()[]{}|/_@§¶")
"""Characters that reach below the base line."""

_BULLET = re.compile(r"[•●○◦▪■□▶►‣∙·*➢✓–—-]$")
_MARKER = re.compile(
    r"([•●○◦▪■□▶►‣∙·*➢✓–—-]|[(\[]?(\d{1,3}|[A-Za-z]|[ivxIVX]{1,4})[.)\]:]|\d{1,2}(\.\d{1,2}){1,3}\.?)$"
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
    line_em = np.array([np.median(em[line]) for line in lines])
    line_bands = hulls(bands, lines)
    for side in (1, 3):  # one superscript does not make a line higher
        line_bands[:, side] = [np.median(bands[line, side]) for line in lines]

    paragraphs = _paragraphs(line_texts, line_em, line_bands)
    blocks = _blocks(line_texts, line_em, line_bands, paragraphs)
    return Grouping(lines, paragraphs, blocks)


def hulls(boxes: Boxes, groups: Groups) -> Boxes:
    """Return the box around each group's members: (len(groups), 4)."""
    members = np.concatenate([np.asarray(g) for g in groups])
    starts = np.cumsum([0] + [len(g) for g in groups[:-1]])
    low = np.minimum.reduceat(boxes[members, :2], starts)
    high = np.maximum.reduceat(boxes[members, 2:], starts)
    return np.concatenate([low, high], axis=1)


def _bands(texts: Sequence[str], boxes: Boxes) -> tuple[Floats, Boxes]:
    """Em of each word, and its box from the height of capitals to the depth of descenders."""
    high = np.array([not _LOW.issuperset(text) for text in texts])
    deep = np.array([not _DEEP.isdisjoint(text) for text in texts])
    heights = boxes[:, 3] - boxes[:, 1]
    em = heights / (np.where(high, _CAP, _X_HEIGHT) + np.where(deep, _DESCENT, 0.0))
    spoken = np.array([any(map(str.isalnum, text)) for text in texts])
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
    pieces = _components(n, _nearest_pairs(left[near], right[near], np.abs(gap[near])))
    pieces = [sorted(piece, key=lambda w: (bands[w, 0], w)) for piece in pieces]
    joined = _components(len(pieces), _wide_gaps(texts, em, bands, pieces))
    lines: Groups = [[w for piece in group for w in pieces[piece]] for group in joined]
    return [sorted(line, key=lambda w: (bands[w, 0], w)) for line in lines]


def _wide_gaps(
    texts: Sequence[str], em: Floats, bands: Boxes, pieces: Groups
) -> list[tuple[int, int]]:
    """Pieces of lines that belong together over a gap as wide as between columns."""
    boxes = hulls(bands, pieces)
    size = np.array([np.median(em[piece]) for piece in pieces])
    left, right, gap = _row_pairs(boxes)
    unit = np.maximum(size[left], size[right])
    near = (gap > 0) & (gap <= _WIDE_GAP * unit)
    joined = []
    for a, b in _nearest_pairs(left[near], right[near], gap[near]):
        marker = len(pieces[a]) == 1 and _MARKER.match(texts[pieces[a][0]])
        opening = texts[pieces[b][0]].lstrip("\"'“‘(")[:1]
        if (marker and opening.isalpha()) or _spanned(boxes, a, b, float(max(size[a], size[b]))):
            joined.append((a, b))
    return joined


def _spanned(boxes: Boxes, a: int, b: int, em: float) -> bool:
    """Whether the lines above and under a gap run on over it, as they do not at a gutter."""
    low, high = boxes[a, 2] - em, boxes[b, 0] + em
    top, bottom = min(boxes[a, 1], boxes[b, 1]), max(boxes[a, 3], boxes[b, 3])
    centres = (boxes[:, 1] + boxes[:, 3]) / 2
    close = (boxes[:, 3] > top - em) & (boxes[:, 1] < bottom + em)
    close &= (centres < top) | (centres > bottom)
    close &= (boxes[:, 0] < high) & (boxes[:, 2] > low)
    runs_on = (boxes[:, 0] <= low) & (boxes[:, 2] >= high)
    return bool(close.any() and runs_on[close].all())


def _paragraphs(texts: Sequence[Sequence[str]], em: Floats, bands: Boxes) -> Groups:
    """Join lines stacked at the page's usual distance, and part them where a new one begins."""
    below, gap, single = _stacks(bands, em, _LINE_PITCH_MOST)
    edges = []
    sized = [i for i in np.nonzero(single)[0].tolist() if _same_size(em, i, int(below[i]))]
    full = _CAP + _DESCENT
    usual = float(np.median(gap[sized])) + full if sized else _LINE_PITCH_LEAST
    limit = min(max(usual * _LINE_SLACK, _LINE_PITCH_LEAST), _LINE_PITCH_MOST) - full
    marked = [_MARKER.match(line[0]) is not None for line in texts]
    for i in sized:
        j = int(below[i])
        begins = marked[j] or _is_indented(bands, em, below, marked, i, j)
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
    bands = hulls(line_bands, paragraphs)
    em = np.array([np.median(line_em[p]) for p in paragraphs])
    below, gap, single = _stacks(bands, em, _BLOCK_GAP)
    heading = [
        single[i] and _is_heading(texts, bands, em, paragraphs, i, int(below[i]))
        for i in range(len(paragraphs))
    ]
    edges = []
    for i in np.nonzero(single)[0].tolist():
        j = int(below[i])
        if not heading[j] or heading[i]:
            edges.append((i, j))
    return _components(len(paragraphs), edges + _table_cells(texts, line_em, line_bands, paragraphs))


def _is_heading(
    texts: Sequence[Sequence[str]], bands: Boxes, em: Floats, paragraphs: Groups, i: int, j: int
) -> bool:
    """Whether paragraph i reads like the heading of j under it."""
    words = [word for line in paragraphs[i] for word in texts[line]]
    first = next((c for c in "".join(words) if c.isalpha()), "")
    if not first or len(words) > _HEADING_WORDS or _BULLET.match(words[0]):
        return False
    if len(paragraphs[i]) <= 3 and em[i] >= _HEADING_RATIO * em[j]:
        return True
    return (
        len(paragraphs[i]) == 1
        and len(paragraphs[j]) > 1
        and not first.islower()
        and words[-1][-1] not in ".,;"
        and _width(bands, i) <= 0.6 * _width(bands, j)
    )


def _table_cells(
    texts: Sequence[Sequence[str]], em: Floats, bands: Boxes, paragraphs: Groups
) -> list[tuple[int, int]]:
    """Pairs of paragraphs that are of one table.

    Two cells side by side are a rung; two rungs of the same two columns, one above the other,
    hold a table together. Lines of running text beside each other are no rung.
    """
    paragraph_of = np.empty(len(texts), dtype=np.intp)
    for p, members in enumerate(paragraphs):
        paragraph_of[members] = p
    words = np.array([np.median([len(texts[i]) for i in p]) for p in paragraphs])[paragraph_of]
    left, right, gap = _row_pairs(bands)
    apart = gap > 0
    rungs = np.array(_nearest_pairs(left[apart], right[apart], gap[apart]), dtype=np.intp)
    rungs = rungs.reshape(-1, 2)
    short, long = np.sort(words[rungs], axis=1).T
    rungs = rungs[(short <= _CELL_WORDS) & (long <= _LABEL_WORDS)]
    if len(rungs) < 2:
        return []
    edges = []
    rungs = rungs[np.argsort(bands[rungs[:, 0], 1], kind="stable")]
    a, b = bands[rungs[:, 0]], bands[rungs[:, 1]]
    for i in range(len(rungs) - 1):
        unit = em[rungs[i]].min()
        # Sorted from the top: the next rows start the list.
        end = int(np.searchsorted(a[:, 1], a[i, 3] + _ROW_GAP * unit, side="right"))
        rest = slice(i + 1, end)
        under = (a[rest, 1] > a[i, 1] + 0.5 * unit)
        under &= _share(a[rest], a[i]) >= _STACKED
        under &= _share(b[rest], b[i]) >= _STACKED
        for k in (np.nonzero(under)[0] + i + 1).tolist():
            p, q = paragraph_of[rungs[i]].tolist()
            r, s = paragraph_of[rungs[k]].tolist()
            edges += [(p, q), (p, r), (r, s)]
    return edges


def _share(boxes: Boxes, other: Floats) -> Floats:
    """How much of the narrower one's width each box shares with another."""
    overlap = np.minimum(boxes[:, 2], other[2]) - np.maximum(boxes[:, 0], other[0])
    shares: Floats = overlap / np.minimum(boxes[:, 2] - boxes[:, 0], other[2] - other[0])
    return shares


def _stacks(
    boxes: Boxes, em: Floats, most: float
) -> tuple[Indices, Floats, NDArray[np.bool_]]:
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
    across = np.minimum(boxes[:, None, 2], boxes[None, :, 2])
    across -= np.maximum(boxes[:, None, 0], boxes[None, :, 0])
    over = across >= _STACKED * np.minimum(widths[:, None], widths[None, :])
    gap = (boxes[None, :, 1] - boxes[:, None, 3]) / np.minimum(em[:, None], em[None, :])
    centres = (boxes[:, 1] + boxes[:, 3]) / 2
    under = over & (centres[None, :] > centres[:, None]) & (gap > -0.5) & (gap <= most)
    distance = np.where(under, gap, np.inf)
    below, above = distance.argmin(axis=1), distance.argmin(axis=0)
    found = under.any(axis=1)
    middle = np.minimum(boxes[:, None, 3], boxes[None, :, 3])
    middle -= np.maximum(boxes[:, None, 1], boxes[None, :, 1])
    beside = (across <= 0) & (middle > 0)
    spans_below = (under & beside[below]).any(axis=1)
    spans_above = (under.T & beside[above]).any(axis=1)
    single = found & ~spans_below & ~spans_above[below]
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


def _nearest_pairs(left: Indices, right: Indices, gap: Floats) -> list[tuple[int, int]]:
    """Of pairs, those that are each other's nearest: left's to the right, right's to the left."""
    best: dict[int, int] = {}
    ranked = np.lexsort((right, left, gap))
    for a, b in zip(left[ranked].tolist(), right[ranked].tolist(), strict=True):
        best.setdefault(a, b)
    taken: dict[int, int] = {}
    for a, b in best.items():  # nearest first
        taken.setdefault(b, a)
    return [(a, b) for b, a in taken.items()]


def _same_size(em: Floats, i: int, j: int) -> bool:
    return bool(max(em[i], em[j]) <= _SIZE_RATIO * min(em[i], em[j]))


def _width(boxes: Boxes, i: int) -> float:
    return float(boxes[i, 2] - boxes[i, 0])


def _components(n: int, edges: Sequence[tuple[int, int]]) -> Groups:
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
