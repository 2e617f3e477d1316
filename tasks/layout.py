"""Words into lines, paragraphs and blocks, by geometry alone; pure.

The same grouping serves words of a text layer and of OCR, so a region means the same thing
wherever its words came from. Distances are compared in units of text height, so that the
result does not depend on the size of the page.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storage.records import Region, RegionKind, Word

REGIONS_VERSION = 1
"""Raise when the same words may give other regions."""

_SAME_LINE_OVERLAP = 0.5
"""Two words share a line if their heights overlap by this share of the smaller one."""

_WORD_GAP = 1.2
"""Widest space inside a line, in text heights; a gutter between columns is wider."""

_LINE_OVERLAP = 0.3
"""Two lines may be of one paragraph if their widths overlap by this share of the smaller."""

_SIZE_RATIO = 1.5
"""Lines whose text heights differ by more are a heading and its text."""

_LINE_GAP_LEAST, _LINE_GAP_MOST = 0.55, 1.6
"""Bounds, in text heights, of the gap that still joins two lines of a paragraph."""

_LINE_GAP_SLACK = 1.35
"""How much wider than the page's usual line gap a gap may be inside a paragraph."""

_BLOCK_GAP = 2.2
"""Widest gap, in text heights, between paragraphs stacked in one block."""

_CELL_GAP = 4.0
"""Widest gap, in text heights, between narrow neighbours (cells of a table) in one block."""

_CELL_WIDTH = 0.2
"""Widest neighbour, as a share of the page, that is joined sideways."""

_ROWS_AT_ONCE = 512

Boxes = NDArray[np.float64]
Groups = list[list[int]]


def regions_of(words: Sequence[Word], width_pt: float, height_pt: float) -> tuple[Region, ...]:
    """Group a page's words.

    Args:
        words: the page's words, any order; boxes in fractions of the displayed page.
        width_pt, height_pt: size of the page in points.

    Returns:
        All words in reading order, then all lines, paragraphs and blocks, each of them in
        reading order; ``index`` is the position in this tuple and ``parent`` points to the
        next larger region. Every word is in exactly one line, every line in one paragraph,
        every paragraph in one block.
    """
    if not words:
        return ()
    fractions = np.array([(w.x0, w.y0, w.x1, w.y1) for w in words], dtype=np.float64)
    points = fractions * np.array([width_pt, height_pt, width_pt, height_pt])

    lines = _lines(points)
    line_boxes = _hulls(points, lines)
    line_sizes = np.array([np.median(points[g, 3] - points[g, 1]) for g in lines])
    paragraphs = _paragraphs(line_boxes, line_sizes)
    paragraph_boxes = _hulls(line_boxes, paragraphs)
    paragraph_sizes = np.array([np.median(line_sizes[g]) for g in paragraphs])
    blocks = _blocks(paragraph_boxes, paragraph_sizes, width_pt)
    block_boxes = _hulls(paragraph_boxes, blocks)

    block_order = reading_order(block_boxes)
    paragraph_order = [
        blocks[b][i] for b in block_order for i in reading_order(paragraph_boxes[blocks[b]])
    ]
    line_order = [
        paragraphs[p][i] for p in paragraph_order for i in reading_order(line_boxes[paragraphs[p]])
    ]
    word_order = [w for line in line_order for w in lines[line]]
    return _assemble(
        words, fractions, lines, paragraphs, blocks,
        word_order, line_order, paragraph_order, block_order,
    )


def page_text(regions: Sequence[Region]) -> str:
    """Return the text of all lines in reading order, one a row."""
    return "\n".join(r.text for r in regions if r.kind is RegionKind.LINE)


def reading_order(boxes: Boxes) -> list[int]:
    """Order boxes as they are read, by recursive cuts along the widest white gap (XY-cut).

    Args:
        boxes: (n, 4) in any one unit that is the same both ways.

    Returns:
        Indices 0..n-1 in reading order: left before right, top before bottom.
    """
    order: list[int] = []
    stack = [np.arange(len(boxes))]
    while stack:
        members = stack.pop()
        parts = _cut(boxes, members) if len(members) > 1 else None
        if parts is None:
            ranked = sorted(members, key=lambda i: (boxes[i, 1], boxes[i, 0], i))
            order.extend(int(i) for i in ranked)
        else:
            stack.extend(reversed(parts))
    return order


def _cut(boxes: Boxes, members: NDArray[np.intp]) -> list[NDArray[np.intp]] | None:
    """Split at the widest gap that crosses the whole group; None where there is none."""
    best: tuple[float, int, float] | None = None
    for axis in (1, 0):
        starts, ends = boxes[members, axis], boxes[members, axis + 2]
        order = np.argsort(starts, kind="stable")
        reach = np.maximum.accumulate(ends[order])[:-1]
        gaps = starts[order][1:] - reach
        if len(gaps) and gaps.max() > 0:
            at = int(gaps.argmax())
            if best is None or gaps[at] > best[0]:
                best = (float(gaps[at]), axis, float(reach[at]))
    if best is None:
        return None
    _, axis, edge = best
    before = boxes[members, axis] < edge
    return [members[before], members[~before]]


def _lines(points: Boxes) -> Groups:
    """Chain each word to the nearest word right of it on the same line."""
    n = len(points)
    heights = points[:, 3] - points[:, 1]
    usual = float(np.median(heights))
    right = np.full(n, -1, dtype=np.int64)
    for start in range(0, n, _ROWS_AT_ONCE):
        rows = slice(start, min(start + _ROWS_AT_ONCE, n))
        overlap = _overlap(points[rows, 1], points[rows, 3], points[:, 1], points[:, 3])
        smaller = np.minimum(heights[rows, None], heights[None, :])
        gap = points[None, :, 0] - points[rows, 2, None]
        widest = _WORD_GAP * np.maximum(np.maximum(heights[rows, None], heights[None, :]), usual)
        # Never chain to the left, and boxes that overlap sideways still follow each other.
        ahead = (points[None, :, 0] + points[None, :, 2]) > (
            points[rows, 0, None] + points[rows, 2, None]
        )
        fits = ahead & (overlap >= _SAME_LINE_OVERLAP * smaller) & (gap <= widest)
        fits &= gap > -0.5 * (points[rows, 2, None] - points[rows, 0, None])
        distance = np.where(fits, np.abs(gap), np.inf)
        nearest = distance.argmin(axis=1)
        found = np.isfinite(distance[np.arange(len(nearest)), nearest])
        right[rows] = np.where(found, nearest, -1)
    # A word follows one word only: the nearest one that points to it.
    follows: dict[int, int] = {}
    for word in np.argsort(-points[:, 2], kind="stable"):
        target = int(right[word])
        if target >= 0:
            follows.setdefault(target, int(word))
    edges = [(word, target) for target, word in follows.items()]
    groups = _components(n, edges)
    return [sorted(g, key=lambda i: (points[i, 0], i)) for g in groups]


def _paragraphs(boxes: Boxes, sizes: NDArray[np.float64]) -> Groups:
    """Join lines stacked at the page's usual line distance."""
    below, gaps = _nearest_below(boxes, sizes, _LINE_OVERLAP)
    joined = [i for i, j in enumerate(below) if j >= 0]
    if not joined:
        return [[i] for i in range(len(boxes))]
    same_size = [
        i
        for i in joined
        if max(sizes[i], sizes[below[i]]) <= _SIZE_RATIO * min(sizes[i], sizes[below[i]])
    ]
    usual = float(np.median([gaps[i] for i in same_size])) if same_size else _LINE_GAP_LEAST
    limit = min(max(usual * _LINE_GAP_SLACK, _LINE_GAP_LEAST), _LINE_GAP_MOST)
    edges = [(i, int(below[i])) for i in same_size if gaps[i] <= limit]
    return _components(len(boxes), edges)


def _blocks(boxes: Boxes, sizes: NDArray[np.float64], width: float) -> Groups:
    """Join paragraphs that are stacked close, and narrow ones side by side (table cells)."""
    below, gaps = _nearest_below(boxes, sizes, _LINE_OVERLAP)
    edges = [(i, int(j)) for i, j in enumerate(below) if j >= 0 and gaps[i] <= _BLOCK_GAP]
    heights = boxes[:, 3] - boxes[:, 1]
    widths = boxes[:, 2] - boxes[:, 0]
    overlap = _overlap(boxes[:, 1], boxes[:, 3], boxes[:, 1], boxes[:, 3])
    gap = boxes[None, :, 0] - boxes[:, 2, None]
    near = (gap >= 0) & (gap <= _CELL_GAP * np.minimum(sizes[:, None], sizes[None, :]))
    narrow = np.minimum(widths[:, None], widths[None, :]) <= _CELL_WIDTH * width
    beside = overlap >= _SAME_LINE_OVERLAP * np.minimum(heights[:, None], heights[None, :])
    edges += [(int(i), int(j)) for i, j in zip(*np.nonzero(near & narrow & beside), strict=True)]
    return _components(len(boxes), edges)


def _nearest_below(
    boxes: Boxes, sizes: NDArray[np.float64], least_overlap: float
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """For each box the nearest one under it (-1: none) and the gap in text heights."""
    widths = boxes[:, 2] - boxes[:, 0]
    overlap = _overlap(boxes[:, 0], boxes[:, 2], boxes[:, 0], boxes[:, 2])
    enough = overlap >= least_overlap * np.minimum(widths[:, None], widths[None, :])
    gap = boxes[None, :, 1] - boxes[:, 3, None]
    unit = np.minimum(sizes[:, None], sizes[None, :])
    centres = (boxes[:, 1] + boxes[:, 3]) / 2
    under = (centres[None, :] > centres[:, None]) & (gap > -0.5 * unit) & enough
    distance = np.where(under, gap / unit, np.inf)
    nearest = distance.argmin(axis=1)
    smallest = distance[np.arange(len(boxes)), nearest]
    return np.where(np.isfinite(smallest), nearest, -1), smallest


def _overlap(
    a0: NDArray[np.float64], a1: NDArray[np.float64],
    b0: NDArray[np.float64], b1: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Length that each interval of a shares with each of b; negative where they are apart."""
    return np.minimum(a1[:, None], b1[None, :]) - np.maximum(a0[:, None], b0[None, :])


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


def _hulls(boxes: Boxes, groups: Groups) -> Boxes:
    return np.array(
        [np.concatenate([boxes[g, :2].min(axis=0), boxes[g, 2:].max(axis=0)]) for g in groups]
    )


def _assemble(
    words: Sequence[Word],
    boxes: Boxes,
    lines: Groups,
    paragraphs: Groups,
    blocks: Groups,
    word_order: Sequence[int],
    line_order: Sequence[int],
    paragraph_order: Sequence[int],
    block_order: Sequence[int],
) -> tuple[Region, ...]:
    """Number the regions and link each to its parent."""
    starts = np.cumsum([0, len(words), len(lines), len(paragraphs)])
    line_at = {g: int(starts[1]) + i for i, g in enumerate(line_order)}
    paragraph_at = {g: int(starts[2]) + i for i, g in enumerate(paragraph_order)}
    block_at = {g: int(starts[3]) + i for i, g in enumerate(block_order)}
    line_of = {w: g for g, members in enumerate(lines) for w in members}
    paragraph_of = {x: g for g, members in enumerate(paragraphs) for x in members}
    block_of = {p: g for g, members in enumerate(blocks) for p in members}

    # A larger region holds its members' words, rank by rank in reading order.
    line_words: Groups = [lines[g] for g in line_order]
    paragraph_lines: dict[int, list[int]] = {}
    for g in line_order:
        paragraph_lines.setdefault(paragraph_of[g], []).append(g)
    block_paragraphs: dict[int, list[int]] = {}
    for g in paragraph_order:
        block_paragraphs.setdefault(block_of[g], []).append(g)
    line_text = {g: " ".join(words[w].text for w in lines[g]) for g in range(len(lines))}
    paragraph_text = {g: "\n".join(line_text[x] for x in m) for g, m in paragraph_lines.items()}

    regions: list[Region] = []

    def add(kind: RegionKind, order: int, parent: int, text: str, members: list[int]) -> None:
        x0, y0 = boxes[members, :2].min(axis=0)
        x1, y1 = boxes[members, 2:].max(axis=0)
        confidence = float(np.mean([words[w].confidence for w in members]))
        regions.append(
            Region(
                len(regions), kind, parent, order,
                float(x0), float(y0), float(x1), float(y1), text, confidence,
            )
        )

    for order, w in enumerate(word_order):
        add(RegionKind.WORD, order, line_at[line_of[w]], words[w].text, [w])
    for order, g in enumerate(line_order):
        parent = paragraph_at[paragraph_of[g]]
        add(RegionKind.LINE, order, parent, line_text[g], line_words[order])
    for order, g in enumerate(paragraph_order):
        members = [w for x in paragraph_lines[g] for w in lines[x]]
        add(RegionKind.PARAGRAPH, order, block_at[block_of[g]], paragraph_text[g], members)
    for order, g in enumerate(block_order):
        members = [w for p in block_paragraphs[g] for x in paragraph_lines[p] for w in lines[x]]
        text = "\n".join(paragraph_text[p] for p in block_paragraphs[g])
        add(RegionKind.BLOCK, order, -1, text, members)
    return tuple(regions)
