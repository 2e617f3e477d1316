"""The annual report of an invented harbour authority: prose, tables, charts, a landscape page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reportlab.lib import colors
from reportlab.lib.enums import TA_RIGHT
from reportlab.lib.pagesizes import A4, landscape
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    Frame,
    NextPageTemplate,
    PageBreak,
    PageTemplate,
    Spacer,
)

from samples import report_text as words
from samples.layout import (
    GREY,
    INK,
    MIST,
    NAVY,
    NO_PADDING,
    RULE,
    TEAL,
    MarkedTable,
    Places,
    Text,
    curly,
    text,
)
from samples.report_art import Plan, QuarterBars, Signature, WaitingLines, draw_cover

NAME = "harbour-annual-report.pdf"
LEFT, COLUMN = 62 * mm, 128 * mm
PAGES = {"statement": 2, "trade": 3, "vessels": 4, "berths": 5, "environment": 6, "finance": 7}
PAGES |= {"people": 8}

BODY = ParagraphStyle(
    "body", fontName="Helvetica", fontSize=10, leading=14.4, textColor=INK, spaceAfter=6.5
)
LEAD = ParagraphStyle("lead", BODY, fontSize=11.5, leading=16.5, textColor=NAVY, spaceAfter=9)
TITLE = ParagraphStyle(
    "title", fontName="Helvetica-Bold", fontSize=22, leading=27, textColor=NAVY, spaceAfter=10
)
HEAD = ParagraphStyle(
    "head",
    fontName="Helvetica-Bold",
    fontSize=11.5,
    leading=15,
    textColor=TEAL,
    spaceBefore=6,
    spaceAfter=4,
    keepWithNext=1,
)
CAPTION = ParagraphStyle(
    "caption", fontName="Helvetica-Bold", fontSize=8.4, leading=11, textColor=NAVY, spaceAfter=4
)
FIGURE_CAPTION = ParagraphStyle("figure-caption", CAPTION, spaceAfter=12)
STYLES = {"lead": LEAD, "head": HEAD, "caption": CAPTION, "figcaption": FIGURE_CAPTION}
NOTE = ParagraphStyle("note", fontName="Helvetica", fontSize=7.4, leading=9.6, textColor=INK)
CELL = ParagraphStyle("cell", fontName="Helvetica", fontSize=8.2, leading=10, textColor=INK)
LABEL = ParagraphStyle("label", CELL, fontSize=8.6)
CELL_HEAD = ParagraphStyle("cell-head", CELL, fontName="Helvetica-Bold", textColor=colors.white)
CELL_HEAD_RIGHT = ParagraphStyle("cell-head-right", CELL_HEAD, alignment=TA_RIGHT)

RULED = [
    ("FONT", (0, 0), (-1, -1), "Helvetica", 8.6),
    ("TEXTCOLOR", (0, 0), (-1, -1), INK),
    ("FONT", (0, 0), (-1, 0), "Helvetica-Bold", 8.4),
    ("TEXTCOLOR", (0, 0), (-1, 0), colors.white),
    ("BACKGROUND", (0, 0), (-1, 0), NAVY),
    ("ALIGN", (1, 0), (-1, -1), "RIGHT"),
    ("VALIGN", (0, 0), (-1, -1), "MIDDLE"),
    ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
    ("LINEBELOW", (0, -1), (-1, -1), 1.0, NAVY),
    ("TOPPADDING", (0, 0), (-1, -1), 3.2),
    ("BOTTOMPADDING", (0, 0), (-1, -1), 3.6),
]


def _furniture(canv: Any, doc: Any) -> None:
    """Draw the running head, the folio, the side column and the footnotes of an inner page."""
    width, height = canv._pagesize
    upright = height > width
    left = 20 * mm if upright else 17 * mm
    right = width - left
    canv.setFont("Helvetica", 7.8)
    canv.setFillColor(GREY)
    canv.drawString(left, height - 14 * mm, "Kelwick Harbour Authority")
    canv.drawRightString(right, height - 14 * mm, "Annual Report and Accounts 2024")
    canv.setStrokeColor(RULE)
    canv.setLineWidth(0.5)
    canv.line(left, height - 16 * mm, right, height - 16 * mm)
    canv.setFillColor(NAVY)
    canv.setFont("Helvetica-Bold", 8.5)
    canv.drawRightString(right, 11 * mm, str(doc.page))
    if not upright:
        return
    top = height - 34 * mm
    if doc.page == PAGES["statement"]:
        _contents(canv, top)
        top -= 66 * mm
    for figure, label in words.SIDE.get(doc.page, ()):
        top = _side_figure(canv, top, figure, label)
    notes = words.NOTES.get(doc.page, ())
    made = [(text(note, NOTE, doc.places, **marks)) for note, marks in notes]
    base = 17 * mm
    for note in reversed(made):
        base += note.wrap(COLUMN, 200)[1]
        note.drawOn(canv, LEFT, base - note.height)
        base += 2.5
    if made:
        canv.setStrokeColor(GREY)
        canv.line(LEFT, base + 3, LEFT + 42 * mm, base + 3)


def _contents(canv: Any, top: float) -> None:
    """Draw the list of contents in the side column."""
    canv.setFillColor(NAVY)
    canv.setFont("Helvetica-Bold", 9.5)
    canv.drawString(20 * mm, top, "In this report")
    for number, (key, page) in enumerate(PAGES.items()):
        line = top - 16 - 17 * number
        canv.setFillColor(INK)
        canv.setFont("Helvetica", 8)
        canv.drawString(20 * mm, line, curly(words.SECTIONS[key]))
        canv.drawRightString(54 * mm, line, str(page))
        canv.setStrokeColor(RULE)
        canv.line(20 * mm, line - 5, 54 * mm, line - 5)


def _side_figure(canv: Any, top: float, figure: str, label: str) -> float:
    """Draw one key figure of the side column, and return where the next begins."""
    canv.setStrokeColor(TEAL)
    canv.setLineWidth(1.6)
    canv.line(20 * mm, top + 12, 30 * mm, top + 12)
    canv.setFillColor(TEAL)
    canv.setFont("Helvetica-Bold", 17)
    canv.drawString(20 * mm, top - 9, figure)
    made = Text(label, ParagraphStyle("side", NOTE, fontSize=8, leading=10.4, textColor=GREY))
    _, tall = made.wrap(35 * mm, 200)
    made.drawOn(canv, 20 * mm, top - 15 - tall)
    below: float = top - tall - 44
    return below


def _change(before: float, after: float) -> str:
    """Return the change in per cent, with its sign."""
    return f"{100 * (after / before - 1):+.1f}%".replace("-", "\N{EN DASH}")


def _table(
    rows: list[list[Any]],
    widths: Sequence[float],
    strong: tuple[int, ...],
    places: Places,
    **marks: int,
) -> MarkedTable:
    """Make a ruled table; `strong` names the rows of totals, and a keyword marks a row."""
    style: list[Any] = list(RULED)
    for row in strong:
        style += [
            ("FONT", (0, row), (-1, row), "Helvetica-Bold", 8.6),
            ("BACKGROUND", (0, row), (-1, row), MIST),
        ]
    made = MarkedTable(rows, colWidths=[width * mm for width in widths], style=style, hAlign="LEFT")
    made.places, made.rows = places, {key.replace("_", "-"): row for key, row in marks.items()}
    return made


def _cargo_table(places: Places) -> MarkedTable:
    """Make table 1: the cargo by commodity."""
    rows: list[list[Any]] = [["Commodity", "2023", "2024", "Change"]]
    for name, before, after in words.CARGO:
        rows.append([Text(name, LABEL), f"{before:,}", f"{after:,}", _change(before, after)])
    before, after = sum(row[1] for row in words.CARGO), sum(row[2] for row in words.CARGO)
    rows.append(["Total", f"{before:,}", f"{after:,}", _change(before, after)])
    wind = [row[0] for row in words.CARGO].index("Offshore wind components") + 1
    return _table(rows, [62, 22, 22, 22], (len(rows) - 1,), places, cargo_wind=wind)


def _indicator_table(places: Places) -> MarkedTable:
    """Make table 3: the environmental indicators."""
    rows: list[list[Any]] = [["Indicator", "Unit", "2023", "2024"]]
    for name, unit, before, after in words.INDICATORS:
        rows.append(
            [name, Text(unit, ParagraphStyle("u", CELL, alignment=TA_RIGHT)), before, after]
        )
    return _table(rows, [66, 26, 18, 18], (), places)


def _account_table(places: Places) -> MarkedTable:
    """Make table 4: income and expenditure, with totals that add up."""
    rows: list[list[Any]] = [["\N{EURO SIGN} thousand", "2023", "2024", "Change"]]
    strong = []
    totals = []
    for title, lines in (("income", words.INCOME), ("expenditure", words.EXPENDITURE)):
        for name, before, after in lines:
            label = Text(name, LABEL) if "<" in name else name
            rows.append([label, f"{before:,}", f"{after:,}", _change(before, after)])
        before, after = sum(line[1] for line in lines), sum(line[2] for line in lines)
        totals.append((before, after))
        rows.append([f"Total {title}", f"{before:,}", f"{after:,}", _change(before, after)])
        strong.append(len(rows) - 1)
    surplus = [totals[0][year] - totals[1][year] for year in (0, 1)]
    for name, pair in (
        ("Operating surplus", surplus),
        ("Finance costs", [-cost for cost in words.FINANCE_COSTS]),
        (
            "Surplus for the year",
            [a - b for a, b in zip(surplus, words.FINANCE_COSTS, strict=True)],
        ),
    ):
        shown = [f"{value:,}" if value >= 0 else f"({-value:,})" for value in pair]
        rows.append([name, *shown, _change(*pair)])
    strong += [len(rows) - 3, len(rows) - 1]
    dredging = [row[0] for row in rows].index("Maintenance dredging and survey")
    return _table(rows, [62, 22, 22, 22], tuple(strong), places, account_dredging=dredging)


def _board_table(places: Places) -> MarkedTable:
    """Make table 5: the members of the Board."""
    rows = [["Name", "Office", "Term ends", "Meetings"], *(list(row) for row in words.BOARD)]
    made = _table(rows, [44, 46, 19, 19], (), places)
    made.setStyle([("ALIGN", (1, 0), (1, -1), "LEFT")])
    return made


def _berth_table(places: Places) -> MarkedTable:
    """Make table 2, of the landscape page: every berth."""
    right = (0, 3, 4, 6, 7, 8, 9)
    head = [
        Text(name, CELL_HEAD_RIGHT if column in right else CELL_HEAD)
        for column, name in enumerate(words.BERTH_COLUMNS)
    ]
    rows: list[list[Any]] = [head, *(list(berth) for berth in words.BERTHS)]
    calls = [sum(berth[column] for berth in words.BERTHS) for column in (6, 7)]
    rows.append(
        ["", "All berths", "", "", "", "", f"{calls[0]:,}", f"{calls[1]:,}", "", "", "", ""]
    )
    widths = [12, 25, 27, 14, 20, 34, 14, 14, 22, 18, 21, 42]
    cement = [berth[2] for berth in words.BERTHS].index("Cement") + 1
    made = _table(rows, widths, (len(rows) - 1,), places, berth_cement=cement)
    style: list[Any] = [
        ("ALIGN", (0, 1), (-1, -1), "LEFT"),
        ("VALIGN", (0, 0), (-1, 0), "BOTTOM"),
        ("FONT", (0, 1), (-1, -2), "Helvetica", 8.2),
        ("LEFTPADDING", (0, 0), (-1, -1), 4),
        ("RIGHTPADDING", (0, 0), (-1, -1), 4),
    ]
    style += [("ALIGN", (at, 1), (at, -1), "RIGHT") for at in right]
    style += [("BACKGROUND", (0, row), (-1, row), MIST) for row in range(2, len(rows) - 1, 2)]
    made.setStyle(style)
    return made


def _story(places: Places) -> list[Flowable]:
    """Return the flow of the report, from the cover's blank frame to the last page."""

    def section(key: str) -> list[Flowable]:
        parts = [
            text(words.SECTIONS[key], TITLE, places, **{f"section_{key}": words.SECTIONS[key]})
        ]
        for kind, content, marks in words.PROSE[key]:
            style = STYLES.get(kind, BODY)
            if kind == "part":
                parts += parts_by_name[content]()
            else:
                parts.append(text(content, style, places, **marks))
        return parts

    parts_by_name: dict[str, Any] = {
        "cargo": lambda: [_cargo_table(places), Spacer(1, 10)],
        "bars": lambda: [QuarterBars(COLUMN, 175, places, "chart-quarters"), Spacer(1, 3)],
        "lines": lambda: [WaitingLines(COLUMN, 175, places, "chart-waiting"), Spacer(1, 3)],
        "berths": lambda: [_berth_table(places), Spacer(1, 8)],
        "indicators": lambda: [_indicator_table(places), Spacer(1, 10)],
        "board": lambda: [_board_table(places), Spacer(1, 10)],
        "plan": lambda: [Plan(263 * mm, 104), Spacer(1, 4)],
        "accounts": lambda: [_account_table(places), Spacer(1, 10)],
        "signature": lambda: [Signature(150, 34)],
    }
    story: list[Flowable] = [Spacer(1, 1)]
    for key, page in PAGES.items():
        template = "wide" if key == "berths" else "noted" if page in words.NOTES else "inner"
        story += [NextPageTemplate(template), PageBreak()]
        story += section(key)
    return story


def write(folder: Path) -> Places:
    """Write the report into `folder`, and return where its marked answers stand."""
    places = Places()
    doc = BaseDocTemplate(
        str(folder / NAME),
        pagesize=A4,
        invariant=1,
        pageCompression=1,
        title="Kelwick Harbour Authority: Annual Report and Accounts 2024",
        author="Kelwick Harbour Authority (invented)",
        subject="Sample document",
    )
    doc.places = places
    width, height = A4
    inner = Frame(LEFT, 20 * mm, COLUMN, height - 46 * mm, id="inner", **NO_PADDING)
    noted = Frame(LEFT, 36 * mm, COLUMN, height - 62 * mm, id="noted", **NO_PADDING)
    whole = Frame(17 * mm, 16 * mm, height - 34 * mm, width - 40 * mm, id="wide", **NO_PADDING)
    doc.addPageTemplates(
        [
            PageTemplate("cover", [Frame(0, 0, 40, 40)], onPage=draw_cover),
            PageTemplate("inner", [inner], onPage=_furniture),
            PageTemplate("noted", [noted], onPage=_furniture),
            PageTemplate("wide", [whole], onPage=_furniture, pagesize=landscape(A4)),
        ]
    )
    doc.build(_story(places))
    for key, page in PAGES.items():
        if places.found.pop(f"section-{key}").page != page:
            raise ValueError(f"section {key} is not on page {page}")
    if doc.page != max(PAGES.values()):
        raise ValueError(f"the report has {doc.page} pages")
    return places
