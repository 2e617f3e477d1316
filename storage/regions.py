"""A page's regions, as columns: one record from the reader to the tables and back. Pure.

A page has hundreds of regions, and crosses several processes that do not look at them: as columns
they are seven things to send instead of some thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from patchlight.storage.records import IntArray, RegionKind, Word

KINDS = tuple(RegionKind)
"""The kinds by their codes. Codes are for memory alone; what is stored are names."""

_CODES = {kind: code for code, kind in enumerate(KINDS)}

Doubles = NDArray[np.float64]
Rows = NDArray[np.intp]

_COLUMNS: tuple[tuple[str, type[np.generic], tuple[int, ...]], ...] = (
    ("codes", np.uint8, ()),
    ("index", np.int32, ()),
    ("parent", np.int32, ()),
    ("order", np.int32, ()),
    ("boxes", np.float64, (4,)),
    ("confidence", np.float64, ()),
)
"""Name, type, and shape of one value of each column but the texts."""


@dataclass(frozen=True, eq=False, slots=True)
class Regions:
    """R regions of a page, or some of them.

    Attributes:
        codes: (R,) uint8, what each is: positions in `KINDS`.
        index: (R,) int32, position among all regions of the page, 0-based; parents come after
            children in no particular order, so look them up by index.
        parent: (R,) int32, index of the region that holds it or that it belongs to, -1 for none.
        order: (R,) int32, rising in reading order among the regions of its kind; 0, 1, 2, ... as
            they are made, places among all regions of the page as they are read back.
        boxes: (R, 4) float64 x0, y0, x1, y1, fractions of the displayed page, origin top left.
        texts: what is written in each, in reading order; a table's cells parted by tabs.
        confidence: (R,) float64 in 0..1; of words, or the layout model's score, by the kind.

    Raises:
        ValueError: a column has another shape or type, or a code is of no kind.
    """

    codes: NDArray[np.uint8]
    index: IntArray
    parent: IntArray
    order: IntArray
    boxes: Doubles
    texts: tuple[str, ...]
    confidence: Doubles

    def __post_init__(self) -> None:
        count = len(self.texts)
        for name, type_, shape in _COLUMNS:
            column: NDArray[Any] = getattr(self, name)
            if column.dtype != type_ or column.shape != (count, *shape):
                raise ValueError(
                    f"{name} of {count} regions must be {(count, *shape)} {type_.__name__}, "
                    f"got {column.shape} {column.dtype}"
                )
        if count and self.codes.max() >= len(KINDS):
            raise ValueError(f"{self.codes.max()} is not the code of a kind of region")

    def __len__(self) -> int:
        return len(self.texts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Regions):
            return NotImplemented
        return self.texts == other.texts and all(
            np.array_equal(getattr(self, name), getattr(other, name)) for name, *_ in _COLUMNS
        )

    __hash__ = None  # type: ignore[assignment]

    @classmethod
    def of_kind(
        cls,
        boxes: Doubles,
        kind: RegionKind,
        texts: Iterable[str],
        confidence: Doubles,
        parent: NDArray[np.integer[Any]] | None = None,
        first: int = 0,
    ) -> Regions:
        """Return all regions of one kind of a page, in reading order.

        Args:
            boxes: (R, 4) fractions of the page.
            kind: what they are.
            texts: what is written in them.
            confidence: (R,) 0..1.
            parent: (R,) indices of what they belong to; None for nothing.
            first: index of the first.
        """
        order = np.arange(len(boxes), dtype=np.int32)
        return cls(
            codes=np.full(len(boxes), _CODES[kind], np.uint8),
            index=order + np.int32(first),
            parent=np.full_like(order, -1) if parent is None else parent.astype(np.int32),
            order=order,
            boxes=boxes,
            texts=tuple(texts),
            confidence=confidence,
        )

    @classmethod
    def of_words(cls, words: Sequence[Word]) -> Regions:
        """Return words, in reading order, as regions that belong to nothing."""
        boxes = np.array([(w.x0, w.y0, w.x1, w.y1) for w in words], np.float64).reshape(-1, 4)
        trust = np.array([w.confidence for w in words], np.float64)
        return cls.of_kind(boxes, RegionKind.WORD, [w.text for w in words], trust)

    @classmethod
    def joined(cls, parts: Sequence[Regions]) -> Regions:
        """Return the regions of several records (at least one), in order."""
        columns = {
            name: np.concatenate([getattr(part, name) for part in parts]) for name, *_ in _COLUMNS
        }
        return cls(texts=tuple(text for part in parts for text in part.texts), **columns)

    def kind(self, row: int) -> RegionKind:
        """Return what the region of a row is."""
        return KINDS[int(self.codes[row])]

    def rows(self, *kinds: RegionKind) -> Rows:
        """Return the rows of regions of some kinds, in order."""
        wanted = np.zeros(len(KINDS), dtype=bool)
        wanted[[_CODES[kind] for kind in kinds]] = True
        return np.flatnonzero(wanted[self.codes])

    def take(self, rows: Rows) -> Regions:
        """Return the regions of some rows, in the order of these."""
        columns = {name: getattr(self, name)[rows] for name, *_ in _COLUMNS}
        return Regions(texts=tuple(self.texts[row] for row in rows.tolist()), **columns)

    def part(self, start: int, stop: int) -> Regions:
        """Return the regions of the rows from ``start`` to before ``stop``; nothing is copied."""
        columns = {name: getattr(self, name)[start:stop] for name, *_ in _COLUMNS}
        return Regions(texts=self.texts[start:stop], **columns)

    def only(self, *kinds: RegionKind) -> Regions:
        """Return the regions of some kinds, in order."""
        return self.take(self.rows(*kinds))


NO_REGIONS = Regions.of_words(())


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Where each of R regions of a page has its place among the others.

    Attributes:
        order: (R,) int32, in reading order over all kinds, 0-based.
        table: (R,) int32, index of the table that a row, column or cell is of; -1 for others.
        row, col: (R,) int32, the table's rows and columns that it begins in, 0-based; -1 where
            that is not known, or there is none.
        row_span, col_span: (R,) int32, how many of these it takes; -1 as above.
    """

    order: IntArray
    table: IntArray
    row: IntArray
    col: IntArray
    row_span: IntArray
    col_span: IntArray

    @classmethod
    def unknown(cls, regions: Regions) -> Arrangement:
        """Return that of regions of which no more is known than their own order."""
        none = np.full(len(regions), -1, np.int32)
        return cls(regions.order, none, none, none, none, none)
