"""A two-column paper of an invented survey office: equations, a table, a diagram and a plot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from reportlab.lib import colors
from reportlab.lib.enums import TA_CENTER, TA_JUSTIFY
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    FrameBreak,
    NextPageTemplate,
    PageTemplate,
    Spacer,
)

from samples import paper_text as words
from samples.layout import INK, NO_PADDING, Axes, Drawing, MarkedTable, Places, text

NAME = "two-column-paper.pdf"
SIDE, GUTTER, TOP, BOTTOM = 18 * mm, 7 * mm, 22 * mm, 20 * mm
COLUMN = (A4[0] - 2 * SIDE - GUTTER) / 2
TITLE_HEIGHT = 60 * mm

BODY = ParagraphStyle(
    "body", fontName="Times-Roman", fontSize=10, leading=12.3, textColor=INK, alignment=TA_JUSTIFY
)
STYLES = {
    "": ParagraphStyle("indented", BODY, firstLineIndent=10),
    "first": BODY,
    "head": ParagraphStyle(
        "head",
        fontName="Times-Bold",
        fontSize=10.6,
        leading=13,
        textColor=INK,
        spaceBefore=9,
        spaceAfter=3.5,
        keepWithNext=1,
    ),
    "equation": ParagraphStyle(
        "equation", BODY, alignment=TA_CENTER, spaceBefore=5, spaceAfter=6, fontSize=10
    ),
    "caption": ParagraphStyle(
        "caption", BODY, fontSize=8.6, leading=10.4, spaceBefore=4, spaceAfter=9
    ),
    "table-caption": ParagraphStyle(
        "table-caption", BODY, fontSize=8.6, leading=10.4, spaceBefore=9, spaceAfter=4
    ),
    "reference": ParagraphStyle(
        "reference",
        BODY,
        fontSize=8.4,
        leading=10,
        leftIndent=13,
        firstLineIndent=-13,
        spaceAfter=2,
    ),
    "small": ParagraphStyle("small", BODY, fontSize=8.2, leading=9.8, spaceBefore=8),
}
CENTRED = ParagraphStyle("centred", BODY, alignment=TA_CENTER)
TITLE = ParagraphStyle("title", CENTRED, fontName="Times-Bold", fontSize=18, leading=22)
ABSTRACT = ParagraphStyle(
    "abstract", BODY, fontSize=9.2, leading=11.2, leftIndent=13 * mm, rightIndent=13 * mm
)


class Pocket(Drawing):
    """Figure 1: a section through the berth pocket, the ship and the tug."""

    def paint(self, canv: Any) -> None:
        """Draw water, bed, silt, ship, tug and the labelled clearances."""
        width, line, bed = self.width, 96.0, 34.0
        canv.setFillColor(colors.HexColor("#E4EFF4"))
        canv.rect(0, bed - 10, width, line - bed + 10, 0, 1)
        canv.setFillColor(colors.HexColor("#B79B74"))
        _shape(
            canv,
            *((0, 0), (width, 0), (width, bed + 14), (206, bed + 14), (188, bed - 10)),
            *((52, bed - 10), (40, bed + 14), (0, bed + 14)),
        )
        canv.setFillColor(colors.HexColor("#8A7458"))
        _shape(
            canv,
            *((52, bed - 10), (188, bed - 10), (192, bed - 4), (150, bed + 1)),
            *((100, bed + 3), (48, bed - 2)),
        )
        canv.setFillColor(colors.HexColor("#3C4A54"))
        _shape(canv, (60, line + 16), (172, line + 16), (166, bed + 22), (66, bed + 22))
        canv.setFillColor(colors.HexColor("#A43D2F"))
        _shape(canv, (64, bed + 32), (168, bed + 32), (166, bed + 22), (66, bed + 22))
        canv.setFillColor(colors.HexColor("#D98E2B"))
        _shape(canv, (206, line + 9), (236, line + 9), (232, line - 10), (209, line - 10))
        canv.rect(213, line + 9, 11, 10, 0, 1)
        canv.setStrokeColor(INK)
        canv.setLineWidth(0.8)
        canv.line(172, line + 12, 206, line + 7)
        canv.setLineWidth(0.6)
        for x, low, high in ((116, bed + 2, bed + 22), (26, bed + 14, line)):
            canv.line(x, low, x, high)
            for end, lean in ((low, 3), (high, -3)):
                canv.line(x, end, x - 2, end + lean)
                canv.line(x, end, x + 2, end + lean)
        canv.setFillColor(INK)
        canv.setFont("Times-Italic", 8.5)
        canv.drawString(120, bed + 9, "c")
        canv.drawString(30, bed + 38, "h")
        canv.setFont("Times-Roman", 8)
        canv.drawCentredString(186, line + 20, "tow line")
        canv.drawString(211, line + 23, "tug")
        canv.setFillColor(colors.white)
        canv.drawCentredString(116, line - 12, "ship")
        canv.drawCentredString(84, bed - 8, "silt")
        canv.setFillColor(INK)
        canv.drawCentredString(116, 6, "dredged pocket")


def _shape(canv: Any, *corners: tuple[float, float]) -> None:
    """Fill a polygon."""
    path = canv.beginPath()
    path.moveTo(*corners[0])
    for corner in corners[1:]:
        path.lineTo(*corner)
    path.close()
    canv.drawPath(path, 0, 1)


def infill(day: np.ndarray) -> np.ndarray:
    """Return the height of silt on each day: it builds up and is dredged on two days."""
    cycle_start = np.select([day < 92, day < 198], [0, 92], 198)
    left_over = np.select([day < 92, day < 198], [0.18, 0.10], 0.07)
    height: np.ndarray = left_over + 0.96 * (1 - np.exp(-(day - cycle_start) / 88))
    return height


class BedLevel(Drawing):
    """Figure 2: the estimated silt, the echo-sounder surveys and the two dredgings."""

    def paint(self, canv: Any) -> None:
        """Draw the estimate with its band, the surveys, the dredgings and a legend."""
        axes = Axes(
            38, 30, self.width - 8, self.height - 28, (0, 300), (0, 1.0), "Times-Roman", 7.8
        )
        axes.frame(
            canv,
            [(day, str(day)) for day in range(0, 301, 50)],
            [(step / 5, f"{step / 5:.1f}") for step in range(6)],
            "Day of trial",
            "Silt above dredged level (m)",
        )
        noise = np.random.default_rng(20240).normal(0, 0.022, 101)
        days = np.linspace(0, 300, 101)
        smooth = np.convolve(np.pad(noise, 2, mode="edge"), np.ones(5) / 5, "valid")
        estimate = infill(days) + smooth
        canv.setFillColor(colors.HexColor("#CFE3E8"))
        upper = [(axes.x(d), axes.y(v + 0.06)) for d, v in zip(days, estimate, strict=True)]
        lower = [(axes.x(d), axes.y(max(v - 0.06, 0))) for d, v in zip(days, estimate, strict=True)]
        _shape(canv, *((float(x), float(y)) for x, y in upper + lower[::-1]))
        canv.setStrokeColor(colors.HexColor("#1F7A8C"))
        canv.setLineWidth(1.2)
        path = canv.beginPath()
        for number, (day, value) in enumerate(zip(days, estimate, strict=True)):
            (path.lineTo if number else path.moveTo)(float(axes.x(day)), float(axes.y(value)))
        canv.drawPath(path)
        canv.setFillColor(colors.HexColor("#A43D2F"))
        for day in words.SURVEY_DAYS:
            value = float(infill(np.array(day - 0.5))) + 0.03 * np.sin(day)
            canv.rect(axes.x(day) - 2, axes.y(value) - 2, 4, 4, 0, 1)
        canv.setStrokeColor(INK)
        canv.setFillColor(INK)
        canv.setLineWidth(0.6)
        canv.setDash([2, 2])
        for day in words.DREDGED:
            canv.line(axes.x(day), axes.bottom, axes.x(day), axes.top)
        canv.setDash()
        canv.setFont("Times-Italic", 7.8)
        for day in words.DREDGED:
            canv.drawCentredString(axes.x(day), axes.top + 3, f"dredged, day {day}")
        canv.setFont("Times-Roman", 7.8)
        top = self.height - 8
        canv.setStrokeColor(colors.HexColor("#1F7A8C"))
        canv.setLineWidth(1.2)
        canv.line(40, top + 2.5, 56, top + 2.5)
        canv.drawString(60, top, "tug-power estimate")
        canv.setFillColor(colors.HexColor("#A43D2F"))
        canv.rect(148, top + 0.5, 4, 4, 0, 1)
        canv.setFillColor(INK)
        canv.drawString(157, top, "echo-sounder survey")


class WindBars(Drawing):
    """Figure 3: the error by class of wind."""

    def paint(self, canv: Any) -> None:
        """Draw one bar for each class, with its number of berthings."""
        count = len(words.WIND)
        axes = Axes(
            38, 30, self.width - 8, self.height - 8, (0, count), (0, 1.4), "Times-Roman", 7.8
        )
        axes.frame(
            canv,
            [(at + 0.5, name) for at, (name, _, _) in enumerate(words.WIND)],
            [(step / 10, f"{step / 10:.1f}") for step in range(0, 15, 2)],
            "Mean wind (m/s)",
            "Mean absolute error (m)",
        )
        for at, (_, berthings, error) in enumerate(words.WIND):
            left, right, high = axes.x(at + 0.2), axes.x(at + 0.8), axes.y(error)
            canv.setFillColor(colors.HexColor("#1F7A8C" if at < 4 else "#A43D2F"))
            canv.rect(left, axes.bottom, right - left, high - axes.bottom, 0, 1)
            canv.setFillColor(INK)
            canv.drawCentredString((left + right) / 2, high + 3, str(berthings))


def _table(places: Places) -> MarkedTable:
    """Make table 1: the errors by method."""
    rows = [["Method", "MAE (m)", "Bias (m)", "Within 0.2 m"], *(list(row) for row in words.ERRORS)]
    style = [
        ("FONT", (0, 0), (-1, -1), "Times-Roman", 8.8),
        ("FONT", (0, 0), (-1, 0), "Times-Bold", 8.8),
        ("TEXTCOLOR", (0, 0), (-1, -1), INK),
        ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
        ("LINEABOVE", (0, 0), (-1, 0), 0.9, INK),
        ("LINEBELOW", (0, 0), (-1, 0), 0.5, INK),
        ("LINEBELOW", (0, -1), (-1, -1), 0.9, INK),
        ("LEFTPADDING", (0, 0), (0, -1), 2),
        ("RIGHTPADDING", (-1, 0), (-1, -1), 2),
        ("TOPPADDING", (0, 0), (-1, -1), 2),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 2.4),
    ]
    widths = [COLUMN - 132, 42, 42, 48]
    made = MarkedTable(rows, colWidths=widths, style=style, spaceAfter=10)
    made.places = places
    made.rows = {"error-no-tide": [row[0] for row in rows].index("Tug power, no tide term")}
    return made


def _furniture(canv: Any, doc: Any) -> None:
    """Draw the running head and the folio."""
    width, height = A4
    canv.setFillColor(INK)
    canv.setFont("Times-Italic", 8.6)
    canv.drawString(SIDE, height - 13 * mm, words.JOURNAL)
    canv.drawRightString(width - SIDE, height - 13 * mm, "Quillfeather, Adebarr and Tellworth")
    canv.setStrokeColor(INK)
    canv.setLineWidth(0.4)
    canv.line(SIDE, height - 15 * mm, width - SIDE, height - 15 * mm)
    canv.setFont("Times-Roman", 9)
    canv.drawCentredString(width / 2, 11 * mm, str(words.FIRST_PAGE + doc.page - 1))


def _story(places: Places) -> list[Flowable]:
    """Return the flow of the paper."""
    story: list[Flowable] = [
        text(words.TITLE, TITLE),
        Spacer(1, 7),
        text(words.AUTHORS, ParagraphStyle("authors", CENTRED, fontSize=11, leading=14)),
        text(words.OFFICES, ParagraphStyle("offices", CENTRED, fontSize=8.8, leading=11)),
        Spacer(1, 8),
        text(words.ABSTRACT, ABSTRACT),
        NextPageTemplate("later"),
        FrameBreak(),
    ]
    for kind, content, marks in words.BODY:
        if kind == "break":
            story.append(FrameBreak())
        elif kind == "pocket":
            story += [Spacer(1, 5), Pocket(COLUMN, 126)]
        elif kind == "plot":
            story += [Spacer(1, 5), BedLevel(COLUMN, 172, places, "plot-dredged")]
        elif kind == "wind":
            story += [Spacer(1, 5), WindBars(COLUMN, 132)]
        elif kind == "table":
            story.append(_table(places))
        else:
            story.append(text(content, STYLES[kind], places, **marks))
    return story


def write(folder: Path) -> Places:
    """Write the paper into `folder`, and return where its marked answers stand."""
    places = Places()
    doc = BaseDocTemplate(
        str(folder / NAME),
        pagesize=A4,
        invariant=1,
        pageCompression=1,
        title=words.TITLE,
        author="M. Quillfeather, J. Adebarr, S. Tellworth (invented)",
        subject="Sample document",
    )
    tall = A4[1] - TOP - BOTTOM
    lefts = (SIDE, SIDE + COLUMN + GUTTER)
    title = Frame(SIDE, A4[1] - TOP - TITLE_HEIGHT, A4[0] - 2 * SIDE, TITLE_HEIGHT, **NO_PADDING)
    first = [
        Frame(left, BOTTOM, COLUMN, tall - TITLE_HEIGHT - 4 * mm, **NO_PADDING) for left in lefts
    ]
    later = [Frame(left, BOTTOM, COLUMN, tall, **NO_PADDING) for left in lefts]
    doc.addPageTemplates(
        [
            PageTemplate("first", [title, *first], onPage=_furniture),
            PageTemplate("later", later, onPage=_furniture),
        ]
    )
    doc.build(_story(places))
    return places
