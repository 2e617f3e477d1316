"""Regions beside words, lines, paragraphs and blocks: passages, tables, figures, ...; pure.

They are put together from what the layout model found in the page's picture, from the file's own
pictures and graphics, from lines that are ruled, and from the words; each at the scale that a
question may ask for. A box of the model is snapped to the lines of words inside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.common.pageobjects import PageObjects
from patchlight.tasks.kernels.geometry import hull
from patchlight.tasks.regions import captions, figures, hierarchy
from patchlight.tasks.regions.detections import Detection, Label
from patchlight.tasks.regions.drafts import (
    Boxes,
    Draft,
    Written,
    area_of,
    is_any,
    stacked,
    within,
)
from patchlight.tasks.regions.ruledlines import Rules
from patchlight.tasks.regions.tablegrid import Grid, grid_of

Indices = NDArray[np.intp]

PROPOSALS_VERSION = 1
"""Raise when the same words, boxes and rules may give other regions."""

MOST = 200
"""Most regions of a page, but for words, lines and cells; what matters least is left out."""

LEAST = 80
"""Proposals that a page may have however many paragraphs and blocks there are."""

_KIND = {
    Label.TEXT: RegionKind.PASSAGE,
    Label.REFERENCE: RegionKind.PASSAGE,
    Label.TITLE: RegionKind.HEADING,
    Label.FIGURE: RegionKind.FIGURE,
    Label.TABLE: RegionKind.TABLE,
    Label.FIGURE_CAPTION: RegionKind.CAPTION,
    Label.TABLE_CAPTION: RegionKind.CAPTION,
    Label.HEADER: RegionKind.HEADER,
    Label.FOOTER: RegionKind.FOOTER,
    Label.EQUATION: RegionKind.EQUATION,
}
_GRAPHIC = (RegionKind.FIGURE, RegionKind.PICTURE, RegionKind.DRAWING)
_HOLDS = (*_GRAPHIC, RegionKind.TABLE)
"""Kinds that a caption may be about."""

_ORDER = (
    RegionKind.PASSAGE,
    RegionKind.SECTION,
    RegionKind.HEADING,
    RegionKind.CAPTION,
    RegionKind.FIGURE,
    RegionKind.PICTURE,
    RegionKind.DRAWING,
    RegionKind.TABLE,
    RegionKind.EXHIBIT,
    RegionKind.ROW,
    RegionKind.COLUMN,
    RegionKind.CELL,
    RegionKind.EQUATION,
    RegionKind.HEADER,
    RegionKind.FOOTER,
)
"""In which order kinds are stored."""

_LEAST_KEPT = (RegionKind.ROW, RegionKind.COLUMN)
"""What is left out first where a page has too many."""

_OTHER_CLASS = 0.8
"""Of what the model found, boxes that overlap by a larger IoU are one thing, the better one; but a
table may look like a figure or like text."""

_DUPLICATE = 0.9
"""IoU beyond which two regions of one sort are one."""

_CLOSE = 0.04
"""Fraction of the page: lines whose centre is so close to a figure may be its labels or title."""

_SURE = 0.5
"""Score beyond which a table of the model's is believed to be one, whatever stands in it."""

_LEAST_ROWS, _FILLED, _CELL_WORDS = 3, 0.5, 3.0
"""Else words are a table's in so many rows at least, with words in this share of the cells, and no
more of them in a cell, on average."""

_OVERLAP = 0.5
"""IoU with a table beyond which what looks like one too is the same."""

_LEAST_AREA = 1e-4
"""Share of the page's area; smaller boxes of the model are specks."""


@dataclass(frozen=True, slots=True)
class BesideWords:
    """What is known of a page beside its words.

    Attributes:
        detections: what the layout model found, best first.
        objects: the file's own pictures and graphics.
        rules: lines that are ruled on the page.
        inked: (n, 4) boxes around ink that is in no word, fractions of the page.
    """

    detections: Sequence[Detection] = ()
    objects: PageObjects = field(default_factory=PageObjects)
    rules: Rules = field(default_factory=Rules)
    inked: Boxes = field(default_factory=lambda: np.empty((0, 4)))


def propose(regions: Regions, seen: BesideWords, width_pt: float, height_pt: float) -> Regions:
    """Add proposals to a page's words, lines, paragraphs and blocks.

    Args:
        regions: of ``hierarchy.regions_of``.
        seen: what else is known of the page.
        width_pt: width of the page in points.
        height_pt: its height in points.

    Returns:
        The same regions, unchanged and with their indices, then the proposals, kind by kind,
        each kind in reading order. Of regions but words, lines and cells there are at most
        ``MOST``, or ``LEAST`` more than there are paragraphs and blocks. No box has a side below
        ``hierarchy.MIN_SIDE``.
    """
    page = Written.of(regions, width_pt, height_pt)
    elements = _snapped(page, seen.detections)
    found = _figures(elements, seen)
    tables, parts = _tables(page, elements, seen.rules)
    found += tables + parts
    holders = [p for p in found if p.kind in _HOLDS]
    found += _captions(page, elements, holders)
    found += _exhibits(page, holders, found)
    found += _sections(page, elements, found)
    plain = {RegionKind.EQUATION, RegionKind.HEADER, RegionKind.FOOTER, RegionKind.PASSAGE}
    found += _not_there(page, [p for p in elements if p.kind in plain])
    for proposal in found:
        proposal.text = proposal.text or page.text_in(proposal.box)
    found = _most(found, len(page.paragraphs) + len(page.blocks))
    return Regions.joined([regions, *_assembled(found, page.points, len(regions))])


def _snapped(page: Written, detections: Iterable[Detection]) -> list[Draft]:
    """Fit what the model found to the lines inside."""
    kept: list[Draft] = []
    for detection in detections:
        box, kind = np.array(detection.box), _KIND[detection.label]
        if area_of(box) < _LEAST_AREA:
            continue
        inside = page.lines.boxes[within(page.lines.boxes, box)]
        if len(inside):
            lines = hull(inside)
            box = hull(np.stack([box, lines])) if kind in _GRAPHIC else lines
        table = kind is RegionKind.TABLE
        rivals = [p for p in kept if (p.kind is RegionKind.TABLE) is table]
        if not is_any(box, rivals, _OTHER_CLASS):
            about = detection.label is Label.TABLE_CAPTION
            kept.append(Draft(kind, box, detection.score, about=about))
    return kept


def _figures(elements: Sequence[Draft], seen: BesideWords) -> list[Draft]:
    found = [p for p in elements if p.kind is RegionKind.FIGURE]
    for kind, boxes in (
        (RegionKind.PICTURE, figures.pictures_of(seen.objects)),
        (RegionKind.DRAWING, figures.drawings_of(seen.objects)),
        (RegionKind.DRAWING, seen.inked),
    ):
        for box in boxes:
            if not is_any(box, found, _DUPLICATE):
                found.append(Draft(kind, box, 1.0))
    return found


def _tables(
    page: Written, elements: Sequence[Draft], rules: Rules
) -> tuple[list[Draft], list[Draft]]:
    """Tables, and their rows, columns and cells."""
    points = Rules(rules.across * page.points, rules.down * page.points)
    tables, parts = [], []
    for found in (p for p in elements if p.kind is RegionKind.TABLE):
        tables.append(found)
        members, grid = _grid(page, found.box, points)
        if found.confidence >= _SURE or _is_table(grid):
            parts += _parts_of(page, found, members, grid, len(tables))
    # The model takes many a table without lines for a figure or for text.
    for box, trust in [
        *((p.box, p.confidence) for p in elements if p.kind is RegionKind.FIGURE),
        *((box, 1.0) for box in page.blocks.boxes),
    ]:
        members, grid = _grid(page, box, points)
        if not _is_table(grid):
            continue
        around = hull(page.words.boxes[members])
        if not is_any(around, tables, _OVERLAP):
            tables.append(Draft(RegionKind.TABLE, around, trust))
            parts += _parts_of(page, tables[-1], members, grid, len(tables))
    return tables, parts


def _grid(page: Written, box: Boxes, rules: Rules) -> tuple[Indices, Grid]:
    """Words in a box, and the grid that they stand in."""
    members = np.flatnonzero(within(page.words.boxes, box))
    return members, grid_of(page.words.boxes[members] * page.points, box * page.points, rules)


def _is_table(grid: Grid) -> bool:
    """Whether words stand in rows and columns as those of a table do, and not as text does."""
    if grid.columns < 2 or grid.rows < _LEAST_ROWS:
        return False
    filled = len(grid.cells) / (grid.rows * grid.columns)
    words = float(np.mean([len(cell.words) for cell in grid.cells]))
    return filled >= _FILLED and words <= _CELL_WORDS


def _parts_of(
    page: Written, table: Draft, members: Indices, grid: Grid, number: int
) -> list[Draft]:
    """Rows, columns and cells of a table."""
    if grid.columns < 2 or grid.rows < 2:
        return []
    boxes = page.words.boxes[members]
    confidence = page.words.confidence.tolist()
    rows: dict[int, list[Draft]] = {}
    columns: dict[int, list[Draft]] = {}
    for place in grid.cells:
        some = list(place.words)
        words = members[some].tolist()
        trust = sum(confidence[word] for word in words) / len(words)
        text = " ".join(page.words.texts[word] for word in words)
        made = Draft(
            RegionKind.CELL,
            hull(boxes[some]),
            trust,
            text,
            rank=(number, place.row, place.first),
        )
        rows.setdefault(place.row, []).append(made)
        if place.first == place.last:
            columns.setdefault(place.first, []).append(made)
    found: list[Draft] = []
    for kind, groups, separator in (
        (RegionKind.ROW, rows, "\t"),
        (RegionKind.COLUMN, columns, "\n"),
    ):
        for at, cells in sorted(groups.items()):
            around = hull(np.stack([cell.box for cell in cells]))
            trust = sum(cell.confidence for cell in cells) / len(cells)
            text = separator.join(cell.text for cell in cells)
            part = Draft(kind, around, trust, text, table, (number, at))
            found.append(part)
            if kind is RegionKind.ROW:
                for cell in cells:
                    cell.parent = part
                found += cells
    table.text = "\n".join(p.text for p in found if p.kind is RegionKind.ROW)
    return found


def _captions(page: Written, elements: Sequence[Draft], holders: Sequence[Draft]) -> list[Draft]:
    """Captions, each tied to the figure or table that it is about."""
    found = [p for p in elements if p.kind is RegionKind.CAPTION]
    for text, box in zip(page.paragraphs.texts, page.paragraphs.boxes, strict=True):
        about = captions.starts_caption(text)
        if about and not is_any(box, found, 0.5):
            found.append(Draft(RegionKind.CAPTION, box, 1.0, about=about == "table"))
    for caption in found:
        about = captions.starts_caption(page.text_in(caption.box))
        caption.about = about == "table" if about else caption.about
    tied = captions.targets(
        stacked(found) * page.points,
        [caption.about for caption in found],
        stacked(holders) * page.points,
        [holder.kind is RegionKind.TABLE for holder in holders],
        float(page.points[3]),
    )
    for caption, target in zip(found, tied, strict=True):
        caption.parent = holders[target] if target >= 0 else None
    return found


def _exhibits(page: Written, holders: Sequence[Draft], others: Sequence[Draft]) -> list[Draft]:
    """Figures and tables with their captions, and figures with the lines close around them."""
    found: list[Draft] = []
    for holder in holders:
        captions_of = [p.box for p in others if p.parent is holder and p.kind is RegionKind.CAPTION]
        hulls = [hull(np.stack([holder.box, *captions_of]))] if captions_of else []
        if holder.kind in _GRAPHIC:
            margin = np.array([-_CLOSE, -_CLOSE, _CLOSE, _CLOSE])
            close = page.lines.boxes[within(page.lines.boxes, holder.box + margin)]
            hulls.append(hull(np.concatenate([holder.box[None], close])))
        for box in hulls:
            if not is_any(box, [*holders, *found], _DUPLICATE):
                found.append(Draft(RegionKind.EXHIBIT, box, holder.confidence))
                holder.parent = holder.parent or found[-1]
    return found


def _sections(page: Written, elements: Sequence[Draft], others: Sequence[Draft]) -> list[Draft]:
    """Headings, and sections: each heading with what stands under it."""
    headings = [p for p in elements if p.kind is RegionKind.HEADING]
    boxes = np.concatenate(
        [page.paragraphs.boxes, stacked([p for p in others if p.kind in _HOLDS])]
    )
    clear = ~np.array([is_any(box, headings, 0.5) for box in boxes], dtype=bool)
    boxes = boxes[clear]
    order = hierarchy.reading_order(boxes * page.points)
    under = captions.under_headings(stacked(headings) * page.points, boxes * page.points, order)
    found = list(headings)
    for heading, members in zip(headings, under, strict=True):
        if members:
            around = hull(np.concatenate([heading.box[None], boxes[members]]))
            heading.parent = Draft(RegionKind.SECTION, around, heading.confidence)
            found.append(heading.parent)
    return found


def _not_there(page: Written, proposals: Sequence[Draft]) -> list[Draft]:
    """Leave out passages that are a paragraph or a block anyway."""
    there = [
        Draft(kind, box, 1.0)
        for kind, boxes in (
            (RegionKind.PARAGRAPH, page.paragraphs.boxes),
            (RegionKind.BLOCK, page.blocks.boxes),
        )
        for box in boxes
    ]
    return [
        p
        for p in proposals
        if p.kind is not RegionKind.PASSAGE or not is_any(p.box, there, _DUPLICATE)
    ]


def _most(found: list[Draft], counted: int) -> list[Draft]:
    """Keep as many as a page may have, the least sure rows and columns going first."""
    cells = [p for p in found if p.kind is RegionKind.CELL]
    others = [p for p in found if p.kind is not RegionKind.CELL]
    room = max(MOST - counted, LEAST)
    if len(others) > room:
        ranked = sorted(others, key=lambda p: (p.kind in _LEAST_KEPT, -p.confidence, *p.box))
        kept = set(map(id, ranked[:room]))
        others = [p for p in others if id(p) in kept]
        for proposal in (*others, *cells):
            while proposal.parent is not None and id(proposal.parent) not in kept:
                proposal.parent = proposal.parent.parent
    return others + cells


def _assembled(found: Sequence[Draft], points: Boxes, first: int) -> list[Regions]:
    """Number the proposals, kind by kind, and make regions of them.

    Args:
        found: the proposals.
        points: (4,) what fractions are multiplied by to be points.
        first: index of the first.
    """
    kinds: list[list[Draft]] = []
    for kind in _ORDER:
        some = sorted((p for p in found if p.kind is kind), key=lambda p: (p.rank, *p.box))
        if some and not some[0].rank:
            some = [some[i] for i in hierarchy.reading_order(stacked(some) * points)]
        if some:
            kinds.append(some)
    index = {id(p): first + i for i, p in enumerate(p for some in kinds for p in some)}
    return [
        Regions.of_kind(
            hierarchy.with_area(stacked(some)),
            some[0].kind,
            [p.text for p in some],
            np.array([p.confidence for p in some], np.float64),
            np.array([-1 if p.parent is None else index[id(p.parent)] for p in some]),
            index[id(some[0])],
        )
        for some in kinds
    ]
