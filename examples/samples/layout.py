"""Shared drawing code: flowables that remember where on the page they were put."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reportlab.lib import colors
from reportlab.platypus import Flowable, Paragraph, Table

Box = tuple[float, float, float, float]

# For frames: reportlab pads them by default.
NO_PADDING = {"leftPadding": 0, "rightPadding": 0, "topPadding": 0, "bottomPadding": 0}

NAVY = colors.HexColor("#12344D")
TEAL = colors.HexColor("#1F7A8C")
SAND = colors.HexColor("#D98E2B")
MIST = colors.HexColor("#EEF3F5")
RULE = colors.HexColor("#B7C4CC")
INK = colors.HexColor("#222B31")
GREY = colors.HexColor("#66737B")


@dataclass(frozen=True)
class Place:
    """Where an answer stands: boxes are fractions of the displayed page, origin top-left.

    `box` is tight (the lines, the table row, the chart); `block` is the paragraph, the table or
    the chart that holds it.
    """

    page: int
    box: Box
    block: Box


@dataclass
class Places:
    """The places of one document, by key, filled in while it is drawn."""

    found: dict[str, Place] = field(default_factory=dict)

    def add(self, canv: Any, key: str, box: Box, block: Box) -> None:
        """Record `key`; the boxes are x0, y0, x1, y1 in the canvas's current coordinates."""
        if key in self.found:
            raise ValueError(f"{key} was placed twice")
        page = canv.getPageNumber()
        self.found[key] = Place(page, _fractions(canv, box), _fractions(canv, block))


def _fractions(canv: Any, box: Box) -> Box:
    """Turn a box in points, origin bottom-left, into fractions of the page, origin top-left."""
    width, height = canv._pagesize
    left, bottom = canv.absolutePosition(box[0], box[1])
    right, top = canv.absolutePosition(box[2], box[3])
    return (left / width, 1 - top / height, right / width, 1 - bottom / height)


class Text(Paragraph):
    """A paragraph that records the lines on which marked phrases were set."""

    places: Places | None = None
    marks: Mapping[str, str] = {}

    def split(self, wide: float, high: float) -> list[Flowable]:
        """Split over two frames, handing the marks on to both parts."""
        parts: list[Flowable] = super().split(wide, high)
        for part in parts:
            part.places, part.marks = self.places, self.marks
        return parts

    def draw(self) -> None:
        """Draw, then record each marked phrase that this part holds in full."""
        super().draw()
        if self.places is None or not self.marks:
            return
        letters, line_of = "", []
        for number, line in enumerate(self.blPara.lines):
            words = line[1] if isinstance(line, tuple) else [word.text for word in line.words]
            squeezed = "".join("".join(words).split())
            letters += squeezed
            line_of += [number] * len(squeezed)
        leading = self.style.leading
        block = (0.0, 0.0, self.width, self.height)
        for key, phrase in self.marks.items():
            wanted = "".join(phrase.split())
            start = letters.find(wanted)
            if start < 0:
                continue
            top = self.height - line_of[start] * leading
            bottom = self.height - (line_of[start + len(wanted) - 1] + 1) * leading
            self.places.add(self.canv, key, (0.0, bottom, self.width, top), block)


def text(words: str, style: Any, places: Places | None = None, **marks: str) -> Text:
    """Make a paragraph; each keyword maps a key of `places` to the phrase that it marks."""
    made = Text(curly(words), style)
    made.places = places
    made.marks = {key.replace("_", "-"): curly(phrase) for key, phrase in marks.items()}
    return made


def curly(words: str) -> str:
    """Set the apostrophes as a printer would, leaving those of the markup."""
    return re.sub(r"(?<=[A-Za-z])'(?=[a-z ])", "\N{RIGHT SINGLE QUOTATION MARK}", words)


class MarkedTable(Table):
    """A table that records the place of marked rows."""

    places: Places | None = None
    rows: Mapping[str, int] = {}

    def draw(self) -> None:
        """Draw, then record the marked rows."""
        super().draw()
        if self.places is None:
            return
        edges, width = self._rowpositions, self._width
        block = (0.0, 0.0, width, self._height)
        for key, row in self.rows.items():
            self.places.add(self.canv, key, (0.0, edges[row + 1], width, edges[row]), block)


class Drawing(Flowable):
    """A figure of fixed size; a subclass draws it in `paint`."""

    def __init__(
        self, width: float, height: float, places: Places | None = None, key: str = ""
    ) -> None:
        """Keep the size, and the key under which to record the place."""
        super().__init__()
        self.width, self.height, self.places, self.key = width, height, places, key

    def wrap(self, wide: float, high: float) -> tuple[float, float]:
        """Return the fixed size."""
        return self.width, self.height

    def draw(self) -> None:
        """Paint, and record the place."""
        self.canv.saveState()
        self.paint(self.canv)
        self.canv.restoreState()
        if self.places is not None and self.key:
            whole = (0.0, 0.0, self.width, self.height)
            self.places.add(self.canv, self.key, whole, whole)

    def paint(self, canv: Any) -> None:
        """Draw the figure."""
        raise NotImplementedError


@dataclass(frozen=True)
class Axes:
    """A plot area with a linear y axis; it maps data to points."""

    left: float
    bottom: float
    right: float
    top: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]
    font: str = "Helvetica"
    size: float = 7.5

    def x(self, value: float) -> float:
        """Return the abscissa of a value."""
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the ordinate of a value."""
        low, high = self.y_range
        return self.bottom + (value - low) / (high - low) * (self.top - self.bottom)

    def frame(
        self,
        canv: Any,
        x_ticks: Sequence[tuple[float, str]],
        y_ticks: Sequence[tuple[float, str]],
        x_label: str,
        y_label: str,
    ) -> None:
        """Draw grid lines, the axes, their ticks and their labels."""
        canv.setLineWidth(0.4)
        canv.setFont(self.font, self.size)
        for value, label in y_ticks:
            canv.setStrokeColor(colors.HexColor("#DCE3E7"))
            canv.line(self.left, self.y(value), self.right, self.y(value))
            canv.setFillColor(INK)
            canv.drawRightString(self.left - 4, self.y(value) - self.size * 0.35, label)
        canv.setStrokeColor(INK)
        canv.setLineWidth(0.7)
        canv.line(self.left, self.bottom, self.right, self.bottom)
        canv.line(self.left, self.bottom, self.left, self.top)
        for value, label in x_ticks:
            canv.line(self.x(value), self.bottom, self.x(value), self.bottom - 2.5)
            canv.drawCentredString(self.x(value), self.bottom - 3.5 - self.size, label)
        middle = (self.left + self.right) / 2
        canv.drawCentredString(middle, self.bottom - 8 - 2 * self.size, x_label)
        canv.saveState()
        canv.translate(self.left - 4 - 3.2 * self.size, (self.bottom + self.top) / 2)
        canv.rotate(90)
        canv.drawCentredString(0, 0, y_label)
        canv.restoreState()
