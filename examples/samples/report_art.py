"""The drawings of the annual report: its cover, its charts, a plan and a signature."""

from __future__ import annotations

from typing import Any

from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm

from samples import report_text as words
from samples.layout import GREY, INK, NAVY, RULE, SAND, TEAL, Axes, Drawing


def draw_cover(canv: Any, _: Any) -> None:
    """Draw the cover: a harbour at dusk over a title block."""
    width, height = A4
    base = 330.0
    canv.setTitle("Kelwick Harbour Authority: Annual Report and Accounts 2024")
    canv.setFillColor(NAVY)
    canv.rect(0, base, width, height - base, 0, 1)
    canv.setFillColor(colors.HexColor("#24506B"))
    hills = canv.beginPath()
    hills.moveTo(0, base + 92)
    hills.curveTo(90, base + 170, 150, base + 150, 230, base + 112)
    hills.curveTo(330, base + 190, 430, base + 120, 480, base + 108)
    hills.curveTo(530, base + 120, 570, base + 150, width, base + 140)
    hills.lineTo(width, base + 60)
    hills.lineTo(0, base + 60)
    hills.close()
    canv.drawPath(hills, 0, 1)
    canv.setFillColor(SAND)
    canv.circle(506, base + 262, 34, 0, 1)
    for left in (58, 203, 348):
        _crane(canv, left, base + 78)
    _ship(canv, 120, base + 70)
    for number, shade in enumerate(("#1F7A8C", "#1A6A7D", "#155A6E")):
        top = base + 74 - 26 * number
        canv.setFillColor(colors.HexColor(shade))
        wave = canv.beginPath()
        wave.moveTo(0, top)
        for step in range(6):
            x = step * width / 6
            wave.curveTo(x + 33, top + 9, x + 66, top - 9, x + width / 6, top)
        wave.lineTo(width, base)
        wave.lineTo(0, base)
        wave.close()
        canv.drawPath(wave, 0, 1)
    canv.setFillColor(colors.white)
    canv.setFont("Helvetica-Bold", 13)
    canv.drawString(20 * mm, height - 25 * mm, "KELWICK HARBOUR AUTHORITY")
    canv.setFillColor(NAVY)
    canv.setFont("Helvetica-Bold", 34)
    canv.drawString(20 * mm, 255, "Annual Report")
    canv.drawString(20 * mm, 216, "and Accounts 2024")
    canv.setFillColor(GREY)
    canv.setFont("Helvetica", 11.5)
    canv.drawString(20 * mm, 190, "For the year ended 31 December 2024")
    canv.setStrokeColor(RULE)
    canv.setLineWidth(0.8)
    canv.line(20 * mm, 142, width - 20 * mm, 142)
    for number, (figure, label) in enumerate(words.COVER_FIGURES):
        left = 20 * mm + number * 165
        canv.setFillColor(TEAL)
        canv.setFont("Helvetica-Bold", 21)
        canv.drawString(left, 106, figure)
        canv.setFillColor(INK)
        canv.setFont("Helvetica", 9)
        canv.drawString(left, 90, label)


def _crane(canv: Any, left: float, foot: float) -> None:
    """Draw one quay crane of the cover as a silhouette."""
    canv.setStrokeColor(colors.HexColor("#0B2334"))
    canv.setLineWidth(4)
    for x in (left, left + 38):
        canv.line(x, foot, x, foot + 150)
    canv.setLineWidth(2)
    canv.line(left, foot + 40, left + 38, foot + 40)
    canv.line(left, foot + 40, left + 38, foot + 96)
    canv.setLineWidth(5)
    canv.line(left - 34, foot + 112, left + 92, foot + 112)
    canv.setLineWidth(1.4)
    for x in (left - 32, left + 90):
        canv.line(left + 19, foot + 172, x, foot + 113)
    canv.line(left + 68, foot + 112, left + 68, foot + 74)
    canv.setLineWidth(3)
    canv.line(left, foot + 150, left + 19, foot + 172)
    canv.line(left + 38, foot + 150, left + 19, foot + 172)


def _ship(canv: Any, left: float, line: float) -> None:
    """Draw the container ship of the cover."""
    shades = ("#D98E2B", "#1F7A8C", "#B7C4CC", "#8C4A3A")
    for row in range(3):
        for column in range(11 - row):
            canv.setFillColor(colors.HexColor(shades[(row * 5 + column * 3) % 4]))
            canv.rect(left + 34 + column * 22, line + 36 + row * 11, 21, 10, 0, 1)
    canv.setFillColor(colors.HexColor("#E6ECEF"))
    canv.rect(left + 285, line + 36, 26, 46, 0, 1)
    canv.setFillColor(colors.HexColor("#0B2334"))
    hull = canv.beginPath()
    hull.moveTo(left, line + 38)
    hull.lineTo(left + 335, line + 38)
    hull.lineTo(left + 322, line - 8)
    hull.lineTo(left + 24, line - 8)
    hull.close()
    canv.drawPath(hull, 0, 1)


class QuarterBars(Drawing):
    """Figure 1: containers by quarter, this year beside last year."""

    def paint(self, canv: Any) -> None:
        """Draw grouped bars with their values, and a legend."""
        axes = Axes(40, 34, self.width - 6, self.height - 22, (0, 4), (0, 60))
        ticks = [(number + 0.5, f"Q{number + 1}") for number in range(4)]
        scale = [(value, str(value)) for value in range(0, 61, 10)]
        axes.frame(canv, ticks, scale, "Quarter", "Thousand TEU")
        for shift, shade, values in (
            (0.17, RULE, words.TEU_2023),
            (0.51, TEAL, words.TEU_2024),
        ):
            for number, value in enumerate(values):
                left, right = axes.x(number + shift), axes.x(number + shift + 0.32)
                canv.setFillColor(shade)
                canv.rect(left, axes.bottom, right - left, axes.y(value) - axes.bottom, 0, 1)
                canv.setFillColor(INK)
                canv.setFont("Helvetica", 7.5)
                canv.drawCentredString((left + right) / 2, axes.y(value) + 3, f"{value:.1f}")
        for left, shade, label in ((44, RULE, "2023"), (92, TEAL, "2024")):
            canv.setFillColor(shade)
            canv.rect(left, self.height - 12, 9, 9, 0, 1)
            canv.setFillColor(INK)
            canv.drawString(left + 13, self.height - 10.5, label)


class WaitingLines(Drawing):
    """Figure 2: the mean wait at the anchorage by month, two years."""

    def paint(self, canv: Any) -> None:
        """Draw both lines, mark the peak, and draw a legend."""
        axes = Axes(40, 34, self.width - 6, self.height - 22, (0.6, 12.4), (0, 12))
        ticks = [(number + 1, month) for number, month in enumerate(words.MONTHS)]
        scale = [(value, str(value)) for value in range(0, 13, 2)]
        axes.frame(canv, ticks, scale, "Month", "Mean wait (hours)")
        series = ((GREY, (3, 2), words.WAIT_2023), (SAND, (), words.WAIT_2024))
        for shade, dash, values in series:
            canv.setStrokeColor(shade)
            canv.setFillColor(shade)
            canv.setLineWidth(1.6)
            canv.setDash(*([list(dash)] if dash else []))
            line = canv.beginPath()
            for number, value in enumerate(values):
                step = line.lineTo if number else line.moveTo
                step(axes.x(number + 1), axes.y(value))
            canv.drawPath(line)
            canv.setDash()
            for number, value in enumerate(values):
                canv.circle(axes.x(number + 1), axes.y(value), 1.7, 0, 1)
        peak = max(words.WAIT_2024)
        month = words.WAIT_2024.index(peak) + 1
        canv.setFillColor(INK)
        canv.setFont("Helvetica-Bold", 8)
        canv.drawCentredString(axes.x(month), axes.y(peak) + 6, f"{peak:.1f} h")
        canv.setFont("Helvetica", 7.5)
        for left, (shade, gaps, _), label in zip((44, 104), series, ("2023", "2024"), strict=True):
            canv.setStrokeColor(shade)
            canv.setDash(*([list(gaps)] if gaps else []))
            canv.line(left, self.height - 8, left + 20, self.height - 8)
            canv.setDash()
            canv.drawString(left + 25, self.height - 10.5, label)


class Plan(Drawing):
    """Figure 3: the quays and their berths, seen from above."""

    def paint(self, canv: Any) -> None:
        """Draw the water, the quays and the numbered berths."""
        canv.setFillColor(colors.HexColor("#DDEBF1"))
        canv.rect(0, 0, self.width, self.height, 0, 1)
        canv.setStrokeColor(GREY)
        canv.setLineWidth(0.6)
        for name, left, low, wide, tall, berths, above in words.QUAYS:
            canv.setFillColor(colors.HexColor("#F3EBDD"))
            canv.rect(left, low, wide, tall, 1, 1)
            canv.setFillColor(INK)
            canv.setFont("Helvetica", 7.6)
            canv.drawCentredString(left + wide / 2, low + tall / 2 - 2.6, name)
            edge = low + tall + 8 if above else low - 8
            for number, berth in enumerate(berths):
                x = left + wide * (number + 0.5) / len(berths)
                canv.setFillColor(TEAL)
                canv.circle(x, edge, 6.2, 0, 1)
                canv.setFillColor(colors.white)
                canv.setFont("Helvetica-Bold", 7.4)
                canv.drawCentredString(x, edge - 2.6, str(berth))
        canv.setFillColor(TEAL)
        canv.setFont("Helvetica-Oblique", 8)
        canv.drawString(258, 49, "Inner Basin")
        canv.drawString(640, 49, "Kelwick Roads")
        canv.setStrokeColor(INK)
        canv.setFillColor(INK)
        canv.line(728, 72, 728, 90)
        arrow = canv.beginPath()
        arrow.moveTo(724.5, 87)
        arrow.lineTo(728, 96)
        arrow.lineTo(731.5, 87)
        arrow.close()
        canv.drawPath(arrow, 0, 1)
        canv.setFont("Helvetica-Bold", 7.5)
        canv.drawCentredString(728, 63, "N")


class Signature(Drawing):
    """The chair's signature, as a pen stroke."""

    def paint(self, canv: Any) -> None:
        """Draw the stroke."""
        canv.setStrokeColor(NAVY)
        canv.setLineWidth(1.2)
        canv.setLineCap(1)
        pen = canv.beginPath()
        pen.moveTo(4, 6)
        pen.curveTo(10, 40, 30, 38, 22, 20)
        pen.curveTo(18, 10, 8, 16, 26, 14)
        pen.curveTo(34, 2, 40, 26, 44, 13)
        pen.curveTo(48, 4, 54, 26, 60, 12)
        pen.curveTo(64, 2, 70, 20, 76, 12)
        pen.curveTo(88, 46, 92, 2, 84, 9)
        pen.curveTo(98, 26, 104, 4, 112, 13)
        pen.curveTo(120, 20, 126, 8, 146, 16)
        canv.drawPath(pen)
