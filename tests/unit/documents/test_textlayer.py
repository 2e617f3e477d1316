"""Words of PDF text layers: they must lie where the viewer shows their ink."""

from __future__ import annotations

from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.documents.protocol import OpenDocument
from patchlight.tasks.documents.textlayer import TextLayer
from tests import fixtures
from tests.fixtures import Box

DPI = 100
TOLERANCE_PX = 2.0

# Nothing here is symmetric: a transposed, mirrored or shifted map puts a word off its ink.
WORDS = [
    ("Harbour", 120, 640),
    ("pilot", 330, 655),
    ("quay", 180, 520),
    ("Log", 400, 480),
    ("typography", 210, 350),
    ("Basin", 140, 260),
]
OUTSIDE = [("Nowhere", 20, 760), ("Margin", 520, 20)]
CROP: Box = (100, 230, 500, 690)
"""Left, bottom, right, top in points; holds WORDS and not OUTSIDE."""


def layer_of(document: OpenDocument, page: int = 1) -> TextLayer:
    layer = document.text_layer(page)
    assert layer is not None
    return layer


def boxes_of(layer: TextLayer) -> list[Box]:
    return [(w.x0, w.y0, w.x1, w.y1) for w in layer.words]


def check_ink(path: str, texts: list[str]) -> None:
    with open_document(path) as document:
        layer = layer_of(document)
        assert sorted(w.text for w in layer.words) == sorted(texts)
        gray = document.render(1, DPI, gray=True)
        fixtures.check_on_ink(gray, boxes_of(layer), tolerance=TOLERANCE_PX)


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize(
    ("media", "crop"),
    [
        (None, None),
        (None, CROP),
        ((-72.0, -30.0, 612.0, 792.0), None),
        ((36.0, 18.0, 600.0, 780.0), None),
        ((-72.0, -30.0, 640.0, 800.0), CROP),
        # A CropBox that leaves the MediaBox: only what both hold is shown.
        ((90.0, 200.0, 700.0, 800.0), (0.0, 0.0, 520.0, 700.0)),
    ],
    ids=["plain", "crop", "negative-origin", "positive-origin", "both", "crop-leaves-media"],
)
def test_boxes_lie_on_the_ink(
    tmp_path: Path, rotation: int, media: Box | None, crop: Box | None
) -> None:
    plain = fixtures.make_pdf(tmp_path / "a.pdf", lambda c: fixtures.place_words(c, WORDS))
    path = fixtures.with_boxes(plain, media=media, crop=crop, rotation=rotation)
    check_ink(path, [text for text, _, _ in WORDS])


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_words_outside_the_crop_are_dropped(tmp_path: Path, rotation: int) -> None:
    plain = fixtures.make_pdf(
        tmp_path / "a.pdf", lambda c: fixtures.place_words(c, WORDS + OUTSIDE)
    )
    check_ink(
        fixtures.with_boxes(plain, crop=CROP, rotation=rotation), [text for text, _, _ in WORDS]
    )


@pytest.mark.parametrize("angle", [90, 180, 270])
def test_text_turned_on_the_page_lies_on_its_ink(tmp_path: Path, angle: int) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.translate(300, 400)
        canvas.rotate(angle)
        fixtures.place_words(canvas, [("Tonnage", 40, 60), ("keel", -160, 25)])

    check_ink(fixtures.make_pdf(tmp_path / "a.pdf", draw), ["Tonnage", "keel"])


def test_the_size_of_a_page_is_that_of_the_crop_as_displayed(tmp_path: Path) -> None:
    plain = fixtures.make_pdf(tmp_path / "a.pdf", lambda c: fixtures.place_words(c, WORDS))
    with open_document(fixtures.with_boxes(plain, crop=CROP, rotation=90)) as document:
        shape = document.shape(1)
        assert (shape.width_pt, shape.height_pt, shape.rotation) == (460, 400, 90)
        assert document.render(1, 144, gray=True).shape == (800, 920)
        assert document.render(1, 144, gray=False).shape == (800, 920, 3)


def test_a_word_that_is_cut_by_the_crop_stays_if_most_of_it_is_seen(tmp_path: Path) -> None:
    plain = fixtures.make_pdf(tmp_path / "a.pdf", lambda c: fixtures.place_words(c, WORDS))
    with open_document(fixtures.with_boxes(plain, crop=(125, 230, 500, 690))) as document:
        words = {w.text: w for w in layer_of(document).words}
        assert words["Harbour"].x0 == 0.0 < words["Harbour"].x1
    with open_document(fixtures.with_boxes(plain, crop=(155, 230, 500, 690))) as document:
        assert "Harbour" not in {w.text for w in layer_of(document).words}


def test_words_end_at_spaces_and_at_jumps_without_one(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 12)
        canvas.drawString(72, 700, "one two  three")
        # One string of text whose parts are set far apart, as table cells often are.
        text = canvas.beginText(72, 600)
        text.textOut("left")
        text.moveCursor(300, 0)
        text.textOut("right")
        canvas.drawText(text)

    with open_document(fixtures.make_pdf(tmp_path / "a.pdf", draw)) as document:
        texts = [w.text for w in layer_of(document).words]
    assert texts == ["one", "two", "three", "left", "right"]


def test_a_word_that_breaks_over_two_lines_is_two_boxes(tmp_path: Path) -> None:
    """One box around both halves would cover two lines from margin to margin."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 12)
        canvas.drawString(300, 700, "the regis-")
        canvas.drawString(72, 686, "ter of ships")

    with open_document(fixtures.make_pdf(tmp_path / "a.pdf", draw)) as document:
        words = layer_of(document).words
        shape = document.shape(1)
    assert "".join(w.text for w in words) == "theregis-terofships"
    assert all((w.y1 - w.y0) * shape.height_pt < 14 for w in words)


def test_an_empty_page_has_no_words(tmp_path: Path) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", lambda c: c.rect(100, 100, 50, 50))
    with open_document(path) as document:
        layer = layer_of(document)
    assert layer.words == () and layer.garbage == 0.0 and not layer.usable


def test_prose_is_usable(tmp_path: Path) -> None:
    with open_document(fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose)) as document:
        layer = layer_of(document)
    assert layer.usable and len(layer.words) == 12 * 11 and layer.picture_coverage == 0.0


def test_few_words_over_a_picture_of_the_page_are_a_stamp(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        fixtures.draw_image(canvas, fixtures.scan(["A scan"]), (0, 0, 612, 792))
        canvas.drawString(72, 40, "Scanned by the office")

    with open_document(fixtures.make_pdf(tmp_path / "a.pdf", draw)) as document:
        layer = layer_of(document)
    assert layer.picture_coverage == pytest.approx(1.0, abs=1e-4)
    assert len(layer.words) == 4 and not layer.usable


def test_a_picture_within_a_form_counts_where_it_is_shown(tmp_path: Path) -> None:
    """PDFium gives such a picture's place in the form's own, here much smaller, space."""

    def draw(canvas: Canvas) -> None:
        canvas.beginForm("page")
        fixtures.draw_image(canvas, fixtures.scan(["A scan"]), (0, 0, 61.2, 79.2))
        canvas.endForm()
        canvas.saveState()
        canvas.scale(10, 10)
        canvas.doForm("page")
        canvas.restoreState()

    with open_document(fixtures.make_pdf(tmp_path / "a.pdf", draw)) as document:
        assert layer_of(document).picture_coverage == pytest.approx(1.0, abs=1e-3)


def test_letters_without_a_meaning_are_garbage(tmp_path: Path) -> None:
    with open_document(fixtures.garbage_pdf(tmp_path / "a.pdf")) as document:
        layer = layer_of(document)
    assert layer.words and layer.garbage > 0.9 and not layer.usable


def a_form(canvas: Canvas) -> None:
    canvas.drawString(72, 700, "Home port:")
    canvas.acroForm.textfield(
        name="port", value="Wexcombe", x=180, y=690, width=150, height=24, borderWidth=0
    )


@pytest.mark.parametrize("rotation", [0, 90])
def test_what_is_written_into_a_form_is_on_the_page(tmp_path: Path, rotation: int) -> None:
    """Before, the labels were read and the values were lost."""
    path = fixtures.make_pdf(tmp_path / "a.pdf", a_form)
    path = fixtures.with_boxes(path, rotation=rotation)
    with open_document(path) as document:
        layer = layer_of(document)
        picture = document.render(1, DPI, gray=True)
    assert [word.text for word in layer.words] == ["Home", "port:", "Wexcombe"]
    fixtures.check_on_ink(picture, boxes_of(layer), tolerance=TOLERANCE_PX, margin=5)


def note(flags: int, subtype: str) -> bytes:
    """A page with a word of its own, and a note with another."""
    appearance = "BT /F 14 Tf 10 10 Td (Approved) Tj ET"
    content = "BT /F 14 Tf 72 700 Td (Contract) Tj ET"
    resources = "/Resources << /Font << /F 4 0 R >> >>"
    return fixtures.raw_pdf(
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] {resources} /Contents 5 0 R "
        "/Annots [6 0 R] >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        f"<< /Length {len(content)} >>\nstream\n{content}\nendstream",
        f"<< /Type /Annot /Subtype /{subtype} /Rect [300 400 420 430] /F {flags} "
        "/Contents (Approved) /DA (/F 14 Tf) /AP << /N 7 0 R >> >>",
        f"<< /Type /XObject /Subtype /Form /BBox [0 0 120 30] {resources} "
        f"/Length {len(appearance)} >>\nstream\n{appearance}\nendstream",
    )


@pytest.mark.parametrize("subtype", ["FreeText", "Stamp"])
@pytest.mark.parametrize(("flags", "seen"), [(4, True), (2, False)])
def test_notes_and_stamps_are_read_where_they_are_seen(
    tmp_path: Path, subtype: str, flags: int, seen: bool
) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(note(flags, subtype))
    with open_document(str(path)) as document:
        words = {word.text: word for word in layer_of(document).words}
    assert words.keys() == ({"Contract", "Approved"} if seen else {"Contract"})
    if seen:
        x, y = words["Approved"].x0 * 612, (1 - words["Approved"].y1) * 792
        assert abs(x - 310) < 3 and abs(y - 410) < 6
