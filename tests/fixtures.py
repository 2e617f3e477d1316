"""Documents for the tests, made on the spot: PDFs with awkward boxes, scans, damaged files."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pypdfium2 as pdfium
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

Box = tuple[float, float, float, float]

DARK = 128
"""Gray level below which a pixel is ink."""

SENTENCE = (
    "The harbour office keeps a register of every vessel that enters the outer basin and notes "
    "the hour of arrival the draught and the name of the pilot who brought it in"
)


def make_pdf(
    path: Path,
    draw: Callable[[Canvas], None],
    *,
    size: tuple[float, float] = (612, 792),
    password: str | None = None,
) -> str:
    """One page; ``draw`` may call ``showPage`` for more. Points, origin bottom left."""
    encrypt = StandardEncryption(password, ownerPassword="owner") if password else None
    canvas = Canvas(str(path), pagesize=size, encrypt=encrypt, invariant=1)
    draw(canvas)
    canvas.showPage()
    canvas.save()
    return str(path)


def make_text_pdf(path: Path, pages: Sequence[str]) -> str:
    """Write a PDF with one line of text a page; returns its path."""
    canvas = Canvas(str(path), invariant=True)
    for text in pages:
        canvas.drawString(72, 720, text)
        canvas.showPage()
    canvas.save()
    return str(path)


def with_boxes(
    path: str,
    *,
    media: Box | None = None,
    crop: Box | None = None,
    rotation: int = 0,
) -> str:
    """Give all pages of a PDF another MediaBox, CropBox or /Rotate; the content stays."""
    pdf = pdfium.PdfDocument(path)
    for page in pdf:
        if media:
            page.set_mediabox(*media)
        if crop:
            page.set_cropbox(*crop)
        page.set_rotation(rotation)
    out = Path(path).with_name("boxes-" + Path(path).name)
    pdf.save(str(out))
    pdf.close()
    return str(out)


def place_words(canvas: Canvas, words: Sequence[tuple[str, float, float]], size: int = 14) -> None:
    """Write words, each at its own point."""
    canvas.setFont("Helvetica", size)
    for text, x, y in words:
        canvas.drawString(x, y, text)


def prose(canvas: Canvas, lines: int = 12, top: float = 720, left: float = 72) -> None:
    """Write lines of running text."""
    canvas.setFont("Times-Roman", 11)
    words = SENTENCE.split()
    for i in range(lines):
        shift = i * 5 % len(words)
        line = " ".join((words[shift:] + words[:shift])[:11])
        canvas.drawString(left, top - 14 * i, line)


def scan(
    lines: Sequence[str], *, size: tuple[int, int] = (1275, 1650), font: int = 40
) -> Image.Image:
    """A picture of lines of text, (width, height) in pixels, as a scanner at 150 dpi gives it."""
    image = Image.new("L", size, 255)
    pen = ImageDraw.Draw(image)
    for i, line in enumerate(lines):
        pen.text((120, 150 + 110 * i), line, fill=0, font=ImageFont.load_default(size=font))
    return image


def draw_image(canvas: Canvas, image: Image.Image, box: Box) -> None:
    """Lay a picture into left, bottom, right, top, points."""
    data = io.BytesIO()
    image.save(data, format="PNG")
    data.seek(0)
    left, bottom, right, top = box
    canvas.drawImage(ImageReader(data), left, bottom, right - left, top - bottom)


def raw_pdf(*objects: str, root: int = 1) -> bytes:
    """A PDF of hand-written objects, numbered from 1."""
    out = bytearray(b"%PDF-1.7\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    start = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    for offset in offsets:
        out += f"{offset:010d} 00000 n \n".encode()
    out += f"trailer\n<< /Size {len(objects) + 1} /Root {root} 0 R >>\n".encode()
    out += f"startxref\n{start}\n%%EOF\n".encode()
    return bytes(out)


def garbage_pdf(path: Path) -> str:
    """A page whose font maps every letter to the private use area: it reads as nothing."""
    cmap = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap "
        "1 begincodespacerange <00> <FF> endcodespacerange "
        "1 beginbfrange <21> <7E> <E021> endbfrange endcmap end end"
    )
    text = "BT /F1 28 Tf 72 700 Td (Every letter is nothing) Tj ET"
    path.write_bytes(
        raw_pdf(
            "<< /Type /Catalog /Pages 2 0 R >>",
            "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
            "/Resources << /Font << /F1 5 0 R >> >> >>",
            f"<< /Length {len(text)} >>\nstream\n{text}\nendstream",
            "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 6 0 R >>",
            f"<< /Length {len(cmap)} >>\nstream\n{cmap}\nendstream",
        )
    )
    return str(path)


def ink_box(gray: NDArray[np.uint8], box: Box, margin: int) -> Box | None:
    """The dark pixels within ``margin`` pixels of a box (fractions), as pixels; None if none."""
    height, width = gray.shape
    x0, y0 = max(0, int(box[0] * width) - margin), max(0, int(box[1] * height) - margin)
    x1, y1 = int(np.ceil(box[2] * width)) + margin, int(np.ceil(box[3] * height)) + margin
    rows, cols = np.nonzero(gray[y0:y1, x0:x1] < DARK)
    if not len(rows):
        return None
    return (
        float(x0 + cols.min()),
        float(y0 + rows.min()),
        float(x0 + cols.max() + 1),
        float(y0 + rows.max() + 1),
    )


def check_on_ink(
    gray: NDArray[np.uint8], boxes: Sequence[Box], *, tolerance: float, margin: int = 8
) -> None:
    """Every box must fit the ink it stands on, and all ink must be under a box.

    Args:
        gray: (H, W) uint8 picture of the page; words in it are at least ``margin`` apart.
        boxes: fractions of the page.
        tolerance: pixels that each side may be off.
        margin: pixels around a box in which its ink is looked for.
    """
    assert boxes
    height, width = gray.shape
    uncovered = gray < DARK
    for box in boxes:
        ink = ink_box(gray, box, margin)
        assert ink is not None, f"there is no ink at {box}"
        pixels = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
        off = max(abs(a - b) for a, b in zip(ink, pixels, strict=True))
        assert off <= tolerance, f"ink at {ink}, box at {pixels}: {off:.1f} px apart"
        x0, y0, x1, y1 = (round(v) for v in pixels)
        grown = round(tolerance) + 1
        rows = slice(max(0, y0 - grown), y1 + grown)
        uncovered[rows, max(0, x0 - grown) : x1 + grown] = False
    assert not uncovered.any(), f"ink outside all boxes at {np.argwhere(uncovered)[:3].tolist()}"
