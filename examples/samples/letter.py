"""A typed letter of two pages as a scanner would return it: skewed, noisy, without text."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pypdfium2
from PIL import Image, ImageDraw, ImageFilter
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Frame, Spacer

from samples import letter_text as words
from samples.layout import NO_PADDING, Box, Drawing, MarkedTable, Place, Places, text

NAME = "scanned-letter.tiff"
DPI = 200
SEED = 1787
# Degrees, anticlockwise, by page.
SKEW = (1.8, -1.5)
PAPER, SCANNER_LID, LEVEL = 240, 206, 16

TYPED = ParagraphStyle("typed", fontName="Courier", fontSize=10.8, leading=14.6, spaceAfter=9)
SUBJECT = ParagraphStyle("subject", TYPED, fontName="Courier-Bold")


class Pen(Drawing):
    """The writer's signature."""

    def paint(self, canv: Any) -> None:
        """Draw the stroke."""
        canv.setLineWidth(1.5)
        canv.setLineCap(1)
        pen = canv.beginPath()
        pen.moveTo(6, 28)
        pen.curveTo(22, 44, 26, 4, 12, 8)
        pen.curveTo(4, 14, 44, 34, 50, 20)
        pen.curveTo(52, 8, 36, 14, 56, 16)
        pen.curveTo(64, 28, 70, 8, 78, 17)
        pen.curveTo(86, 30, 88, 2, 98, 16)
        pen.curveTo(110, 46, 120, 40, 108, 12)
        pen.curveTo(118, 20, 132, 12, 168, 22)
        canv.drawPath(pen)


def _letterhead(canv: Any) -> None:
    """Draw the printed head of the first page, and the stamp of the day it came in."""
    width, height = A4
    canv.setFont("Times-Bold", 21)
    canv.drawString(25 * mm, height - 27 * mm, words.FIRM)
    canv.setFont("Times-Italic", 11)
    canv.drawString(25 * mm, height - 33 * mm, words.TRADE)
    canv.setFont("Times-Roman", 9.5)
    for number, line in enumerate(words.ADDRESS):
        canv.drawRightString(width - 25 * mm, height - 23 * mm - 12 * number, line)
    canv.setLineWidth(1.1)
    canv.line(25 * mm, height - 37 * mm, width - 25 * mm, height - 37 * mm)
    canv.saveState()
    canv.setStrokeGray(0.35)
    canv.setFillGray(0.35)
    canv.translate(width - 74 * mm, height - 66 * mm)
    canv.rotate(6)
    canv.setLineWidth(1.6)
    canv.rect(0, 0, 44 * mm, 16 * mm)
    canv.setFont("Helvetica-Bold", 12)
    canv.drawCentredString(22 * mm, 9.5 * mm, "RECEIVED")
    canv.setFont("Helvetica-Bold", 11)
    canv.drawCentredString(22 * mm, 3.4 * mm, words.STAMP)
    canv.restoreState()


def _following_head(canv: Any) -> None:
    """Type the head of the second page."""
    canv.setFont("Courier", 10.8)
    canv.drawString(25 * mm, A4[1] - 24 * mm, words.FOLLOWING)
    canv.drawRightString(A4[0] - 25 * mm, A4[1] - 24 * mm, "Page 2")


def _costs(places: Places) -> MarkedTable:
    """Make the typed list of costs, with the total that it adds up to."""
    rows = [["Item", "Cost"]]
    rows += [[name, f"{cost:,}"] for name, cost in words.COSTS]
    rows.append(["Total, before tax", f"{sum(cost for _, cost in words.COSTS):,}"])
    style = [
        ("FONT", (0, 0), (-1, -1), "Courier", 10.8),
        ("ALIGN", (1, 0), (1, -1), "RIGHT"),
        ("LINEABOVE", (0, 0), (-1, 0), 0.8, "black"),
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, "black"),
        ("LINEABOVE", (0, -1), (-1, -1), 0.8, "black"),
        ("LINEBELOW", (0, -1), (-1, -1), 0.8, "black"),
        ("TOPPADDING", (0, 0), (-1, -1), 4.5),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 5),
    ]
    made = MarkedTable(
        rows, colWidths=[118 * mm, 36 * mm], style=style, hAlign="LEFT", spaceAfter=12
    )
    made.places = places
    made.rows = {"letter-bollard": [row[0] for row in rows].index(words.BOLLARD)}
    return made


def _typed(places: Places) -> bytes:
    """Return the letter as it left the typewriter: a PDF of two pages."""
    target = io.BytesIO()
    canv = Canvas(target, pagesize=A4, invariant=1)
    heads: tuple[tuple[Callable[[Any], None], float], ...] = (
        (_letterhead, 42 * mm),
        (_following_head, 31 * mm),
    )
    for (head, top), pieces in zip(heads, words.PAGES, strict=True):
        head(canv)
        frame = Frame(25 * mm, 18 * mm, A4[0] - 50 * mm, A4[1] - top - 18 * mm, **NO_PADDING)
        story: list[Any] = []
        for kind, content, marks in pieces:
            if kind == "costs":
                story.append(_costs(places))
            elif kind == "signature":
                story.append(Pen(180, 44))
            elif kind == "space":
                story.append(Spacer(1, 10))
            else:
                story.append(
                    text(content, SUBJECT if kind == "subject" else TYPED, places, **marks)
                )
        frame.addFromList(story, canv)
        if story:
            raise ValueError("the letter does not fit its page")
        canv.showPage()
    canv.save()
    return target.getvalue()


def _scan(page: Image.Image, degrees: float, rng: np.random.Generator) -> Image.Image:
    """Pass a clean grey page through a poor scanner."""
    width, height = page.size
    ink = np.asarray(page.filter(ImageFilter.GaussianBlur(0.7)), dtype=np.float32) / 255
    # Ribbon ink is uneven: blotches some centimetres across, and a little grain.
    blotches = rng.normal(0, 1, (height // 60 + 1, width // 60 + 1)).astype(np.float32)
    uneven = Image.fromarray(blotches).resize((width, height), Image.Resampling.BICUBIC)
    black = 52 + 9 * np.asarray(uneven)
    grey = black + (PAPER - black) * np.clip(ink * 1.12 - 0.12, 0, 1)
    sheet = Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(sheet)
    for part in (0.36, 0.63):
        x, y, r = 9.5 / 25.4 * DPI, part * height, 3 / 25.4 * DPI
        draw.ellipse((x - r, y - r, x + r, y + r), fill=SCANNER_LID - 70)
    turned = sheet.rotate(degrees, Image.Resampling.BICUBIC, fillcolor=SCANNER_LID)
    grey = np.asarray(turned, dtype=np.float32)
    # The lid does not close: a shadow down the left side and along the foot.
    across = np.linspace(0, 1, width, dtype=np.float32)
    down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    grey = grey * (1 - 0.20 * np.exp(-across / 0.035) - 0.10 * np.exp(-(1 - down) / 0.03))
    grey += rng.normal(0, 3.2, (height, width)).astype(np.float32)
    noisy = Image.fromarray(np.clip(np.rint(grey / LEVEL) * LEVEL, 0, 255).astype(np.uint8))
    draw = ImageDraw.Draw(noisy)
    for _ in range(330):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        r = rng.uniform(0.2, 1.2)
        draw.ellipse((x - r, y - r, x + r, y + r), fill=int(rng.integers(4, 13)) * LEVEL)
    for _ in range(5):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        wide, tall, start = rng.uniform(40, 130), rng.uniform(30, 90), rng.uniform(0, 360)
        draw.arc((x, y, x + wide, y + tall), start, start + 95, fill=8 * LEVEL, width=1)
    return noisy


def _turn(box: Box, degrees: float, size: tuple[int, int]) -> Box:
    """Return the upright box, in fractions, around a box turned about the middle of the page."""
    width, height = size
    angle = math.radians(degrees)
    xs, ys = [], []
    for x, y in ((box[0], box[1]), (box[2], box[1]), (box[2], box[3]), (box[0], box[3])):
        dx, dy = (x - 0.5) * width, (y - 0.5) * height
        xs.append(0.5 + (dx * math.cos(angle) + dy * math.sin(angle)) / width)
        ys.append(0.5 + (dy * math.cos(angle) - dx * math.sin(angle)) / height)
    return (min(xs), min(ys), max(xs), max(ys))


def write(folder: Path) -> Places:
    """Write the scan into `folder`, and return where its marked answers stand."""
    places = Places()
    document = pypdfium2.PdfDocument(_typed(places))
    rng = np.random.default_rng(SEED)
    frames = []
    for page, degrees in zip(document, SKEW, strict=True):
        clean = page.render(scale=DPI / 72, grayscale=True).to_pil().convert("L")
        frames.append(_scan(clean, degrees, rng))
    document.close()
    frames[0].save(
        folder / NAME,
        save_all=True,
        append_images=frames[1:],
        compression="tiff_adobe_deflate",
        dpi=(DPI, DPI),
    )
    for key, place in places.found.items():
        degrees, size = SKEW[place.page - 1], frames[place.page - 1].size
        places.found[key] = Place(
            place.page, _turn(place.box, degrees, size), _turn(place.block, degrees, size)
        )
    return places
