"""The documents that are ingested while processes are killed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from reportlab.pdfgen.canvas import Canvas

from tests import fixtures

REAL = (
    # Slides without a text layer, and one in which most pages have none: OCR.
    "mmdocir/pdfs/germanwingsdigitalcrisisanalysis-150403064828-conversion-gate01_95.pdf",
    "mmdocir/pdfs/0e94b4197b10096b1f4c699701570fbf.pdf",
    # Papers, a report and a manual with one.
    "mmdocir/pdfs/2310.07609v1.pdf",
    "mmdocir/pdfs/2401.18059v1.pdf",
    "mmdocir/pdfs/698bba535087fa9a7f9009e172a7f763.pdf",
    "mmdocir/pdfs/watch_d.pdf",
    # Scanned receipts and forms.
    "sroie/images/002.jpg",
    "sroie/images/011.jpg",
    "sroie/images/015.jpg",
    "sroie/images/019.jpg",
    "vrdu/pdfs/fara_20110311_Garvey__Schubert___Barer_Duboff__Scott_Short-Form.pdf",
    "vrdu/pdfs/fara_20110818_JETRO__New_York_Kishimoto__Kentaro_Short-Form.pdf",
    # Damaged, encrypted, empty, of no page, of a type that is not read.
    "hostile/qpdf/20-pages.pdf",
    "hostile/qpdf/bad16.pdf",
    "hostile/qpdf/issue-99b.pdf",
    "hostile/qpdf/leading-junk.pdf",
    "hostile/pdfjs/GHOSTSCRIPT-698804-1-fuzzed.pdf",
    "hostile/pdfjs/bug1606566.pdf",
    "hostile/pdfjs/empty.pdf",
    "hostile/pdfjs/poppler-395-0-fuzzed.pdf",
    "hostile/pillow_images/broken_data_stream.png",
    "hostile/pillow_images/crash-2020-10-test.tif",
    "hostile/pillow_images/decompression_bomb.gif",
    "hostile/pillow_images/multipage.tiff",
    "hostile/pillow_images/total-pages-zero.tif",
)
"""Files below ``PATCHLIGHT_DATA``: 166 pages that can be read, 40 of them by OCR only."""


def data() -> Path | None:
    """Return the folder with the data sets, if ``PATCHLIGHT_DATA`` names one that is there."""
    named = os.environ.get("PATCHLIGHT_DATA")
    return Path(named) if named and Path(named).is_dir() else None


def copy_real(folder: Path) -> None:
    """Copy the real documents into a folder.

    Raises:
        SystemExit: they are not there.
    """
    place = data()
    if place is None:
        raise SystemExit("set PATCHLIGHT_DATA to the folder with the data sets, or give --sources")
    folder.mkdir(parents=True, exist_ok=True)
    for name in REAL:
        if not (place / name).is_file():
            raise SystemExit(f"{place / name}: is not there; give --sources")
        shutil.copyfile(place / name, folder / Path(name).name)


def make(folder: Path, documents: int = 6, scans: int = 3) -> None:
    """Write documents made on the spot: text, scans and damaged files.

    Args:
        folder: where to.
        documents: PDFs of four pages with a text layer.
        scans: pictures of text, of one page each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(documents):
        write_text(folder / f"text-{number}.pdf", number)
    for number in range(scans):
        lines = [f"Receipt {number}, line {line}: {fixtures.SENTENCE[:40]}" for line in range(8)]
        fixtures.scan(lines, size=(1275, 1100)).save(folder / f"scan-{number}.png")
    (folder / "damaged.pdf").write_bytes(b"%PDF-1.7\nnothing of a PDF follows")
    (folder / "empty.pdf").write_bytes(b"")
    (folder / "not-read.gif").write_bytes(b"GIF89a")


def describe(sources: Sequence[str], to: Path) -> list[str]:
    """Write a metadata file with a row for each file of some folders.

    Args:
        sources: the folders, or files.
        to: the file to write.

    Returns:
        Options of ``patchlight ingest`` that take it.
    """
    files = sorted(
        file
        for source in map(Path, sources)
        for file in (source.rglob("*") if source.is_dir() else [source])
        if file.is_file()
    )
    rows = [f'"{file}",{number},{file.suffix[1:]}' for number, file in enumerate(files)]
    to.write_text("\n".join(["path,number,suffix", *rows, ""]), encoding="utf-8")
    return ["--metadata", str(to)]


def write_text(path: Path, number: int) -> None:
    """Write a PDF of four pages that no other number gives."""

    def draw(canvas: Canvas) -> None:
        for page in range(4):
            canvas.drawString(72, 750, f"Report {number}, page {page + 1}: {number * 4 + page}")
            fixtures.prose(canvas, lines=20 + page)
            if page < 3:
                canvas.showPage()

    fixtures.make_pdf(path, draw)
