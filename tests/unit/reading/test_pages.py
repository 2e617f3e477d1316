"""One page at a time: which words are taken, and what becomes of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from reportlab.pdfgen.canvas import Canvas

from patchlight.storage.pages import PageInput
from patchlight.storage.records import RegionKind, WordsSource
from patchlight.tasks.common.errors import OcrTimeout
from patchlight.tasks.common.modes import LayoutMode, OcrMode
from patchlight.tasks.documents import ocr
from patchlight.tasks.documents.opening import open_document
from patchlight.tasks.documents.protocol import OpenDocument
from patchlight.tasks.reading.pages import (
    ReadOptions,
    ReadPage,
    read_page,
    read_picture,
    read_regions,
)
from patchlight.tasks.regions import hierarchy
from tests import fixtures
from tests.region_examples import rows_of

PAGE = (0.0, 0.0, 612.0, 792.0)


@pytest.fixture(scope="module")
def options() -> ReadOptions:
    return ReadOptions(
        ocr=OcrMode.AUTO,
        lang="eng",
        dpi=150,
        tesseract=ocr.find_tesseract(None),
        ocr_timeout_s=60,
        image_pixels=0,
        layout=LayoutMode.NEVER,
    )


def read_all(path: str, options: ReadOptions) -> list[ReadPage]:
    with open_document(path) as document:
        return [
            whole(document, read_page(document, "d", page, options, "a.pdf"), options)
            for page in range(1, document.page_count + 1)
        ]


def whole(document: OpenDocument, page: ReadPage, options: ReadOptions) -> ReadPage:
    return replace(page, regions=read_regions(document, page.page, page.regions, options))


def texts(page: ReadPage) -> list[str]:
    return list(page.regions.only(RegionKind.WORD).texts)


def mixed(canvas: Canvas) -> None:
    """A page of text, a scan, a scan with a stamp over it, and a page with neither."""
    fixtures.prose(canvas)
    canvas.showPage()
    fixtures.draw_image(canvas, fixtures.scan(["Plain scan"]), PAGE)
    canvas.showPage()
    fixtures.draw_image(canvas, fixtures.scan(["Stamped scan"]), PAGE)
    canvas.setFont("Helvetica", 14)
    canvas.drawString(350, 60, "RECEIVED 4 May")
    canvas.showPage()


def test_each_page_is_decided_by_itself(tmp_path: Path, options: ReadOptions) -> None:
    text, plain, stamped, blank = read_all(fixtures.make_pdf(tmp_path / "a.pdf", mixed), options)
    assert (text.words_source, text.ocr_dpi) == (WordsSource.TEXT_LAYER, 0)
    assert len(texts(text)) == 132
    assert (plain.words_source, plain.ocr_dpi) == (WordsSource.OCR, 150)
    assert texts(plain) == ["Plain", "scan"]
    assert stamped.words_source is WordsSource.OCR
    assert texts(stamped) == ["Stamped", "scan", "RECEIVED", "4", "May"]
    assert (blank.words_source, len(blank.regions)) == (WordsSource.OCR, 0)


def test_ocr_never_takes_what_the_file_has(tmp_path: Path, options: ReadOptions) -> None:
    never = replace(options, ocr=OcrMode.NEVER, tesseract="")
    text, plain, stamped, _ = read_all(fixtures.make_pdf(tmp_path / "a.pdf", mixed), never)
    assert text.words_source is WordsSource.TEXT_LAYER
    assert (plain.words_source, len(plain.regions)) == (WordsSource.NONE, 0)
    assert stamped.words_source is WordsSource.TEXT_LAYER
    assert texts(stamped) == ["RECEIVED", "4", "May"]


def test_ocr_always_reads_the_picture_of_a_text_page(tmp_path: Path, options: ReadOptions) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 24)
        canvas.drawString(72, 700, "Harbour report")

    always = replace(options, ocr=OcrMode.ALWAYS)
    [page] = read_all(fixtures.make_pdf(tmp_path / "a.pdf", draw), always)
    assert page.words_source is WordsSource.OCR
    assert texts(page) == ["Harbour", "report"]


def test_a_text_layer_without_meaning_is_read_by_ocr(tmp_path: Path, options: ReadOptions) -> None:
    [page] = read_all(fixtures.garbage_pdf(tmp_path / "a.pdf"), options)
    assert page.words_source is WordsSource.OCR
    assert texts(page) == ["Every", "letter", "is", "nothing"]


def test_both_sources_put_a_word_in_the_same_place(tmp_path: Path, options: ReadOptions) -> None:
    """So that a region means the same thing wherever its words came from."""
    plain = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose)
    path = fixtures.with_boxes(plain, crop=(50, 400, 500, 760))
    [layer] = read_all(path, options)
    [scanned] = read_all(path, replace(options, ocr=OcrMode.ALWAYS, dpi=200))
    ours, theirs = layer.regions.only(RegionKind.WORD), scanned.regions.only(RegionKind.WORD)
    matched = 0
    for text, box in zip(ours.texts, ours.boxes, strict=True):
        near = np.abs(theirs.boxes - box).max(axis=1) < 0.004
        matched += sum(theirs.texts[row] == text for row in np.flatnonzero(near)) == 1
    assert layer.words_source is not scanned.words_source
    assert matched > 0.95 * len(ours) > 100


def test_images_are_read_at_their_own_resolution(tmp_path: Path, options: ReadOptions) -> None:
    path = tmp_path / "a.tif"
    fixtures.scan(["Harbour report"], font=70).save(path, dpi=(300, 300))
    [page] = read_all(str(path), options)
    assert (page.ocr_dpi, texts(page)) == (300, ["Harbour", "report"])
    fixtures.scan(["Harbour report"], font=30).save(path, dpi=(100, 100))
    [page] = read_all(str(path), options)
    assert (page.ocr_dpi, texts(page)) == (150, ["Harbour", "report"])


def test_a_poster_is_read_at_a_lower_resolution(tmp_path: Path, options: ReadOptions) -> None:
    def draw(canvas: Canvas) -> None:
        fixtures.draw_image(canvas, fixtures.scan(["Harbour"], font=30), (0, 0, 4320, 5760))

    path = fixtures.make_pdf(tmp_path / "a.pdf", draw, size=(4320, 5760))
    [page] = read_all(path, replace(options, dpi=300))
    assert page.ocr_dpi == 91 and texts(page) == ["Harbour"]  # 40 million pixels


def picture(path: str, options: ReadOptions) -> PageInput:
    with open_document(path) as document:
        return read_picture(document, 1, options)


def test_an_encoder_is_given_no_more_pixels_than_it_can_use(
    tmp_path: Path, options: ReadOptions
) -> None:
    path = fixtures.make_pdf(tmp_path / "a.pdf", fixtures.prose)
    plenty = picture(path, replace(options, image_pixels=10_000_000))
    assert plenty.image is not None and plenty.image.shape == (1650, 1275, 3)
    assert (plenty.width_pt, plenty.height_pt) == (612, 792)
    few = picture(path, replace(options, image_pixels=500_000))
    assert few.image is not None and 0.98 * 500_000 < few.image[..., 0].size <= 502_000
    poster = fixtures.make_pdf(tmp_path / "b.pdf", fixtures.prose, size=(14400, 14400))
    drawn = picture(poster, replace(options, image_pixels=500_000))
    assert drawn.image is not None and drawn.image[..., 0].size <= 502_000


def test_an_image_file_is_given_in_its_own_pixels(tmp_path: Path, options: ReadOptions) -> None:
    path = tmp_path / "a.png"
    scan = fixtures.scan(["Harbour"])
    scan.save(path, dpi=(400, 400))
    seen = picture(str(path), replace(options, image_pixels=10_000_000))
    assert seen.image is not None and seen.image.shape[1::-1] == scan.size


def test_words_come_in_reading_order_with_their_regions(
    tmp_path: Path, options: ReadOptions
) -> None:
    def draw(canvas: Canvas) -> None:
        fixtures.place_words(canvas, [("last", 72, 100), ("second", 104, 700), ("First", 72, 700)])

    [page] = read_all(fixtures.make_pdf(tmp_path / "a.pdf", draw), options)
    assert texts(page) == ["First", "second", "last"]
    assert hierarchy.page_text(page.regions) == "First second\nlast"
    kinds = list(RegionKind)[:4]
    assert {r.kind for r in rows_of(page.regions)} == set(kinds)


def test_a_timeout_names_file_and_page(tmp_path: Path, options: ReadOptions) -> None:
    program = tmp_path / "tesseract"
    program.write_text("#!/bin/sh\nexec sleep 30\n")
    program.chmod(0o755)
    slow = replace(options, tesseract=str(program), ocr_timeout_s=1)
    path = tmp_path / "a.png"
    fixtures.scan(["Harbour"]).save(path)
    with pytest.raises(OcrTimeout, match=r"a\.pdf, page 1.*1 s"):
        read_all(str(path), slow)
