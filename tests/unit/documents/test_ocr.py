"""Words by Tesseract: where they lie, and what is said when it cannot do its work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from reportlab.pdfgen.canvas import Canvas

from patchlight.storage.records import Word
from patchlight.tasks.common.errors import Category, OcrFailed, OcrTimeout, Stage, UsageError
from patchlight.tasks.documents import ocr
from patchlight.tasks.documents.opening import open_document
from tests import fixtures

LINES = ["Harbour master report", "Nine vessels entered", "the outer basin today"]
TOLERANCE_PX = 3.0


@pytest.fixture(scope="module")
def binary() -> str:
    return ocr.find_tesseract(None)


def read(
    gray: NDArray[np.uint8],
    binary: str,
    *,
    dpi: float = 150,
    timeout_s: int = 60,
    lang: str = "eng",
) -> tuple[Word, ...]:
    return ocr.read_words(
        gray, dpi=dpi, lang=lang, binary=binary, timeout_s=timeout_s, label="a.pdf, page 7"
    )


def check_scan(gray: NDArray[np.uint8], binary: str) -> None:
    words = read(gray, binary)
    assert [w.text for w in words] == " ".join(LINES).split()
    assert all(0.8 < w.confidence <= 1 for w in words)
    boxes = [(w.x0, w.y0, w.x1, w.y1) for w in words]
    fixtures.check_on_ink(gray, boxes, tolerance=TOLERANCE_PX, margin=5)


@pytest.mark.parametrize("size", [(1275, 1650), (1650, 1275)], ids=["portrait", "landscape"])
def test_boxes_of_a_scan_lie_on_its_ink(binary: str, size: tuple[int, int]) -> None:
    check_scan(np.asarray(fixtures.scan(LINES, size=size)), binary)


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_scan_that_the_file_turns_is_read_as_it_is_shown(
    tmp_path: Path, binary: str, rotation: int
) -> None:
    lying = fixtures.scan(LINES).rotate(rotation, expand=True)
    size = (lying.width * 0.48, lying.height * 0.48)

    def draw(canvas: Canvas) -> None:
        fixtures.draw_image(canvas, lying, (0, 0, *size))

    path = fixtures.make_pdf(tmp_path / "a.pdf", draw, size=size)
    with open_document(fixtures.with_boxes(path, rotation=rotation)) as document:
        check_scan(document.render(1, 150, gray=True), binary)


def test_a_blank_page_and_a_tiny_one_have_no_words(binary: str) -> None:
    assert read(np.full((1650, 1275), 255, dtype=np.uint8), binary) == ()
    assert read(np.full((3, 2), 255, dtype=np.uint8), binary) == ()


def test_a_timeout_names_the_page_and_the_setting(binary: str) -> None:
    gray = np.asarray(fixtures.scan(LINES * 4))
    with pytest.raises(OcrTimeout) as caught:
        read(gray, binary, timeout_s=0.01)  # type: ignore[arg-type]
    assert caught.value.category is Category.TIMEOUT and caught.value.stage is Stage.WORDS
    assert "a.pdf, page 7" in str(caught.value)
    assert "PATCHLIGHT_OCR_TIMEOUT_S" in str(caught.value)


def test_a_language_that_is_not_there_fails_before_any_page(binary: str) -> None:
    ocr.check_languages(binary, "eng")
    with pytest.raises(UsageError) as caught:
        ocr.check_languages(binary, "eng+xyz")
    message = str(caught.value)
    assert "xyz" in message and "eng" in message and "tesseract-ocr-xyz" in message
    with pytest.raises(UsageError):
        ocr.check_languages(binary, "eng+")


def test_a_language_that_went_away_is_a_typed_error(binary: str) -> None:
    with pytest.raises(OcrFailed, match=r"a\.pdf, page 7.*--lang"):
        read(np.asarray(fixtures.scan(LINES)), binary, lang="xyz")


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="PATCHLIGHT_TESSERACT=/nowhere/tesseract"):
        ocr.find_tesseract("/nowhere/tesseract")
    with pytest.raises(UsageError, match="cannot be run"):
        ocr.languages(str(tmp_path / "tesseract"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"tesseract-ocr.*--ocr never"):
        ocr.find_tesseract(None)


def test_a_program_that_went_away_is_a_typed_error(tmp_path: Path) -> None:
    with pytest.raises(OcrFailed, match=r"page 7: Tesseract at .* cannot be run"):
        read(np.asarray(fixtures.scan(LINES)), str(tmp_path / "tesseract"))


def test_a_program_that_crashes_is_a_typed_error(tmp_path: Path) -> None:
    program = tmp_path / "tesseract"
    program.write_text("#!/bin/sh\necho 'Segmentation fault' >&2\nexit 139\n")
    program.chmod(0o755)
    with pytest.raises(OcrFailed, match=r"page 7: Tesseract failed.*Segmentation fault"):
        read(np.asarray(fixtures.scan(LINES)), str(program))
    with pytest.raises(UsageError, match="cannot be run"):
        ocr.version(str(program))


def test_no_program_is_looked_for_when_no_page_needs_it() -> None:
    assert ocr.tesseract_for(False, "/nowhere/tesseract", "xyz") == ""
