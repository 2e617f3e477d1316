"""A page's words as regions: words, lines, paragraphs, blocks, in reading order; pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise, zip_longest

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import NO_REGIONS, Regions
from patchlight.tasks.kernels import geometry
from patchlight.tasks.regions import grouping
from patchlight.tasks.regions.grouping import Boxes, Grouping, Groups, group_hulls

REGIONS_VERSION = 2
"""Raise when the same words, and whatever else is seen of a page, may give other regions."""

MIN_SIDE = 1e-5
"""Fraction of the page: no region is narrower or lower. Keeps an area in float32."""

_GUTTER = 2.0
"""A gap between columns counts so much more than one between rows: columns are read first, where
rows of white happen to lie side by side."""

_UPRIGHT_LETTERS, _UPRIGHT = 3, 1.8
"""A word of so many letters that is so much higher than wide is written along the page."""

_UPRIGHT_GAP = 1.2
"""Widest space in a line that is written along the page, in widths of the line."""


def regions_of(words: Regions, width_pt: float, height_pt: float) -> Regions:
    """Group a page's words.

    Args:
        words: the page's words, any order.
        width_pt: width of the page in points.
        height_pt: its height in points.

    Returns:
        All words in reading order, then all lines, paragraphs and blocks, each of them in
        reading order; ``index`` is their position and ``parent`` points to the next larger
        region. Every word is in exactly one line, every line in one paragraph,
        every paragraph in one block. No box has a side below ``MIN_SIDE``. The result does not
        depend on the order of the words.
    """
    if not len(words):
        return NO_REGIONS
    fractions = with_area(words.boxes)
    # As they are stored, so that stored words give the same regions again.
    fractions = fractions.astype(np.float32).astype(np.float64)
    trust = words.confidence.astype(np.float32)
    sides = fractions[:, [1, 0, 3, 2]].T.tolist()
    keys = list(zip(*sides, words.texts, trust.tolist(), strict=True))
    order = np.array(sorted(range(len(words)), key=keys.__getitem__), np.intp)
    words, fractions = words.take(order), fractions[order]
    points = fractions * np.array([width_pt, height_pt, width_pt, height_pt])
    grouped = _group(words.texts, points)

    paragraph_boxes = group_hulls(group_hulls(points, grouped.lines), grouped.paragraphs)
    blocks = [
        grouped.blocks[b] for b in reading_order(group_hulls(paragraph_boxes, grouped.blocks))
    ]
    blocks = [[block[i] for i in reading_order(paragraph_boxes[block])] for block in blocks]
    return _assemble(words, fractions, Grouping(grouped.lines, grouped.paragraphs, blocks))


def page_text(regions: Regions) -> str:
    """Return the text of all lines in reading order, one a row."""
    return "\n".join(regions.only(RegionKind.LINE).texts)


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
    for axis, worth in ((1, 1.0), (0, _GUTTER)):
        starts, ends = boxes[members, axis], boxes[members, axis + 2]
        order = np.argsort(starts, kind="stable")
        reach = np.maximum.accumulate(ends[order])[:-1]
        gaps = starts[order][1:] - reach
        if len(gaps) and gaps.max() > 0:
            at = int(gaps.argmax())
            if best is None or worth * gaps[at] > best[0]:
                best = (worth * float(gaps[at]), axis, float(reach[at]))
    if best is None:
        return None
    _, axis, edge = best
    before = boxes[members, axis] < edge
    return [members[before], members[~before]]


def with_area(boxes: Boxes) -> Boxes:
    """Grow boxes, (n, 4) fractions, inside the page, to sides of at least MIN_SIDE."""
    low, high = np.clip(boxes[:, :2], 0.0, 1.0), np.clip(boxes[:, 2:], 0.0, 1.0)  # each (n, 2)
    thin = high - low < MIN_SIDE  # (n, 2)
    # A little more than the least, which float32 takes off again.
    start = np.clip((low + high - 1.1 * MIN_SIDE) / 2, 0.0, 1.0 - 1.1 * MIN_SIDE)
    low, high = np.where(thin, start, low), np.where(thin, start + 1.1 * MIN_SIDE, high)
    return np.concatenate([low, high], axis=1)  # (n, 4)


def _group(texts: Sequence[str], points: Boxes) -> Grouping:
    """Group words, those that are written along the page apart from the others."""
    upright = _upright(texts, points)
    if not upright.any():
        return grouping.group(texts, points)
    lines: Groups = []
    paragraphs: Groups = []
    blocks: Groups = []
    for chosen in (~upright, upright):
        members = np.nonzero(chosen)[0].tolist()
        if not members:
            continue
        boxes = points[members]
        if chosen is upright:  # turned to the right, as text that reads upwards must be
            boxes = np.stack([-boxes[:, 3], boxes[:, 0], -boxes[:, 1], boxes[:, 2]], axis=1)
        part = grouping.group([texts[i] for i in members], boxes)
        blocks += [[p + len(paragraphs) for p in block] for block in part.blocks]
        paragraphs += [[x + len(lines) for x in paragraph] for paragraph in part.paragraphs]
        lines += [[members[w] for w in line] for line in part.lines]
    return Grouping(lines, paragraphs, blocks)


def _upright(texts: Sequence[str], points: Boxes) -> NDArray[np.bool_]:
    """Which words are written along the page: long ones by their shape, short ones by these."""
    widths, heights = points[:, 2] - points[:, 0], points[:, 3] - points[:, 1]
    long = np.array([len(text) >= _UPRIGHT_LETTERS for text in texts])
    upright: NDArray[np.bool_] = long & (heights > _UPRIGHT * widths)
    for i in np.nonzero(upright)[0]:
        overlap = np.minimum(points[:, 2], points[i, 2]) - np.maximum(points[:, 0], points[i, 0])
        gap = np.maximum(points[:, 1] - points[i, 3], points[i, 1] - points[:, 3])
        beside = (overlap >= 0.8 * widths) & (widths >= 0.5 * widths[i])
        upright |= ~long & beside & (gap <= _UPRIGHT_GAP * widths[i]) & (widths <= 1.5 * widths[i])
    return upright


def _assemble(words: Regions, boxes: Boxes, grouped: Grouping) -> Regions:
    """Number the regions, link each to its parent, and give each its text.

    Args:
        words: the words.
        boxes: (n, 4) their boxes, fractions of the page.
        grouped: the groups; blocks and the members of each group in reading order.
    """
    paragraph_order = [p for block in grouped.blocks for p in block]
    line_order = [x for p in paragraph_order for x in grouped.paragraphs[p]]
    word_order = [w for x in line_order for w in grouped.lines[x]]
    # The groups of each level in reading order, as counts of members that follow each other.
    line_sizes = [len(grouped.lines[x]) for x in line_order]
    paragraph_sizes = [len(grouped.paragraphs[p]) for p in paragraph_order]
    block_sizes = [len(block) for block in grouped.blocks]

    word_text = [words.texts[w] for w in word_order]
    line_text = _joined(word_text, line_sizes, " ")
    paragraph_text = _joined(line_text, paragraph_sizes, "\n")
    confidence = words.confidence[word_order].astype(np.float32).astype(np.float64)
    word_boxes = boxes[word_order]
    levels = [(RegionKind.WORD, word_text, np.ones(len(words), dtype=np.intp))]
    for kind, texts, sizes in (
        (RegionKind.LINE, line_text, line_sizes),
        (RegionKind.PARAGRAPH, paragraph_text, paragraph_sizes),
        (RegionKind.BLOCK, _joined(paragraph_text, block_sizes, "\n"), block_sizes),
    ):
        words_below = levels[-1][2]
        counts = np.add.reduceat(words_below, geometry.offsets(sizes)[:-1])
        levels.append((kind, texts, counts))

    parents = [np.repeat(np.arange(len(s)), s) for s in (line_sizes, paragraph_sizes, block_sizes)]
    regions: list[Regions] = []
    first = 0
    for (kind, texts, counts), above in zip_longest(levels, parents):
        starts = geometry.offsets(counts)[:-1]
        means = np.add.reduceat(confidence, starts) / counts
        parent = None if above is None else above + first + len(texts)
        around = geometry.hulls(word_boxes, starts)
        regions.append(Regions.of_kind(around, kind, texts, means, parent, first))
        first += len(texts)
    return Regions.joined(regions)


def _joined(texts: Sequence[str], sizes: Sequence[int], separator: str) -> list[str]:
    """Join so many texts each, in order."""
    return [separator.join(texts[a:b]) for a, b in pairwise(geometry.offsets(sizes).tolist())]
