"""The walk through a PDF page's objects: all of them, each with the forms that hold it."""

from __future__ import annotations

from pathlib import Path

import pypdfium2 as pdfium
import pypdfium2.raw as raw
from reportlab.pdfgen.canvas import Canvas

from patchlight.tasks.documents import pagewalk
from tests import fixtures

DEPTH = 6


def nested(canvas: Canvas) -> None:
    """Squares, each in one form more than the one before; the first is in none."""
    for level in reversed(range(DEPTH)):
        canvas.beginForm(f"form{level}")
        canvas.rect(10 * level, 10, 5, 5, fill=1)
        if level + 1 < DEPTH:
            canvas.doForm(f"form{level + 1}")
        canvas.endForm()
    canvas.rect(300, 300, 5, 5, fill=1)
    canvas.doForm("form0")


def test_objects_come_with_their_forms_down_to_the_fourth_level(tmp_path: Path) -> None:
    page = pdfium.PdfDocument(fixtures.make_pdf(tmp_path / "a.pdf", nested))[0]
    found = list(pagewalk.objects(page))
    depths = [len(forms) for _, kind, forms in found if kind == raw.FPDF_PAGEOBJ_PATH]
    assert depths == [0, 1, 2, 3]
    known: set[int] = set()
    for at, kind, forms in found:
        assert set(forms) <= known, "a form comes before what is in it"
        if kind == raw.FPDF_PAGEOBJ_FORM:
            assert pagewalk.matrix_of(at) is not None
            known.add(at)
    places = [pagewalk.bounds(at) for at, kind, _ in found if kind == raw.FPDF_PAGEOBJ_PATH]
    assert all(place is not None and place[2] > place[0] for place in places)
